"""A small and a large model, both scripted."""

import asyncio

import pytest

from ttc_cli.answers import Comparer
from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.errors import EngineError
from ttc_cli.events import Decided, EventStream, RunEnded, RunStarted, Warned
from ttc_cli.policy.cascade import solve_in_turn
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.search.sessions.thinking import Thinking
from ttc_cli.types import AnswerType, Budget, Problem, Result

SUM = Problem("What is 2+2?", AnswerType.NUMBER)


def sure(ask: Ask) -> str:
    return "It is that.\n\nThe final answer is 4."


def scattered(ask: Ask) -> str:
    return f"Hm.\n\nThe final answer is {10 + ask.sample}."


def silent(ask: Ask) -> str:
    return "I do not know."


def climb(small, large, *, budget: Budget | None = None, own: dict | None = None, **options):
    """The result, the events, and which models were loaded."""
    loaded: list[str] = []

    def stage(name, script):
        async def load() -> Stage:
            loaded.append(name)
            if isinstance(script, Exception):
                raise script
            engine = ScriptedEngine(script, parallel=4)
            given = (own or {}).get(name, {})
            return Stage(engine, Chat(engine.info), **given)

        return load

    events, seen = EventStream(), []
    events.readers.append(seen.append)

    async def work() -> Result:
        with Comparer() as comparer:
            return await solve_in_turn(
                SUM,
                [stage("small", small), stage("large", large)],
                SearchOptions(budget=budget or Budget()),
                events=events,
                comparer=comparer,
                **options,
            )

    return asyncio.run(work()), seen, loaded


def reasons(seen) -> list[str]:
    return [each.reason for each in seen if isinstance(each, Decided)]


def test_a_model_that_is_sure_is_not_checked_by_a_larger_one() -> None:
    result, seen, loaded = climb(sure, scattered)
    assert loaded == ["small"]
    assert result.answer is not None
    assert result.answer.text == "4"
    assert any("is sure enough" in reason for reason in reasons(seen))
    assert sum(isinstance(each, RunEnded) for each in seen) == 1


@pytest.mark.parametrize("small", [scattered, silent])
def test_one_that_is_not_hands_on_and_both_are_paid_for(small) -> None:
    result, seen, loaded = climb(small, sure)
    assert loaded == ["small", "large"]
    assert result.answer is not None
    assert result.answer.text == "4"
    assert any("ask the next model" in reason for reason in reasons(seen))
    ended = [each.result for each in seen if isinstance(each, RunEnded)]
    assert ended[-1] == result
    assert result.usage.tokens == ended[0].usage.tokens + ended[1].usage.tokens
    assert result.usage.flops == pytest.approx(ended[0].usage.flops + ended[1].usage.flops)
    assert sum(isinstance(each, RunStarted) for each in seen) == 2


def test_the_surer_of_two_answers_stands() -> None:
    result, _, loaded = climb(scattered, silent)
    assert loaded == ["small", "large"]
    assert result.answer is not None
    assert result.answer.text.startswith("1")


def test_the_caps_hold_over_both() -> None:
    result, _, _ = climb(scattered, scattered, budget=Budget(max_tokens=60))
    assert result.usage.generated_tokens <= 60 + 3


def test_a_larger_model_that_fails_leaves_the_smaller_ones_answer() -> None:
    result, seen, _ = climb(scattered, EngineError("no room"))
    assert result.answer is not None
    assert any(isinstance(each, Warned) and "no room" in each.message for each in seen)
    with pytest.raises(EngineError):
        climb(EngineError("broken"), sure)


def test_each_model_thinks_and_is_judged_in_its_own_way() -> None:
    def muse(ask: Ask) -> str:
        thought = "" if "</reason>" in ask.text else "It may be 5, or 6.\n</reason>\n\n"
        return f"{thought}The final answer is 4."

    own = {
        "small": {"refused": {"judge": "the judge of the small one knows nothing"}},
        "large": {"thinking": Thinking("<reason>", "</reason>")},
    }
    result, seen, loaded = climb(scattered, muse, own=own)
    assert loaded == ["small", "large"]
    warned = [each.message for each in seen if isinstance(each, Warned)]
    assert warned == ["the judge of the small one knows nothing"]
    assert result.answer is not None
    assert result.answer.text == "4"
    assert result.solution == "The final answer is 4."
    assert all(each.thought for each in result.candidates if each.answer is not None)


def test_ctrl_c_keeps_the_next_model_from_being_asked() -> None:
    result, _, loaded = climb(scattered, sure, stopped=lambda: True)
    assert loaded == ["small"]
    assert result.interrupted
