#!/usr/bin/env python3
"""What the sums that candidates write out are worth, on recorded pools.

    benchmarks/sums.py POOL.jsonl.gz QUESTIONS.jsonl [POOL QUESTIONS …] --runs 8

For each pool: how many samples that state an answer have a wrong sum, how often those and the
others are right; then the vote of all samples, plain and with a fifth for those with one, and
``auto`` at ``normal`` with the shipped defaults without sums, with that fifth, and with mending.
Gains are paired by question, with the 95 % bootstrap interval over questions (seed 0); ``auto``
runs on several orders of the samples. ``--show N`` prints N flagged samples instead, drawn over
all pools with ``--seed``: the first wrong sum and what stands around it, escaped.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets, runner
from ttc_cli.bench.belief import Graded, grade
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import SamplePool, read
from ttc_cli.bench.statistics import bootstrap_mean
from ttc_cli.policy.table import SHIPPED
from ttc_cli.search.vote import count_one, discount_slips, vote
from ttc_cli.verifiers.arithmetic.sums import find_first

AROUND = 240
"""Characters shown before and behind the number of a wrong sum."""
TABLES = {
    "auto, no sums": replace(SHIPPED, slip=1.0, mend=False),
    "auto, a fifth": replace(SHIPPED, mend=False),
    "auto, and mended": SHIPPED,
}


@dataclass(frozen=True)
class Case:
    """A pool with its questions, graded."""

    name: str
    pool: SamplePool
    questions: Sequence[LabelledQuestion]
    graded: Sequence[Graded]


def load(pools: Sequence[Path], comparer: Comparer) -> Iterator[Case]:
    """A case for each pool and the file of questions that follows it."""
    for path, data in zip(pools[::2], pools[1::2], strict=True):
        pool = read(path)
        questions = [each for each in datasets.load(data) if each.id in pool.questions]
        name = f"{pool.header.model}, {path.parent.name}/{data.stem}"
        yield Case(name, pool, questions, grade(pool, questions, comparer))


def count(case: Case) -> list[str]:
    """A row of how many samples are flagged and how often they are right."""
    answered = [
        (each.id in graded.right, each.slipped)
        for graded in case.graded
        for each in graded.candidates
        if each.answer is not None
    ]

    def share(slipped: bool) -> str:
        found = [right for right, slip in answered if slip is slipped]
        return f"{100 * sum(found) / max(1, len(found)):.1f} % of {len(found)}"

    flagged = [sum(slip for right, slip in answered if right is wanted) for wanted in (False, True)]
    return [case.name, str(len(case.questions)), *map(str, flagged), share(True), share(False)]


def measure(case: Case, comparer: Comparer, runs: int) -> list[list[str]]:
    """A row for each way to vote: accuracy, and its gain over the one without sums."""

    def decide(graded: Graded, slip: float) -> float:
        classes = vote(graded.candidates, comparer, discount_slips(count_one, slip))
        return float(bool(classes) and not graded.right.isdisjoint(classes[0].members))

    found = {
        f"majority, {name}": [decide(each, slip) for each in case.graded]
        for name, slip in (("no sums", 1.0), ("a fifth", SHIPPED.slip))
    }
    samples = max(len(each.samples) for each in case.pool.questions.values())
    for name, table in TABLES.items():
        outcomes = asyncio.run(
            runner.simulate(
                case.pool,
                case.questions,
                comparer,
                strategy="auto",
                samples=min(samples, SHIPPED.row("normal").cap),
                trajectories=runs,
                table=table,
            )
        )
        right = {each.id: 0.0 for each in case.questions}
        for each in outcomes:
            right[each.question] += each.right / runs
        found[name] = list(right.values())
    rows = []
    for name, values in found.items():
        base = found["majority, no sums" if name.startswith("majority") else "auto, no sums"]
        gains = [100 * (a - b) for a, b in zip(values, base, strict=True)]
        low, high = bootstrap_mean(gains)
        rows.append(
            [
                case.name,
                name,
                f"{100 * sum(values) / len(values):.1f} %",
                ""
                if values is base
                else f"{sum(gains) / len(gains):+.1f} [{low:+.1f}, {high:+.1f}]",
            ]
        )
    return rows


def show(cases: Sequence[Case], number: int, seed: int) -> None:
    """Print ``number`` flagged samples of all ``cases``."""
    flagged = [
        (case, graded, each)
        for case in cases
        for graded in case.graded
        for each in graded.candidates
        if each.answer is not None and each.slipped
    ]
    for place, (case, graded, each) in enumerate(random.Random(seed).sample(flagged, number), 1):
        samples = case.pool.questions[graded.id].samples
        text = next(s.text for s in samples if s.index == each.id)
        slip = find_first(text)
        assert slip is not None
        verdict = "right" if each.id in graded.right else "wrong"
        print(f"--- {place}. {case.name}, {graded.id} #{each.id}, answer {verdict}: {slip}")
        at = slip.place if slip.place is not None else text.find("=")
        print(ascii(text[max(0, at - AROUND) : at + AROUND]))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pools", type=Path, nargs="+", help="a pool and its questions, in turn")
    options.add_argument("--runs", type=int, default=8, help="orders of the samples for auto")
    options.add_argument("--show", type=int, help="print so many flagged samples instead")
    options.add_argument("--seed", type=int, default=0, help="of --show")
    given = options.parse_args()
    comparer = Comparer()
    cases = list(load(given.pools, comparer))
    if given.show is not None:
        show(cases, given.show, given.seed)
        return
    head = ["pool", "questions", "wrong ones flagged", "right ones flagged"]
    print(" | ".join([*head, "right if flagged", "right if not"]))
    for case in cases:
        print(" | ".join(count(case)))
    print("\npool |  | accuracy | gain by sums, points")
    for case in cases:
        for row in measure(case, comparer, given.runs):
            print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
