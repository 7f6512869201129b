"""The answer that a program printed: its last line, in Python's notation or in words.

A program states its answer alone, so that here a bare value counts, where in prose
(``answers.extract``) only an explicit statement does. Nothing is evaluated.
"""

from __future__ import annotations

import re

from ttc_cli.answers import notation
from ttc_cli.answers.extract import extract, read_answer
from ttc_cli.answers.floats import drop_noise
from ttc_cli.answers.latex import NotationError
from ttc_cli.answers.normalise import MAX_ANSWER
from ttc_cli.answers.statements import find_worded_number
from ttc_cli.types import Answer, AnswerType

NUMBER, LATEX, TEXT = AnswerType.NUMBER, AnswerType.LATEX, AnswerType.TEXT
STATED = frozenset((NUMBER, LATEX, TEXT, AnswerType.CHOICE, AnswerType.BOOLEAN))
"""Types of answers that a program can print."""

_LINE_END = re.compile(r"[\r\n\x0b\x0c\x85\u2028\u2029]+")
_NOTHING = re.compile(
    r"[\s.,;:!|()\[\]{}'\"`*_#=~-]*|[\W_]*(?i:none|nan|null|zoo|nat|inf)[\W_]*|"
    r"(?:set|frozenset|dict|list|tuple)\(\)|"
    r"(?:Traceback \(most recent|<[a-z_.]+ |.*<(?:class|function|bound method) |.* at 0x[0-9a-f]+>)"
    r".*|[A-Za-z]*(?:Error|Exception)\b.*",
)
"""A line that tells no answer: punctuation, an empty value, an object's name, an error."""
_LABEL = re.compile(
    r"(?=\D[^:=<>]{0,150}[A-Za-z]{2})"
    r"(?:[^:=<>]{1,150}(?::|\b(?:is|are|was|equals|equal to)\b:?)|[^\d:=<>]{1,150}=)\s+(?=\S)"
)
"""``Total cost:``, ``The area is``, ``profit =``"""
_WORDS = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)+")
_LABELS = 3
_TWO_NUMBERS = re.compile(r"[-+]?\d+(?:\.\d+)? [-+]?\d+(?:\.\d+)?(?: [-+]?\d+(?:\.\d+)?)*")
_AS_IT_STANDS = re.compile(r"[A-Za-z]|True|False|[-+]?\$?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
"""A letter, which may be a choice; ``1,234``, which is no tuple."""
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+|/\d+)?")
_UNKNOWN = re.compile(r"[A-Za-z_][\w.]{2,}\(.*\)")
"""A call of what ``notation`` does not know."""
_MOST_WORDS = 8
"""An expression with more is prose."""
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


def read_printed(output: str, type: AnswerType, question: str = "") -> Answer | None:
    r"""The answer in the last line of ``output`` that is not blank; None if it tells none.

    Args:
        output: all that the program printed.
        type: how the answer is to be read. ``CODE``, ``JSON`` and ``FREE`` are never printed.
        question: that was asked; says what a list stands for.

    Returns:
        A number without the noise of floats: ``18.000000000000004`` is ``18``. ``LATEX``: what
        Python and SymPy write as LaTeX, a list as its elements, a mapping of several unknowns as
        a point. A label in front (``Total: 18``) is left out, and so is a sentence around one
        number. ``None``, ``nan`` and ``[]`` are no answer.
    """
    if type not in STATED:
        return None
    line = find_last_line(output)
    if not line or len(line) > MAX_ANSWER:
        return None
    return _read(line, type, question, _LABELS)


def find_last_line(output: str) -> str:
    """The last line of ``output`` that is not blank, without blanks around it."""
    tail = output.rstrip()
    start = max(0, len(tail) - MAX_ANSWER - 1)
    return _LINE_END.split(tail[start:])[-1].strip()


def _read(line: str, type: AnswerType, question: str, labels: int) -> Answer | None:
    if _NOTHING.fullmatch(line):
        return None
    value = notation.parse(line)
    elements = None if value is None else value.elements()
    if elements is not None and len(elements) == 1 and (elements[0].text or type is NUMBER):
        return _read(elements[0].text or elements[0].source, type, question, labels)
    if value is not None and type in (NUMBER, LATEX):
        if elements is not None and type is NUMBER and not _AS_IT_STANDS.fullmatch(line):
            return None
        if (answer := _read_value(value, line, type, question)) is not None:
            return answer
    if labels and (label := _LABEL.match(line)) is not None:
        behind = _drop_stop(line[label.end() :].rstrip())
        told = type is LATEX and ":" not in label[0] and _WORDS.fullmatch(behind)
        if not told and (answer := _read(behind, type, question, labels - 1)) is not None:
            return answer
    return extract(line, type) or _read_words(line, type)


def _read_value(value: notation.Value, line: str, type: AnswerType, question: str) -> Answer | None:
    """A value in Python's notation; None if it is none, or better read as it stands."""
    if _AS_IT_STANDS.fullmatch(line):
        return None
    if _PLAIN.fullmatch(line):
        return read_answer(drop_noise(line), type)
    try:
        written = value.write(question)
    except NotationError:
        return None
    return read_answer(written, type)


def _drop_stop(text: str) -> str:
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _read_words(line: str, type: AnswerType) -> Answer | None:
    """The line as an answer in words or in LaTeX."""
    if type is NUMBER:
        if _TWO_NUMBERS.fullmatch(line):
            return None
        return read_answer(line, type) or read_answer(find_worded_number(line) or "", type)
    if type is TEXT:
        line = drop_noise(line)
    elif type is LATEX:
        if len(_WORD.findall(line)) > _MOST_WORDS or _UNKNOWN.fullmatch(line):
            return None
        if _TWO_NUMBERS.fullmatch(line):
            line = line.replace(" ", ", ")
    return read_answer(line, type)
