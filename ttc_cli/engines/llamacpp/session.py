"""One open prompt on a ``LlamaCppEngine``, and the tree of branches that grows from it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from ttc_cli.engines.base import Branch, Grow, Growth, Prompt, ScoreRow, States, Then
from ttc_cli.engines.branches import BranchedSession, GrowthStream
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.constraint import write_grammar
from ttc_cli.engines.llamacpp.jobs import (
    Account,
    Growing,
    PromptReading,
    Scoring,
    StateReading,
)
from ttc_cli.engines.llamacpp.runner import DecodeRunner
from ttc_cli.engines.llamacpp.samplers import Grammar, Sampler
from ttc_cli.engines.llamacpp.tokeniser import Tokeniser
from ttc_cli.engines.pooling import StatePool
from ttc_cli.errors import UsageError
from ttc_cli.types import Finish


class LlamaCppSession(BranchedSession[Node]):
    """One open prompt on a ``LlamaCppEngine``; see ``engines.base.Session``.

    ``spell`` makes the tokens of a prompt; it raises ``PromptTooLong``.
    """

    def __init__(
        self,
        runner: DecodeRunner,
        tokeniser: Tokeniser,
        account: Account,
        root: Node,
        spell: Callable[[Prompt], Node],
    ) -> None:
        super().__init__(account.meter, root)
        self._runner = runner
        self._decoder = runner.decoder
        self._tokeniser = tokeniser
        self._account = account
        self._spell = spell
        self._jobs: dict[Branch, Growing] = {}

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """Read a further prompt, and return where it ends."""
        self._check_open()
        node = self._spell(prompt)
        await self.read(node)
        return self._keep(node)

    async def read(self, node: Node) -> None:
        """Bring a prompt into the cache.

        Raises:
            PromptTooLong: the cache has no room for it.
        """
        reading = PromptReading(self._account, node)
        self._runner.apply(lambda: self._decoder.readings.append(reading))
        await self._wait(lambda: reading.done)
        if reading.failure is not None:
            raise reading.failure

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches from where ``branch`` stands."""
        return [self._keep(self._path(branch).fork()) for _ in range(count)]

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: ``branch``, then ``text``."""
        node = self._path(branch)
        after = node.tokens[-1] if node.tokens else None
        return self._keep(node.append(self._tokeniser.tokenise(text, after)))

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written."""
        node = self._path(branch)
        kept = self._tokeniser.cut(node.tokens, mark, len(node.root.tokens))
        return self._keep(Node(kept, origin=node))

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all of ``requests``; iterate over the result to let it happen."""
        return GrowthStream(requests, then, self._submit, self._wait_for, self.cancel)

    def _submit(self, requests: Sequence[Grow], ended: deque[Growth]) -> list[Growing]:
        """Queue ``requests``; their growths go to ``ended``."""
        self._check_open()
        jobs: dict[Branch, Growing] = {}
        for request in requests:
            if request.branch in jobs or self._running([request.branch]):
                raise UsageError("A branch can only grow once at a time.")
            node, schema = self._path(request.branch), request.grammar
            if not request.pool or not self._decoder.pools:
                node.pool = None
            elif node.pool is None and len(node.tokens) == len(node.root.tokens):
                node.pool = StatePool(self._decoder.info.states, len(node.tokens))
            jobs[request.branch] = Growing(
                account=self._account,
                node=node,
                request=request,
                ended=ended,
                sampler=Sampler(request.sampling, request.seed),
                limit=max(1, request.max_tokens),
                start=len(node.tokens),
                grammar=Grammar(self._tokeniser.model, write_grammar(schema)) if schema else None,
            )
        self._jobs.update(jobs)  # only now: one that is refused leaves none of the others behind
        self._runner.apply(lambda: self._decoder.waiting.extend(jobs.values()))
        return list(jobs.values())

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        jobs = self._running(branches)
        self._runner.apply(lambda: self._decoder.end(jobs, Finish.CANCELLED))

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of what still grows."""
        jobs = self._running(branches)
        self._runner.apply(lambda: self._decoder.lower_limit(jobs, max_tokens))

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """Read one row of logits after each suffix."""
        self._check_open()
        scorings = [
            Scoring(
                account=self._account,
                node=self._path(row.branch),
                suffix=self._tokeniser.tokenise(row.suffix),
                groups=[self._tokeniser.find_labels(pieces) for pieces in row.labels],
                since=None if row.since is None else max(1, len(self._path(row.since).tokens)),
            )
            for row in rows
        ]
        self._runner.apply(lambda: self._decoder.scorings.extend(scorings))
        await self._wait(lambda: all(s.value is not None for s in scorings))
        return [scoring.value or () for scoring in scorings]

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """The pooled hidden states of each, read again where they were not pooled."""
        self._check_open()
        if not self._decoder.info.states:
            raise UsageError(
                f"{self._decoder.info.model} gives no hidden states, which this verifier reads.",
                hint="ttc verifiers list",
            )
        nodes = [self._path(branch) for branch in branches]
        pools = [node.pool.summarise() if node.pool else None for node in nodes]
        readings: dict[int, StateReading] = {}
        for i, (node, known) in enumerate(zip(nodes, pools, strict=True)):
            if known is None:
                start = min(len(node.root.tokens), len(node.tokens) - 1)
                pool = StatePool(self._decoder.info.states, start)
                readings[i] = StateReading(self._account, node, pool)
        if readings:
            self._runner.apply(lambda: self._decoder.states.extend(readings.values()))
            await self._wait(lambda: all(each.done for each in readings.values()))
        return [readings[i].value if i in readings else known for i, known in enumerate(pools)]

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free their cells."""
        gone = [branch for branch in branches if branch in self._paths]
        self.cancel(gone)
        nodes = [self._paths.pop(branch) for branch in gone]
        for branch in gone:
            self._jobs.pop(branch, None)

        def forget() -> None:
            for node in nodes:
                self._decoder.forget(node)

        self._runner.apply(forget)

    async def _leave(self) -> None:
        decoder, account = self._decoder, self._account
        self.drop(list(self._paths))
        self._runner.apply(lambda: decoder.leave(account))
        self._runner.leave(account)

    async def _wait_for(self, ended: deque[Growth]) -> None:
        await self._wait(lambda: bool(ended))

    async def _wait(self, ready: Callable[[], bool]) -> None:
        """Let the engine step until ``ready``."""
        await self._runner.wait(self._account, ready)

    def _running(self, branches: Iterable[Branch]) -> list[Growing]:
        jobs = (self._jobs.get(branch) for branch in branches)
        return [job for job in jobs if job is not None and job.finish is None]
