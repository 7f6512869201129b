#!/usr/bin/env python3
r"""By what to choose among free texts, on recorded pools.

    benchmarks/free_text.py POOL.jsonl.gz QUESTIONS.jsonl [POOL QUESTIONS …]

Solutions of labelled questions are read as free text: nobody looks at their answers until one is
chosen, and then it is asked whether that one ends right. For each pool and each N: the share that
ends right by each rule, and its gain in points over one candidate and over judge and confidence.
Means over ``--draws`` random sets of N samples of each question (seed 0); gains are paired by
question, with the 95 % bootstrap interval over questions (seed 0). The one candidate is the mean of
all samples. Texts that did not end are never chosen.

Overlap of characters (chrF: Popović 2015, https://aclanthology.org/W15-3049, n-grams of 1 to 6
characters without spaces, β 2 and 1) and of words is measured on the whole texts, and so that the
medoid is no vote in disguise: with the end cut off, that is the last line and all from the line of
the first ``\boxed`` on, and with the numbers gone, too.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.bench.belief import Graded, grade
from ttc_cli.bench.pool import RecordedSample, SamplePool, read
from ttc_cli.bench.statistics import bootstrap_mean
from ttc_cli.search.likeness import measure_likeness, merge_sureness
from ttc_cli.types import Candidate, Finish

SIZES = (2, 4, 8)
AUTO = "likeness and sureness (auto)"
BEFORE = "judge and confidence (before)"
Choose = Callable[[Sequence[int]], int]
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def cut_end(text: str) -> str:
    """``text`` without its last line, and without all from the line of its first box on."""
    text = text.rstrip()
    end = max(text.rfind("\n"), 0) or max(text.rfind(". "), 0)
    box = text.find("boxed")
    return text[:end] if box < 0 else text[: min(end, max(text.rfind("\n", 0, box), 0))]


def cut_numbers(text: str) -> str:
    """``cut_end`` of ``text``, with a mark in the place of each number."""
    return re.sub(r"\d[\d.,]*", "#", cut_end(text))


def overlap(texts: Sequence[str], size: int) -> tuple[Matrix, Matrix]:
    """Character ``size``-grams that each pair has in common, [n, n], and that each has, [n]."""
    counted = [Counter(text[i : i + size] for i in range(len(text) - size + 1)) for text in texts]
    known = {gram: at for at, gram in enumerate(sorted(set().union(*counted)))}
    counts = np.zeros((len(texts), max(1, len(known))))
    for row, grams in enumerate(counted):
        for gram, count in grams.items():
            counts[row, known[gram]] = count
    common = np.stack([np.minimum(row, counts).sum(axis=1) for row in counts])
    return common, counts.sum(axis=1)


def compare_characters(texts: Sequence[str], beta: float) -> Matrix:
    """The chrF of each text (row) against each other one as the reference (column)."""
    bare = ["".join(text.split()) for text in texts]
    found = [overlap(bare, size) for size in range(1, 7)]
    precision = np.mean([common / np.maximum(1, had)[:, None] for common, had in found], axis=0)
    recall = np.mean([common / np.maximum(1, had)[None, :] for common, had in found], axis=0)
    below = np.maximum(beta**2 * precision + recall, 1e-12)
    return np.asarray((1 + beta**2) * precision * recall / below)


def compare_words(texts: Sequence[str]) -> Matrix:
    """The likeness of each pair, as ``auto`` measures it."""
    found = np.ones((len(texts), len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        found[one, other] = found[other, one] = measure_likeness([texts[one], texts[other]])[0]
    return found


def compare_states(samples: Sequence[RecordedSample]) -> Matrix | None:
    """The cosine of each pair's hidden states at the last token; None where none were read."""
    known = [sample.states.last for sample in samples if sample.states is not None]
    if not known:
        return None
    zero = np.zeros_like(known[0])
    states = np.asarray([s.states.last if s.states else zero for s in samples], dtype=np.float64)
    states /= np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-9)
    return np.asarray(states @ states.T)


def find_medoid(likeness: Matrix) -> Choose:
    """Choose the one with the greatest sum of likeness to the others, of equals the first."""

    def choose(ended: Sequence[int]) -> int:
        own = likeness[np.ix_(ended, ended)]
        return ended[int(np.argmax(np.round(own.sum(axis=1) - np.diag(own), 9)))]

    return choose


def find_most(values: Sequence[float]) -> Choose:
    """Choose the one of the greatest value."""
    return lambda ended: max(ended, key=lambda at: values[at])


