"""One open prompt on a ``LlamaCppEngine``, and the tree of branches that grows from it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Meter,
    Prompt,
    ScoreRow,
    Then,
)
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.jobs import Account, Growing, Scoring, StateReading
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.types import Finish

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp.engine import LlamaCppEngine


class Waiter:
    """A search that awaits the engine, and when it has what it waits for."""

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
        self.waiters: list[Waiter] = []

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
        jobs: dict[Branch, Growing] = {}
        for request in requests:
            if request.branch in jobs or self._running([request.branch]):
                raise UsageError("A branch can only grow once at a time.")
            node = self._nodes[request.branch]
            jobs[request.branch] = Growing(
                account=self._account,
                node=node,
                branch=request.branch,
                request=request,
                ended=ended,
                sampler=self._engine.new_sampler(request),
                limit=max(1, request.max_tokens),
                start=len(node.tokens),
                grammar=self._engine.new_grammar(request),
            )
        self._jobs.update(jobs)  # only now: one that is refused leaves none of the others behind
        self._engine.apply(lambda: self._engine.decoder.waiting.extend(jobs.values()))
        return list(jobs.values())

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
