"""Labelled questions: JSONL files with a question and its right answer a line.

Understood: GSM8K (``question``, ``answer`` whose last line is ``#### 18``), MATH-500 (``problem``,
``answer``) and ttc's own (``question`` or ``problem``, ``answer``, optionally ``id`` and ``type``,
one of ``AnswerType``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType, Problem


@dataclass(frozen=True, slots=True)
class Question:
    """A problem and the right answer, as plain text. ``id`` is unique within its file."""

    id: str
    problem: Problem
    answer: str


def load(path: Path, part: str | None = None) -> list[Question]:
    """Read a file of labelled questions.

    Args:
        path: a JSONL file.
        part: ``start:stop`` as in a slice (``0:60``, ``:20``, ``100:``); None is all.

    Raises:
        UsageError: the file or ``part`` cannot be understood.
    """
    chosen = _slice(part)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The questions in {path} cannot be read: {error}.") from error
    questions = [
        _question(path, number, line) for number, line in enumerate(lines) if line.strip()
    ][chosen]
    if not questions:
        raise UsageError(f"No questions in {path}" + (f" at {part}." if part else "."))
    if len({question.id for question in questions}) < len(questions):
        raise UsageError(f"Two questions in {path} have the same id.")
    return questions


def _slice(part: str | None) -> slice:
    if part is None:
        return slice(None)
    start, colon, stop = part.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        raise UsageError(f"{part!r} is no range of questions; write it as 0:60.") from None


def _question(path: Path, number: int, line: str) -> Question:
    where = f"{path}, line {number + 1}"
    try:
        row: dict[str, Any] = json.loads(line)
        text = row["question"] if "question" in row else row["problem"]
        answer = str(row["answer"])
        kind = AnswerType(row["type"]) if "type" in row else None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: not a labelled question ({error!r}).") from error
    if not isinstance(text, str) or not text.strip() or not answer.strip():
        raise UsageError(f"{where}: the question or its answer is empty.")
    _, marker, final = answer.rpartition("####")
    if marker:
        answer, kind = final.strip(), kind or AnswerType.NUMBER
    elif "problem" in row:
        kind = kind or AnswerType.LATEX
    name = str(row.get("id") or row.get("unique_id") or f"{path.stem}/{number}")
    return Question(name, Problem(text, kind or AnswerType.AUTO), answer)
