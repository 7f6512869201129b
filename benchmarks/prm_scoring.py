#!/usr/bin/env python3
"""Process rewards: scored incrementally against from scratch, and beside growing against after it.

    benchmarks/prm_scoring.py --model G.gguf --verifier V.gguf --format rlhflow

Candidates grow step by step. After each step its score is read twice: by ttc's process reward
verifier, whose KV holds what it read before, and as search programs without such a cache do it,
reading question and steps anew (in one batch too, so that the cache is all that differs). Then,
with both models loaded, half of the candidates grow while the other half is scored, against one
after the other.

What the scores say does not matter here: any model with ``+`` and ``-`` in its vocabulary will do.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from measure import GSM8K, Line, add_model, interleave, median, parser, print_lines, require_quiet

from ttc_cli.bench import datasets
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Branch, Engine, Grow, ScoreRow
from ttc_cli.ledger import Ledger
from ttc_cli.models import gguf, hardware
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.types import Budget, Candidate, Finish, Problem, Role, Sampling, Step
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.prm.formats import FORMATS, Format, find_format
from ttc_cli.verifiers.prm.verifier import PrmVerifier


class Bench:
    """A generator, a verifier and one question."""

    def __init__(self, engine: Engine, verifier: Engine, format: Format, problem: Problem) -> None:
        self.engine, self.verifier, self.format, self.problem = engine, verifier, format, problem
        self.prompt = Chat(engine.info).render(build_messages(problem))

    async def write(self, samples: int, steps: int, tokens: int) -> list[list[str]]:
        """Steps of ``tokens`` tokens each, as text."""
        async with await self.engine.open(self.prompt, Ledger(Budget())) as session:
            branches = session.fork(session.root, samples)
            texts: list[list[str]] = [[] for _ in branches]
            for _ in range(steps):
                async for growth in session.grow(_requests(branches, tokens)):
                    texts[growth.label].append(growth.text.strip() or ".")
        return texts

    async def score(self, texts: list[list[str]], *, anew: bool) -> tuple[float, int]:
        """Seconds and tokens to score each candidate after each of its steps."""
        ledger = Ledger(Budget())
        made = PrmVerifier(self.verifier, self.format)
        async with await self.engine.open(self.prompt, ledger) as session:
            started = time.perf_counter()
            for count in range(1, len(texts[0]) + 1):
                if anew:
                    await self._read_anew(texts, count, ledger)
                    continue
                leaves = [_leaf(n, text[:count]) for n, text in enumerate(texts)]
                assert all(await made.score_steps(session, self.problem, leaves))
            seconds = time.perf_counter() - started
            await made.leave(session)
        return seconds, ledger.usage().verifier.prompt_tokens

    async def _read_anew(self, texts: list[list[str]], count: int, ledger: Ledger) -> None:
        format, question = self.format, self.problem.text.strip()
        empty = format.open(question)[:1]
        async with await self.verifier.open(empty, ledger, role=Role.VERIFIER) as session:
            rows = []
            for text in texts:
                parts = [format.open(question)[1:], format.begin(question, text[0])]
                parts += [format.go_on(step) for step in text[1:count]]
                prompt = tuple(span for part in parts for span in part)
                branch = session.append(session.root, prompt)
                rows.append(ScoreRow(branch, (), ((format.good,), (format.bad,))))
            assert all(await session.score(rows))

    async def work(self, texts: list[list[str]], tokens: int, *, overlap: bool) -> float:
        """Seconds to grow half of the candidates by a step and score the other half's steps."""
        ledger = Ledger(Budget())
        made = PrmVerifier(self.verifier, self.format)
        half = len(texts) // 2
        async with await self.engine.open(self.prompt, ledger) as session:
            branches = session.fork(session.root, half)
            leaves = [_leaf(n, text) for n, text in enumerate(texts[half:])]

            async def grow() -> None:
                async for _ in session.grow(_requests(branches, tokens)):
                    pass

            async def score() -> None:
                assert all(await made.score_steps(session, self.problem, leaves))

            started = time.perf_counter()
            if overlap:
                await asyncio.gather(grow(), score())
            else:
                await grow()
                await score()
            spent = time.perf_counter() - started
            await made.leave(session)
        return spent


def _requests(branches: list[Branch], tokens: int) -> list[Grow]:
    sampling = Sampling(temperature=0.7)
    return [Grow(branch, tokens, sampling, n, n) for n, branch in enumerate(branches)]


def _leaf(id: int, steps: list[str]) -> Leaf:
    parts = tuple(Step(step, 1) for step in steps)
    return Leaf(Candidate(id, "", 1, Finish.STEP, steps=parts), None)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--verifier", type=Path, required=True, help="another GGUF file")
    options.add_argument("--format", choices=list(FORMATS), default="rlhflow")
    options.add_argument("--samples", type=int, default=8)
    options.add_argument("--steps", type=int, default=6)
    options.add_argument("--step-tokens", type=int, default=40)
    given = options.parse_args()
    require_quiet(given.force)
    settings = llamacpp.Settings(
        threads=given.threads,
        parallel=given.samples,
        context=2048,
        answer=given.steps * (given.step_tokens + 16),
    )
    headers = [(gguf.read_header(path), settings) for path in (given.model, given.verifier)]
    plans = llamacpp.plan_all(headers, hardware.read_memory().free)
    engine = llamacpp.load(given.model, settings, planned=plans[0])
    verifier = llamacpp.load(given.verifier, settings, planned=plans[1])
    try:
        problem = datasets.load(GSM8K)[0].problem
        bench = Bench(engine, verifier, find_format(given.format, verifier.info), problem)
        texts = asyncio.run(bench.write(given.samples, given.steps, given.step_tokens))
        read: dict[bool, int] = {}

        def score(anew: bool) -> float:
            seconds, read[anew] = asyncio.run(bench.score(texts, anew=anew))
            return seconds

        def work(overlap: bool) -> float:
            return asyncio.run(bench.work(texts, given.step_tokens, overlap=overlap))

        scored = interleave(
            {"incremental": lambda: score(False), "anew": lambda: score(True)}, given.rounds
        )
        worked = interleave(
            {"beside": lambda: work(True), "after": lambda: work(False)}, given.rounds
        )
    finally:
        engine.close()
        verifier.close()
    sizes = f"{given.samples} candidates, {given.steps} steps of {given.step_tokens} tokens"
    lines = [
        Line("seconds to score every step", median(scored["incremental"]), median(scored["anew"]),
             "s", 1.0, "low", "theirs: read anew"),
        Line("tokens read", read[False], read[True], "tokens", 1.0, "low", "theirs: read anew"),
        Line("seconds to grow and score", median(worked["beside"]), median(worked["after"]),
             "s", 1.0, "low", "ours: beside each other; theirs: one after the other"),
    ]  # fmt: skip
    print_lines(
        f"process rewards, {sizes}",
        lines,
        {
            "model": given.model.name,
            "verifier": given.verifier.name,
            "format": given.format,
            "threads": given.threads,
        },
    )


if __name__ == "__main__":
    main()
