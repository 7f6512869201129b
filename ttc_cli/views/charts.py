"""The geometry of a recorded run's charts: plain numbers and SVG path data, no colours, no text.

Every chart of a run shares one axis of seconds. Places along it are percentages of the width; a
path lies in a box of ``WIDTH`` × ``HEIGHT`` that is stretched to whatever room there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ttc_cli.types import AnswerClass
from ttc_cli.views.record import Moment, Spending, StageRecord, Vote

WIDTH, HEIGHT = 1000.0, 100.0
LAYERS = 4
"""Answers with a layer of their own in the chart of the vote; the others share one."""
POINTS = 240
"""Points of a curve at most."""
ROWS = 40
"""Rows of the table that stands for a curve, at most."""
_CLOSER = 6.0
"""Per cent of the width within which two marks of the time axis share one label."""
_TICKS = 6


class Tick(NamedTuple):
    """A label at a place of the axis."""

    x: float
    label: str


class Layer(NamedTuple):
    """One answer in the chart of the vote: its area, and what it came to in the end."""

    label: str
    path: str
    votes: int
    weight: float


class Curve(NamedTuple):
    """A rising quantity: its line, the area below, its greatest value, where its cap lies (%)."""

    line: str
    area: str
    most: float
    cap: float | None


class Axis:
    """Seconds from ``began`` to ``ended`` as percentages of a width."""

    def __init__(self, began: float, ended: float) -> None:
        self.began = began
        self.length = max(ended - began, 1e-3)

    def place(self, at: float) -> float:
        """Where second ``at`` lies, in [0, 100]."""
        share = (at - self.began) / self.length
        return round(100 * min(1.0, max(0.0, share)), 2) if math.isfinite(share) else 0.0

    def ticks(self) -> list[Tick]:
        """Some round numbers of seconds since the beginning."""
        step = _round_up(self.length / _TICKS)
        count = int(self.length / step + 1e-9)
        return [
            Tick(round(100 * n * step / self.length, 2), f"{n * step:g}") for n in range(count + 1)
        ]


def _round_up(number: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, … (or a tenth of these)."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= number * (1 - 1e-9))


def mark_moments(axis: Axis, moments: Sequence[Moment]) -> list[Tick]:
    """Numbers from 1 for the moments; neighbours that would overlap share one label."""
    marks: list[tuple[float, int, int]] = []
    for number, moment in enumerate(moments, 1):
        x = axis.place(moment.at)
        if marks and x - marks[-1][0] < _CLOSER:
            marks[-1] = (marks[-1][0], marks[-1][1], number)
        else:
            marks.append((x, number, number))
    return [Tick(x, str(first) if first == last else f"{first}–{last}") for x, first, last in marks]


def draw_vote(axis: Axis, stage: StageRecord, name: Callable[[AnswerClass], str]) -> list[Layer]:
    """The vote over time as stacked steps: the final leader at the bottom; ``name`` labels."""
    votes = [vote for vote in stage.votes if vote.classes]
    if not votes or axis.place(votes[0].at) >= axis.place(stage.ended):
        return []  # one vote when all was over: nothing moved
    final = votes[-1].classes
    shown = final[:LAYERS]
    owners = {member: n for n, one in enumerate(shown) for member in one.members}
    rows = [_weigh(vote, owners, len(shown)) for vote in votes]
    top = max(map(sum, rows)) or 1.0
    labels = [(name(one), one.votes, one.weight) for one in shown]
    if any(row[-1] > 0 for row in rows):
        rest = final[LAYERS:]
        count, weight = sum(one.votes for one in rest), sum(one.weight for one in rest)
        labels.append(("other answers", count, weight))
    xs = [*(axis.place(vote.at) * WIDTH / 100 for vote in votes), WIDTH]
    layers = []
    below = [0.0] * len(rows)
    for n, (label, count, weight) in enumerate(labels):
        above = [low + row[n] for low, row in zip(below, rows, strict=True)]
        layers.append(Layer(label, _steps(xs, above, below, HEIGHT / top), count, weight))
        below = above
    return layers


def _weigh(vote: Vote, owners: Mapping[int, int], shown: int) -> list[float]:
    """The weight of each answer that is shown, and last of everything else.

    An answer is known by its candidates: what stands for it in words may change.
    """
    row = [0.0] * (shown + 1)
    for one in vote.classes:
        weight = one.weight if math.isfinite(one.weight) else 0.0
        place = next((owners[each] for each in one.members if each in owners), shown)
        row[place] += max(0.0, weight)
    return row


def _steps(xs: list[float], above: list[float], below: list[float], scale: float) -> str:
    """An area between two step functions: ``above[i]`` holds from ``xs[i]`` to ``xs[i + 1]``."""
    forth, back = [], []
    for (x, until), high, low in zip(pairwise(xs), above, below, strict=True):
        forth += [(x, high), (until, high)]
        back += [(x, low), (until, low)]
    return _path([*forth, *reversed(back)], scale) + "Z"


def pick(spending: Sequence[Spending], most: int) -> list[Spending]:
    """About ``most`` of ``spending``, evenly, the last one always."""
    stride = math.ceil(len(spending) / most) or 1
    return [*spending[:-1:stride], *spending[-1:]]


def draw_curve(
    axis: Axis,
    spending: Sequence[Spending],
    value: Callable[[Spending], float],
    cap: float | None,
) -> Curve | None:
    """A quantity of ``spending`` over time; None where nothing was spent.

    The cap is drawn where it is in sight: where at least half of it was used.
    """
    known = [
        (each.at, value(each)) for each in pick(spending, POINTS) if math.isfinite(value(each))
    ]
    most = max((number for _, number in known), default=0.0)
    if most <= 0:
        return None
    if cap is not None and not 0 < cap <= 2 * most:
        cap = None
    top = most if cap is None else max(most, cap)
    points = [(0.0, 0.0), *((axis.place(at) * WIDTH / 100, number) for at, number in known)]
    points.append((WIDTH, points[-1][1]))
    line = _path(points, HEIGHT / top)
    area = _path([*points, (WIDTH, 0.0)], HEIGHT / top) + "Z"
    return Curve(line, area, most, None if cap is None else 100 * (1 - cap / top))


def _path(points: Iterable[tuple[float, float]], scale: float) -> str:
    pairs = (f"{x:.1f} {HEIGHT - y * scale:.1f}" for x, y in points)
    return "M" + "L".join(pairs)
