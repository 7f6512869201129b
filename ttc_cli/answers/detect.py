"""What kind of answer a question asks for."""

from __future__ import annotations

import re

from ttc_cli.types import AnswerType

_OPTION = re.compile(
    r"(?<![\w\\])\(([A-J])\)|(?:^|\s|\*\*)([A-J])\)\s|^\s*\**([A-J])[.:]\**\s", re.MULTILINE
)
_FORMULA = re.compile(
    r"\\[a-zA-Z]{2,}|\\[\[(]|\$\$|\$(?!\s)[^$\n]*[^$\s]\$(?!\d)|\b[a-z]\^\d|\b\d*[xyz]\s*[-+=]\s*\d"
)
_ALGEBRA = re.compile(
    r"\b(?:simplify|factor(?:ise|ize)?|expand|solve for|integrate|differentiate|derivative|"
    r"common fraction|in terms of|simplest (?:radical )?form)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"(?:please\s+|(?:can|could|would|will)\s+you\s+(?:please\s+)?)?(?:"
    r"write|compose|explain|summari[sz]e|describe|draft|translate|rewrite|paraphrase|discuss|"
    r"create|generate|design|brainstorm|suggest|recommend|outline|elaborate|critique|review|"
    r"analy[sz]e|compare|implement|code|refactor|fix|debug|improve|tell|help|teach|imagine|"
    r"prove|show|give\s+(?:me|an?|some|\w+\s+(?:ideas|reasons|examples|tips))|list|plan|invent|"
    r"why|how\s+(?:do|does|did|can|could|should|would|is|are|to)|what\s+(?:do|would)\s+you|"
    r"what\s+(?:are|is)\s+the\s+(?:pros|advantages|benefits|reasons|causes|differences?\s+between\s+[a-z])"
    r")\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(r"(?:can|could|would|will)\s+you\b", re.IGNORECASE)
_QUANTITY = re.compile(
    r"\bhow\s+(?:many|much|old|far|long|tall|fast|high|wide|deep|heavy|big|large|often)\b|"
    r"\b(?:calculate|compute|evaluate)\b|"
    r"\bwhat(?:\s+\w+)?(?:'s|\s+is|\s+are|\s+was|\s+were|\s+will|\s+would)\b[^.?]*\b(?:total|sum|number|"
    r"average|mean|median|difference|product|quotient|remainder|probability|percent(?:age)?|"
    r"fraction|ratio|value|area|volume|perimeter|distance|speed|length|width|height|depth|weight|weights|"
    r"price|cost|profit|salary|pension|age|amount|integers?|result)\b|"
    r"\bwhat\s+(?:percent(?:age)?|fraction|number|speed)\b|\b(?:find|determine)\s+the\b|\bin\s+how\s+many\b|"
    r"\b\d+(?:\.\d+)?\s*(?:[-+*/×÷^]|plus|minus|times|divided by)\s*\d",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"(?:is|are|was|were|am|do|does|did|can|could|has|have|had|will|would|should|must|may)\b",
    re.IGNORECASE,
)
_TRUE_FALSE = re.compile(
    r"\b(?:true\s+or\s+false|yes\s+or\s+no|yes/no|true/false)\b", re.IGNORECASE
)
_FACT = re.compile(r"\b(?:who|whom|whose|what|where|when|which|in\s+what|name)\b", re.IGNORECASE)
_SHORT = 60
"""Words; a longer question without figures is not one for a short fact."""


def detect(problem_text: str) -> AnswerType:
    """The answer type of a question, from its wording alone.

    Listed options make a ``CHOICE``, mathematical notation ``LATEX``, a request to write or
    explain something ``FREE``. What fits nothing is ``TEXT`` if it is a short question and
    ``FREE`` otherwise: with ``FREE`` nothing is compared that cannot be.
    """
    text = problem_text.strip()
    question = _last_question(text)
    if _lists_options(text):
        return AnswerType.CHOICE
    if _TRUE_FALSE.search(text):
        return AnswerType.BOOLEAN
    formula = _FORMULA.search(text) is not None
    if _OPEN.match(text) and not (formula or _QUANTITY.search(question) or _ALGEBRA.search(text)):
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
    figures = len(re.findall(r"\d", text))
    if figures and not _FACT.match(question) and _QUANTITY.search(text):
        return AnswerType.NUMBER
    if len(re.findall(r"\b\d+", text)) >= 2 and text.endswith("?") and len(text.split()) > 15:
        return AnswerType.NUMBER
    short = len(text.split()) <= _SHORT and text.endswith("?")
    return AnswerType.TEXT if short or _FACT.match(text) else AnswerType.FREE


def _lists_options(text: str) -> bool:
    """Whether the letters A and B (and so on) mark options, in order."""
    letters = [next(filter(None, groups)) for groups in _OPTION.findall(text)]
    return "".join(letters).find("AB") >= 0


def _last_question(text: str) -> str:
    """The last sentence that ends in a question mark, else the last sentence."""
    sentences = [s for s in re.split(r"(?<=[.?!])\s+|\n+", text) if s.strip()]
    asked = [s for s in sentences if s.endswith("?")]
    return (asked or sentences or [""])[-1].strip()
