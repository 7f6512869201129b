#!/usr/bin/env python3
"""What a guess from the prompt alone is worth: how hard a question looks before anything is drawn.

    benchmarks/first_sight.py TRAIN.jsonl.gz TEST.jsonl.gz --train-data train.jsonl --policy P.json

A ridge regression from the hidden state at the prompt's end to the share of right samples is fitted
to one pool (``ttc bench`` and ``ttc calibrate`` record those states). It ranks that pool's own
questions, each held out, and those of the other. Then ``auto`` is run on the other at half-octaves
of its price, and each question is charged the run at its own: as far above the common price as it
looks harder than most. Steepness 0 is one price for all, 1 asks up to twice as much for what looks
hopeless and half for what looks easy. Printed is the accuracy at equal FLOPs, as shares of those of
a vote over all samples, between two prices in proportion, and what steepness 1 gains there, 95 % by
bootstrap over questions.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measure import GSM8K

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench import datasets, runner
from ttc_cli.bench.pool import SamplePool, read
from ttc_cli.bench.statistics import draw_weights
from ttc_cli.policy.file import load_policy
from ttc_cli.policy.table import Table

Matrix = npt.NDArray[np.float64]

OCTAVES = np.arange(0.0, 3.5, 0.5)
STEEPNESSES = (0.0, 0.5, 1.0, 2.0)
PENALTY = 1.0
"""Of the ridge, against features whose squares average one; 0.1 to 10 rank alike."""


@dataclass
class Questions:
    """Of a pool, those with a recorded state: the states, and the shares of right samples."""

    asked: list[datasets.LabelledQuestion]
    states: Matrix
    shares: Matrix


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("train", type=Path, help="pool that the guess is fitted to")
    options.add_argument("test", type=Path, help="pool that it is held against")
    options.add_argument("--train-data", type=Path, required=True, help="the former's questions")
    options.add_argument("--test-data", type=Path, default=GSM8K, help="and the latter's")
    options.add_argument("--policy", type=Path, required=True, help="what auto goes by")
    options.add_argument("--runs", type=int, default=4, help="orders of the samples")
    given = options.parse_args()
    pool, table = read(given.test), load_policy(given.policy).table
    with Comparer() as comparer:
        train = _collect(read(given.train), given.train_data, comparer)
        held_out = _correlate_ranks(_hold_out(train), train.shares)
        print(f"{len(train.shares)} questions, each held out: Spearman {held_out:.2f}")
        test = _collect(pool, given.test_data, comparer)
        if not test.asked:
            raise SystemExit(f"{given.test} holds no states of prompts to guess by")
        guesses = _fit(train, test.states)
        print(
            f"fitted to {len(train.shares)} questions; ranks {len(test.shares)} others: Spearman "
            f"{_correlate_ranks(guesses, test.shares):.2f}; the length of the question: "
            f"{_correlate_ranks(-_measure_lengths(test), test.shares):.2f}"
        )
        right, flops = _run(pool, test.asked, table, given.runs, comparer)
    # How hard each looks among the questions it was fitted to: -1 as few do, 1 as most do.
    looks = np.clip((np.mean(train.shares) - guesses) / (np.sqrt(3) * np.std(guesses)), -1, 1)
    baseline = 2.0 * pool.header.parameters * _count_tokens(pool, test.asked)
    everyone = np.full(len(guesses), 1 / len(guesses))
    parts = (0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
    print("\n| steepness | " + " | ".join(f"{part:.0%}" for part in parts) + " |")
    print("| --- |" + " ---: |" * len(parts))
    for steepness in STEEPNESSES:
        points = _price(right, flops, steepness * looks)
        found = [_read_off(points, part * baseline, everyone) for part in parts]
        print(f"| {steepness:g} | " + " | ".join(f"{each:.1%}" for each in found) + " |")
    one, each = (_price(right, flops, steepness * looks) for steepness in (0.0, 1.0))
    cells = []
    for part in parts:
        gains = [
            _read_off(each, part * baseline, weights) - _read_off(one, part * baseline, weights)
            for weights in draw_weights(len(guesses), draws=400)
        ]
        low, high = np.quantile(gains, (0.025, 0.975))
        cells.append(f"{100 * np.mean(gains):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    print("| points that 1 gains | " + " | ".join(cells) + " |")


def _collect(pool: SamplePool, data: Path, comparer: Comparer) -> Questions:
    asked, states, shares = [], [], []
    for question in datasets.load(data):
        drawn = pool.questions.get(question.id)
        if drawn is None or drawn.states is None:
            continue
        problem = resolve(question.problem)
        answers = [sample.read_answer(problem) for sample in drawn.samples]
        graded = [comparer.grade(answer, question.answer) for answer in answers]
        asked.append(question)
        states.append(drawn.states.last)
        shares.append(sum(graded) / len(graded))
    return Questions(asked, np.array(states), np.array(shares))


def _fit(train: Questions, states: Matrix) -> Matrix:
    """What a ridge regression on ``train`` expects of the questions with ``states``."""
    centre, scale = train.states.mean(axis=0), train.states.std(axis=0) + 1e-6
    width = np.sqrt(states.shape[1])
    seen, new = ((each - centre) / scale / width for each in (train.states, states))
    mean = train.shares.mean()
    dual = np.linalg.solve(seen @ seen.T + PENALTY * np.eye(len(seen)), train.shares - mean)
    expected: Matrix = mean + new @ seen.T @ dual
    return expected


def _hold_out(train: Questions) -> Matrix:
    """What a fit to all other questions expects of each."""
    expected = []
    for place in range(len(train.asked)):
        others = np.arange(len(train.asked)) != place
        rest = Questions([], train.states[others], train.shares[others])
        expected.append(_fit(rest, train.states[[place]])[0])
    return np.array(expected)


def _run(
    pool: SamplePool,
    asked: Sequence[datasets.LabelledQuestion],
    table: Table,
    runs: int,
    comparer: Comparer,
) -> tuple[Matrix, Matrix]:
    """Share right and FLOPs, of each question (columns) at each of ``OCTAVES`` (rows)."""
    places = {question.id: place for place, question in enumerate(asked)}
    right, flops = np.zeros((len(OCTAVES), len(asked))), np.zeros((len(OCTAVES), len(asked)))
    most = min(len(pool.questions[question.id].samples) for question in asked)
    for row, octave in enumerate(OCTAVES):
        priced = table.at_price(float(2.0**octave))
        outcomes = asyncio.run(
            runner.simulate(
                pool,
                asked,
                comparer,
                strategy="auto",
                samples=min(most, priced.row("normal").cap),
                trajectories=runs,
                table=priced,
            )
        )
        for outcome in outcomes:
            right[row, places[outcome.question]] += outcome.right / runs
            flops[row, places[outcome.question]] += outcome.flops / runs
    return right, flops


def _price(right: Matrix, flops: Matrix, octaves: Matrix) -> tuple[Matrix, Matrix]:
    """Right and FLOPs by common price (rows), each question ``octaves`` above it."""
    found = []
    for common in np.arange(OCTAVES[0] - 1, OCTAVES[-1] + 1.01, 0.125):
        rows = np.abs(OCTAVES[:, None] - (common + octaves)[None]).argmin(axis=0)
        columns = np.arange(len(octaves))
        found.append((right[rows, columns], flops[rows, columns]))
    return np.array([each for each, _ in found]), np.array([each for _, each in found])


def _read_off(points: tuple[Matrix, Matrix], wanted: float, weights: Matrix) -> float:
    """The best accuracy that a mixture of two prices has at ``wanted`` mean FLOPs."""
    accuracies, costs = (each @ weights for each in points)
    best = 0.0
    for low in np.flatnonzero(costs <= wanted):
        for high in np.flatnonzero(costs > wanted):
            part = (wanted - costs[low]) / (costs[high] - costs[low])
            best = max(best, accuracies[low] + part * (accuracies[high] - accuracies[low]))
    return float(best)


def _count_tokens(pool: SamplePool, asked: Sequence[datasets.LabelledQuestion]) -> float:
    """Tokens a question of a vote over all samples."""
    drawn = [pool.questions[question.id] for question in asked]
    read = sum(each.prompt_tokens for each in drawn)
    return (read + sum(s.tokens for each in drawn for s in each.samples)) / len(drawn)


def _measure_lengths(questions: Questions) -> Matrix:
    return np.array([float(len(each.problem.text)) for each in questions.asked])


def _correlate_ranks(a: Matrix, b: Matrix) -> float:
    """Spearman's correlation; equal values share their mean rank."""

    def rank(values: Matrix) -> Matrix:
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks: Matrix = (np.cumsum(counts) - (counts - 1) / 2)[places]
        return ranks

    return float(np.corrcoef(rank(a), rank(b))[0, 1])


if __name__ == "__main__":
    main()
