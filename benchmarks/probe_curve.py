#!/usr/bin/env python3
"""How much a probe on hidden states gains by more questions, and by more candidates of each.

    benchmarks/probe_curve.py POOL.jsonl QUESTIONS.jsonl

The pool, of one form, must hold hidden states (``ttc verifiers fit`` draws them). For each number
of questions and of candidates a question, a head is fitted to a random part of the pool, its view
and strength of L2 chosen on that part alone, and asked about questions that are in no part: a third
of them all. Means over ``--draws`` parts (seed 0); the interval is the 95 % bootstrap over the
questions asked about, of each candidate's mean score.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets, pool
from ttc_cli.bench.probing import Place, collect
from ttc_cli.bench.runner import Pools
from ttc_cli.errors import UsageError
from ttc_cli.verifiers.fitting import Example, fit_head
from ttc_cli.verifiers.probe import View
from ttc_cli.verifiers.separation import bootstrap_auc, measure_auc_within

QUESTIONS = (6, 12, 24, 48, 96, 192)
SAMPLES = (2, 4, 8, 16)
OBJECTIVES = ("centred logistic",)
VIEWS = (View.TAIL, View.BOTH)

Known = list[tuple[Example, Place]]


def limit(known: Known, ids: Sequence[str], samples: int) -> list[Example]:
    """The examples of the first ``samples`` candidates of each of the questions ``ids``."""
    return [e for e, (_, id, index) in known if id in ids and index < samples]


def measure(known: Known, asked: Known, samples: int, parts: Sequence[Sequence[str]]) -> str:
    """What heads fitted to each of ``parts`` are worth on those ``asked`` about: a cell."""
    values, aucs = defaultdict(list), []
    for ids in parts:
        try:
            head = fit_head(limit(known, ids, samples), views=VIEWS, objectives=OBJECTIVES).head
        except UsageError:  # no question with right and wrong ones
            continue
        rated = [(e.question, head.rate(e.states), e.right) for e, _ in asked]
        aucs.append(measure_auc_within(rated) or 0.5)
        for at, (_, value, _) in enumerate(rated):
            values[at].append(value)
    if not aucs:
        return "–"
    mean = [(e.question, float(np.mean(values[at])), e.right) for at, (e, _) in enumerate(asked)]
    low, high = bootstrap_auc(mean, within=True) or (0.0, 1.0)
    return f"{np.mean(aucs):.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Read, fit, print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pool", type=Path)
    options.add_argument("questions", type=Path)
    options.add_argument("--draws", type=int, default=4, help="random parts of each size")
    given = options.parse_args()
    read = pool.read(given.pool)
    questions = [each for each in datasets.load(given.questions) if each.id in read.questions]
    with Comparer() as comparer:
        found = collect(Pools(read), questions, comparer)
    whole = next((each for (_, part), each in found.items() if part == "whole"), None)
    if whole is None:
        raise SystemExit(f"{given.pool} holds no hidden states: ttc verifiers fit")
    pairs = list(zip(whole.examples, whole.places, strict=True))
    ids = list(dict.fromkeys(id for _, (_, id, _) in pairs))
    dice = random.Random(0)
    dice.shuffle(ids)
    last = set(ids[2 * len(ids) // 3 :])
    asked = [each for each in pairs if each[1][1] in last]
    known = [each for each in pairs if each[1][1] not in last]
    ids = [id for id in ids if id not in last]
    print(f"{read.header.model}: fitted to some of {len(ids)} questions, asked about {len(last)}\n")
    drawn = [each for each in SAMPLES if each <= 1 + max(place[2] for _, place in pairs)]
    print("| questions | " + " | ".join(f"{each} candidates" for each in drawn) + " |")
    print("|---:|" + "---:|" * len(drawn))
    for size in [each for each in QUESTIONS if each < len(ids)] + [len(ids)]:
        parts = [dice.sample(ids, size) for _ in range(given.draws if size < len(ids) else 1)]
        cells = [measure(known, asked, samples, parts) for samples in drawn]
        print("| " + " | ".join([str(size), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
