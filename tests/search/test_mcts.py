from __future__ import annotations

import pytest

from tests.search.trees import root_of, search
from ttc_cli.engines.scripted import Ask, Reply
from ttc_cli.errors import UsageError
from ttc_cli.events import WaveStarted
from ttc_cli.search.registry import find, prepare
from ttc_cli.search.strategies.mcts import Scale, SearchNode, rate
from ttc_cli.types import Finish


def stairs(ask: Ask) -> Reply:
    """Five steps and an answer; each step bears the number of the candidate that wrote it."""
    done = ask.text[ask.text.index("assistant") :].count("\n\n")
    rest = [f"Step {ask.sample}."] * max(0, 5 - done)
    return Reply("\n\n".join([*rest, "The final answer is 3."]))


def likes_the_first(text: str) -> float:
    return 0.9 if "assistant\nStep 0." in text else 0.5


def share_of_the_first(exploration: str) -> float:
    """The share of all branches that grew below the first step that the judge likes."""
    knobs = {"width": "2", "iterations": "60", "exploration": exploration}
    result, _ = search("mcts", stairs, samples=4, knobs=knobs, yes=likes_the_first)
    assert sum(each.finished for each in result.candidates) == 4
    roots = [root_of(each, result) for each in result.candidates]
    return roots.count(0) / len(roots)


def test_exploration_spreads_the_search_and_its_absence_follows_the_best() -> None:
    narrow, wide = share_of_the_first("0"), share_of_the_first("50")
    assert narrow > 0.85
    assert 0.4 < wide < 0.6


def test_puct_prefers_the_valued_and_the_unvisited() -> None:
    scale = Scale()
    for value in (0.90, 0.94):
        scale.add(value)
    parent = SearchNode(visits=10)
    good, bad, fresh = (SearchNode(parent) for _ in range(3))
    parent.children = [good, bad, fresh]
    good.visits, good.total = 5, 5 * 0.94
    bad.visits, bad.total = 5, 5 * 0.90
    assert rate(good, scale, 0.0) == pytest.approx(1.0)
    assert rate(bad, scale, 0.0) == pytest.approx(0.0)
    assert rate(good, scale, 1.25) > rate(bad, scale, 1.25)
    assert rate(fresh, scale, 10.0) > rate(good, scale, 10.0) > rate(bad, scale, 10.0)
    bonus = (1 / 3) * 10**0.5 / (1 + 5)
    assert rate(bad, scale, 3.0) == pytest.approx(3.0 * bonus)


def test_the_scale_does_not_divide_by_nothing() -> None:
    scale = Scale()
    assert scale.place(0.3) == 0.5
    scale.add(0.3)
    assert scale.place(0.3) == 0.5
    scale.add(0.5)
    assert scale.place(0.4) == pytest.approx(0.5)


def test_what_ends_at_once_gives_way_to_new_first_steps() -> None:
    result, seen = search("mcts", ["The final answer is 1."], samples=6, knobs={"width": "2"})
    assert [each.finish for each in result.candidates] == [Finish.STOP] * 6
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert [(each.samples, each.reason) for each in waves] == [(2, "2 first steps")] * 3
    assert result.stop_reason == "6 of 6 candidates ended"


def test_iterations_run_out_and_the_best_leaves_grow_to_their_end() -> None:
    result, seen = search(
        "mcts",
        stairs,
        samples=2,
        knobs={"iterations": "2", "width": "4"},
        yes=likes_the_first,
    )
    assert sum(isinstance(each, WaveStarted) for each in seen) == 2
    finished = [each for each in result.candidates if each.finished]
    assert len(finished) == 2
    assert {root_of(each, result) for each in finished} == {0}


def test_a_batch_is_filled_from_several_leaves() -> None:
    _, seen = search("mcts", stairs, samples=8, parallel=8, knobs={"width": "2"})
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert waves[0].reason == "2 first steps"
    assert waves[1].samples == 4
    assert max(each.samples for each in waves) == 8
    assert waves[-1].samples <= 8


@pytest.mark.parametrize("wrong", [{"iterations": "0"}, {"exploration": "-1"}])
def test_settings_that_make_no_sense_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(UsageError):
        prepare(find("mcts"), wrong)
