import math
from dataclasses import replace

import pytest

from ttc_cli.policy.estimate import FEATURES, Belief, describe_vote
from ttc_cli.policy.standing import head_count
from ttc_cli.types import Answer, AnswerClass, AnswerType, Candidate, Confidence, Finish


def candidate(id: int, answer: str | None, sure: float | None = None) -> Candidate:
    stated = None if answer is None else Answer(answer, answer, AnswerType.NUMBER)
    confidence = None if sure is None else Confidence(-0.1, -0.1, 1.0, sure)
    return Candidate(id, "", 10, Finish.STOP, stated, confidence)


def group(answer: str, *members: int) -> AnswerClass:
    return AnswerClass(Answer(answer, answer, AnswerType.NUMBER), members, float(len(members)))


def test_a_vote_is_described_by_its_two_leaders_and_how_sure_they_were() -> None:
    everyone = [
        candidate(0, "4", 12.0),
        candidate(1, "4", 11.0),
        candidate(2, "5", 9.0),
        candidate(3, None),
    ]
    described = describe_vote([group("4", 0, 1), group("5", 2)], everyone, head_count(2, 1, 4))
    found = dict(zip(FEATURES, described, strict=True))
    assert found["leader"] == pytest.approx(math.log(3))
    assert found["margin"] == pytest.approx(math.log(3 / 2))
    assert found["share"] == 0.5
    assert found["stated"] == 0.75
    assert found["sureness"] == 11.5
    assert found["lead in sureness"] == 2.5


def test_the_leader_is_the_first_even_with_fewer_votes() -> None:
    everyone = [candidate(0, "4", 12.0), candidate(1, "5", 9.0), candidate(2, "5", 9.0)]
    described = describe_vote([group("4", 0), group("5", 1, 2)], everyone, head_count(1, 2, 3))
    found = dict(zip(FEATURES, described, strict=True))
    assert found["leader"] == pytest.approx(math.log(2))
    assert found["margin"] == pytest.approx(math.log(2 / 3))
    assert found["lead in sureness"] == 3.0


def test_it_speaks_only_of_the_kinds_of_answers_that_it_was_fitted_to() -> None:
    belief = Belief((1.0,), 0.0, (0.0,), (1.0,), (AnswerType.NUMBER,))
    assert belief.knows(AnswerType.NUMBER)
    assert not belief.knows(AnswerType.TEXT)
    assert replace(belief, types=()).knows(AnswerType.TEXT)


def test_what_is_not_known_counts_as_usual() -> None:
    belief = Belief((1.0, 2.0), 0.5, (0.0, 10.0), (1.0, 2.0))
    assert belief.rate((1.0, None)) == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert belief.rate((1.0, 10.0)) == belief.rate((1.0, None))
    assert belief.rate((1.0, 12.0)) == pytest.approx(1 / (1 + math.exp(-3.5)))
    assert belief.rate((-5000.0, 0.0)) < 1e-9
