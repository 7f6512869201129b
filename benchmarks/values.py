#!/usr/bin/env python3
r"""What it tells of an unfinished candidate how many of its values others computed too.

    benchmarks/values.py POOL.jsonl.gz QUESTIONS.jsonl [POOL QUESTIONS …]

Reads recorded pools alone. A value is a number that a candidate computed: in prose one that
stands right after ``=`` or ``≈``, in a program what an assignment or ``print`` with an operator
or a call comes to (worked out here for straight arithmetic; nothing is run). Numbers that the
question gives do not count. A candidate's score is the mean over its values of the share of the
other candidates that computed the same; without a value it has the mean of the question's scores.

Printed for each pool: the AUC within a question of that score against the outcome, after a
quarter, half, three quarters and all of the tokens, all candidates cut at that share of their own
length; after 1, 2, 3 … steps, among candidates that have not ended, against all others after as
many; and of the last step's values alone. Then what ending the lower half of a question's
candidates at half of their length saves, and how many right ones it ends, against ending as many
tokens' worth at random; and how often the vote of those left is right. Intervals are 95 %
bootstrap over questions (seed 0).
"""

from __future__ import annotations

import argparse
import ast
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.bench.belief import Graded, grade
from ttc_cli.bench.pool import RecordedSample, read
from ttc_cli.bench.statistics import bootstrap_mean, draw_weights
from ttc_cli.search.vote import vote
from ttc_cli.types import PROGRAM
from ttc_cli.verifiers.separation import bootstrap_auc, measure_auc_within

SHARES = (0.25, 0.5, 0.75, 1.0)
STEPS = (1, 2, 3, 4, 6)
ORDERS = 20
"""Halves ended at random."""
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_RESULT = re.compile(rf"(?:=|≈|\\approx)[\s$*\\(\[{{]*({_NUMBER})")
_ANY = re.compile(rf"(?<![\w.]){_NUMBER}")
_STEP = re.compile(r"\n[^\S\n]*\n")
_MOST = 10**15
"""No value is greater, nor a power's exponent than 64."""

Values = frozenset[Fraction]
Read = Callable[[str, Values], Values]


@dataclass(frozen=True)
class Case:
    """One question: its candidates, which are right, and the numbers that it gives."""

    graded: Graded
    samples: Sequence[RecordedSample]
    right: Sequence[bool]
    given: Values


def read_number(text: str) -> Fraction:
    """``1,200.50`` as a fraction."""
    return Fraction(text.replace(",", ""))


def read_prose(text: str, given: Values) -> Values:
    """The results that ``text`` states, without those ``given``."""
    return frozenset(map(read_number, _RESULT.findall(text))) - given


def read_program(text: str, given: Values) -> Values:
    """What the whole statements of ``text`` compute, in their order, without those ``given``."""
    lines = text.partition("```")[0].split("\n")
    while lines:
        try:
            body = ast.parse("\n".join(lines)).body
            break
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            lines.pop()
    else:
        return frozenset()
    names: dict[str, Fraction] = {}
    return frozenset(value for each in body for value in _execute(each, names)) - given


def _execute(statement: ast.stmt, names: dict[str, Fraction]) -> Iterator[Fraction]:
    """The values that ``statement`` computes; ``names`` gets what it assigns."""
    expression: ast.expr | None
    match statement:
        case ast.Assign([ast.Name(id)], expression) | ast.AnnAssign(ast.Name(id), _, expression):
            pass
        case ast.AugAssign(ast.Name(id), operator, right):
            expression = ast.BinOp(ast.Name(id), operator, right)
        case ast.Expr(ast.Call(ast.Name("print"), [*_, expression])):
            id = ""
        case _:
            for node in ast.walk(statement):  # what a loop or a branch assigns is not known
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    names.pop(node.id, None)
            return
    try:
        value = _evaluate(expression, names)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
        names.pop(id, None)
        return
    names[id] = value
    if not isinstance(expression, ast.Constant | ast.Name):
        yield value


