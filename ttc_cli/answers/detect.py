"""What kind of answer a question asks for."""

from __future__ import annotations

import re
from dataclasses import replace

from ttc_cli.answers.spelling import TABLES
from ttc_cli.types import AnswerType, Problem


def _any(kind: str) -> str:
    return "|".join(map(re.escape, TABLES["questions"][kind].split()))


_PLEASE = r"(?:please\s+|(?:can|could|would|will)\s+you\s+(?:please\s+)?)?"
_OPTION = re.compile(
    r"(?<![\w\\])\(([A-J])\)|(?:^|\s|\*\*)([A-J])\)\s|"
    r"^[ \t]*(?:[-*+][ ])?\[?\**([A-J])(?:[.:]|\])\**\s|"
    # A、 a mammal, A．Lyon
    r"(?:^|[\s？])([A-J])[、．]|"
    # A - Lyon, | A | Lyon |, and no formula
    r"^[ \t]*(?:\|[ \t]*)?([A-J])[ \t]+[-–—|][ \t]+(?![^\n]*=)",
    re.MULTILINE,
)
_SMALL_OPTION = re.compile(
    r"^[ \t]*(?:[-*+][ ])?\**[(\[]?([a-j])(?:[.:]|[)\]][.:]?)\**[ \t]+(\S.*)$", re.MULTILINE
)
_IN_ONE_LINE = re.compile(
    # What is …? A. Lyon B. Paris
    r"[?:]\s{1,4}\**A\.\**\s(?!B\.)[^\n]{1,200}?\s\**B\.\**\s|"
    r"\?\s{1,4}\**A:\**\s(?!B:)[^\n]{1,200}?\s\**B:\**\s|"
    r"[.!]\s{1,4}A\.\s(?!B\.)[^\n]{1,200}?\sB\.\s(?!C\.)[^\n]{1,200}?\sC\.\s|"
    # Which is …? (a) 4 (b) 5
    r"\b(?:which|pick|choose|select|what|who)\b[^\n]{0,500}[?:.!]\s{1,4}\(?a\)[^\n]{1,200}?\s\(?b\)",
    re.MULTILINE | re.IGNORECASE,
)
_TASK = re.compile(rf"(?:{_any('tasks')})\b|.*\?\s*$", re.IGNORECASE)
"""A part of an exercise, where an option could stand."""
_FORMULA = re.compile(
    r"\\[a-zA-Z]{2,}|\\[\[(]|\$\$|\$(?!\s)[^$\n]*[^$\s]\$(?!\d)|\b[a-z]\^\d|\b\d*[xyz]\s*[-+=]\s*\d"
)
_ALGEBRA = re.compile(
    rf"\b(?:{_any('algebra')}|solve for|common fraction|in terms of|simplest (?:radical )?form)\b",
    re.IGNORECASE,
)
_FREE = re.compile(
    rf"{_PLEASE}(?:{_any('free')}|give\s+(?:me|an?|some|\w+\s+(?:ideas|reasons|examples|tips))|"
    r"how\s+(?:do|does|did|can|could|should|would|is|are|to)|what\s+(?:do|would)\s+you|"
    r"what\s+(?:are|is)\s+the\s+"
    r"(?:pros|advantages|benefits|reasons|causes|differences?\s+between\s+[a-z]))\b",
    re.IGNORECASE,
)
_LANGUAGE = rf"(?:{_any('languages')}|postgres\w*)"
_CODE = re.compile(
    rf"{_PLEASE}(?:{_any('programming')}|show\s+me|give\s+me)\s+"
    # its object: a few words that begin no clause of their own, then a thing made of code
    r"(?:(?!(?:of|about|for|on|to|in|from|with|that|which|and|or|as|how|what|why)\b)\S+\s+){0,4}?"
    rf"(?:(?:{_LANGUAGE}(?:\s+(?:code|class|\w+))?|{_any('programs')}|regular\s+expression|"
    r"unit\s+test)s?)(?![\w+#])(?!\s+of\b)",
    re.IGNORECASE,
)
_IN_LANGUAGE = re.compile(
    r"(?:please\s+)?(?:write|implement|create|solve|code|program|translate|port|convert)\b[^.?!\n]{0,300}?"
    rf"\b(?:in|to|into|using)\s+(?:{_LANGUAGE}(?![\w+#])|(?-i:C|Go|R|Swift)(?=[\s,:]*(?:[.!?)]|$|that|to|with|for)))",
    re.IGNORECASE,
)
_IN_A_UNIT = re.compile(
    rf"(?!.*\b(?:code|program|function|script|method|class|algorithm|snippet|{_LANGUAGE})\b)"
    r"(?:please\s+)?(?:convert|translate|solve|write)\b[^?!\n]{0,80}?"
    r"(?:[\d=^]|\b(?-i:[FK])\b)[^?!\n]{0,80}?\b(?:in|to|into)\s+"
    r"(?-i:[CR])\b",
    re.IGNORECASE,
)
"""Degrees Celsius, the reals: here the letters do not name programming languages."""
_JSON = re.compile(
    r"\b(?:as|in|into|to|return|returns?|output|produce|give|valid|only|with|reply|respond)\s+"
    r"(?:an?\s+|the\s+|valid\s+|single\s+|me\s+|only\s+)*JSON\b(?!\s+(?:stand|mean|schema))",
    re.IGNORECASE,
)
_ASKS_ABOUT = re.compile(
    r"(?:how|why|what|which|when|where|who|explain|describe|is|are|does|do)\b", re.IGNORECASE
)
_REQUEST = re.compile(r"(?:can|could|would|will)\s+you\b", re.IGNORECASE)
_QUANTITY = re.compile(
    r"\bhow\s+(?:many|much|old|far|long|tall|fast|high|wide|deep|heavy|big|large|often)\b|"
    r"\b(?:calculate|compute|evaluate)\b|"
    r"\bwhat(?:\s+\w+)?(?:'s|\s+is|\s+are|\s+was|\s+were|\s+will|\s+would)\b[^.?]{0,150}"
    rf"\b(?:{_any('quantities')})\b|"
    r"\bwhat\s+(?:percent(?:age)?|fraction|number|speed)\b|\b(?:find|determine)\s+the\b|\bin\s+how\s+many\b|"
    r"\b\d+(?:\.\d+)?\s*(?:[-+*/×÷^]|plus|minus|times|divided by)\s*\d|"
    r"\bconvert\b[^.?!\n]{0,80}?\b(?:in|to|into)\s+(?:degrees?\s+)?(?-i:[CFK])\b|"
    r"(?:\b(?:convert|change|express)\s+[-−]?\d[\d.,]*|\b(?:translate|what(?:'s|\s+is|\s+are))\s+"
    rf"[-−]?\d[\d.,]*\s?(?:°|(?:{_any('measures')})\b))[^.?!\n]{{0,60}}?\b(?:in|to|into)\b"
    r"(?!.*\b(?:hex\w*|base|roman|words?|letters?|time|notation|binary|json|xml)\b)",
    re.IGNORECASE,
)
_YES_NO = re.compile(rf"(?:{_any('closed')})\b", re.IGNORECASE)
_TRUE_FALSE = re.compile(
    r"\b(?:true\s+or\s+false|yes\s+or\s+no|yes/no|true/false)\b", re.IGNORECASE
)
_FACT = re.compile(rf"\b(?:{_any('facts')}|in\s+what)\b", re.IGNORECASE)
_SHORT = 60
"""Words; a longer question without figures does not ask for a short fact."""


