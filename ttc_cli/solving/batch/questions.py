"""From rows to questions: which column is asked, how it is worded, and what a row sets itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import PromptTooLong, TtcError, UsageError
from ttc_cli.solving.batch.rows import Failure, Id, Row
from ttc_cli.solving.question import LIMIT, read_answer_type
from ttc_cli.tables import find_column
from ttc_cli.types import AnswerType, Problem

if TYPE_CHECKING:
    from ttc_cli.solving.prompt_templates import PromptTemplate

COLUMNS = ("question", "prompt", "problem", "text")
"""What the column of the question may be called where none is named."""
OWN = ("answer_type", "system", "seed")
"""Columns that set something for their row."""
MOST = 2**63
"""Greatest seed."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How rows become questions; ``answer_type``, ``system`` and ``seed`` where they tell none.

    ``prompt`` is the instruction that a ``template`` has a place for beside the row's text.
    """

    column: str | None = None
    template: PromptTemplate | None = None
    prompt: str = ""
    answer_type: AnswerType = AnswerType.AUTO
    system: str | None = None
    seed: int = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """What the column of the question may be called; the first that a row has counts."""
        return COLUMNS if self.column is None else (self.column,)

    def describe(self) -> dict[str, Any]:
        """All of it that an answer depends on."""
        return {
            "column": self.column,
            "template": None if self.template is None else self.template.source,
            "prompt": self.prompt,
            "answer_type": self.answer_type.value,
            "system": self.system,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a batch. ``row`` are the columns that nobody used, handed back as they are.

    ``own`` is what its row sets for itself.
    """

    id: Id
    problem: Problem
    seed: int
    row: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for the same words and the same settings of the row."""
        return fingerprint({"text": self.problem.text, **self.own})


def fingerprint(value: Any) -> str:
    """A short hash of what can be written as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def make_questions(
    rows: Sequence[Row | Failure], wording: Wording
) -> tuple[list[Question], list[Failure]]:
    """The questions of ``rows``, and those rows that are none, each in order."""
    questions: list[Question] = []
    failures: list[Failure] = []
    for row in rows:
        if isinstance(row, Failure):
            failures.append(row)
            continue
        try:
            questions.append(_make_question(row, wording))
        except TtcError as error:
            failures.append(Failure(row.id, error))
    return questions, failures


def _make_question(row: Row, wording: Wording) -> Question:
    columns = row.columns
    asked = find_column(columns, wording.wanted) or wording.column
    own = {name: columns[name] for name in OWN if columns.get(name) not in (None, "")}
    kind = read_answer_type(own.get("answer_type", wording.answer_type))
    system = own.get("system", wording.system)
    if not isinstance(system, str | None):
        raise UsageError("The column system is not text.")
    seed = _read_seed(own, wording.seed)
    text = _word(columns, asked, wording)
    if len(text) > LIMIT:
        raise PromptTooLong(f"The question is longer than {LIMIT // 2**20} MiB.")
    for each in (text, system or ""):
        try:
            each.encode()
        except UnicodeEncodeError:
            raise UsageError("The question holds half a character (a lone surrogate).") from None
        if "\0" in each:
            raise UsageError("The question holds a NUL character.")
    used = {asked, *OWN}
    rest = {name: value for name, value in columns.items() if name not in used}
    return Question(row.id, Problem(text, kind, system), seed, rest, own)


def _word(columns: Mapping[str, Any], asked: str | None, wording: Wording) -> str:
    template = wording.template
    if template is None:
        text = _read_text(columns, asked)
        if not text.strip():
            raise UsageError("The question is empty.")
        return text
    variables = dict(columns)
    if wording.prompt:
        variables |= {"question": wording.prompt, "input": _read_text(columns, asked)}
    elif asked is not None and asked in columns:
        variables["question"] = columns[asked]
    return template.fill(variables)


def _read_text(columns: Mapping[str, Any], asked: str | None) -> str:
    if asked is None or asked not in columns:
        wanted = asked or "one of " + ", ".join(COLUMNS)
        have = ", ".join(columns) or "none"
        raise UsageError(
            f"The row has no column for the question: {wanted}; it has {have}.",
            "name it: --column NAME",
        )
    text = columns[asked]
    if not isinstance(text, str):
        raise UsageError(f"The column {asked} is not text, but {json.dumps(text)[:40]}.")
    return text.strip("\r\n")


def _read_seed(own: Mapping[str, Any], default: int) -> int:
    given = own.get("seed", default)
    text = str(given) if isinstance(given, int | str) and not isinstance(given, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < MOST):
        raise UsageError(f"The seed of a row must be a whole number from 0, not {given!r:.40}.")
    return int(text)
