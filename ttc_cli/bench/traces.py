"""Reads another tool's answers to the questions of a bench, and grades them like our own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttc_cli.answers import Comparer, read_answer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.report import Outcome
from ttc_cli.errors import UsageError
from ttc_cli.forms.prose import read_stated
from ttc_cli.tables import read_jsonl
from ttc_cli.texts import read_utf8
from ttc_cli.types import Answer, Finish

COSTS = ("tokens", "flops", "seconds", "samples")
"""What a trace may tell of its spending."""


def read_traces(
    path: Path, questions: Sequence[LabelledQuestion], comparer: Comparer
) -> dict[str, list[Outcome]]:
    """What another tool answered, graded by the same grader, by its strategy's name.

    A line is a JSON object: ``question`` (an id of the data), ``strategy``, and ``text`` (all it
    wrote last; the stated answer is looked for as in our own candidates, so that none is read from
    a thought) or ``answer`` (the bare answer). What it spent may stand in ``tokens`` (read and
    generated), ``flops``, ``seconds`` and ``samples``, else they count as 0. Questions without a
    line count as wrong.

    Raises:
        UsageError: a line is not of that form, a question is there twice, or none is of the data.
    """
    by_id = {question.id: question for question in questions}
    found: dict[str, dict[str, Outcome]] = {}
    for line in read_jsonl(read_utf8(path, str(path), "The traces in"), str(path)):
        where = f"{path}, {line.where}"
        if line.error is not None:
            raise UsageError(f"{where}: not a trace ({line.error.message})")
        row = line.columns
        missing = [name for name in ("question", "strategy") if row.get(name) is None]
        if not row.keys() & {"text", "answer"}:
            missing.append("text or answer")
        if missing:
            raise UsageError(f"{where}: not a trace, it has no {' and no '.join(missing)}.")
        question = by_id.get(str(row["question"]))
        if question is None:
            continue  # of another part of the data
        answer = _read_traced(row, question, where)
        cost = {name: _read_cost(row, name, where) for name in COSTS}
        right = comparer.grade(answer, question.answer)
        outcomes = found.setdefault(str(row["strategy"]), {})
        if question.id in outcomes:
            raise UsageError(
                f"{where}: not a trace, but a second of {question.id!r:.40} by the same strategy.",
                "keep one of them, or give the second another strategy's name",
            )
        outcomes[question.id] = Outcome(
            question.id,
            right,
            right,
            int(cost["samples"]),
            int(cost["tokens"]),
            cost["flops"],
            cost["seconds"] if row.get("seconds") is not None else None,
            answer=answer.text if answer is not None else None,
        )
    if not found:
        raise UsageError(f"{path} holds no trace of these questions.")
    return {
        name: [
            each.get(question.id, Outcome(question.id, False, False, 0, 0, 0.0))
            for question in questions
        ]
        for name, each in found.items()
    }


def _read_traced(row: Mapping[str, Any], question: LabelledQuestion, where: str) -> Answer | None:
    """The answer of a trace; null, and a text that states none, is none."""
    kind = resolve(question.problem).answer_type
    name = "text" if row.get("text") is not None or "answer" not in row else "answer"
    written = row[name]
    if written is None:
        return None
    if name == "answer" and isinstance(written, int | float):
        written = str(written)
    if not isinstance(written, str):
        raise UsageError(f"{where}: not a trace, its {name} is not text, but {written!r:.40}.")
    if name == "answer":
        return read_answer(written, kind)
    return read_stated(written, Finish.STOP, kind)


def _read_cost(row: Mapping[str, Any], name: str, where: str) -> float:
    value = row.get(name)
    try:
        number = 0.0 if value is None else float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(
            f"{where}: not a trace, its {name} is not a number from 0, but {value!r:.40}."
        )
    return number
