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
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from ttc_cli.engines.base import (
    Branch,
    EngineInfo,
    Grow,
    Growth,
    Meter,
    Prompt,
    ScoreRow,
    Span,
    Then,
)
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.decoder import (
    Account,
    Decoder,
    Growing,
    Reading,
    Scoring,
    StateReading,
)
from ttc_cli.engines.llamacpp.native import Context, Model, Sampler
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.errors import EngineError, PromptTooLong, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

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
                raise EngineError(f"the engine has failed: {self._failure}") from self._failure
            waiter = _Waiter(ready, asyncio.get_running_loop().create_future())
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


class _Waiter:
    __slots__ = ("ready", "woken")

    def __init__(self, ready: Callable[[], bool], woken: asyncio.Future[None]) -> None:
        self.ready = ready
        self.woken = woken


class LlamaCppSession:
    """One open prompt on a ``LlamaCppEngine``; see ``engines.base.Session``."""

    def __init__(self, engine: LlamaCppEngine, account: Account, root: Node) -> None:
        self._engine = engine
        self._account = account
        self._root = Branch(0)
        self._nodes: dict[Branch, Node] = {self._root: root}
        self._jobs: dict[Branch, Growing] = {}
        self._count = 0
        self._closed = False
        self.waiters: list[_Waiter] = []

    @property
    def root(self) -> Branch:
        """The prompt."""
        return self._root

    @property
    def meter(self) -> Meter:
        """Where it books."""
        return self._account.meter

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: ``branch``, then ``text``."""
        self._count += 1
        longer = Branch(self._count)
        node = self._nodes[branch]
        after = node.tokens[-1] if node.tokens else None
        self._nodes[longer] = node.append(self._engine.tokenise(text, after))
        return longer

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches from where ``branch`` stands."""
        forked = []
        for _ in range(count):
            self._count += 1
            twin = Branch(self._count)
            self._nodes[twin] = self._nodes[branch].fork()
            forked.append(twin)
        return forked

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written."""
        shorter = self._engine.cut(self._nodes[branch], mark, len(self._nodes[self._root].tokens))
        self._count += 1
        twin = Branch(self._count)
        self._nodes[twin] = shorter
        return twin

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all of ``requests``; iterate over the result to let it happen."""
        return _GrowthStream(self, requests, then)

    def submit(self, requests: Sequence[Grow], ended: deque[Growth]) -> list[Growing]:
        """Queue ``requests``; their growths go to ``ended``."""
        if self._closed:
            raise EngineError("the session is closed")
        jobs = []
        for request in requests:
            if request.branch in self._jobs and self._jobs[request.branch].finish is None:
                raise UsageError("a branch can only grow once at a time")
            node = self._nodes[request.branch]
            job = Growing(
                account=self._account,
                node=node,
                branch=request.branch,
                request=request,
                ended=ended,
                sampler=self._engine.new_sampler(request),
                limit=max(1, request.max_tokens),
                start=len(node.tokens),
            )
            self._jobs[request.branch] = job
            jobs.append(job)
        self._engine.apply(lambda: self._engine.decoder.waiting.extend(jobs))
        return jobs

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        jobs = self._running(branches)
        self._engine.apply(lambda: self._engine.decoder.end(jobs, Finish.CANCELLED))

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of what still grows."""
        jobs = self._running(branches)
        self._engine.apply(lambda: self._engine.decoder.lower_limit(jobs, max_tokens))

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """Read one row of logits behind each suffix."""
        if self._closed:
            raise EngineError("the session is closed")
        scorings = [
            Scoring(
                account=self._account,
                node=self._nodes[row.branch],
                suffix=self._engine.tokenise(row.suffix),
                groups=[self._engine.find_labels(pieces) for pieces in row.labels],
            )
            for row in rows
        ]
        self._engine.apply(lambda: self._engine.decoder.scorings.extend(scorings))
        await self._engine.wait(self, lambda: all(s.value is not None for s in scorings))
        return [scoring.value or () for scoring in scorings]

    async def read_states(self, branches: Sequence[Branch]) -> list[tuple[float, ...]]:
        """Hidden states at the last token of each."""
        if self._closed:
            raise EngineError("the session is closed")
        states = [StateReading(self._account, self._nodes[branch]) for branch in branches]
        self._engine.apply(lambda: self._engine.decoder.states.extend(states))
        await self._engine.wait(self, lambda: all(s.value is not None for s in states))
        return [state.value or () for state in states]

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free their cells."""
        gone = [branch for branch in branches if branch in self._nodes]
        self.cancel(gone)
        nodes = [self._nodes.pop(branch) for branch in gone]
        for branch in gone:
            self._jobs.pop(branch, None)

        def forget() -> None:
            for node in nodes:
                self._engine.decoder.forget(node)

        self._engine.apply(forget)

    async def close(self) -> None:
        """Drop everything."""
        if self._closed:
            return
        self._closed = True
        decoder, account = self._engine.decoder, self._account
        self.drop(list(self._nodes))

        def leave() -> None:
            decoder.scorings = [row for row in decoder.scorings if row.account is not account]
            decoder.readings = [row for row in decoder.readings if row.account is not account]
            decoder.states = [row for row in decoder.states if row.account is not account]
            if account in decoder.accounts:
                decoder.accounts.remove(account)

        self._engine.apply(leave)
        self._engine.retire(self)

    async def __aenter__(self) -> LlamaCppSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _running(self, branches: Iterable[Branch]) -> list[Growing]:
        jobs = (self._jobs.get(branch) for branch in branches)
        return [job for job in jobs if job is not None and job.finish is None]

    async def next_growth(self, jobs: list[Growing], ended: deque[Growth]) -> Growth | None:
        """The next of ``jobs`` to end, or None when all have been handed out."""
        if not ended and all(job.finish is not None for job in jobs):
            return None
        await self._engine.wait(self, lambda: bool(ended))
        return ended.popleft()


class _GrowthStream:
    """Yields growths as they end; left early, it cancels the rest."""

    def __init__(
        self, session: LlamaCppSession, requests: Sequence[Grow], then: Then | None
    ) -> None:
        self._session = session
        self._then = then
        self._ended: deque[Growth] = deque()
        self._jobs = session.submit(requests, self._ended)

    def __aiter__(self) -> _GrowthStream:
        return self

    async def __anext__(self) -> Growth:
        growth = await self._session.next_growth(self._jobs, self._ended)
        if growth is None:
            raise StopAsyncIteration
        if self._then is not None:
            self._jobs += self._session.submit(self._then(growth), self._ended)
        return growth

    async def aclose(self) -> None:
        """Cancel what still grows."""
        self._session.cancel([job.branch for job in self._jobs])

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._session.cancel([job.branch for job in self._jobs if job.finish is None])
