"""Reads the right answer of a labelled question from its row; refuses what is ambiguous."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ttc_cli.answers import extract, read_answer
from ttc_cli.errors import UsageError
from ttc_cli.tables import find_column
from ttc_cli.types import AnswerType

QUESTION = ("question", "problem")
ANSWER = ("answer", "answerKey")
OPTIONS = ("choices", "options")
SUBJECTS = frozenset(
    {
        "algebra",
        "counting and probability",
        "geometry",
        "intermediate algebra",
        "number theory",
        "prealgebra",
        "precalculus",
    }
)
"""What the column ``type`` of the MATH data set holds: no type of an answer."""
_CHECKED = (AnswerType.NUMBER, AnswerType.BOOLEAN, AnswerType.CHOICE, AnswerType.JSON)
_MOST = 26
"""Options: as many as there are letters."""
_BARE = re.compile(r"^\(?(\w{1,3})[).:]?$")
"""``(B)``, ``B)``, ``B.``: a label as people write it."""


def find_value(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any] | None:
    """The first column of ``names`` in which something stands, and what; None where none has."""
    for name in names:
        column = find_column(row, (name,))
        if column is not None and not _is_empty(row[column]):
            return name, row[column]
    return None


def _find_columns(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Options that stand in columns of their own, A and B and so on, as MMLU has them."""
    letters = [chr(ord("A") + place) for place in range(_MOST)]
    there = list(itertools.takewhile(lambda each: not _is_empty(row.get(each)), letters))
    if len(there) < 2:
        return None
    return f"A to {there[-1]}", {"text": [row[each] for each in there], "label": there}


