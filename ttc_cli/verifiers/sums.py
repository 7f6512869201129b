"""The sums that a text writes out, worked out again.

Nothing is evaluated but numbers, the four operations, percents, small whole powers, fractions and
brackets, exactly, by the parser below. What it is not sure to understand (variables, units that
differ, prose between numbers) it leaves alone: a slip that is none would cost a right answer its
vote, one that is missed costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_MOST_CHARACTERS = 100_000
"""Of a text that is read; more is no solution that a person would check."""
_MOST_TOKENS = 400
"""Of a line: a longer one is no sum."""
_MOST_DIGITS = 18
_MOST_POWER = 6
_DEEPEST = 20
_MOST_BITS = 512
"""Of a numerator or denominator on the way: no sum that a text writes out needs more."""

_REWRITTEN = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\\(?:boxed|mathrm|mathbf|textbf|text)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" ((\1)/(\2)) "),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:left|right|displaystyle|,|!|;|:| )", ""),
        (r"\\(?:approx|simeq|sim)(?![A-Za-z])", " ≈ "),
        (r"\\%", "%"),
        (r"\\[()\[\]]|\$\$", " ; "),
        (r"\\?[$€£]", ""),
        (r"&=|=&", "="),
        (r"\\\\|\\q?quad(?![A-Za-z])", " ; "),
        (r"(?<=\d)\*\*(?=\d)", "^"),
        (r"\*\*|__", " "),
        (r"[×⋅·∗]", "*"),
        (r"÷", "/"),
        (r"[−–]", "-"),
        (r"(?<=[\d)])\s+[xX]\s+(?=[\d(])|(?<=\d)[xX](?=\d)", " * "),
        (r"\^\s*\{\s*(\d)\s*\}", r"^\1"),
        (r"(?<=\d)\{?,\}?(?=\d{3}(?!\d))", ""),
    )
)
_BULLET = re.compile(r"^\s*(?:[-*•+]\s+|\d{1,3}[.)]\s+|#+\s+)")
_EQUALS = re.compile(r"(?<![<>!:=≠])=(?!=)")
_LEAD = re.compile(r"(?:\s|&|\\?[$€£]|\\boxed\{|\*\*|\\[,;:! ])*")
"""What may stand between a sign of equality and the number."""
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<word>[^\W\d_]{2,}(?:[-'’][^\W\d_]+)*)"
    rf"|(?P<equals>{_EQUALS.pattern})"
    r"|(?P<operator>[-+*/^()%])"
    r"|(?P<stop>[,;:.!?≈](?=\s|$))"
    r"|(?P<blank>\s+)"
    r"|(?P<other>.)"
)
_ABOUT = re.compile(r"≈|\b(?:about|approx\w*|around|nearly|round\w*|roughly|almost)\b", re.I)
_CENTS = re.compile(r"[%¢]|\b(?:cents?|percent\w*|penn(?:y|ies))\b", re.I)


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
        return f"{self.written} is {float(self.value):g}, not {float(self.stated):g}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    tight: bool
    """No blank before it."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """An expression: its value, whether it has an operator, and its first number."""

    value: Fraction
    computed: bool
    first: Fraction
    whole: bool
    """Only whole numbers, added, subtracted and multiplied: nothing to round."""
    text: str


@lru_cache(maxsize=8192)  # a bench asks about the samples of its pool again and again
def check_sums(text: str) -> tuple[Slip | None, ...]:
    """For each sum of ``text`` that can be checked, in their order, its slip, or None if right."""
    return tuple(_check(text))


def _check(text: str) -> Iterator[Slip | None]:
    ahead = 0
    for written in text[:_MOST_CHARACTERS].splitlines(keepends=True):
        behind, ahead = ahead, ahead + len(written)
        if "=" not in written:
            continue
        places = [behind + sign.end() for sign in _EQUALS.finditer(written)]
        line = _BULLET.sub("", written, count=1)
        loose = _ABOUT.search(line) is not None
        hundredth = _CENTS.search(line) is not None
        for pattern, new in _REWRITTEN:
            line = pattern.sub(new, line)
        tokens = list(_scan(line))
        if len(tokens) > _MOST_TOKENS:
            continue
        signs = [place for place, token in enumerate(tokens) if token.kind == "equals"]
        for order, sign in enumerate(signs):
            start = signs[order - 1] + 1 if order else 0
            end = signs[order + 1] if order + 1 < len(signs) else len(tokens)
            left = _read_left(tokens[start:sign])
            right = _read_right(tokens[sign + 1 : end])
            if left is None or right is None or not left.computed:
                continue
            # "2 * 3 = 6 * 4 = 24" runs on: the sum before the sign comes to the number behind it.
            fine = any(
                _agree(left, stated, right, loose=loose, hundredth=hundredth)
                for stated in {right.value, right.first}
            )
            if fine:
                yield None
                continue
            place = None
            if len(places) == len(signs) and not hundredth:  # else its unit is a guess
                found = _LEAD.match(text, places[order])
                place = found.end() if found is not None else None
            yield Slip(left.text, right.value, left.value, place)


def find_first(text: str) -> Slip | None:
    """The first wrong sum of ``text``."""
    return next((slip for slip in check_sums(text) if slip is not None), None)


def _agree(left: _Sum, stated: Fraction, right: _Sum, *, loose: bool, hundredth: bool) -> bool:
    """Whether ``stated`` is what ``left`` comes to, up to rounding and the unit of a percent."""
    factors = (Fraction(1), Fraction(100), Fraction(1, 100)) if hundredth else (Fraction(1),)
    for factor in factors:
        wanted = left.value * factor
        gap = abs(wanted - stated)
        if not gap:
            return True
        if left.whole and right.whole and factor == 1 and not loose:
            continue
        # What was rounded before, or is cut off now: one unit of the last digit, or a hundredth.
        unit = Fraction(1) if stated.denominator == 1 else Fraction(1, 10 ** _count_digits(stated))
        if gap < unit or gap <= abs(wanted) / 100:
            return True
        if loose and gap <= max(Fraction(1), abs(wanted) / 20):
            return True
    return False


def _count_digits(number: Fraction) -> int:
    """Digits behind the point."""
    digits = 0
    while number.denominator != 1 and digits < _MOST_DIGITS:
        number *= 10
        digits += 1
    return digits


def _scan(line: str) -> Iterator[_Token]:
    tight = False
    for found in _TOKEN.finditer(line):
        kind = found.lastgroup or "other"
        if kind == "blank":
            tight = False
            continue
        yield _Token(kind, found.group(), tight)
        tight = True


def _read_left(tokens: Sequence[_Token]) -> _Sum | None:
    """The sum that ends where ``tokens`` end, behind words, a sign of punctuation, or nothing.

    Where the words before it follow a number themselves ("20% of 50 + 3"), they may belong to it.
    """
    start = len(tokens)
    after_number = True  # a word in front of nothing is no unit
    while start:
        token = tokens[start - 1]
        before = tokens[start - 2] if start > 1 else None
        if token.kind in ("number", "operator"):
            after_number = False
        elif token.kind == "word":
            unit = before is not None and (before.kind in ("number", "word") or before.text in "%)")
            if not unit or (not after_number and _is_operand(tokens, start)):
                break
        else:
            break
        start -= 1
    if start and tokens[start - 1].kind == "other":
        return None
    if start and tokens[start - 1].kind == "word":
        ahead = start - 1
        while ahead and tokens[ahead - 1].kind == "word":
            ahead -= 1
        if ahead and tokens[ahead - 1].kind not in ("stop", "equals"):
            return None
    return _Parser(tokens[start:]).read_all()


def _is_operand(tokens: Sequence[_Token], start: int) -> bool:
    """Whether what begins at ``start`` is a number or bracket, and no operator."""
    return start < len(tokens) and (tokens[start].kind == "number" or tokens[start].text == "(")


def _read_right(tokens: Sequence[_Token]) -> _Sum | None:
    """The sum, or the number, that ``tokens`` begin with.

    It ends with punctuation, with words, or at the next sign of equality.
    """
    end = 0
    while end < len(tokens) and tokens[end].kind in ("number", "operator"):
        end += 1
    if end < len(tokens):
        follows = tokens[end]
        if follows.kind == "other" or (follows.kind == "word" and follows.tight):
            return None
        if follows.kind == "word":
            rest = tokens[end:]
            # "= 3 apples + 4": the sum goes on behind its unit.
            if any(each.kind in ("operator", "other") for each in rest):
                return None
    return _Parser(tokens[:end]).read_all()


class _NotASum(Exception):
    """The tokens are no sum that is understood."""


def _bound(value: Fraction, times: int = 1) -> Fraction:
    """``value``, unless it is too large to be multiplied ``times`` times by itself."""
    if times * max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise _NotASum
    return value


class _Parser:
    """Recursive descent over one sum. Words right behind an operand are its unit."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._computed = False
        self._whole = True
        self._first: Fraction | None = None
        self._units: set[str] = set()
        self._added = False

    def read_all(self) -> _Sum | None:
        """The sum of all tokens, or None."""
        try:
            value = self._read_terms()
        except (_NotASum, ZeroDivisionError):
            return None
        if self._place < len(self._tokens) or self._first is None:
            return None
        if self._added and len(self._units) > 1:
            return None  # 2 feet + 6 inches
        text = " ".join(token.text for token in self._tokens)
        return _Sum(value, self._computed, self._first, self._whole, text)

    def _peek(self) -> _Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self, texts: str) -> str | None:
        token = self._peek()
        if token is None or token.kind != "operator" or token.text not in texts:
            return None
        self._place += 1
        return token.text

    def _read_terms(self) -> Fraction:
        value = self._read_factors()
        while sign := self._take("+-"):
            self._computed = self._added = True
            other = self._read_factors()
            value = _bound(value + other if sign == "+" else value - other)
        return value

    def _read_factors(self) -> Fraction:
        value = self._read_power()
        while True:
            token = self._peek()
            if sign := self._take("*/"):
                self._computed = True
                other = self._read_power()
                if sign == "/":
                    self._whole = False
                    value = _bound(value / other)
                else:
                    value = _bound(value * other)
            elif token is not None and token.text == "(" and token.tight:  # 2(3 + 4)
                self._computed = True
                value = _bound(value * self._read_power())
            else:
                return value

    def _read_power(self) -> Fraction:
        value = self._read_operand()
        if self._take("^"):
            power = self._read_number()
            if power.denominator != 1 or power > _MOST_POWER:
                raise _NotASum
            self._computed = True
            value = _bound(value, int(power)) ** int(power)
        while self._take("%"):
            self._whole = False
            value = value / 100
        self._skip_unit()
        return value

    def _read_operand(self) -> Fraction:
        leads = self._first is None
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotASum
        try:
            if self._take("-"):
                value = -self._read_operand()
            elif self._take("("):
                value = self._read_terms()
                if not self._take(")"):
                    raise _NotASum
            else:
                value = self._read_number()
        finally:
            self._depth -= 1
        if leads:  # with its sign: that of a bracket or a number within it is not meant
            self._first = value
        return value

    def _read_number(self) -> Fraction:
        token = self._peek()
        if token is None or token.kind != "number" or len(token.text) > _MOST_DIGITS:
            raise _NotASum
        self._place += 1
        if "." in token.text:
            self._whole = False
        return Fraction(token.text)

    def _skip_unit(self) -> None:
        words = []
        while (token := self._peek()) is not None and token.kind == "word":
            words.append(token.text.lower().rstrip("s"))
            self._place += 1
        if words:
            self._units.add(" ".join(words))
