"""How ttc handles signals: SIGTERM and SIGHUP unwind, the first Ctrl-C asks, the second exits.

Handlers run in the main thread between two bytecodes. Native code never runs there for long
(the engine decodes in a thread of its own), so a signal is answered at once. While tasks run a
handler raises nothing: that would tear whatever stands between two of its bytecodes, a queue half
filled, a lock just taken. The work is cancelled instead, as the loop of Python itself does on
Ctrl-C, and ends where it waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

_UNWIND_SECONDS = 5.0
_T = TypeVar("_T")
_Handler = Callable[[int, FrameType | None], Any]


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived; ``code`` is 128 + its number."""


def restore_cursor() -> str:
    """What makes the cursor visible again; empty where stderr is not a terminal."""
    with contextlib.suppress(OSError):
        return "\x1b[?25h" if os.isatty(2) else ""
    return ""


def leave(code: int) -> None:
    """End the process now: no unwinding, no waiting for threads; only the cursor is restored."""
    with contextlib.suppress(OSError):
        os.write(2, restore_cursor().encode())
    os._exit(code)


@contextlib.contextmanager
def handle(handlers: dict[signal.Signals, _Handler]) -> Iterator[None]:
    """Install ``handlers`` and put the old ones back at the end.

    A signal that the parent process ignores (``nohup``, a background job) stays ignored, and
    outside the main thread nothing happens: Python takes signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old: dict[signal.Signals, Any] = {}
    for number, handler in handlers.items():
        if signal.getsignal(number) is not signal.SIG_IGN:
            old[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    _leave_at_last(128 + number)
    raise Terminated(128 + number)


def raise_on_termination() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP unwind the stack as ``Terminated``, so that ``finally`` runs."""
    return handle({signal.SIGTERM: _terminate, signal.SIGHUP: _terminate})


class Interruption:
    """Ctrl-C and termination of a search.

    ``stop`` asks the search to end with what it has; while it is None there is nothing to save
    and a signal ends the process at once.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        self.happened = False
        self._cancel: _Handler | None = None

    def installed(self) -> contextlib.AbstractContextManager[None]:
        """Handle SIGINT, SIGTERM and SIGHUP while a search runs."""
        end = self._terminate
        return handle({signal.SIGINT: self._interrupt, signal.SIGTERM: end, signal.SIGHUP: end})

    def rest(self) -> None:
        """The search is over: a first Ctrl-C now may not cost the answer about to be printed."""
        self.stop = lambda: None

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """As ``run_tasks``, where a termination also asks the search to ``stop``."""

        @contextlib.contextmanager
        def lend(cancel: _Handler) -> Iterator[None]:
            self._cancel = cancel
            try:
                yield
            finally:
                self._cancel = None

        return _run(work, lend)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None or self.happened:
            leave(130)
            return
        self.happened = True
        self.stop()

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None:
            leave(128 + number)
            return
        stop, self.stop = self.stop, None
        stop()
        (self._cancel or _terminate)(number, frame)


def run_tasks(work: Coroutine[Any, Any, _T]) -> _T:
    """``asyncio.run`` for work that SIGTERM and SIGHUP end by cancelling it.

    Raises:
        Terminated: one of them arrived; the work has been unwound.
    """
    return _run(work, lambda end: handle({signal.SIGTERM: end, signal.SIGHUP: end}))


def run_aside(work: Callable[[], _T]) -> _T:
    """Do ``work`` in a thread and wait for it, as ``run_tasks`` does for tasks.

    For long calls of native code: a signal that reaches the main thread in one of its callbacks
    is lost, as nothing can be raised through the library.
    """
    import asyncio

    return run_tasks(asyncio.to_thread(work))


def _run(
    work: Coroutine[Any, Any, _T],
    hear: Callable[[_Handler], contextlib.AbstractContextManager[None]],
) -> _T:
    import asyncio

    codes: list[int] = []
    tasks: list[asyncio.Task[Any]] = []

    def end(number: int, frame: FrameType | None) -> None:
        if codes:
            leave(128 + number)
            return
        codes.append(128 + number)
        _leave_at_last(128 + number)
        for task in tasks:
            task.cancel()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to end
                task.get_loop().call_soon_threadsafe(lambda: None)  # wakes it

    async def cancellable() -> _T:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        if codes:
            task.cancel()
        return await work

    with hear(end):
        main = cancellable()
        try:
            _try_descriptors()
            found = asyncio.run(main)
        except BaseException as error:
            if codes:  # however it came to its end
                raise Terminated(codes[0]) from error
            raise
        finally:  # where no loop could be made, neither has begun
            main.close()
            work.close()
        if codes:
            raise Terminated(codes[0])
        return found


def _try_descriptors() -> None:
    """Make sure of the three that a loop opens: one that gets fewer complains on stderr too.

    Raises:
        OSError: too many files are open.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _leave_at_last(code: int) -> None:
    """Unwinding waits for threads, the engine's too; should that hang, leave all the same."""
    deadline = threading.Timer(_UNWIND_SECONDS, leave, (code,))
    deadline.daemon = True
    deadline.start()
