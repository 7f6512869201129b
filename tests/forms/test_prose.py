"""The form prose: asked as ever, answered by what is stated."""

from __future__ import annotations

import asyncio

from ttc_cli.forms.base import Written
from ttc_cli.forms.prose import PROSE_FORM, read_stated
from ttc_cli.prompts import build_messages
from ttc_cli.types import AnswerType, Execution, Finish, Problem

NUMBER = AnswerType.NUMBER


class Forbidden:
    """An interpreter that nothing may run in."""

    async def run(self, code: str) -> Execution:
        raise AssertionError


def test_it_asks_as_every_question_is_asked() -> None:
    problem = Problem("What is 2+2?", NUMBER, system="Be kind.")
    assert PROSE_FORM.ask(problem) == build_messages(problem)
    assert (PROSE_FORM.beginning, PROSE_FORM.marks) == ("", ())
    assert all(PROSE_FORM.states(type) for type in AnswerType)


def test_only_what_ended_states_an_answer() -> None:
    for finish in Finish:
        answer = read_stated(r"So \boxed{4}", finish, NUMBER)
        assert (answer is not None) is (finish is Finish.STOP)


def test_thinking_and_known_values() -> None:
    text = r"<think>\boxed{3}</think>It is \boxed{4}"
    answer = read_stated(text, Finish.STOP, NUMBER)
    assert answer is not None
    assert answer.key == "4"
    assert read_stated(text, Finish.STOP, NUMBER, thought=len(text)) is None
    known = read_stated(text, Finish.STOP, AnswerType.JSON, value="[5]")
    assert known is not None
    assert known.key == "[5]"


def test_reading_runs_nothing() -> None:
    written = Written(
        Problem("?", NUMBER), r"```python" "\nprint(5)\n```\n" r"\boxed{4}", Finish.STOP
    )
    reading = asyncio.run(PROSE_FORM.read(written, Forbidden()))
    assert reading.answer is not None
    assert (reading.answer.key, reading.ran) == ("4", None)


def test_a_schema_is_kept_to() -> None:
    problem = Problem("?", AnswerType.JSON, schema='{"type": "string"}')
    wrong = Written(problem, "```json\n5\n```", Finish.STOP)
    right = Written(problem, '```json\n"5"\n```', Finish.STOP)
    assert asyncio.run(PROSE_FORM.read(wrong, Forbidden())).answer is None
    assert asyncio.run(PROSE_FORM.read(right, Forbidden())).answer is not None
