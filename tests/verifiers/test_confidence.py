from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.errors import UsageError
from ttc_cli.types import Candidate, Confidence, Finish, Problem, Score, Step
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.confidence import STATISTICS, ConfidenceVerifier, rate

logprobs = st.floats(-50, 0)
groups = st.floats(0, 60)


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(deadline=None)
@given(st.builds(Confidence, logprobs, logprobs, groups, groups, groups, groups, groups))
def test_every_statistic_gives_a_score_in_the_unit_interval(statistic, confidence) -> None:
    assert 0.0 <= rate(confidence, statistic) <= 1.0


def test_the_tail_is_a_geometric_mean_of_probabilities() -> None:
    assert rate(Confidence(-9.0, math.log(0.25), 0.0, 0.0)) == pytest.approx(0.25)


def test_greater_confidence_scores_higher() -> None:
    unsure = Confidence(-1, -2.0, 3.0, 4.0, 3.5, 3.0, 8.0)
    sure = Confidence(-0.5, -0.1, 9.0, 12.0, 10.0, 9.5, 14.0)
    for statistic in STATISTICS:
        assert rate(sure, statistic) > rate(unsure, statistic)


def test_without_logits_there_is_no_score() -> None:
    known = Candidate(0, "", 1, Finish.STOP, confidence=Confidence(0.0, 0.0, 0.0, 0.0))
    leaves = [Leaf(known, None), Leaf(Candidate(1, "", 1, Finish.STOP), None)]
    scores = asyncio.run(ConfidenceVerifier().score(None, Problem("?"), leaves))
    assert scores == [Score("confidence", 1.0), None]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_scores_bear_the_statistics_name_and_steps_are_scored_alone(statistic) -> None:
    verifier = ConfidenceVerifier(statistic)
    early, late = Confidence(-3, -3, 1, 1, 1, 1, 1), Confidence(-1, -1, 2, 2, 2, 2, 2)
    steps = (Step("a", 1, early), Step("b", 1, late))
    leaf = Leaf(Candidate(0, "ab", 2, Finish.STEP, confidence=early, steps=steps), None)
    (score,) = asyncio.run(verifier.score_steps(None, Problem("?"), [leaf]))
    name = "confidence" if statistic == "tail" else f"confidence={statistic}"
    assert score == Score(name, rate(late, statistic), 1)


def test_a_statistic_that_nobody_noted_is_refused_in_words() -> None:
    leaf = Leaf(Candidate(0, "", 1, Finish.STOP, confidence=Confidence(0, 0, 0, 0)), None)
    with pytest.raises(UsageError, match="confidence=self-certainty"):
        asyncio.run(ConfidenceVerifier("self-certainty").score(None, Problem("?"), [leaf]))
