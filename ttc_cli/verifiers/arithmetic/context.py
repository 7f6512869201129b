"""Whether a text states its sums, or supposes, denies, questions or retracts them."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Sequence

from ttc_cli.verifiers.arithmetic.notation import match_words

_WINDOW = 300
"""Characters that are looked at before and after a sum, at most."""
_LINES = 6
"""Lines after a sum in which a word about it is looked for."""

_OTHER_ARITHMETIC = re.compile(
    rf"\b(?:{match_words('other_arithmetic')}|modul[aou]\w{{0,2}}|count\w{{0,3}} in [a-z]{{3,8}}s"
    r"|bas(?:e|is)[-\s]{1,3}(?!\\?\(?\s?10\b|ten\b)(?:\\?\(?\s?\d+|two|three|four|five|six|seven|eight"
    r"|nine|eleven|twelve|sixteen|[a-z]\b))\b|[进進]制"
    r"|\\[bp]?mod\b|\\equiv\b|[≡⊕ℤ]|\\mathbb\s?\{?[ZF]\}?\s?[_/]|\bZ_",
    re.IGNORECASE,
)
_DENIED = rf"\b(?:{match_words('denied')})\b|{match_words('denied_by_signs')}"
_SUPPOSED = re.compile(
    rf"\b(?:{match_words('supposed')}|[a-z]{{1,8}}n['’]t)\b|{_DENIED}|\b(?:wrote|writes)\s?:"
    r"|[?≠✗✘❌≟]|\\neq?\b|\\not\b|\b[ap]\.m\b|\bno\s?[,:;]",
    re.IGNORECASE,
)
_SOLVED = re.compile(r"\b(?:equations?|both sides)\b", re.IGNORECASE)
"""What is solved or tried may hold or not: "99 + 5 = 5", once x has dropped out."""
_TAKEN_BACK = re.compile(
    r"^\W*(?:no|actually|(?:[a-z]+,?\s){0,2}(?:this|that|which|it|equation|equality|statement|sides?)"
    r"\s[a-z]{2,6}(?:\s(?:not|never|no)|n['’]t))\b|\bnot\s(?:[a-z]+\s){0,2}(?:correct|true|equal"
    r"|valid|right|hold|match\w*|satisf\w*|solution|work)\b"
    rf"|\b(?:{match_words('taken_back')})\b|{_DENIED}|[≠✗✘❌]|\\neq?\b",
    re.IGNORECASE,
)
_OPTION = re.compile(r"\W*[A-Ha-h][.):](?=\s)")
_UNFINISHED = re.compile(r"\b(?:of|by|not|negative|minus|plus|wrote|writes)\W*$", re.IGNORECASE)
"""An end of prose that changes the value of the formula after it."""
_SENTENCE_END = re.compile(r"[.!?](?=\s)")
_PROSE = re.compile(r"(?<!\\)\b[^\W\d_]{2,}\s+[^\W\d_]{2,}")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_CARRIED_ON = re.compile(r"(?:[-+*/=(×÷]|\\times|\\cdot|\\div)\s*(?:\\\\)?\s*$")
_RULER = re.compile(r"[-=*_\s]*$")
_BARE = re.compile(r"(?=\D*\d)[-+*/().\d\s×÷$€£,&\\]*")
_CARRIES_ON = re.compile(r"\s*&?\s*(?:[+/×÷]|\\times|\\div|\\cdot)\s*\\?[\d($€£]")


def counts_otherwise(text: str) -> bool:
    """Whether ``text`` speaks of other bases, remainders, clocks or made-up operations."""
    return _OTHER_ARITHMETIC.search(text) is not None


def find_prose(lines: Sequence[str]) -> list[bool]:
    """Which of ``lines`` are outside fenced blocks."""
    fences = [_FENCE.match(line) is not None for line in lines]
    inside = itertools.accumulate(fences, operator.xor)
    return [not (fence or within) for fence, within in zip(fences, inside, strict=True)]


def is_meant(lines: Sequence[str], number: int, sign: int, *, first: bool) -> bool:
    """Whether the sum at ``sign``, a place in line ``number``, is stated and not retracted.

    ``first``: no other sign of equality stands before it in that line.
    """
    line = lines[number]
    if _OPTION.match(line):
        return False
    before, after = line[max(0, sign - _WINDOW) : sign], line[sign : sign + _WINDOW]
    start, stop = _find_last_start(before), _find_first_end(after)
    lead = "" if start else _find_lead(lines, number)
    around = f"{lead} {before[start:]}{after[:stop]}"
    if _SUPPOSED.search(around) or (first and _SOLVED.search(around)) or _UNFINISHED.search(lead):
        return False
    near = [after[stop:], *(each[:_WINDOW] for each in lines[number + 1 : number + 1 + _LINES])]
    behind = next((each for each in near if _PROSE.search(each) or _TAKEN_BACK.search(each)), "")
    return not _TAKEN_BACK.search(behind[: _find_first_end(behind)])


def goes_on(lines: Sequence[str], number: int) -> tuple[bool, bool]:
    """Whether line ``number`` continues the one before it, and is continued by the next."""
    line = lines[number]
    before = lines[number - 1].rstrip()[-_WINDOW:] if number else ""
    after = lines[number + 1][:_WINDOW] if number + 1 < len(lines) else ""
    open_ended = _CARRIED_ON.search(before) is not None and _RULER.fullmatch(before) is None
    bare = _BARE.fullmatch(before) is not None and line.lstrip()[:1] in tuple("+-*/×÷")
    return open_ended or bare, _CARRIES_ON.match(after) is not None


def _find_lead(lines: Sequence[str], number: int) -> str:
    """The end of the prose that leads to line ``number``, unless its sentence is complete."""
    for line in reversed(lines[max(0, number - 3) : number]):
        line = line.strip()[-_WINDOW:]
        if _PROSE.search(line):
            return "" if line.endswith(".") else line[_find_last_start(line) :]
        if "=" in line:
            break
    return ""


def _find_last_start(text: str) -> int:
    return max((end.end() for end in _SENTENCE_END.finditer(text)), default=0)


def _find_first_end(text: str) -> int:
    end = _SENTENCE_END.search(text)
    return len(text) if end is None else end.end()
