"""What a vote says: how hard the question is, and how likely its leader is to be right.

Snell et al. 2024 (arXiv 2408.03314) sort questions into five bins by the model's pass rate, from
2,048 samples that they do not count. Here the samples are the candidates themselves, and counted.

A calibration adds a ``Belief``: a logistic regression on a handful of features of the vote, fitted
to labelled questions by ``ttc calibrate``. The user is shown it and a
cascade decides by it; without it the vote's own posterior stands in, which is called agreement, not
probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ttc_cli.policy.standing import Standing
from ttc_cli.policy.stopping import settle
from ttc_cli.search.vote import TAIL, measure_sureness
from ttc_cli.types import PROSE, AnswerClass, AnswerType, Candidate, Estimate

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


def estimate(standing: Standing, prior: tuple[float, float] = PRIOR) -> Estimate:
    """What to believe after a vote that stands so."""
    pass_rate = estimate_pass_rate(standing.led, sum(standing.heard.values()), prior)
    settled = settle(*standing.strengths) if standing.led else 0.0
    return Estimate(settled=settled, pass_rate=pass_rate, difficulty=find_bin(pass_rate))


FEATURES = (
    "leader",
    "margin",
    "share",
    "stated",
    "sureness",
    "lead in sureness",
    "across forms",
    "one form alone",
)
"""What ``describe_vote`` gives, in its order."""
PROSE_FEATURES = 6
"""Of them in policies that were fitted before candidates had forms."""


@dataclass(frozen=True, slots=True)
class Belief:
    """P(the leader is right) = 1 / (1 + exp(−(bias + Σ wᵢ · (xᵢ − centreᵢ) / scaleᵢ))).

    Attributes:
        weights: one a feature of ``FEATURES``.
        bias: of the regression.
        centre: means of the features over the calibration.
        scale: and their standard deviations.
        types: of the answers that it was fitted to; of others it says nothing. Empty: any.
    """

    weights: tuple[float, ...]
    bias: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    types: tuple[AnswerType, ...] = ()

    def knows(self, type: AnswerType) -> bool:
        """Whether it was fitted to answers of ``type``: numbers tell nothing about words."""
        return not self.types or type in self.types

    def rate(self, features: Sequence[float | None]) -> float:
        """The probability; a feature that is not known counts as its mean."""
        value = self.bias
        known = features[: len(self.weights)]
        for weight, x, centre, scale in zip(
            self.weights, known, self.centre, self.scale, strict=True
        ):
            if x is not None:
                value += weight * (x - centre) / scale
        return 1 / (1 + math.exp(-max(-700.0, value)))


def describe_vote(
    classes: Sequence[AnswerClass],
    candidates: Sequence[Candidate],
    standing: Standing,
    sure_by: Mapping[str, float] = TAIL,
) -> tuple[float | None, ...]:
    """The features of a vote, as ``FEATURES`` names them.

    Args:
        classes: of equal answers, at least one; the first is the leader.
        candidates: all that ended; those of the leader are looked up among them.
        standing: of those classes.
        sure_by: as in ``Table``.

    Returns:
        log(leader + 1), log((leader + 1) / (runner-up + 1)), the leader's share of those heard,
        the share of those heard that stated an answer, how sure the leader's candidates in prose
        are on average, by how much that exceeds what the others are, whether the leader's
        candidates have several forms, and whether they have one while another was heard. Leader
        and runner-up are what their votes prove.
    """
    leader, runner_up = standing.strengths
    heard = sum(standing.heard.values())
    mine = set(classes[0].members)
    measured = {
        each.id: measure_sureness(each, sure_by)
        for each in candidates
        if each.answer is not None and each.form == PROSE
    }
    sure = {id: value for id, value in measured.items() if value is not None}
    ours = [value for id, value in sure.items() if id in mine]
    others = [value for id, value in sure.items() if id not in mine]
    sureness = math.fsum(ours) / len(ours) if ours else None
    lead = None
    if sureness is not None and others:
        lead = sureness - math.fsum(others) / len(others)
    stated = sum(each.votes for each in classes)
    agreeing = sum(count > 0 for count in standing.leader.values())
    return (
        math.log(leader + 1),
        math.log((leader + 1) / (runner_up + 1)),
        standing.led / max(1, heard),
        stated / max(1, heard),
        sureness,
        lead,
        float(agreeing > 1),
        float(agreeing == 1 and len(standing.heard) > 1),
    )
