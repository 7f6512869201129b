from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.types import Candidate, Confidence, Finish, Problem, Score
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.confidence import ConfidenceVerifier, rate

STATISTICS = ("tail", "lowest_group", "tail_group")
logprobs = st.floats(-50, 0)
groups = st.floats(0, 60)


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(deadline=None)
@given(st.builds(Confidence, logprobs, logprobs, groups, groups))
def test_every_statistic_gives_a_score_in_the_unit_interval(statistic, confidence) -> None:
    assert 0.0 <= rate(confidence, statistic) <= 1.0


def test_the_tail_is_a_geometric_mean_of_probabilities() -> None:
    assert rate(Confidence(-9.0, math.log(0.25), 0.0, 0.0)) == pytest.approx(0.25)


def test_greater_confidence_scores_higher() -> None:
    unsure, sure = Confidence(-1, -2.0, 3.0, 4.0), Confidence(-1, -0.1, 9.0, 12.0)
    for statistic in STATISTICS:
        assert rate(sure, statistic) > rate(unsure, statistic)


def test_without_logits_there_is_no_score() -> None:
    known = Candidate(0, "", 1, Finish.STOP, confidence=Confidence(0.0, 0.0, 0.0, 0.0))
    leaves = [Leaf(known, None), Leaf(Candidate(1, "", 1, Finish.STOP), None)]
    scores = asyncio.run(ConfidenceVerifier().score(None, Problem("?"), leaves))
    assert scores == [Score("confidence", 1.0), None]