def rules(
    samples: Sequence[RecordedSample], graded: Graded, comparer: Comparer
) -> Iterator[tuple[str, Choose]]:
    """Every way to choose, by name; ``Choose`` takes the places of the texts that ended."""
    yield "the first that ended", lambda ended: ended[0]
    judged = [-1.0 if each.judge is None else each.judge for each in samples]
    yield "judge", find_most(judged)
    sure = [each.confidence for each in samples]
    assert all(each is not None for each in sure)
    known = [each for each in sure if each is not None]
    tails = [float(np.exp(each.tail_logprob)) for each in known]
    yield BEFORE, find_most(list(np.add(judged, tails)))
    yield "confidence: tail_group", find_most([each.tail_group for each in known])
    yield "confidence: mean_logprob", find_most([each.mean_logprob for each in known])
    yield "confidence: mean_group", find_most([each.mean_group or 0.0 for each in known])
    yield "confidence: lowest_group", find_most([each.lowest_group for each in known])
    yield "the longest", find_most([each.tokens for each in samples])
    yield "the shortest", find_most([-each.tokens for each in samples])
    texts = [each.text for each in samples]
    without = [cut_end(text) for text in texts]
    bare = [cut_numbers(text) for text in texts]
    for beta in (2.0, 1.0):
        yield f"chrF medoid, β {beta:g}", find_medoid(compare_characters(texts, beta))
        yield f"chrF medoid, β {beta:g}, end cut", find_medoid(compare_characters(without, beta))
    words = compare_words(texts)
    yield "word medoid", find_medoid(words)
    yield "word medoid, end cut", find_medoid(compare_words(without))
    cut = compare_words(bare)
    yield "word medoid, end and numbers cut", find_medoid(cut)
    states = compare_states(samples)
    if states is not None:
        yield "medoid of hidden states", find_medoid(states)
    candidates = [
        Candidate(each.index, each.text, each.tokens, each.finish, confidence=each.confidence)
        for each in samples
    ]

    def merge(likeness: Matrix) -> Choose:
        def choose(ended: Sequence[int]) -> int:
            own = likeness[np.ix_(ended, ended)]
            sums = (own.sum(axis=1) - np.diag(own)) / max(1, len(ended) - 1)
            worth = merge_sureness(sums.tolist(), [candidates[at] for at in ended])
            return ended[int(np.argmax(worth))]

        return choose

    yield AUTO, merge(words)
    yield "the same, end and numbers cut", merge(cut)
    classes = comparer.classify(
        [(each.id, each.answer, 1.0) for each in graded.candidates if each.answer is not None]
    )
    own = {id: number for number, each in enumerate(classes) for id in each.members}

    def vote(ended: Sequence[int]) -> int:
        said = [own.get(samples[at].index, -1 - at) for at in ended]
        return ended[said.index(Counter(said).most_common(1)[0][0])]

    yield "vote, which reads the answers", vote


def count_cost(pool: SamplePool) -> str:
    """Tokens read and generated for N samples, over those for one, without and with the judge."""
    questions = pool.questions.values()
    prompt = np.mean([each.prompt_tokens for each in questions])
    samples = [sample for each in questions for sample in each.samples]
    grown = np.mean([sample.tokens for sample in samples])
    asked = [score.suffix_tokens for sample in samples for score in sample.scores.values()]
    judged = sum(asked) / len(samples)
    parts = [
        f"{size} for {(prompt + size * grown) / (prompt + grown):.1f} "
        f"({(prompt + size * (grown + judged)) / (prompt + grown):.1f})"
        for size in SIZES
    ]
    return ", ".join(parts)


def measure(path: Path, data: Path, comparer: Comparer, draws: int) -> None:
    """Print the table of one pool."""
    pool = read(path)
    questions = [each for each in datasets.load(data) if each.id in pool.questions]
    one: list[float] = []
    found: dict[tuple[int, str], list[float]] = {}
    for graded in grade(pool, questions, comparer):
        samples = pool.questions[graded.id].samples
        ended = [each.finish is Finish.STOP for each in samples]
        right = [each.index in graded.right for each in samples]
        one.append(float(np.mean(right)))
        draw = random.Random(f"0:{graded.id}")
        sets = {
            size: [draw.sample(range(len(samples)), size) for _ in range(draws)] for size in SIZES
        }
        for name, choose in rules(samples, graded, comparer):
            for size, drawn in sets.items():
                able = [[at for at in each if ended[at]] for each in drawn]
                won = [bool(each) and right[choose(each)] for each in able]
                found.setdefault((size, name), []).append(float(np.mean(won)))
    print(f"\n{pool.header.model}, {path.parent.name}/{data.stem}: {len(one)} questions, ", end="")
    print(f"one candidate {100 * np.mean(one):.1f} %")
    print(f"tokens read and generated, over one candidate's (with the judge): {count_cost(pool)}")
    print("N | rule | ends right | over one candidate | over the judge and confidence | n")
    for (size, name), shares in found.items():
        row = [str(size), name, f"{100 * np.mean(shares):.1f} %"]
        for other in (one, found[size, BEFORE]):
            gains = np.subtract(shares, other)
            low, high = bootstrap_mean(gains.tolist())
            row.append(f"{100 * gains.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        print(" | ".join([*row, str(len(shares))]), flush=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pools", type=Path, nargs="+", help="a pool and its questions, in turn")
    options.add_argument("--draws", type=int, default=200, help="sets of N samples a question")
    given = options.parse_args()
    with Comparer() as comparer:
        for path, data in zip(given.pools[::2], given.pools[1::2], strict=True):
            measure(path, data, comparer, given.draws)


if __name__ == "__main__":
    main()
