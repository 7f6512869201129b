"""Recomputes the sums that a text writes out.

Whatever may be misunderstood (variables, functions, differing units, numbers in other bases, what
is supposed or denied) is left alone: a false slip would cost a right answer its vote, a missed one
costs nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ttc_cli.verifiers.arithmetic.context import counts_otherwise, find_prose, goes_on, is_meant
from ttc_cli.verifiers.arithmetic.notation import (
    BREAK,
    CLOSING,
    EQUALS,
    OPENING,
    Token,
    match_words,
    read_tokens,
    write,
)
from ttc_cli.verifiers.arithmetic.terms import (
    CURRENCIES,
    MOST_DIGITS,
    Convention,
    Sum,
    find_conventions,
    is_other_value,
    name_units,
    read_sum,
)

_MOST_CHARACTERS = 100_000
"""Of a text that is read; nobody would check a longer solution."""
_MOST_KNOWN = 64 << 20
"""Bytes, about, that remembered texts and their slips may take."""
_MOST_TOKENS = 400
"""Of a line; longer ones are skipped."""

_BULLET = re.compile(r"^\s*(?:([-*•+])\s+|\d{1,3}[.)]\s+|#+\s+)")
_LEAD = re.compile(r"(?:\s|&|\\?[$€£]|\\boxed\{|\*\*|\\[,;:! ])*")
"""What may stand between a sign of equality and the number."""
_ABOUT = re.compile(
    r"≈|\\sim|\b(?:about|approx\w*|around|near(?:ly|est)|round\w*|roughly|almost|estimat\w*)\b",
    re.IGNORECASE,
)
_CENTS = re.compile(r"[%¢]|\b(?:cents?|percent\w*|penn(?:y|ies))\b", re.I)
_LINKING = re.compile(rf"\w{{2,}}(?:s|ed|ing|ly)|{match_words('linking')}", re.IGNORECASE)
_APPLIED = re.compile(match_words("applied"), re.IGNORECASE)
_PERIODS = {"degree": 360, "hour": 12, "day": 7, "month": 12}
"""After how many of a unit counting may start over."""
_SIGNS = ("+", "-")
_BEFORE_MINUS = (",", ":", ";", OPENING)
"""Stops that a signed sum may follow: after others the sign may be a subtraction."""
_CONVERSIONS = frozenset(
    (7, 12, 16, 24, 36, 52, 60, 100, 144, 365, 1000, 1440, 1760, 3600, 5280, 10_000, 10**6, 10**9)
)
"""How many of one unit another one may be."""


@dataclass(frozen=True, slots=True)
class Slip:
    """A sum that is wrong: as ``written``, what it says it comes to, and what it does come to.

    ``place`` is where in the text that number begins, None where that is not known for sure.
    """

    written: str
    stated: Fraction
    value: Fraction
    place: int | None = None

    @property
    def correction(self) -> str:
        """``value`` as it would be written there: at most as many decimals as were, or two."""
        if self.value.denominator == 1:
            return str(self.value.numerator)
        digits = max(2, _count_digits(self.stated))
        return f"{float(self.value):.{digits}f}".rstrip("0").rstrip(".")

    def __str__(self) -> str:
        return f"{self.written} is {_word(self.value)}, not {_word(self.stated)}"


def _word(number: Fraction) -> str:
    """``number`` in digits, all of a whole one; else six behind the point, without zeros."""
    if number.denominator == 1:
        return str(number.numerator)
    whole, rest = divmod(abs(round(number * 10**6)), 10**6)
    return f"{'-' * (number < 0)}{whole}.{rest:06}".rstrip("0").rstrip(".")


_Slips = tuple[Slip | None, ...]


_known: dict[str, _Slips] = {}
_room = _MOST_KNOWN


def check_sums(text: str) -> _Slips:
    """The slip of each sum of ``text`` that can be checked, in order; None for right ones.

    Slips that are corrected further on are left out. Remembered, because a bench asks about the
    samples of its pool again and again.
    """
    global _room
    text = text[:_MOST_CHARACTERS]
    slips = _known.get(text)
    if slips is None:
        slips = _known[text] = _find_slips(text)
        _room -= 200 + 2 * len(text) + 400 * len(slips)
        if _room < 0:
            _known.clear()
            _room = _MOST_KNOWN
    return slips


def _find_slips(text: str) -> _Slips:
    if "=" not in text or counts_otherwise(text):
        return ()
    found: list[Slip | None] = []
    right = set()
    for written, slip in reversed(list(_check(text))):
        if slip is None:
            right.add(written)
        if slip is None or written not in right:
            found.append(slip)
    return tuple(reversed(found))


def find_first(text: str) -> Slip | None:
    """The first wrong sum of ``text``."""
    return next((slip for slip in check_sums(text) if slip is not None), None)


def _check(text: str) -> Iterator[tuple[str, Slip | None]]:
    """Each sum of ``text``, as it is written, and its slip."""
    lines = text.splitlines(keepends=True)
    begin = 0
    for number, prose in enumerate(find_prose(lines)):
        if prose and "=" in lines[number]:
            for written, slip in _check_line(lines, number):
                if slip is not None and slip.place is not None:
                    slip = replace(slip, place=begin + slip.place)
                yield written, slip
        begin += len(lines[number])


def _check_line(lines: Sequence[str], number: int) -> Iterator[tuple[str, Slip | None]]:
    """As ``_check`` of one line; places are in the line."""
    line = lines[number]
    bullet = _BULLET.match(line)
    tokens = read_tokens(line[bullet.end() :] if bullet is not None else line)
    if len(tokens) > _MOST_TOKENS:
        return
    loose, hundredth = _ABOUT.search(line) is not None, _CENTS.search(line) is not None
    signs = [place for place, token in enumerate(tokens) if token.kind == "equals"]
    places = [sign.end() for sign in EQUALS.finditer(line)]
    carries_on, is_carried_on = goes_on(lines, number)
    for order, (sign, end) in enumerate(itertools.pairwise([*signs, len(tokens)])):
        start = signs[order - 1] + 1 if order else 0
        left = _find_left(tokens[start:sign])
        right = _find_right(tokens[sign + 1 : end])
        if left is None or right is None:
            continue
        leads = not start and len(left) == sign
        slip = _judge(left, *right, loose=loose, hundredth=hundredth)
        if isinstance(slip, Slip) and leads and bullet is not None and bullet[1] in _SIGNS:
            minus = Token("operator", bullet[1], tight=False)  # or is it no bullet?
            again = _judge([minus, *left], *right, loose=loose, hundredth=hundredth)
            slip = slip if isinstance(again, Slip) else again
        if isinstance(slip, Slip):
            sure = len(places) == len(signs)
            place = places[order] if sure else len(line)
            goes_beyond = (leads and carries_on) or (end == len(tokens) and is_carried_on)
            if goes_beyond or not is_meant(lines, number, place, first=not order):
                continue
            if sure and not hundredth and (gap := _LEAD.match(line, place)):  # else a guess
                slip = replace(slip, place=gap.end())
            yield write(left), slip
        elif slip is not None:
            yield write(left), None


def _judge(
    left: Sequence[Token],
    right: Sequence[Token],
    behind: Sequence[Token],
    *,
    loose: bool,
    hundredth: bool,
) -> Slip | bool | None:
    """The slip of ``left`` = ``right``, with the words ``behind`` it; True where there is none.

    None if the two are not understood, or may be meant in another way.
    """
    slip, doubtful = None, loose or _may_be_dates(left)
    for convention in find_conventions([*left, *right]):
        value, stated = read_sum(left, convention), read_sum(right, convention)
        if value is None or stated is None or not value.computed:
            if slip is None:
                return None
            continue
        # "2 * 3 = 6 * 4 = 24" runs on: the sum before the sign comes to the number after it.
        owed = {-stated.value} if _is_owed(right) else set()
        usual = not (convention.continental or convention.repeating)
        for number in {stated.value, stated.first} | owed:
            agrees = usual and _agree(value, number, stated, loose=loose, hundredth=hundredth)
            if value.value == number or agrees:
                return True
        units = stated.units | name_units(behind)
        doubtful = doubtful or value.doubtful or stated.doubtful or is_other_value(units)
        doubtful = doubtful or _may_be_converted(value, stated.value, units)
        if slip is None or (value.relative and convention == Convention(relative=True)):
            slip = Slip(write(left), stated.value, value.value)
    return None if doubtful else slip


def _is_owed(tokens: Sequence[Token]) -> bool:
    """Whether it is one number in brackets, as accounts write negative amounts."""
    kinds = [token.kind for token in tokens[1:-1] if token.kind != "money"]
    return kinds == ["number"] and tokens[0].text == "(" and tokens[-1].text == ")"


def _may_be_dates(tokens: Sequence[Token]) -> bool:
    """Whether it is a date, a span of years or of pages: 3/15/2024, 1990 - 2000, 10-20."""
    if [token.kind for token in tokens] == ["number", "operator"] * 2 + ["number"]:
        return tokens[1].text == tokens[3].text == "/" and all(t.tight for t in tokens[1:])
    if len(tokens) != 3 or tokens[1].text != "-" or {tokens[0].kind, tokens[2].kind} != {"number"}:
        return False
    first, last = tokens[0].text, tokens[2].text
    years = all(re.fullmatch(r"[12]\d{3}", text) for text in (first, last))
    return (years or tokens[1].tight) and (len(first), first) < (len(last), last)


def _may_be_converted(left: Sum, stated: Fraction, units: frozenset[str]) -> bool:
    """Whether the unit after the sign may be another one than before it: minutes and hours."""
    if left.units and units and left.units.isdisjoint(units):
        return True
    if not (left.units | units) - CURRENCIES or not stated or not left.value:
        return False
    if any(each in units and not (left.value - stated) % _PERIODS[each] for each in _PERIODS):
        return True
    ratio = abs(left.value / stated)
    ratio = max(ratio, 1 / ratio)
    if left.units and not units and ratio.denominator == 1 < ratio:
        return True
    return ratio in _CONVERSIONS


def _agree(left: Sum, stated: Fraction, right: Sum, *, loose: bool, hundredth: bool) -> bool:
    """Whether ``stated`` is what ``left`` comes to, up to rounding and the unit of a percent."""
    factors = (Fraction(1), Fraction(100), Fraction(1, 100)) if hundredth else (Fraction(1),)
    for factor in factors:
        wanted = left.value * factor
        gap = abs(wanted - stated)
        exact = left.whole and right.whole and factor == 1 and not loose
        # What was rounded before, or is cut off now: one unit of the last digit, or a hundredth.
        near = gap < Fraction(1, 10 ** _count_digits(stated)) or gap <= abs(wanted) / 100
        near = near or (loose and gap <= max(Fraction(1), abs(wanted) / 20))
        if not gap or (near and not exact):
            return True
    return False


def _count_digits(number: Fraction) -> int:
    """Digits after the point."""
    digits = 0
    while number.denominator != 1 and digits < MOST_DIGITS:
        number *= 10
        digits += 1
    return digits


def _find_left(tokens: Sequence[Token]) -> Sequence[Token] | None:
    """The sum that ``tokens`` end with, or None where what stands before it may belong to it.

    Where the words before it follow a number themselves ("20% of 50 + 3"), they may.
    """
    start = len(tokens)
    after_number = True  # a word before nothing is not a unit
    while start:
        token = tokens[start - 1]
        before = tokens[start - 2] if start > 1 else None
        if token.kind == "word":
            unit = before is not None and (
                before.kind in ("number", "money", "word") or before.text in "%)"
            )
            operand = start < len(tokens) and tokens[start].is_operand()
            if not unit or (not after_number and operand):
                break
        elif token.kind in ("number", "money", "operator"):
            after_number = False
        else:
            break
        start -= 1
    if start == len(tokens) or (start and not _may_begin(tokens[:start], tokens[start])):
        return None
    return tokens[start:]


def _may_begin(tokens: Sequence[Token], first: Token) -> bool:
    """Whether a sum that begins with ``first`` may stand after ``tokens``."""
    last = tokens[-1]
    before = tokens[-2] if len(tokens) > 1 else None
    if last.kind == "word":
        links = _LINKING.fullmatch(last.text) and _leaves_numbers(last)
        if not links or first.tight or not first.is_operand():
            return False
        kinds = (each.kind for each in reversed(tokens) if each.kind != "word")
        return next(kinds, "stop") == "stop"
    if last.kind != "stop":
        return False
    if before is None:
        return True
    if not first.is_operand() and last.text not in _BEFORE_MINUS:
        return False
    if last.text in "!?":
        return before.kind == "word"
    if last.text == CLOSING:
        return False
    if last.text == OPENING:
        return before.kind == "stop" or _leaves_numbers(before)
    if last.text == ":":
        step = len(tokens) == 3 and tokens[0].kind == "word"  # "Step 2: …"
        return last.tight and (step or _leaves_numbers(before))
    return last.text != BREAK or before.kind != "operator" or before.text in ")%"


def _leaves_numbers(token: Token) -> bool:
    """Whether it is a word that does not change the number after it, as "half" does."""
    return token.kind == "word" and _APPLIED.fullmatch(token.text) is None


def _find_right(tokens: Sequence[Token]) -> tuple[Sequence[Token], Sequence[Token]] | None:
    """The sum, or the number, that ``tokens`` begin with, and the words after it.

    They end with punctuation, or at the next sign of equality. None where the sum goes on after
    them, or may ("= 3 apples + 4", "= 2 hours 30 minutes", "= 5!").
    """
    kinds = [token.kind in ("number", "money", "operator") for token in tokens]
    end = [*kinds, False].index(False)
    behind = []
    ahead = [*tokens[end + 1 :], None, None]
    for place, token in enumerate(tokens[end:]):
        follows, after = ahead[place], ahead[place + 1]
        if token.kind == "word" and not (token.tight and not place):
            behind.append(token)
        elif token.kind != "stop" or token.text in "!?":
            return None
        elif token.text == CLOSING:
            if follows is not None and follows.kind not in ("word", "stop"):
                return None
        elif follows is None:
            break
        elif token.text == "," and follows.kind == "number":  # "= 3, 5" are two numbers
            if after is None or after.kind in ("stop", "word"):
                return None
            break
        elif (token.text, follows.kind) in ((":", "number"), (BREAK, "operator")):
            return None
        else:
            break
    return tokens[:end], behind
