"""Compute to match: the fewest FLOPs that reach the accuracy of the best fixed strategy.

The baseline is the best of majority, weighted and best-of-n at N samples. A *curve* is ``auto``
under one price knob, a ``Point`` a setting of it. The match is the least FLOPs, everything counted,
at which the curve's accuracy is at least the baseline's; it may not be reached at all, and the
bootstrap says how often.

Picking the point on the questions it is judged by flatters it. So beside that figure stands one
that is held out: the price is picked on one half of the questions and judged on the other, both
ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttc_cli.bench.statistics import bootstrap_mean, draw_weights

QUARTER = 0.25
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Point:
    """A strategy at one setting: for each question, in a common order, share right and FLOPs."""

    name: str
    right: tuple[float, ...]
    flops: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Over all questions."""
        return sum(self.right) / len(self.right)

    @property
    def cost(self) -> float:
        """Mean FLOPs a question."""
        return sum(self.flops) / len(self.flops)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval. ``None`` as a bound: beyond "not reached"."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Match:
    """What a curve needs to match ``baseline``.

    Attributes:
        baseline: the point to match.
        point: the curve's cheapest that does; None where none does.
        share: its FLOPs over the baseline's.
        reached: in how many of the bootstrap samples some point matched.
        quarter: accuracy of the curve at a quarter of the baseline's FLOPs less the baseline's,
            between two points in proportion; None where the curve does not reach down there.
        held_out: FLOPs over the baseline's, with the price picked on the other half.
        held_out_difference: and the accuracy less the baseline's.
    """

    baseline: Point
    point: Point | None
    share: Interval | None
    reached: float
    quarter: Interval | None
    held_out: Interval | None
    held_out_difference: Interval | None


def pick_baseline(points: Sequence[Point]) -> Point:
    """The most accurate; of equals the cheapest."""
    return min(points, key=lambda point: (-point.accuracy, point.cost))


def match(curve: Sequence[Point], baseline: Point, seed: int = 0) -> Match:
    """Hold ``curve``, of one point at least, against ``baseline``, over the same questions."""
    import numpy as np

    weights = draw_weights(len(baseline.right), seed=seed)
    right = np.array([point.right for point in curve])
    flops = np.array([point.flops for point in curve])
    target, price = np.array(baseline.right), np.array(baseline.flops)
    accuracies, costs = weights @ right.T, weights @ flops.T
    enough = accuracies >= (weights @ target)[:, None] - _CLOSE
    least = np.where(enough, costs, np.inf).min(axis=1) / (weights @ price)
    ordered = np.sort(least)
    low, high = (float(ordered[int(part * (len(ordered) - 1))]) for part in (0.025, 0.975))
    best = _cheapest(curve, baseline.accuracy)
    share = None
    if best is not None:
        share = Interval(best.cost / baseline.cost, _finite(low), _finite(high))
    held_out, difference = _hold_out(curve, baseline)
    return Match(
        baseline=baseline,
        point=best,
        share=share,
        reached=float(np.isfinite(least).mean()),
        quarter=_at_share(curve, baseline, QUARTER, seed),
        held_out=held_out,
        held_out_difference=difference,
    )


def _cheapest(curve: Sequence[Point], accuracy: float) -> Point | None:
    enough = [point for point in curve if point.accuracy >= accuracy - _CLOSE]
    return min(enough, key=lambda point: point.cost, default=None)


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _at_share(curve: Sequence[Point], baseline: Point, share: float, seed: int) -> Interval | None:
    """The accuracy difference at ``share`` of the baseline's FLOPs, mixing the two points beside.

    A mixture is a policy too: each question is put to one of the two at random.
    """
    wanted = share * baseline.cost
    below = [point for point in curve if point.cost <= wanted]
    if not below:
        return None
    lower = max(below, key=lambda point: point.accuracy)
    above = [point for point in curve if point.cost > wanted and point.accuracy > lower.accuracy]
    right = list(lower.right)
    if above:
        upper = max(above, key=lambda p: (p.accuracy - lower.accuracy) / (p.cost - lower.cost))
        part = (wanted - lower.cost) / (upper.cost - lower.cost)
        right = [(1 - part) * a + part * b for a, b in zip(right, upper.right, strict=True)]
    differences = [a - b for a, b in zip(right, baseline.right, strict=True)]
    return _interval(differences, seed)


def _hold_out(curve: Sequence[Point], baseline: Point) -> tuple[Interval | None, Interval | None]:
    """Both halves judged at the price that the other half picked: the match, else the best."""
    import numpy as np

    count = len(baseline.right)
    if count < 4:
        return None, None
    halves = [list(range(0, count, 2)), list(range(1, count, 2))]
    right, flops = [0.0] * count, [0.0] * count
    for judged, picking in (halves, halves[::-1]):
        inside = [_part(point, picking) for point in curve]
        reference = _part(baseline, picking)
        best = _cheapest(inside, reference.accuracy) or pick_baseline(inside)
        chosen = curve[inside.index(best)]
        for i in judged:
            right[i], flops[i] = chosen.right[i], chosen.flops[i]
    weights = draw_weights(count)
    ratios = (weights @ np.array(flops)) / (weights @ np.array(baseline.flops))
    low, high = np.percentile(ratios, [2.5, 97.5])
    share = Interval(sum(flops) / sum(baseline.flops), float(low), float(high))
    return share, _interval([a - b for a, b in zip(right, baseline.right, strict=True)], 0)


def _part(point: Point, places: Sequence[int]) -> Point:
    return Point(
        point.name,
        tuple(point.right[i] for i in places),
        tuple(point.flops[i] for i in places),
    )


def _interval(values: Sequence[float], seed: int) -> Interval:
    low, high = bootstrap_mean(values, seed)
    return Interval(sum(values) / len(values), low, high)
