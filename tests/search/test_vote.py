from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.answers import Comparer
from ttc_cli.search.vote import count_votes, merit, rank, represent, vote
from ttc_cli.types import ARITHMETIC, Answer, AnswerType, Candidate, Finish, Score


def candidate(id: int, answer: str | None, *scores: float, finish: Finish = Finish.STOP):
    stated = None if answer is None else Answer(answer, answer, AnswerType.NUMBER)
    return Candidate(
        id, "text", 10, finish, stated, scores=tuple(Score("judge", each) for each in scores)
    )


answers = st.lists(st.sampled_from(["1", "2", "3", None]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(answers, st.randoms())
def test_the_vote_does_not_depend_on_the_order(stated, order) -> None:
    candidates = [candidate(i, each) for i, each in enumerate(stated)]
    shuffled = list(candidates)
    order.shuffle(shuffled)
    with Comparer() as comparer:
        assert vote(candidates, comparer) == vote(shuffled, comparer)


@settings(max_examples=40, deadline=None)
@given(answers)
def test_only_stated_answers_have_a_vote(stated) -> None:
    candidates = [candidate(i, each) for i, each in enumerate(stated)]
    with Comparer() as comparer:
        classes = vote(candidates, comparer)
    voters = sorted(id for each in classes for id in each.members)
    assert voters == [i for i, each in enumerate(stated) if each is not None]
    assert [each.weight for each in classes] == sorted(
        (float(each.votes) for each in classes), reverse=True
    )


def test_weights_can_overrule_numbers() -> None:
    candidates = [candidate(0, "1", 0.9), candidate(1, "2", 0.2), candidate(2, "2", 0.3)]
    with Comparer() as comparer:
        classes = vote(candidates, comparer, lambda each: merit(each) or 0.0)
    assert [each.answer.text for each in classes] == ["1", "2"]


def test_one_with_a_wrong_sum_speaks_only_where_all_have_one() -> None:
    wrong = candidate(0, "1", 0.9).with_scores(Score(ARITHMETIC, 0.0, weight=0.0))
    fine = candidate(1, "1", 0.2)
    assert represent([wrong, fine]) is fine
    assert represent([wrong]) is wrong


@pytest.mark.slow
def test_a_time_limit_interrupts_the_comparison() -> None:
    class Slow(Comparer):
        interrupted = False

        def classify(self, answers):
            while not self.interrupted:
                pass
            return super().classify(answers)

        def interrupt(self) -> None:
            self.interrupted = True
            super().interrupt()

    with Slow() as comparer:
        candidates = [candidate(0, "1"), candidate(1, "(1,2)")]
        classes = asyncio.run(count_votes(candidates, comparer, seconds=-3.0))
    assert [each.votes for each in classes] == [1, 1]


def test_the_best_scored_speaks_for_a_class() -> None:
    members = [candidate(0, "1", 0.5), candidate(1, "1", 0.8), candidate(2, "1", 0.8)]
    assert represent(members).id == 1
    cut_off = replace(members[1], finish=Finish.LENGTH)
    assert represent([cut_off, members[2]]).id == 2


def test_merit_is_the_mean_over_verifiers_of_the_whole() -> None:
    scored = candidate(0, "1", 0.4, 0.6).with_scores(Score("prm", 0.0, step=1))
    assert merit(scored) == pytest.approx(0.5)
    assert merit(candidate(0, "1")) is None


def test_ranks_are_shared_by_equals_and_neutral_without_a_score() -> None:
    places = rank([candidate(0, "1", 0.9), candidate(1, "1", 0.9), candidate(2, "2", 0.1)])
    assert places == {0: 0.75, 1: 0.75, 2: 0.0}
    assert rank([candidate(0, "1"), candidate(1, "2")]) == {0: 0.5, 1: 0.5}
    assert rank([candidate(0, "1", 0.7)]) == {0: 0.5}