def _is_empty(value: Any) -> bool:
    """Nothing, blank, or the NaN that tables write for nothing."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def read_label(row: Mapping[str, Any], default: AnswerType | None) -> tuple[str, str, AnswerType]:
    """The question as it is asked, its right answer, and its type: ``default`` where none is told.

    What is understood of a row is in ``bench.datasets``.

    Raises:
        UsageError: the row has no question or no answer, or which is right is not certain.
    """
    name, text = _require(row, QUESTION, "question")
    if not isinstance(text, str):
        raise UsageError(f"the {name} is not text, but {_show(text)}.")
    kind = _read_kind(row, default, by_level=name == "problem")
    may_choose = kind in (None, AnswerType.AUTO, AnswerType.CHOICE)
    options = find_value(row, OPTIONS) or (_find_columns(row) if may_choose else None)
    if options is not None and options[1] not in ([], {}):
        if not may_choose:
            raise UsageError(f"the answer to a question with options is a choice, not {kind}.")
        _, answer = _require(row, ANSWER, "answer")
        listed, right = _choose(*options, answer)
        return f"{text}\n\n{listed}", right, AnswerType.CHOICE
    answer, kind = _read_answer(row, kind, latex=name == "problem")
    if kind in _CHECKED and read_answer(answer, kind) is None:
        raise UsageError(f"the answer {_show(answer)} is not of the type {kind}.")
    return text, answer, kind or AnswerType.AUTO


def _require(row: Mapping[str, Any], names: Sequence[str], what: str) -> tuple[str, Any]:
    found = find_value(row, names)
    if found is not None:
        return found
    there = find_column(row, names)
    if there is not None:
        raise UsageError(f"the {what} is empty.", f"put it in the column {there}")
    raise UsageError(
        f"there is no {what}: no column {' or '.join(names)} among {', '.join(row) or 'none'}.",
        f"give the column with the {what} the name {names[0]!r}",
    )


def _read_kind(
    row: Mapping[str, Any], default: AnswerType | None, *, by_level: bool
) -> AnswerType | None:
    found = find_value(row, ("type",))
    if found is None:
        return default
    written = str(found[1]).strip().casefold()
    if written in list(AnswerType):
        return AnswerType(written)
    if written.replace("&", "and") in SUBJECTS or (by_level and find_column(row, ("level",))):
        return default
    raise UsageError(
        f"{_show(found[1])} is not a type of answers.",
        f"write one of {', '.join(AnswerType)}, or give the column another name",
    )


def _read_answer(
    row: Mapping[str, Any], kind: AnswerType | None, *, latex: bool
) -> tuple[str, AnswerType | None]:
    if latex and find_value(row, ANSWER) is None and find_value(row, ("solution",)) is not None:
        return _read_box(row), kind or AnswerType.LATEX
    name, value = _require(row, ANSWER, "answer")
    if kind is AnswerType.JSON and not isinstance(value, str):
        return json.dumps(value), kind
    if isinstance(value, list | dict):
        raise UsageError(
            f"the {name} is not text, but {_show(value)}.",
            'write one answer as text, or "type": "json" beside it',
        )
    answer = str(value)
    last = answer.rstrip().rpartition("\n")[2]
    if "####" in last and kind not in (AnswerType.CODE, AnswerType.JSON):  # GSM8K
        answer, kind = last.rpartition("####")[2].strip(), kind or AnswerType.NUMBER
        if not answer:
            raise UsageError(f"nothing follows the #### of the {name}.")
    return answer, kind or (AnswerType.LATEX if latex else None)


def _read_box(row: Mapping[str, Any]) -> str:
    r"""The answer of the MATH data set as it was published: the last ``\boxed`` of a solution."""
    _, solution = _require(row, ("solution",), "solution")
    box = str(solution).rfind(r"\boxed")
    answer = extract(str(solution)[box:], AnswerType.LATEX) if box >= 0 else None
    if answer is None:
        raise UsageError(
            r"there is no answer: the solution states none in a \boxed{…}.",
            "put it in a column called answer",
        )
    return answer.text


def _choose(column: str, options: Any, answer: Any) -> tuple[str, str]:
    """The options, a letter and a line each, and the right one's letter.

    ``answer`` is a label, a letter, a place from 0 (any number is one), or an option's text.
    """
    texts, labels = _read_options(column, options)
    letters = [chr(ord("A") + place) for place in range(len(texts))]
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip(letters, texts, strict=True))
    meant = _find_meanings(texts, labels, letters, answer)
    if len(meant) == 1:
        return listed, letters[next(iter(meant))]
    told = f"the answer {_show(answer)} is none of the {len(texts)} options."
    if meant:
        ways = ", or ".join(f"{letters[place]} by its {way}" for place, way in meant.items())
        told = f"the answer {_show(answer)} may be {ways}."
    raise UsageError(told, f"write the letter of the right option, A to {letters[-1]}")


def _read_options(column: str, value: Any) -> tuple[list[Any], list[str] | None]:
    """The options as they are written, and their labels where it has some.

    ``value`` is a list, ``{"text": […], "label": […]}``, or either as JSON.
    """
    hint = 'write a list of texts: ["red", "green", "blue"]'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UsageError(f"{column} is not a JSON list, but {_show(value)}.", hint) from None
    labels = None
    if isinstance(value, dict):
        value, labels = value.get("text"), value.get("label")
        if not isinstance(labels, list) or not isinstance(value, list):
            raise UsageError(f"{column} has no lists text and label.", hint)
        labels = [str(label).strip() for label in labels]
        if len(set(labels)) < len(labels) or len(labels) != len(value):
            raise UsageError(f"the labels of {column} are not one for each text.", hint)
    if not isinstance(value, list) or not all(
        isinstance(each, str | int | float) for each in value
    ):
        raise UsageError(f"{column} is not a list of texts, but {_show(value)}.", hint)
    if not 2 <= len(value) <= _MOST:
        raise UsageError(f"{column} has {len(value)} options: there are 2 to {_MOST}.")
    return value, labels


def _find_meanings(
    texts: Sequence[Any], labels: Sequence[str] | None, letters: Sequence[str], answer: Any
) -> dict[int, str]:
    """The places of the options that ``answer`` may mean, and why."""
    whole = isinstance(answer, int) or (isinstance(answer, float) and answer.is_integer())
    number = whole and not isinstance(answer, bool)
    written = str(int(answer)) if number else str(answer).strip()
    bare = _BARE.sub(r"\1", written)
    if labels is not None and (found := _find(labels, written) or _find(labels, bare)):
        return dict.fromkeys(found, "label")
    counted = labels is None or not any(label.isdigit() for label in labels)
    is_place = counted and written.isdecimal() and written.isascii() and len(written) < 3
    place = [int(written)] if is_place and int(written) < len(texts) else []
    by_place = dict.fromkeys(place, "place, from 0")
    if number and all(isinstance(text, str) for text in texts):
        return by_place  # as data sets on the hub write it, whatever the texts are
    by_letter = dict.fromkeys(_find(letters, bare) if labels is None else [], "letter")
    by_text = dict.fromkeys(_find([str(text).strip() for text in texts], written), "text")
    return by_text | by_place | by_letter


def _find(among: Sequence[str], wanted: str) -> list[int]:
    """The places of ``wanted``; where it is nowhere, those of what it is in other letters."""
    exact = [place for place, each in enumerate(among) if each == wanted]
    return exact or [p for p, each in enumerate(among) if each.casefold() == wanted.casefold()]


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
