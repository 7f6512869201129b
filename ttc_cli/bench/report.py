"""What a bench tells: accuracy with its interval, and the tables of ``docs/results.md``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question put to one strategy once. ``oracle``: any candidate was right."""

    question: str
    right: bool
    oracle: bool
    samples: int
    tokens: int
    flops: float
    seconds: float | None = None
    stop_reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of an accuracy table; all but ``questions`` are means over questions.

    Several trajectories of one question are averaged first: they narrow the mean, but only
    ``questions`` are independent draws, and the interval is over these.
    """

    name: str
    questions: int
    accuracy: float
    samples: float
    tokens: float
    flops: float
    seconds: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of ``accuracy``."""
        return wilson(self.accuracy, self.questions)


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), 95 % by default.

    Args:
        share: the observed proportion, in [0, 1].
        count: independent observations.
        z: the normal quantile.
    """
    if count == 0:
        return 0.0, 1.0
    square = z * z / count
    centre = share + square / 2
    spread = z * math.sqrt(max(0.0, share * (1 - share)) / count + square / (4 * count))
    return (
        max(0.0, (centre - spread) / (1 + square)),
        min(1.0, (centre + spread) / (1 + square)),
    )


def summarise(name: str, outcomes: Sequence[Outcome], *, oracle: bool = False) -> Row:
    """Average ``outcomes``, first within each question, then over questions.

    Args:
        name: of the strategy.
        outcomes: one or more a question, at least one in all.
        oracle: count a question as right where any of its candidates was.
    """
    by_question: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_question.setdefault(outcome.question, []).append(outcome)
    groups = list(by_question.values())
    timed = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    return Row(
        name,
        len(groups),
        _mean([_mean([float(o.oracle if oracle else o.right) for o in g]) for g in groups]),
        _mean([_mean([o.samples for o in g]) for g in groups]),
        _mean([_mean([o.tokens for o in g]) for g in groups]),
        _mean([_mean([o.flops for o in g]) for g in groups]),
        sum(timed) / len(timed) if len(timed) == len(outcomes) else None,
    )


def markdown(rows: Sequence[Row], *, seconds: str = "seconds") -> str:
    """A Markdown table, a row a strategy; ``seconds`` heads the last column."""
    head = ["", "accuracy", "95 % interval", "samples", "tokens", "TFLOPs", seconds]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        low, high = row.interval
        lines.append(
            [
                row.name,
                f"{row.accuracy:.1%}",
                f"{low:.0%} – {high:.0%}",
                f"{row.samples:.1f}",
                f"{row.tokens:,.0f}",
                f"{row.flops / 1e12:.2f}",
                "–" if row.seconds is None else f"{row.seconds:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
