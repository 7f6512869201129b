#!/usr/bin/env python3
r"""Step-wise searches with forks in the KV cache against an engine that reads every path anew.

    benchmarks/forking.py --model M.gguf --questions 0:4

Both sides run the same strategy with the same seeds, weights and batches. On the other side each
step and each score opens a sequence of its own, reads question and path, and forgets them: what a
search program does that talks to a server by whole prompts without a prefix cache. At a
temperature above 0 the two draw alike until the first near-tie that another batch rounds
differently, so that the trees differ in detail; tokens of both are printed beside the times.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from measure import GSM8K, Line, add_model, parser, print_lines, require_quiet

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import (
    Branch,
    Engine,
    EngineInfo,
    Grow,
    Growth,
    Meter,
    Prompt,
    ScoreRow,
    Session,
    Span,
    States,
    Then,
)
from ttc_cli.events import Grew
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Role, Sampling, Usage


class RereadingEngine:
    """``engine``, but nothing that one request read serves another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        """That of the engine, without forks."""
        return replace(self._engine.info, forks=False)

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> RereadingSession:
        """Reads nothing yet."""
        return RereadingSession(self._engine, prompt, meter, observe, role)

    def interrupt(self) -> None:
        """As the engine."""
        self._engine.interrupt()

    def close(self) -> None:
        """The engine is its owner's."""


class RereadingSession:
    """Branches are their text alone."""

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None,
        role: Role,
    ) -> None:
        self._engine, self._observe, self._role = engine, observe, role
        self.meter = meter
        self.root = Branch(0)
        self._paths: dict[Branch, Prompt] = {self.root: prompt}
        self._inner: dict[Branch, tuple[Session, Branch]] = {}

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """The branch's text and more."""
        return self._add((*self._paths[branch], *text))

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """The same text again."""
        return [self._add(self._paths[branch]) for _ in range(count)]

    def cut(self, branch: Branch, mark: str) -> Branch:
        """Not needed by the strategies that are measured."""
        raise NotImplementedError

    def _add(self, path: Prompt) -> Branch:
        made = Branch(len(self._paths) + 1)
        self._paths[made] = path
        return made

    async def grow(
        self, requests: Sequence[Grow], then: Then | None = None
    ) -> AsyncIterator[Growth]:
        """All in one batch, each in a sequence that read its path first."""
        assert then is None
        opened = await self._open([each.branch for each in requests], self._role)
        try:
            tasks = [
                asyncio.ensure_future(self._one(session, request))
                for session, request in zip(opened, requests, strict=True)
            ]
            for growth in await asyncio.gather(*tasks):
                yield growth
        finally:
            for session in opened:
                await session.close()

    async def _one(self, session: Session, request: Grow) -> Growth:
        [branch] = session.fork(session.root)
        self._inner[request.branch] = session, branch
        async for growth in session.grow([replace(request, branch=branch)]):
            path = self._paths[request.branch]
            self._paths[request.branch] = (*path, Span(growth.text))
        del self._inner[request.branch]
        return replace(growth, branch=request.branch)

    async def _open(self, branches: Sequence[Branch], role: Role) -> list[Session]:
        return list(
            await asyncio.gather(
                *(
                    self._engine.open(self._paths[branch], self.meter, self._observe, role)
                    for branch in branches
                )
            )
        )

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Pass it on."""
        for branch in branches:
            if branch in self._inner:
                session, inner = self._inner[branch]
                session.cancel([inner])

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Pass it on."""
        for branch in branches:
            if branch in self._inner:
                session, inner = self._inner[branch]
                session.limit([inner], max_tokens)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """In one batch, each row behind its whole path."""
        opened = await self._open([row.branch for row in rows], Role.VERIFIER)
        try:
            found = await asyncio.gather(
                *(
                    session.score([replace(row, branch=session.root)])
                    for session, row in zip(opened, rows, strict=True)
                )
            )
        finally:
            for session in opened:
                await session.close()
        return [row for [row] in found]

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """Not needed by the strategies that are measured."""
        raise NotImplementedError

    def drop(self, branches: Iterable[Branch]) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> RereadingSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None


@dataclass
class Side:
    """What one engine came to on one strategy, over all questions."""

    seconds: float = 0.0
    read: int = 0
    generated: int = 0
    flops: float = 0.0
    right: int = 0

    def add(self, seconds: float, usage: Usage, right: bool) -> None:
        """Book a question."""
        self.seconds += seconds
        self.read += usage.generator.prompt_tokens + usage.verifier.prompt_tokens
        self.generated += usage.generated_tokens
        self.flops += usage.flops
        self.right += right


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--questions", default="0:4", help="part of GSM8K test, as 0:4")
    options.add_argument("--strategies", nargs="+", default=["beam", "dvts", "mcts"])
    options.add_argument("--samples", type=int, default=8)
    options.add_argument("--max-tokens", type=int, default=384)
    options.add_argument("--temperature", type=float, default=0.5)
    given = options.parse_args()
    require_quiet(given.force)
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.samples,
            answer=given.max_tokens,
            context=given.max_tokens + 512,
        ),
    )
    try:
        found = asyncio.run(_run(given, engine))
    finally:
        engine.close()
    lines = []
    for strategy, (forking, rereading) in found.items():
        note = (
            f"tokens read {forking.read:,} / {rereading.read:,}, generated "
            f"{forking.generated:,} / {rereading.generated:,}; right {forking.right} / "
            f"{rereading.right}"
        )
        lines += [
            Line(strategy, forking.seconds, rereading.seconds, "s", 1.0, "low", note),
            Line(
                f"{strategy}, TFLOPs",
                forking.flops / 1e12,
                rereading.flops / 1e12,
                "",
                1.0,
                "low",
            ),
        ]
    print_lines(
        f"KV forking against reading anew, N = {given.samples}, GSM8K test {given.questions}",
        lines,
        {"model": given.model.name, "threads": given.threads, "T": given.temperature},
    )


async def _run(given: argparse.Namespace, engine: Engine) -> dict[str, tuple[Side, Side]]:
    found: dict[str, tuple[Side, Side]] = {name: (Side(), Side()) for name in given.strategies}
    sides: tuple[Any, Any] = (engine, RereadingEngine(engine))
    chat, budget = Chat(engine.info, {}), Budget(tokens_per_candidate=given.max_tokens)
    with Comparer() as comparer:
        for question in datasets.load(GSM8K, given.questions):
            for strategy in given.strategies:
                for served, side in zip(sides, found[strategy], strict=True):
                    started = time.perf_counter()
                    result = await solve(
                        question.problem,
                        Stage(served, chat, sampling=Sampling(temperature=given.temperature)),
                        SearchOptions(strategy, samples=given.samples, budget=budget),
                        comparer=comparer,
                    )
                    seconds = time.perf_counter() - started
                    right = comparer.grade(result.answer, question.answer)
                    side.add(seconds, result.usage, right)
                    print(f"{question.id} {strategy}: {seconds:.1f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
