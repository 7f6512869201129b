"""Sessions over one decode thread: the engine protocol for a model loaded with llama.cpp.

Searches are straight-line async code on the event loop. Whenever one awaits the engine, the
engine looks whether *every* run (all sessions of one meter) waits; only then does its thread step,
and it returns as soon as one of them has what it waited for. So while a search thinks nothing is
decoded, the batch composition depends on the requests alone, and no lock is needed between search
and decoder.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable

from ttc_cli.engines.base import (
    EngineInfo,
    Grow,
    Meter,
    Prompt,
    Span,
)
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.constraint import write_grammar
from ttc_cli.engines.llamacpp.decoder import Decoder
from ttc_cli.engines.llamacpp.jobs import Account, Reading
from ttc_cli.engines.llamacpp.native import Context, Model
from ttc_cli.engines.llamacpp.samplers import Grammar, Sampler
from ttc_cli.engines.llamacpp.session import LlamaCppSession, Waiter
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.errors import EngineError, PromptTooLong, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Role

ROOM_TO_ANSWER = 16
"""A prompt must leave at least this many tokens of the context window."""


class LlamaCppEngine:
    """One model, one KV cache, one decode thread. Made by ``llamacpp.load``."""

    def __init__(self, model: Model, context: Context, info: EngineInfo) -> None:
        self._model = model
        self._context = context
        self._info = info
        self._decoder = Decoder(model, context, info.parallel, info.context, info.parameters)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ttc-decode")
        self._sessions: list[LlamaCppSession] = []
        self._runner: asyncio.Task[None] | None = None
        self._stepping = False
        self._attention = False
        self._deferred: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._tokeniser = Tokeniser(model, info.model)
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        """What this engine is and can do."""
        return self._info

    @property
    def decoder(self) -> Decoder:
        """The decode loop, for ``load`` to hook its abort callback."""
        return self._decoder

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> LlamaCppSession:
        """Read ``prompt`` and open a session on it, as ``Engine.open`` says."""
        tokens = self.tokenise(prompt)
        begin = self._model.begin_token()
        if begin is not None and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        if len(tokens) + ROOM_TO_ANSWER > self._info.context:
            raise PromptTooLong(
                f"the prompt has {len(tokens):,} tokens; {self._info.model} has room for "
                f"{self._info.context:,} with its answer.",
                hint="shorten it, or raise --context if the model allows more",
            )
        account = Account(meter, observe, role)
        root = Node(tokens, keep=True)
        session = LlamaCppSession(self, account, root)
        reading = Reading(account, root)

        def add() -> None:
            self._decoder.accounts.append(account)
            self._decoder.readings.append(reading)

        self._sessions.append(session)
        self.apply(add)
        try:
            await self.wait(session, lambda: reading.done)
        except BaseException:
            await session.close()
            raise
        if reading.failure is not None:
            await session.close()
            raise reading.failure
        return session

    def interrupt(self) -> None:
        """End everything at the next token, as ``Engine.interrupt`` says."""
        self._decoder.interrupted = True

    def close(self) -> None:
        """Free the model. Waits for a decode under way to stop."""
        if self._closed:
            return
        self._closed = True
        self.interrupt()
        self._thread.shutdown(wait=True)
        self._deferred.clear()
        self._context.close()
        self._model.close()

    # -- for sessions ------------------------------------------------------------------------

    def tokenise(self, prompt: Prompt, after: int | None = None) -> list[int]:
        """Token ids of ``prompt`` behind the token ``after``, as ``Tokeniser`` says."""
        return self._tokeniser.tokenise(prompt, after)

    def cut(self, node: Node, mark: str, start: int) -> Node:
        """``node`` up to where ``mark`` last begins, behind its first ``start`` tokens.

        What the token that holds the mark's first byte spells before it is read again as text.
        """
        wanted, tail = mark.encode(), b""
        for place in range(len(node.tokens) - 1, start - 1, -1):
            tail = self._model.piece(node.tokens[place]) + tail
            found = tail.rfind(wanted)
            if found >= 0:
                kept = node.tokens[:place]
                head = tail[:found].decode("utf-8", "ignore")
                rest = self.tokenise((Span(head),), kept[-1] if kept else None) if head else []
                return Node(tokens=[*kept, *rest], origin=node)
        raise UsageError(f"nothing that was written here spells {mark!r}.")

    def find_labels(self, pieces: tuple[str, ...]) -> list[int]:
        """Ids of those ``pieces`` that are one token each, as ``Tokeniser`` says."""
        return self._tokeniser.find_labels(pieces)

    def new_sampler(self, request: Grow) -> Sampler:
        """The sampler chain of one request."""
        wanted = request.sampling
        return Sampler(
            temperature=wanted.temperature,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            min_p=wanted.min_p,
            seed=request.seed,
        )

    def new_grammar(self, request: Grow) -> Grammar | None:
        """What holds the draws of one request to its schema, None where it has none."""
        if request.grammar is None:
            return None
        return Grammar(self._model, write_grammar(request.grammar))

    def apply(self, change: Callable[[], None]) -> None:
        """Change the decoder's queues: now, or right after the step under way."""
        if self._closed:
            return
        if self._stepping:
            self._deferred.append(change)
            self._attention = True
        else:
            change()

    def retire(self, session: LlamaCppSession) -> None:
        """Take a closed session out of the count of those waited for."""
        if session in self._sessions:
            self._sessions.remove(session)
        if not self._sessions:
            self._decoder.interrupted = False
        self._wake()

    async def wait(self, session: LlamaCppSession, ready: Callable[[], bool]) -> None:
        """Step until ``ready``, as soon as every other session waits too."""
        while not ready():
            if self._failure is not None:
                hint = getattr(self._failure, "hint", None)
                raise EngineError(
                    f"The engine has failed: {self._failure}", hint
                ) from self._failure
            waiter = Waiter(ready, asyncio.get_running_loop().create_future())
            session.waiters.append(waiter)
            self._wake()
            try:
                await waiter.woken
            finally:
                session.waiters.remove(waiter)
                self._wake()  # other sessions of the same run may have work of their own

    # -- the runner --------------------------------------------------------------------------

    def _everyone_waits(self) -> bool:
        """Whether each run, that is all sessions of one meter, waits with at least one of them."""
        runs = {id(session.meter): False for session in self._sessions}
        for session in self._sessions:
            runs[id(session.meter)] |= bool(session.waiters)
        return bool(runs) and all(runs.values())

    def _someone_ready(self) -> bool:
        return any(w.ready() for session in self._sessions for w in session.waiters)

    def _wake(self) -> None:
        if self._runner is None and not self._closed and self._everyone_waits():
            self._runner = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._everyone_waits() and not self._someone_ready():
                if not self._decoder.has_work():
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
            self._runner = None
            for session in self._sessions:
                for waiter in session.waiters:
                    if (self._failure or waiter.ready()) and not waiter.woken.done():
                        waiter.woken.set_result(None)

    def _advance(self) -> None:
        """On the decode thread: step until a waiter is served or the loop asks for attention."""
        while self._decoder.has_work():
            self._decoder.step()
            if self._attention or self._someone_ready():
                return
