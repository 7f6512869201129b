"""Answers under a schema: candidates think freely, then fill it in, under every strategy."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from tests.search.test_thinking import END, Thinking
from tests.search.trees import STRATEGIES, search
from ttc_cli.answers.validating import conforms
from ttc_cli.bench.pool import Recording
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.engines.base import Grow
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.search.sessions.structured import VALUE_ROOM, StructuredSession
from ttc_cli.types import AnswerType, Budget, Finish, Problem, Result, Sampling

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "why": {"type": "string"}},
        "required": ["n"],
    }
)
QUESTION = Problem("How many?", AnswerType.AUTO, schema=SCHEMA)
SAMPLED = Sampling(temperature=0.8)


def writes(value: str, before: str = "Two and two.", behind: str = "\n```\nThat is it.") -> str:
    return f"{before}\n\n```json\n{value}{behind}"


def fill(script, strategy: str = "majority", **options) -> Result:
    options.setdefault("samples", 2)
    return search(strategy, script, problem=QUESTION, **options)[0]


def texts(result: Result) -> list[str]:
    return [each.text for each in result.candidates]


def test_the_block_that_the_model_opens_is_filled_in_and_closed() -> None:
    result = fill([writes('{"n": 4}')])
    assert texts(result) == ['Two and two.\n\n```json\n{"n": 4}\n```'] * 2
    assert result.answer is not None
    assert (result.answer.text, result.answer.type) == ('{"n": 4}', AnswerType.JSON)
    assert (result.decided_by, result.agreement) == ("vote", 1.0)
    assert all(each.finish is Finish.STOP for each in result.candidates)


def test_values_that_mean_the_same_are_one_answer() -> None:
    result = fill([writes('{"n": 4}'), writes('{ "n":4.0 }'), writes('{"n": 5}')], samples=3)
    assert [each.votes for each in result.classes] == [2, 1]


def test_a_turn_that_ends_without_a_block_gets_one() -> None:
    def say(ask: Ask) -> Reply:
        return Reply('{"n": 7}' if ask.text.endswith("```json\n") else "It is seven.")

    assert texts(fill(say)) == ['It is seven.\n\n```json\n{"n": 7}\n```'] * 2


def test_what_does_not_conform_cannot_be_said() -> None:
    for wrong in ('{"m": 4}', "no JSON at all", '{"n": "four"}'):
        result = fill([writes(wrong)])
        assert result.answer is not None
        assert conforms(result.answer.text, SCHEMA)


def test_thinking_without_end_leaves_room_for_the_value() -> None:
    endless = Reply("and so on ", Finish.LENGTH)

    def say(ask: Ask) -> Reply:
        return Reply('{"n": 1}') if ask.text.endswith("```json\n") else endless

    budget = Budget(tokens_per_candidate=VALUE_ROOM + 50)
    result = fill(say, budget=budget)
    assert [each.finish for each in result.candidates] == [Finish.STOP] * 2
    short = fill(say, budget=Budget(tokens_per_candidate=20))
    assert all(10 < each.tokens <= 20 for each in short.candidates)
    assert short.answer is not None


def test_a_value_that_does_not_end_in_time_is_no_answer() -> None:
    long = json.dumps({"n": 1, "why": "word " * 200})
    result = fill([writes(long)], budget=Budget(tokens_per_candidate=100))
    assert result.answer is None
    assert all(each.finish is Finish.LENGTH for each in result.candidates)
    assert all(each.tokens == 100 for each in result.candidates)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_a_conforming_answer(strategy: str) -> None:
    script = [writes('{"n": 4}', "First this.\n\nThen that."), writes("oh", "Well.\n\nHm.")]
    result = fill(script, strategy, samples=4)
    assert result.answer is not None
    assert conforms(result.answer.text, SCHEMA)
    for each in result.candidates:
        assert each.answer is None or conforms(each.answer.text, SCHEMA)


@pytest.mark.parametrize("strategy", ["auto", "majority", "beam"])
def test_a_model_that_thinks_first_is_held_to_the_schema_behind_its_thought(strategy: str) -> None:
    def say(ask: Ask) -> Reply:
        turn = ask.text.rpartition("<|im_start|>assistant\n")[2]
        if turn.endswith("```json\n"):
            return Reply('{"n": 4}')
        if "</think>" in turn:
            return Reply(writes('{"n": 4}', "So."))
        return Reply('Perhaps ```json {"n": 9}.' + END + writes('{"n": 4}', "So."))

    result = fill(say, strategy, thinking=Thinking())
    assert result.answer is not None
    assert result.answer.text == '{"n": 4}'
    for each in result.candidates:
        if each.answer is not None:
            assert each.text[: each.thought].endswith("</think>")
            assert 'Perhaps ```json {"n": 9}.' in each.text[: each.thought]
            assert each.text[each.thought :].count("```json") == 1


@pytest.mark.parametrize("strategy", ["auto", "majority", "beam"])
@pytest.mark.parametrize(
    "before",
    [
        "```\nIt is:\n",
        "One ``` and\n```\n\nmore\n~~~\n",
        "It is ",
        "````\n",
        '```\n"XY"\n```\nIt is ',
    ],
)
def test_no_stray_fence_hides_the_value(before: str, strategy: str) -> None:
    problem = Problem("Which plate?", schema='{"type": "string", "pattern": "^[A-Z]{2}$"}')
    script = [f'{before}```json\n"AB"\n```']
    result = search(strategy, script, problem=problem, samples=2)[0]
    assert result.answer is not None
    for each in result.candidates:
        if each.finish is Finish.STOP:
            assert each.answer is not None
            assert each.answer.text == '"AB"'


def test_the_same_seed_gives_the_same_values() -> None:
    def say(ask: Ask) -> str:
        return "nothing that conforms"

    first, again, other = (fill(say, samples=4, seed=seed) for seed in (1, 1, 2))
    assert texts(first) == texts(again) != texts(other)
    assert len(set(texts(first))) > 1


def test_everything_drawn_is_counted_and_words_between_are_read() -> None:
    result = fill([writes('{"n": 4}')], samples=1)
    (only,) = result.candidates
    assert result.usage.generated_tokens == only.tokens
    assert result.usage.generator.prompt_tokens > 0


def test_a_cancelled_candidate_fills_nothing_in() -> None:
    async def work() -> list[tuple[Finish, str]]:
        engine = ScriptedEngine([writes('{"n": 4}'), "word " * 100])
        async with await engine.open((), Ledger(Budget())) as opened:
            session = StructuredSession(opened, SCHEMA)
            branches = session.fork(session.root, 2)
            ended = []
            async for growth in session.grow(
                [Grow(branch, 300, SAMPLED, i, i) for i, branch in enumerate(branches)]
            ):
                session.cancel(branches)
                ended.append((growth.finish, growth.text))
            return ended

    (done, value), (finish, text) = asyncio.run(work())
    assert (done, finish) == (Finish.STOP, Finish.CANCELLED)
    assert value.endswith('{"n": 4}\n```')
    assert "```" not in text


def test_a_lowered_limit_still_leaves_room_for_the_value() -> None:
    async def work() -> list[tuple[Finish, int]]:
        engine = ScriptedEngine([writes('{"n": 4}'), Reply("on and ", Finish.LENGTH)])
        async with await engine.open((), Ledger(Budget())) as opened:
            session = StructuredSession(opened, '{"enum": [1, 2]}')
            branches = session.fork(session.root, 2)
            ended = []
            async for growth in session.grow(
                [Grow(branch, 900, SAMPLED, i, i) for i, branch in enumerate(branches)]
            ):
                session.limit(branches[1:], 60)
                ended.append((growth.finish, growth.tokens))
            return ended

    _, (finish, tokens) = asyncio.run(work())
    assert finish is Finish.STOP
    assert tokens < 60


def test_a_mark_that_runs_on_is_cut_to_where_the_value_begins() -> None:
    # A token of the scripted engine is eight letters: "```json{" here.
    result = fill(['```json{"n": 4}'])
    assert all(each.text.startswith("```json\n{") for each in result.candidates)
    assert result.answer is not None


def test_an_engine_without_grammars_is_refused() -> None:
    info = replace(ScriptedEngine().info, grammars=False)
    engine = RecordedEngine(Recording(info, SAMPLED, 64, {}))
    with pytest.raises(UsageError, match="cannot hold an answer to a schema"):
        asyncio.run(
            solve(
                QUESTION, Stage(engine, Chat(ScriptedEngine().info)), SearchOptions(), comparer=None
            )
        )  # type: ignore[arg-type]
