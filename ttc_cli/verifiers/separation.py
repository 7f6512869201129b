"""How well scores tell right from wrong: AUC, its bootstrap interval, calibration."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Rated = tuple[float, bool]
"""A score, and whether what was scored is right."""
DRAWS = 2000
"""Of a bootstrap."""


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
    won, pairs = _count_won(rated)
    return won / pairs if pairs else None


def measure_auc_within(rated: Sequence[tuple[Hashable, float, bool]]) -> float | None:
    """The AUC over pairs of the same question: what a search that compares candidates needs.

    ``rated`` is (question, score, right). Every pair of a right and a wrong one counts the same.
    """
    return _join([_count_won(group) for group in group_by_question(rated).values()])


def group_by_question(
    rated: Sequence[tuple[Hashable, float, bool]],
) -> dict[Hashable, list[Rated]]:
    """The scores of each question."""
    groups: dict[Hashable, list[Rated]] = {}
    for question, score, right in rated:
        groups.setdefault(question, []).append((score, right))
    return groups


def bootstrap_auc(
    rated: Sequence[tuple[Hashable, float, bool]], *, within: bool
) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of an AUC, over questions (Efron 1979).

    Questions are what is drawn again: scores of one question are not independent. None where
    there is no AUC.
    """
    groups = list(group_by_question(rated).values())
    draw, found = random.Random(0), []
    if within:
        counted = [each for each in map(_count_won, groups) if each[1]]
        for _ in range(DRAWS if counted else 0):
            found.append(_join(draw.choices(counted, k=len(counted))))
    elif measure_auc([each for group in groups for each in group]) is not None:
        for _ in range(DRAWS):
            drawn = draw.choices(groups, k=len(groups))
            found.append(measure_auc([each for group in drawn for each in group]))
    known = sorted(each for each in found if each is not None)
    if not known:
        return None
    last = len(known) - 1
    return known[math.floor(0.025 * last)], known[math.ceil(0.975 * last)]


def _count_won(rated: Sequence[Rated]) -> tuple[float, int]:
    """Pairs of a right and a wrong one in which the right scores higher, ties half; and all."""
    right = [score for score, is_right in rated if is_right]
    wrong = sorted(score for score, is_right in rated if not is_right)
    won = sum(bisect_left(wrong, each) + bisect_right(wrong, each) for each in right)
    return won / 2, len(right) * len(wrong)


def _join(counted: Sequence[tuple[float, int]]) -> float | None:
    pairs = sum(count for _, count in counted)
    return sum(won for won, _ in counted) / pairs if pairs else None


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


def measure_ece(rated: Sequence[Rated]) -> float | None:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): Σ n_b/n |share − mean|."""
    if not rated:
        return None
    table = tabulate(rated, 10)
    return math.fsum(each.count * abs(each.share - each.mean) for each in table) / len(rated)
