"""Combines the steps of a path: their process scores, and how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ttc_cli.types import Confidence, Score, Step

Aggregate = Literal["last", "min", "mean", "prod"]
"""How the process scores along a path become one number."""


def join_scores(scores: Sequence[Score], aggregate: Aggregate) -> float | None:
    """One value of the process scores along a path, each step's averaged over its verifiers.

    ``last`` (huggingface/search-and-learn), ``mean`` (RLHFlow), ``min`` (Math-Shepherd, and
    Lightman et al. 2023, arXiv 2305.20050), ``prod``; a weight of 0 does not count.
    """
    steps = grade_steps(scores)
    if not steps:
        return None
    values = [value for _, value in sorted(steps.items())]
    if aggregate == "last":
        return values[-1]
    if aggregate == "min":
        return min(values)
    return math.prod(values) if aggregate == "prod" else math.fsum(values) / len(values)


def grade_steps(scores: Sequence[Score]) -> dict[int, float]:
    """For each step that was scored, by its place: the mean of its scores, by their weights."""
    found: dict[int, list[Score]] = {}
    for score in scores:
        if score.step is not None and score.weight > 0:
            found.setdefault(score.step, []).append(score)
    return {
        step: math.fsum(each.value * each.weight for each in those)
        / math.fsum(each.weight for each in those)
        for step, those in found.items()
    }


def join_confidence(steps: Sequence[Step]) -> Confidence | None:
    """That of a whole path: means by tokens, the lowest of the lowest, the tail of the last."""
    known = [step for step in steps if step.confidence is not None]
    total = sum(step.tokens for step in known)
    if not total:
        return None
    found = [(step.tokens / total, step.confidence) for step in known if step.confidence]
    last = found[-1][1]
    return Confidence(
        mean_logprob=math.fsum(share * each.mean_logprob for share, each in found),
        tail_logprob=last.tail_logprob,
        lowest_group=min(each.lowest_group for _, each in found),
        tail_group=last.tail_group,
        mean_group=_average([(share, each.mean_group) for share, each in found]),
        bottom_group=_average([(share, each.bottom_group) for share, each in found]),
        certainty=_average([(share, each.certainty) for share, each in found]),
    )


def _average(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """The mean by shares; None where a part is not known."""
    known = [share * value for share, value in parts if value is not None]
    return math.fsum(known) if len(known) == len(parts) else None
