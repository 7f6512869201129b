"""Prose: the model reasons in words and states its answer at the end. The form of every model."""

from __future__ import annotations

from ttc_cli.answers import extract, find_thought
from ttc_cli.forms.base import FormEntry, Interpreter, Reading, Written
from ttc_cli.prompts import build_messages
from ttc_cli.types import Answer, AnswerType, Finish


def read_stated(
    text: str,
    finish: Finish,
    answer_type: AnswerType,
    thought: int = 0,
    schema: str | None = None,
    value: str | None = None,
) -> Answer | None:
    """The final answer that a candidate stated; None also where it never ended.

    The first ``thought`` characters are thinking; 0 looks for the usual marks. What does not
    conform to ``schema`` does not count. ``value`` is the answer's text where it is already known.
    """
    if finish is not Finish.STOP:
        return None
    said = text[thought or find_thought(text) :] if value is None else value
    return extract(said, answer_type, schema=schema)


async def read(written: Written, interpreter: Interpreter) -> Reading:
    """What ``read_stated`` makes of it; nothing is run."""
    problem = written.problem
    answer = read_stated(
        written.text,
        written.finish,
        problem.answer_type,
        written.thought,
        problem.schema,
        written.value,
    )
    return Reading(answer)


PROSE_FORM = FormEntry(
    name="prose",
    summary="reasons in words and states the answer at the end",
    ask=build_messages,
    read=read,
)
