"""Steps the decoder on a thread of its own, whenever every run waits for it.

Searches are straight-line async code on the event loop. Whenever one awaits the engine, the runner
looks whether *every* run (all sessions of one meter) waits; only then does its thread step, and it
returns as soon as one of them has what it waited for. So while a search thinks nothing is decoded,
the batch composition depends on the requests alone, and no lock is needed between search and
decoder.

With ``patience``, a run that thinks longer than that does not keep the others waiting: they go on,
and its own branches rest until it waits again. The batches then depend on the clock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import dataclass

from ttc_cli.engines.llamacpp.decoder import Decoder
from ttc_cli.engines.llamacpp.jobs import Account
from ttc_cli.errors import EngineError


@dataclass(slots=True, eq=False)
class _Waiter:
    """A search that awaits the engine, and when it has what it waits for."""

    ready: Callable[[], bool]
    woken: asyncio.Future[None]


class DecodeRunner:
    """The decode thread, and who waits for it: the waiters of each session, by its account.

    ``patience`` is in seconds; None waits for every run, however long it thinks.
    """

    def __init__(self, decoder: Decoder, patience: float | None = None) -> None:
        self.decoder = decoder
        self._patience = patience
        self._thinking: dict[int, float] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ttc-decode")
        self._waiters: dict[Account, list[_Waiter]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stepping = False
        self._attention = False
        self._deferred: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._closed = False

    def join(self, account: Account) -> None:
        """Count the session of ``account`` among those that are waited for."""
        self._waiters[account] = []
        self._note_thinking(account)

    def leave(self, account: Account) -> None:
        """Take a closed session out of the count."""
        self._waiters.pop(account, None)
        if all(each.meter is not account.meter for each in self._waiters):
            self._thinking.pop(id(account.meter), None)
        if not self._waiters:
            self.decoder.interrupted = False
        self._wake()

    def apply(self, change: Callable[[], None]) -> None:
        """Change the decoder's queues: now, or right after the step under way."""
        if self._closed:
            return
        if self._stepping:
            self._deferred.append(change)
            self._attention = True
        else:
            change()

    async def wait(self, account: Account, ready: Callable[[], bool]) -> None:
        """Step until ``ready``, as soon as every other run waits too."""
        while not ready():
            if self._failure is not None:
                hint = getattr(self._failure, "hint", None)
                raise EngineError(
                    f"The engine has failed: {self._failure}", hint
                ) from self._failure
            waiters = self._waiters.get(account)
            if waiters is None:
                raise EngineError("the session is closed")
            waiter = _Waiter(ready, asyncio.get_running_loop().create_future())
            waiters.append(waiter)
            self._attention |= self._stepping and id(account.meter) in self.decoder.held
            self._wake()
            try:
                await waiter.woken
            finally:
                waiters.remove(waiter)
                self._note_thinking(account)
                self._wake()  # other sessions of the same run may have work of their own

    def close(self) -> bool:
        """End the thread after the decode under way; False if that was done before."""
        if self._closed:
            return False
        self._closed = True
        self.decoder.interrupted = True
        self._thread.shutdown(wait=True)
        self._deferred.clear()
        return True

    def _note_thinking(self, account: Account) -> None:
        self._thinking[id(account.meter)] = time.monotonic()

    def _find_thinking(self) -> frozenset[int] | None:
        """The runs that others need not wait for; None where a step would be too early.

        A run, that is all sessions of one meter, waits where at least one of them does.
        """
        waiting = {id(account.meter) for account, waiters in self._waiters.items() if waiters}
        thinking = {id(account.meter) for account in self._waiters} - waiting
        if not waiting or (thinking and self._patience is None):
            return None
        if self._patience is not None and thinking:
            left = max(self._thinking[each] for each in thinking)
            left += self._patience - time.monotonic()
            if left > 0:
                self._look_again(left)
                return None
        return frozenset(thinking)

    def _look_again(self, seconds: float) -> None:
        """Wake once a run has thought for too long."""

        def look() -> None:
            self._alarm = None
            self._wake()

        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, look)

    def _someone_ready(self) -> bool:
        return any(waiter.ready() for waiters in self._waiters.values() for waiter in waiters)

    def _wake(self) -> None:
        if self._task is None and not self._closed and self._find_thinking() is not None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while (held := self._find_thinking()) is not None and not self._someone_ready():
                self.decoder.held = held
                if not self.decoder.has_work():
                    raise EngineError("every search waits, but there is nothing to decode")
                self._stepping = True
                steps = self._thread.submit(self._advance)
                try:
                    await asyncio.wrap_future(steps)
                finally:
                    # Torn down in mid-step: the thread must be out before the queues change.
                    self._attention = True
                    concurrent.futures.wait([steps])
                    self._stepping = False
                    self._attention = False
                    deferred, self._deferred = self._deferred, []
                    for change in deferred:
                        change()
        except Exception as error:
            self._failure = error
        finally:
            self._task = None
            for waiter in [each for waiters in self._waiters.values() for each in waiters]:
                if (self._failure or waiter.ready()) and not waiter.woken.done():
                    waiter.woken.set_result(None)

    def _advance(self) -> None:
        """On the decode thread: step until a waiter is served or the loop asks for attention."""
        while self.decoder.has_work():
            if not self.decoder.step() and self.decoder.held:
                time.sleep(0.001)  # those that rest have all the room
            if self._attention or self._someone_ready():
                return
