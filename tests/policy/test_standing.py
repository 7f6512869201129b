from __future__ import annotations

import pytest

from ttc_cli.policy.standing import FormTraits, Standing, head_count, take_stand
from ttc_cli.policy.stopping import choose_wave, count_votes_to_settle, settle
from ttc_cli.types import (
    PROGRAM,
    PROSE,
    Answer,
    AnswerClass,
    AnswerType,
    Candidate,
    Finish,
)

MEASURED = {PROGRAM: FormTraits(cost=0.4, accord=1.0)}


def stand(leader: dict[str, int], runner_up: dict[str, int] | None = None) -> Standing:
    against = runner_up or {}
    heard = {form: leader.get(form, 0) + against.get(form, 0) for form in (PROSE, PROGRAM)}
    return Standing(leader, against, heard, MEASURED)


@pytest.mark.parametrize(
    ("standing", "right"),
    [
        (stand({PROGRAM: 1, PROSE: 1}), 0.94),
        (stand({PROGRAM: 2}), 0.88),
        (stand({PROSE: 2}), 0.86),
        (stand({PROGRAM: 3}), 0.93),
        (stand({PROSE: 3}), 0.93),
        (stand({PROGRAM: 4}), 0.96),
        (stand({PROGRAM: 2, PROSE: 1}), 0.98),
        (stand({PROGRAM: 2}, {PROSE: 1}), 0.64),
        (stand({PROSE: 2}, {PROGRAM: 1}), 0.62),
        (stand({PROGRAM: 1, PROSE: 1}, {PROGRAM: 1}), 0.77),
        (stand({PROGRAM: 1, PROSE: 1}, {PROSE: 1}), 0.83),
    ],
)
def test_what_votes_prove_is_how_often_such_leaders_were_right(
    standing: Standing, right: float
) -> None:
    """Shares of right leaders on 60 questions of GSM8K, of a model for which programs pay."""
    assert settle(*standing.strengths) == pytest.approx(right, abs=0.07)


def test_programs_that_share_their_misreadings_prove_less() -> None:
    alike = {PROGRAM: FormTraits(first=0.5, further=0.2, accord=1.0)}
    many = Standing({PROGRAM: 4}, {}, {PROGRAM: 4}, alike)
    across = Standing({PROGRAM: 1, PROSE: 1}, {}, {PROGRAM: 1, PROSE: 1}, alike)
    assert many.weigh({PROGRAM: 4}) == pytest.approx(1.1)
    assert settle(*many.strengths) < settle(*across.strengths)


def test_another_form_is_worth_more_than_another_sample_of_the_same() -> None:
    two = stand({PROGRAM: 2})
    assert count_votes_to_settle(two, 0.95, PROSE) == 1
    assert count_votes_to_settle(two, 0.95, PROGRAM) == 2


def test_of_two_forms_that_gain_alike_the_cheaper_one_is_drawn() -> None:
    sizes = {PROSE: {2, 4, 8}, PROGRAM: {2, 4, 8}}
    even = Standing({PROSE: 2}, {PROSE: 2}, {PROSE: 4}, {PROGRAM: FormTraits(cost=0.4)})
    assert choose_wave(even, sizes, 0.01).form == PROGRAM
    dear = Standing({PROSE: 2}, {PROSE: 2}, {PROSE: 4}, {PROGRAM: FormTraits(cost=4.0)})
    assert choose_wave(dear, sizes, 0.01).form == PROSE


def test_votes_that_prove_nothing_settle_nothing_and_end() -> None:
    worthless = {PROGRAM: FormTraits(first=0.0, further=0.0)}
    standing = Standing({PROGRAM: 1}, {}, {PROGRAM: 1}, worthless)
    assert count_votes_to_settle(standing, 0.9, PROGRAM) == 256
    assert count_votes_to_settle(standing, 0.9, PROSE) == 3


def test_prose_alone_counts_heads() -> None:
    standing = head_count(3, 1, 8)
    assert (standing.strengths, standing.led, standing.tied) == ((3.0, 1.0), 3, False)
    assert settle(2.5, 0) == pytest.approx((settle(2, 0) + settle(3, 0)) / 2)


def test_the_runner_up_is_who_proves_most_and_slips_do_not_count() -> None:
    def group(text: str, *members: int) -> AnswerClass:
        return AnswerClass(Answer(text, text, AnswerType.NUMBER), members, float(len(members)))

    forms = [PROGRAM, PROSE, PROSE, PROGRAM, PROGRAM, PROSE]
    everyone = [Candidate(i, "", 5, Finish.STOP, form=form) for i, form in enumerate(forms)]
    classes = [group("1", 0, 1, 5), group("2", 3, 4), group("3", 2)]
    standing = take_stand(classes, everyone, everyone, MEASURED, frozenset({5}))
    assert standing.leader == {PROGRAM: 1, PROSE: 1}
    assert standing.runner_up == {PROGRAM: 2}
    assert standing.heard == {PROGRAM: 3, PROSE: 3}
    assert standing.strengths == (3.0, 2.0)
    assert take_stand([], everyone, everyone, MEASURED).led == 0
