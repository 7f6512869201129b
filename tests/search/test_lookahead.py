from __future__ import annotations

import pytest

from tests.search.trees import search
from ttc_cli.engines.scripted import Ask, Reply
from ttc_cli.errors import UsageError
from ttc_cli.events import Grew, Pruned
from ttc_cli.search.registry import find, prepare
from ttc_cli.types import Finish


@pytest.mark.parametrize("seed", range(4))
def test_looking_no_step_ahead_is_beam_search(seed: int) -> None:
    knobs = {"width": "2", "aggregate": "min"}
    beam, _ = search("beam", samples=6, seed=seed, knobs=knobs)
    same, _ = search("lookahead", samples=6, seed=seed, knobs={**knobs, "lookahead": "0"})
    assert same.candidates == beam.candidates
    assert (same.answer, same.winner, same.usage.tokens) == (
        beam.answer,
        beam.winner,
        beam.usage.tokens,
    )


def fork_in_the_road(ask: Ask) -> Reply:
    """Even candidates look fine at first and go wrong; odd ones the other way round."""
    said = ask.text[ask.text.index("assistant") :]
    if "Promising" in said or "Doubtful" in said:
        good = "Doubtful" in said
        steps = ["Wonderful.", "So."] if good else ["Terrible.", "So."]
        steps = [each for each in steps if each not in said]
        return Reply("\n\n".join([*steps, f"The final answer is {1 if good else 2}."]))
    first = "Promising." if ask.sample % 2 == 0 else "Doubtful."
    rest = ["Terrible.", "So."] if first == "Promising." else ["Wonderful.", "So."]
    return Reply("\n\n".join([first, *rest, f"The final answer is {ask.sample % 2 or 2}."]))


def hope(text: str) -> float:
    said = text[text.index("assistant") :]
    if "Wonderful" in said or "Terrible" in said:
        return 0.9 if "Wonderful" in said else 0.1
    return 0.8 if "Promising" in said else 0.2


def test_a_step_is_worth_what_it_leads_to() -> None:
    options = {"samples": 4, "knobs": {"width": "4"}, "yes": hope}
    beam, _ = search("beam", fork_in_the_road, **options)
    ahead, seen = search("lookahead", fork_in_the_road, **options)
    assert beam.answer is not None
    assert beam.answer.text == "2"
    assert ahead.answer is not None
    assert ahead.answer.text == "1"
    looked = [each for each in seen if isinstance(each, Pruned) and "looked ahead" in each.reason]
    assert looked
    by_id = {each.id: each for each in ahead.candidates}
    for each in looked:
        rollout = by_id[each.id]
        assert rollout.finish is Finish.PRUNED
        assert rollout.parent is not None
        assert by_id[rollout.parent].text.startswith(rollout.steps[0].text)
        assert rollout.tokens == sum(step.tokens for step in rollout.steps[-1:])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_roll_outs_are_greedy_and_only_as_long_as_asked(k: int) -> None:
    asked: list[Ask] = []

    def script(ask: Ask) -> Reply:
        asked.append(ask)
        return Reply("\n\n".join(["On."] * 9 + ["The final answer is 3."]))

    knobs = {"lookahead": str(k), "width": "2", "depth": "3"}
    result, seen = search("lookahead", script, samples=2, knobs=knobs)
    assert {(ask.seed, ask.sample) for ask in asked} > {(0, 0)}  # at temperature 0
    looked = [each.id for each in seen if isinstance(each, Pruned) and "looked" in each.reason]
    assert looked
    for id in looked:
        rollout = result.candidates[id]
        assert rollout.parent is not None
        parent = result.candidates[rollout.parent]
        taken = len(rollout.steps) - k
        assert rollout.steps[:taken] == parent.steps[:taken]
        assert rollout.tokens == sum(step.tokens for step in rollout.steps[taken:])


def test_a_roll_out_that_comes_to_the_end_takes_the_place_of_its_beam() -> None:
    result, seen = search(
        "lookahead",
        ["Step one.\n\nThe final answer is 7."],
        samples=4,
        knobs={"lookahead": "2"},
    )
    finished = [each for each in result.candidates if each.finished]
    assert len(finished) == 4
    assert all(each.parent is not None for each in finished)
    replaced = [each for each in seen if isinstance(each, Pruned)]
    assert {each.id for each in replaced} == {0, 1, 2, 3}
    assert all("came to the end as candidate" in each.reason for each in replaced)
    # Nothing was drawn twice: the end is that of the roll-out.
    drawn = sum(len(each.texts) for each in seen if isinstance(each, Grew))
    assert drawn == sum(each.tokens for each in result.candidates)
    assert result.answer is not None


def test_the_number_of_steps_is_not_negative() -> None:
    with pytest.raises(UsageError, match="at least 0"):
        prepare(find("lookahead"), {"lookahead": "-1"})
