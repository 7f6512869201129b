#!/usr/bin/env python3
"""A cascade of two models against each alone, on recorded pools: accuracy, FLOPs, who answered.

    benchmarks/cascade.py SMALL.jsonl.gz LARGE.jsonl.gz --data tests/data/gsm8k/test_0_199.jsonl

Both pools come from ``ttc bench``; the questions that both have are asked. The cascade itself runs,
``policy.cascade.solve_in_turn``, on engines that serve the pools and charge the recorded tokens, in
several orders of the samples. A policy for each model can be given as a file; without one, the
shipped defaults.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import GSM8K

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.bench.pool import SamplePool, read
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.report import Outcome, markdown, summarise
from ttc_cli.events import EventStream
from ttc_cli.policy.cascade import solve_in_turn
from ttc_cli.policy.file import load_policy
from ttc_cli.policy.stage import LoadStage, SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget

LEVELS = ("quick", "normal", "deep")


@dataclass
class Side:
    """A model: its pool, what ``auto`` goes by with it, and how often it was asked."""

    pool: SamplePool
    table: Table
    asked: int = 0

    def serve(self, order: int) -> LoadStage:
        """What loads it: an engine that serves the samples in that order."""

        async def load() -> Stage:
            self.asked += 1
            engine = RecordedEngine(self.pool.recording(), trajectory=order, jump=True)
            header = self.pool.header
            chat = Chat(engine.info, header.template_arguments)
            return Stage(engine, chat, self.table, header.sampling)

        return load


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("small", type=Path, help="pool of the smaller model")
    options.add_argument("large", type=Path, help="and of the larger one")
    options.add_argument("--data", type=Path, default=GSM8K, help="the questions with labels")
    options.add_argument("--policies", type=Path, nargs=2, help="for the smaller and the larger")
    options.add_argument("--samples", type=int, default=16, help="the most of each model")
    options.add_argument("--runs", type=int, default=4, help="orders of the samples")
    given = options.parse_args()
    # These pools are in prose.
    policies = [load_policy(path).table.without_forms() for path in given.policies or ()]
    tables = policies or [SHIPPED.without_forms()] * 2
    small, large = (
        Side(read(path), table)
        for path, table in zip((given.small, given.large), tables, strict=True)
    )
    questions = [
        question
        for question in datasets.load(given.data)
        if question.id in small.pool.questions and question.id in large.pool.questions
    ]
    rows, handed = [], []
    with Comparer() as comparer:
        for level in LEVELS:
            for name, sides in {
                small.pool.header.model: [small],
                large.pool.header.model: [large],
                "cascade": [small, large],
            }.items():
                large.asked = 0
                outcomes = asyncio.run(_ask(given, questions, sides, level, comparer))
                rows.append(summarise(f"{name}, {level}", outcomes))
            handed.append(f"{level} {large.asked / len(outcomes):.0%}")
    print(
        f"{len(questions)} questions in {given.runs} orders, at most {given.samples} samples each:"
    )
    print(f"\n{markdown(rows)}\nHanded on to the larger model: {', '.join(handed)}.")


async def _ask(
    given: argparse.Namespace,
    questions: Sequence[datasets.LabelledQuestion],
    sides: Sequence[Side],
    level: str,
    comparer: Comparer,
) -> list[Outcome]:
    outcomes = []
    for order in range(given.runs):
        for question in questions:
            result = await solve_in_turn(
                question.problem,
                [side.serve(order) for side in sides],
                SearchOptions(
                    samples=min(given.samples, SHIPPED.row(level).cap),
                    budget=Budget(level, tokens_per_candidate=sides[0].pool.header.max_tokens),
                    seed=order,
                ),
                events=EventStream(),
                comparer=comparer,
            )
            outcomes.append(
                Outcome(
                    question.id,
                    comparer.grade(result.answer, question.answer),
                    any(comparer.grade(each.answer, question.answer) for each in result.candidates),
                    len(result.candidates),
                    result.usage.tokens,
                    result.usage.flops,
                    stop_reason=result.stop_reason,
                    run=order,
                )
            )
    return outcomes


if __name__ == "__main__":
    main()
