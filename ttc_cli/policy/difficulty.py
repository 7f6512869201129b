"""How hard a question is for this model, judged from the candidates it gave so far.

Snell et al. 2024 (arXiv 2408.03314) sort questions into five bins by the model's pass rate, from
2,048 samples that they do not count. Here the samples are the candidates themselves, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ttc_cli.policy.stopping import settle
from ttc_cli.types import AnswerClass, Candidate, Estimate

PRIOR = (1.0, 1.0)
"""Beta prior (a, b) of the pass rate: uniform, until a calibration says better."""


def estimate_pass_rate(leader: float, heard: int, prior: tuple[float, float] = PRIOR) -> float:
    """The chance that one more sample gives the leader's answer: (leader + a) / (heard + a + b)."""
    a, b = prior
    return (leader + a) / (heard + a + b)


def find_bin(pass_rate: float) -> int:
    """The fifth, 1 (easy) to 5, that 1 − ``pass_rate`` falls in."""
    return min(5, 1 + int(round((1.0 - pass_rate) * 5.0, 9)))


def find_slipped(candidates: Iterable[Candidate]) -> frozenset[int]:
    """The candidates that wrote a wrong sum: they speak, but settle nothing."""
    return frozenset(each.id for each in candidates if each.slipped)


def count_leading(
    classes: Sequence[AnswerClass], slipped: frozenset[int] = frozenset()
) -> tuple[int, int]:
    """Votes of the leader, which is the first of ``classes``, and the most of any other.

    Those of ``slipped`` are not counted.
    """
    votes = [sum(id not in slipped for id in each.members) for each in classes] or [0]
    return votes[0], max(votes[1:], default=0)


def estimate(
    classes: Sequence[AnswerClass],
    heard: int,
    prior: tuple[float, float] = PRIOR,
    slipped: frozenset[int] = frozenset(),
) -> Estimate:
    """What to believe after ``heard`` candidates that voted as ``classes``, the leader first.

    The votes of ``slipped`` count as scattered.
    """
    leader, runner_up = count_leading(classes, slipped)
    pass_rate = estimate_pass_rate(leader, heard, prior)
    settled = settle(leader, runner_up) if leader else 0.0
    return Estimate(settled=settled, pass_rate=pass_rate, difficulty=find_bin(pass_rate))