def _evaluate(expression: ast.expr | None, names: Mapping[str, Fraction]) -> Fraction:
    """Of numbers, names, the operators of arithmetic and a few functions; else an exception."""
    match expression:
        case ast.Constant(int() | float() as number):
            value = Fraction(str(number))
        case ast.Name(id):
            value = names[id]
        case ast.UnaryOp(ast.USub(), operand):
            value = -_evaluate(operand, names)
        case ast.BinOp(left, operator, right):
            a, b = _evaluate(left, names), _evaluate(right, names)
            if isinstance(operator, ast.Pow) and (b.denominator != 1 or abs(b) > 64):
                raise ValueError
            value = Fraction(_OPERATORS[type(operator)](a, b))
        case ast.Call(ast.Name(id), arguments, []):
            value = Fraction(_FUNCTIONS[id](*(_evaluate(each, names) for each in arguments)))
        case _:
            raise TypeError
    if abs(value) > _MOST:
        raise ValueError
    return value.limit_denominator(10**6)


_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a ** int(b),
}
_FUNCTIONS: Mapping[str, Callable[..., Fraction | int]] = {
    "int": int,
    "float": Fraction,
    "abs": abs,
    "min": min,
    "max": max,
    "round": lambda value, digits=0: round(value, int(digits)),
}


def score(values: Sequence[Values], others: Sequence[Values] | None = None) -> list[float]:
    """How far each one's ``values`` agree with the ``others`` (all of them, but for its own).

    Where ``others`` differ from ``values``, each one's are a part of its own among the others.
    """
    others = values if others is None else others
    counts = Counter(value for each in others for value in each)
    rest = max(1, len(values) - 1)
    known = [
        math.fsum(counts[value] - 1 for value in each) / (rest * len(each)) if each else None
        for each in values
    ]
    scored = [each for each in known if each is not None]
    mean = math.fsum(scored) / len(scored) if scored else 0.5
    return [mean if each is None else each for each in known]


def rate_shares(cases: Sequence[Case], find: Read, share: float) -> list[tuple[str, float, bool]]:
    """The score of every candidate after ``share`` of its tokens."""
    rated = []
    for case in cases:
        cut = [find(_cut(each, share), case.given) for each in case.samples]
        rated += [
            (case.graded.id, value, right)
            for value, right in zip(score(cut), case.right, strict=True)
        ]
    return rated


def rate_steps(
    cases: Sequence[Case], find: Read, step: int, *, last: bool
) -> list[tuple[str, float, bool]]:
    """The score of every candidate that has more than ``step`` steps, after so many of them.

    With ``last`` the values of the last of them alone.
    """
    rated = []
    for case in cases:
        ends = [_find_end(each.text, step) for each in case.samples]
        upto = [
            find(each.text[:end], case.given) for each, end in zip(case.samples, ends, strict=True)
        ]
        values = upto
        if last:
            before = [
                find(each.text[: _find_end(each.text, step - 1) or 0], case.given)
                for each in case.samples
            ]
            values = [all - old for all, old in zip(upto, before, strict=True)]
        rated += [
            (case.graded.id, value, right)
            for value, right, end in zip(score(values, upto), case.right, ends, strict=True)
            if end is not None
        ]
    return rated


def _cut(sample: RecordedSample, share: float) -> str:
    return sample.text_until(math.floor(share * sample.tokens))


def _find_end(text: str, step: int) -> int | None:
    """Where step number ``step`` ends; None where ``text`` does not go on after it."""
    if step == 0:
        return 0
    ends = [each.end() for each in _STEP.finditer(text) if text[: each.start()].strip()]
    return ends[step - 1] if step <= len(ends) and text[ends[step - 1] :].strip(" \n`") else None


@dataclass(frozen=True)
class Pruned:
    """What ending the lower half of one question's candidates came to.

    ``tokens``: of all of them, ``left`` at their half, ``saved`` of these by it. ``right``:
    candidates, ``ended`` of them.
    ``votes``: whether the vote is right of all, of those left, and of halves left at random.
    """

    tokens: int
    left: int
    saved: float
    right: int
    ended: float
    votes: tuple[float, float, float]


