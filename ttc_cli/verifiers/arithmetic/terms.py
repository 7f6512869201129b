"""The exact value of a sum, and whether it can be read in another way.

Only numbers, the four operations, percents, small whole powers and brackets are evaluated.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ttc_cli.verifiers.arithmetic.notation import Token, match_words

MOST_DIGITS = 18
_MOST_POWER = 6
_DEEPEST = 20
_MOST_BITS = 512
"""Of a numerator or denominator along the way; no written sum needs more."""

_CURRENCY = {"$": "dollar", "€": "euro", "£": "£"}
CURRENCIES = frozenset(_CURRENCY.values())
_OTHER_VALUE = re.compile(match_words("other_value"))
_GROUPED = re.compile(r"\d{1,3}[.,]\d{3}")
_ROUNDED = re.compile(r"\.\d\d")
_MOST_PARTS = 12
"""Of the fractions that two decimals or more may stand for."""
_SHORT_UNIT = re.compile(r"kg|km|cm|mm|ml|mg|lb|oz|ft|hr|mi|yd|TV|CD|PC", re.IGNORECASE)
"""Of two letters; others may be variables, or π."""
_LEADING_ZERO = re.compile(r"0[\d,]")


@dataclass(frozen=True, slots=True)
class Convention:
    """How the numbers and percents of a sum are meant.

    ``relative``: a percent that is added or taken away is one of what stands before it, as on a
    pocket calculator. ``continental``: 1.250,75 for 1250¾. ``repeating``: 0.33 for a third.
    """

    relative: bool = False
    continental: bool = False
    repeating: bool = False


@dataclass(slots=True)
class Sum:
    """An expression that is understood.

    Attributes:
        value: what it comes to.
        first: its first operand, with its sign.
        units: words after its operands, in the singular, and currencies.
        computed: whether it has an operator.
        whole: only whole numbers, added, subtracted and multiplied: there is nothing to round.
        relative: whether it adds or takes away a percent of what stands before it.
        doubtful: it may be meant in another way, so it is never called wrong.
    """

    value: Fraction = Fraction(0)
    first: Fraction = Fraction(0)
    units: frozenset[str] = frozenset()
    computed: bool = False
    whole: bool = True
    relative: bool = False
    doubtful: bool = False


def find_conventions(tokens: Sequence[Token]) -> list[Convention]:
    """The conventions that ``tokens`` may follow, the usual one first."""
    texts = [token.text for token in tokens]
    there = "%" in texts, any(map(_GROUPED.fullmatch, texts)), any(map(_ROUNDED.search, texts))
    choices = [(False, True) if each else (False,) for each in there]
    return [Convention(*each) for each in itertools.product(*choices)]


def name_units(words: Sequence[Token]) -> frozenset[str]:
    """``words`` and signs of currency as units: in the singular and in small letters."""
    return frozenset(_CURRENCY.get(each.text, each.text.lower().rstrip("s")) for each in words)


def is_other_value(units: frozenset[str]) -> bool:
    """Whether one of ``units`` makes another number of the one before it, as "million" does."""
    return any(_OTHER_VALUE.fullmatch(each) is not None for each in units)


def read_sum(tokens: Sequence[Token], convention: Convention) -> Sum | None:
    """The sum that ``tokens`` make, or None if they are not understood as one."""
    try:
        return _Parser(tokens, convention).read_all()
    except (_NotASum, ZeroDivisionError):
        return None


_END = Token("end", "", tight=False)


class _NotASum(Exception):
    """The tokens are not understood as a sum."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of a sum. ``percent``: nothing but a percent, or several added.

    ``share``: there is a percent in it.
    """

    value: Fraction
    units: frozenset[str] = frozenset()
    percent: bool = False
    share: bool = False


def _bound(value: Fraction, times: int = 1) -> Fraction:
    """``value``, unless it is too large to be multiplied ``times`` times by itself."""
    if times * max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise _NotASum
    return value


class _Parser:
    """Recursive descent over one sum. Words right after an operand are its unit."""

    def __init__(self, tokens: Sequence[Token], convention: Convention) -> None:
        self._tokens = (*tokens, _END)
        self._convention = convention
        self._place = self._depth = 0
        self._started = False
        self._sum = Sum()

    def read_all(self) -> Sum:
        term = self._read_terms()
        if self._next is not _END:
            raise _NotASum
        self._sum.value, self._sum.units = term.value, term.units
        self._sum.doubtful |= is_other_value(term.units)
        return self._sum

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self, texts: str) -> str | None:
        token = self._next
        if token.kind != "operator" or token.text not in texts:
            return None
        self._place += 1
        return token.text

    def _read_terms(self) -> _Term:
        terms = [self._read_factors()]
        value = terms[0].value
        while sign := self._take("+-"):
            self._sum.computed = True
            other = self._read_factors()
            part = other.value
            if other.share and not terms[0].share:
                self._sum.relative |= other.percent
                if self._convention.relative:
                    part *= value
            value = _bound(value + part if sign == "+" else value - part)
            terms.append(other)
        units = [each.units for each in terms]
        leads, *others = [each.percent for each in terms]
        mixed = not all(others) if leads else sum(others) > 1  # 100% - 30, 80 - 25% - 10%
        self._sum.doubtful |= mixed or not _fit(units)
        share = any(each.share for each in terms)
        return _Term(value, frozenset().union(*units), leads and all(others), share)

    def _read_factors(self) -> _Term:
        term = self._read_power()
        divided = False
        while True:
            before = self._tokens[self._place - 1]
            sign = self._take("*/")
            if sign is None:  # or a bracket right after a number or a bracket: 2(3 + 4)
                factor = before.kind == "number" or before.text == ")"
                if self._next.text != "(" or not self._next.tight or not factor:
                    return term
                self._sum.doubtful |= divided or "." in before.text  # 6 / 2(1 + 2), 0.1(6)
            other = self._read_power()
            if sign == "/":
                divided, self._sum.whole = True, False
                value = term.value / other.value
            else:
                value = term.value * other.value
            self._sum.computed = True
            units, share = term.units | other.units, term.share or other.share
            term = _Term(_bound(value), units, share=share)

    def _read_power(self) -> _Term:
        negative = self._next.text == "-"
        term = self._read_operand()
        value, percent = term.value, term.percent
        if self._take("^"):
            power = self._read_number()
            if power.denominator != 1 or power > _MOST_POWER:
                raise _NotASum
            self._sum.computed = True
            self._sum.doubtful |= negative  # -2^2
            value = _bound(value, int(power)) ** int(power)
            percent = False
        while self._take("%"):
            self._sum.whole = False
            value, percent = value / 100, True
        return _Term(value, term.units | self._read_unit(), percent, term.share or percent)

    def _read_operand(self) -> _Term:
        leads = not self._started
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotASum
        if self._take("-"):
            term = self._read_operand()
            term = replace(term, value=-term.value)
        elif self._take("("):
            term = self._read_terms()
            if not self._take(")"):
                raise _NotASum
        else:
            start = self._place
            self._place += self._next.kind == "money"
            currency = name_units(self._tokens[start : self._place])
            term = _Term(self._read_number(), currency)
        self._depth -= 1
        if leads:  # with its sign: that of a bracket or a number within it is not meant
            self._sum.first = term.value
        return term

    def _read_number(self) -> Fraction:
        token = self._next
        if token.kind != "number" or len(token.text) > MOST_DIGITS:
            raise _NotASum
        self._place += 1
        self._started = True
        text = re.sub(r"[{}]", "", token.text)
        if _LEADING_ZERO.match(text):  # a date, a time, a code
            self._sum.doubtful = True
        if self._convention.continental:
            text = text.translate({ord("."): ",", ord(","): "."})
            if text.count(".") > 1 or ("," in text and _GROUPED.fullmatch(text) is None):
                raise _NotASum
        number = Fraction(text.replace(",", ""))
        if "." in text:
            self._sum.whole = False
        if self._convention.repeating and _ROUNDED.search(text):
            exact = number.limit_denominator(_MOST_PARTS)
            if abs(exact - number) < Fraction(1, 10 ** len(text.split(".")[1])):
                return exact
        return number

    def _read_unit(self) -> frozenset[str]:
        start = self._place
        while (token := self._next).kind in ("word", "money"):
            short = len(token.text) == 2 and _SHORT_UNIT.fullmatch(token.text) is None
            if token.kind == "word" and (token.tight or short):  # 5kg, 0xFF, 2 pi, 2 ab
                self._sum.doubtful = True
            self._place += 1
        return name_units(self._tokens[start : self._place])


def _fit(units: Sequence[frozenset[str]]) -> bool:
    """Whether what has these units can be added: all have the same, or none.

    A number without one may stand beside amounts of money.
    """
    named = [each for each in units if each]
    if not named:
        return True
    common = frozenset.intersection(*named)
    return bool(common and (len(named) == len(units) or common & CURRENCIES))
