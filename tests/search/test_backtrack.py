from __future__ import annotations

import pytest

from tests.search.trees import search
from ttc_cli.engines.scripted import Ask, Reply
from ttc_cli.errors import UsageError
from ttc_cli.events import WaveStarted
from ttc_cli.ledger import Ledger
from ttc_cli.search.registry import find, prepare
from ttc_cli.types import Budget, Finish, Sampling

STEPS = ["One.", "Two.", "Slip.", "Four."]


def slips(ask: Ask) -> Reply:
    """First attempts slip in their third step and answer 2; what is drawn anew there answers 1."""
    said = ask.text[ask.text.index("assistant") :]
    done = said.count("\n\n")
    again = ask.sample >= 2
    steps = [each if each != "Slip." or not again else "Three." for each in STEPS][done:]
    return Reply("\n\n".join([*steps, f"The final answer is {1 if again else 2}."]))


def notices(text: str) -> float:
    said = text[text.index("assistant") :]
    if said.count("\n\n") == 3 and "Slip" in said:
        return 0.1
    return 0.3 if "Slip" in said else 0.9


def test_the_weakest_step_is_cut_and_all_before_it_is_kept() -> None:
    result, seen = search("backtrack", slips, samples=4, yes=notices)
    first, second, *again = result.candidates
    assert [each.parent for each in again] == [first.id, second.id]
    for each, origin in zip(again, (first, second), strict=True):
        assert each.steps[:2] == origin.steps[:2]
        assert [step.text.strip() for step in each.steps[:3]] == ["One.", "Two.", "Three."]
        assert each.tokens == sum(step.tokens for step in each.steps[2:])
        assert each.wave == 1
    assert result.answer is not None
    assert result.answer.text == "1"
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert waves[1].reason == "cut 0 before its step 3, 1 before its step 3"
    # What was kept was not read again.
    prompt, _ = search("greedy", slips)
    assert result.usage.generator.prompt_tokens == prompt.usage.generator.prompt_tokens


def test_a_right_answer_that_was_cut_is_still_chosen_among_all_attempts() -> None:
    doubts = lambda text: 0.2 if "Three" in text else 0.9  # noqa: E731
    result, _ = search("backtrack", slips, samples=4, yes=doubts)
    assert {each.answer.text for each in result.candidates if each.answer} == {"1", "2"}
    assert result.answer is not None
    assert result.answer.text == "2"


def test_rounds_share_the_samples_out() -> None:
    result, seen = search("backtrack", slips, samples=9, yes=notices, knobs={"rounds": "2"})
    assert [each.samples for each in seen if isinstance(each, WaveStarted)] == [3, 3, 3]
    assert len(result.candidates) == 9
    assert [each.wave for each in result.candidates] == [0] * 3 + [1] * 3 + [2] * 3


def test_each_round_cuts_the_best_attempt_so_far() -> None:
    result, _ = search("backtrack", slips, samples=3, yes=notices, knobs={"rounds": "2"})
    first, second, third = result.candidates
    # Sample 1 slips as sample 0 did; the third attempt therefore starts at the first one again.
    assert (second.parent, third.parent) == (first.id, first.id)
    assert result.answer is not None
    assert result.answer.text == "1"


def test_what_is_drawn_anew_is_admitted_by_the_ledger() -> None:
    ledger = Ledger(Budget(max_samples=4))
    assert ledger.admit(1) == 1  # somebody else's
    result, _ = search("backtrack", slips, samples=4, yes=notices, ledger=ledger)
    assert len(result.candidates) == 3
    assert ledger.samples == 4


def test_nothing_below_the_threshold_is_nothing_to_cut() -> None:
    result, _ = search("backtrack", slips, samples=4, yes=notices, knobs={"threshold": "0.05"})
    assert len(result.candidates) == 2
    assert result.stop_reason == "no step scored below 0.05 is left to cut at"


def test_at_temperature_0_nothing_is_drawn_anew_unless_told_how() -> None:
    cold = Sampling(temperature=0.0)
    result, _ = search("backtrack", slips, samples=4, yes=notices, sampling=cold)
    assert len(result.candidates) == 2
    assert result.stop_reason == "at temperature 0 the same would be drawn again"
    warm, _ = search(
        "backtrack", slips, samples=4, yes=notices, sampling=cold, knobs={"temperature": "1"}
    )
    assert len(warm.candidates) == 4


def test_a_candidate_that_goes_in_circles_can_be_cut_too() -> None:
    def script(ask: Ask) -> Reply:
        if ask.sample >= 2:
            return slips(ask)
        done = ask.text[ask.text.index("assistant") :].count("\n\n")
        return Reply("\n\n".join([*STEPS, "And on and on."][done:]), Finish.LOOP)

    result, _ = search("backtrack", script, samples=4, yes=notices)
    assert [each.finish for each in result.candidates] == [Finish.LOOP] * 2 + [Finish.STOP] * 2
    assert result.answer is not None
    assert result.answer.text == "1"


@pytest.mark.parametrize("wrong", [{"rounds": "0"}, {"threshold": "2"}, {"temperature": "-1"}])
def test_settings_that_make_no_sense_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(UsageError):
        prepare(find("backtrack"), wrong)
