"""How well scores tell right from wrong: AUC, its bootstrap interval, calibration."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Rated = tuple[float, bool]
"""A score, and whether what was scored is right."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A line of a reliability table: ``count`` scores in [low, high), their mean, the share right.

    ``share`` and ``mean`` are 0 in an empty one.
    """

    low: float
    high: float
    count: int
    mean: float
    share: float


def measure_auc(rated: Sequence[Rated]) -> float | None:
    """P(a right one scores above a wrong one), ties one half; None without both kinds."""
    right = [score for score, is_right in rated if is_right]
    wrong = sorted(score for score, is_right in rated if not is_right)
    if not right or not wrong:
        return None
    below = sum(bisect_left(wrong, s) + bisect_right(wrong, s) for s in right)
    return below / (2 * len(right) * len(wrong))


def measure_auc_within(rated: Sequence[tuple[Hashable, float, bool]]) -> float | None:
    """The AUC over pairs of the same question: what a search that compares candidates needs.

    ``rated`` is (question, score, right). Every pair of a right and a wrong one counts alike.
    """
    won, pairs = 0.0, 0
    for found in group_by_question(rated).values():
        auc = measure_auc(found)
        if auc is not None:
            count = sum(right for _, right in found) * sum(not right for _, right in found)
            won, pairs = won + auc * count, pairs + count
    return won / pairs if pairs else None


def group_by_question(
    rated: Sequence[tuple[Hashable, float, bool]],
) -> dict[Hashable, list[Rated]]:
    """The scores of each question."""
    groups: dict[Hashable, list[Rated]] = {}
    for question, score, right in rated:
        groups.setdefault(question, []).append((score, right))
    return groups


def bootstrap_auc(
    rated: Sequence[tuple[Hashable, float, bool]],
    *,
    within: bool,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of an AUC, over questions (Efron 1979).

    Questions are what is drawn again: scores of one question are not independent. None where
    there is no AUC.
    """
    groups = list(group_by_question(rated).values())
    draw, found = random.Random(seed), []
    if within:
        parts = []
        for group in groups:
            auc = measure_auc(group)
            if auc is not None:
                count = sum(right for _, right in group) * sum(not right for _, right in group)
                parts.append((auc * count, count))
        if not parts:
            return None
        for _ in range(draws):
            drawn = draw.choices(parts, k=len(parts))
            found.append(sum(won for won, _ in drawn) / sum(count for _, count in drawn))
    else:
        if measure_auc([each for group in groups for each in group]) is None:
            return None
        for _ in range(draws):
            auc = measure_auc([each for g in draw.choices(groups, k=len(groups)) for each in g])
            if auc is not None:
                found.append(auc)
    found.sort()
    tail = (1 - level) / 2
    return found[math.floor(tail * (len(found) - 1))], found[
        math.ceil((1 - tail) * (len(found) - 1))
    ]


def tabulate(rated: Sequence[Rated], bins: int = 5) -> tuple[Bin, ...]:
    """The reliability table: ``bins`` of equal width over [0, 1]."""
    table = []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [
            each for each in rated if low <= each[0] < high or (i == bins - 1 and each[0] >= 1)
        ]
        count = len(inside)
        mean = math.fsum(score for score, _ in inside) / count if count else 0.0
        share = sum(right for _, right in inside) / count if count else 0.0
        table.append(Bin(low, high, count, mean, share))
    return tuple(table)


def measure_ece(rated: Sequence[Rated], bins: int = 10) -> float | None:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): Σ n_b/n |share − mean|."""
    if not rated:
        return None
    table = tabulate(rated, bins)
    return math.fsum(each.count * abs(each.share - each.mean) for each in table) / len(rated)