def resolve(problem: Problem) -> Problem:
    """``problem`` with the type of its answer: JSON under a schema, ``AUTO`` from its wording."""
    if problem.schema is not None:
        return replace(problem, answer_type=AnswerType.JSON)
    if problem.answer_type is not AnswerType.AUTO:
        return problem
    return replace(problem, answer_type=detect(problem.text))


def detect(problem_text: str) -> AnswerType:
    """The answer type of a question, from its wording alone.

    Listed options make a ``CHOICE``, mathematical notation ``LATEX``, a request for a function or
    a script ``CODE``, for JSON ``JSON``, to write or explain anything else ``FREE``. Any other
    short question is ``TEXT``; the rest is ``FREE``, so that answers are compared only where
    they can be.
    """
    text = problem_text.strip()
    question = _last_question(text)
    if _lists_options(text):
        return AnswerType.CHOICE
    in_language = _IN_LANGUAGE.match(text) and not _IN_A_UNIT.match(text)
    if in_language or (_CODE.match(text) and not _FORMULA.search(text)):
        return AnswerType.CODE
    if _JSON.search(text) and not _ASKS_ABOUT.match(text):
        return AnswerType.JSON
    if _TRUE_FALSE.search(text):
        return AnswerType.BOOLEAN
    formula = _FORMULA.search(text) is not None
    if _FREE.match(text) and not (formula or _QUANTITY.search(question) or _ALGEBRA.search(text)):
        return AnswerType.FREE
    if re.match(r"(?:prove|show)\s+that\b|explain\b", text, re.IGNORECASE):
        return AnswerType.FREE
    if formula or _ALGEBRA.search(text):
        return AnswerType.LATEX
    if _REQUEST.match(question):
        return AnswerType.FREE
    if _YES_NO.match(question):
        return AnswerType.TEXT if re.search(r"\bor\b", question) else AnswerType.BOOLEAN
    if _QUANTITY.search(question):
        return AnswerType.NUMBER
    if re.search(r"\d", text) and not _FACT.match(question) and _QUANTITY.search(text):
        return AnswerType.NUMBER
    asks, words = text.endswith("?"), len(text.split())
    if asks and words > 15 and len(re.findall(r"\b\d+", text)) >= 2:
        return AnswerType.NUMBER
    return AnswerType.TEXT if (asks and words <= _SHORT) or _FACT.match(text) else AnswerType.FREE


def _lists_options(text: str) -> bool:
    """Whether the letters A and B (and so on) mark options, in order."""
    letters = [next(filter(None, groups)) for groups in _OPTION.findall(text)]
    if "AB" in "".join(letters):
        return True
    if _FREE.match(text):
        return False
    small = _SMALL_OPTION.findall(text)
    if "ab" in "".join(letter for letter, _ in small):
        return not any(_TASK.match(words) for _, words in small)
    return _IN_ONE_LINE.search(text) is not None


def _last_question(text: str) -> str:
    """The last sentence that ends in a question mark, else the last sentence."""
    sentences = [s for s in re.split(r"(?<=[.?!])\s+|\n+", text) if s.strip()]
    asked = [s for s in sentences if s.endswith("?")]
    return (asked or sentences or [""])[-1].strip()