def prune(case: Case, find: Read, comparer: Comparer) -> Pruned:
    """End the half of the candidates that scores lower when half of their tokens are written.

    Ties fall by chance.
    """
    draw = random.Random(f"0:{case.graded.id}")
    scores = score([find(_cut(each, 0.5), case.given) for each in case.samples])
    count = len(scores)
    keep = count - count // 2
    rest = [each.tokens - math.floor(0.5 * each.tokens) for each in case.samples]

    def is_right(kept: Sequence[int]) -> float:
        classes = vote([case.graded.candidates[place] for place in kept], comparer)
        return float(bool(classes) and not case.graded.right.isdisjoint(classes[0].members))

    saved = ended = left = other = 0.0
    for _ in range(ORDERS):
        order = draw.sample(range(count), count)
        other += is_right(order[:keep]) / ORDERS
        order.sort(key=lambda place: -scores[place])
        left += is_right(order[:keep]) / ORDERS
        saved += sum(rest[place] for place in order[keep:]) / ORDERS
        ended += sum(case.right[place] for place in order[keep:]) / ORDERS
    tokens = sum(each.tokens for each in case.samples)
    votes = (is_right(range(count)), left, other)
    return Pruned(tokens, sum(rest), saved, sum(case.right), ended, votes)


def show_pruning(cases: Sequence[Case], find: Read, comparer: Comparer) -> str:
    """A row of what pruning came to over all ``cases``."""
    import numpy as np

    found = [prune(case, find, comparer) for case in cases]
    columns = np.array([(p.tokens, p.saved, p.right, p.ended, p.left) for p in found])
    tokens, saved, right, ended, left = columns.sum(axis=0)
    drawn = (draw_weights(len(found)) @ columns).T
    fewer = 100 * (drawn[1] / drawn[4] - drawn[3] / drawn[2])
    low, high = np.percentile(fewer, [2.5, 97.5])
    lost, by_chance = 100 * ended / right, 100 * saved / left
    votes = [100 * math.fsum(p.votes[i] for p in found) / len(found) for i in range(3)]
    gain = bootstrap_mean([100 * (p.votes[1] - p.votes[2]) for p in found])
    return " | ".join(
        [
            f"{100 * saved / tokens:.0f} %",
            f"{lost:.1f} %",
            f"{by_chance:.1f} %",
            f"{by_chance - lost:+.1f} [{low:+.1f}, {high:+.1f}]",
            " / ".join(f"{each:.1f}" for each in votes),
            f"{votes[1] - votes[2]:+.1f} [{gain[0]:+.1f}, {gain[1]:+.1f}]",
        ]
    )


def show_auc(rated: Sequence[tuple[str, float, bool]]) -> str:
    """AUC within a question, its interval, and how many questions and candidates it is over."""
    auc, interval = measure_auc_within(rated), bootstrap_auc(rated, within=True)
    kinds: dict[str, set[bool]] = {}
    for question, _, right in rated:
        kinds.setdefault(question, set()).add(right)
    both = sum(len(each) == 2 for each in kinds.values())
    if auc is None or interval is None:
        return f"– ({both})"
    return f"{auc:.2f} [{interval[0]:.2f}, {interval[1]:.2f}] ({both})"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pools", type=Path, nargs="+", help="a pool and its questions, in turn")
    given = options.parse_args()
    with Comparer() as comparer:
        for path, data in zip(given.pools[::2], given.pools[1::2], strict=True):
            pool = read(path)
            find = read_program if pool.header.form == PROGRAM else read_prose
            questions = [each for each in datasets.load(data) if each.id in pool.questions]
            numbers = {
                each.id: frozenset(map(read_number, _ANY.findall(each.problem.text)))
                for each in questions
            }
            cases = [
                Case(
                    graded,
                    pool.questions[graded.id].samples,
                    [each.id in graded.right for each in graded.candidates],
                    numbers[graded.id],
                )
                for graded in grade(pool, questions, comparer)
            ]
            print(f"\n{pool.header.model}, {data.stem}, {pool.header.form}, {len(cases)} questions")
            print("AUC within a question [95 %] (questions with both kinds)")
            for share in SHARES:
                print(f"{share:.0%} of the tokens | {show_auc(rate_shares(cases, find, share))}")
            for step in STEPS:
                row = [show_auc(rate_steps(cases, find, step, last=each)) for each in (False, True)]
                print(f"after step {step}, that step alone | {' | '.join(row)}")
            print("tokens saved | right ones ended | at random | fewer, points | right votes of")
            print("all / left / left at random | gain, points")
            print(show_pruning(cases, find, comparer), flush=True)


if __name__ == "__main__":
    main()
