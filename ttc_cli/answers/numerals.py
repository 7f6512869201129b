r"""Plain numbers, however they are written: ``1,234``, ``\frac34``, ``2 1/2``, ``\$4k``, ``5 km``.

The number must be all that the text says, apart from what may surround it: a sign, a currency, a
percent or degree sign, a word of magnitude (which counts) and a unit (which the question fixes).
Text that can be read in two ways is not a plain number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from ttc_cli.answers.spelling import TABLES, WRAPPER, unwrap_text

_MAX_DIGITS = 400
_SIGNIFICANT = 12
_SIMPLE = 10**5
"""Fractions of numbers up to this differ within 12 significant digits."""
_NUMBER_KEY = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?|-?\d+/\d+")


class Reading(Enum):
    """The words that may follow a number without changing it."""

    NUMBER = "any thing that is counted or measured"
    LATEX = "a unit; letters alone may be variables"
    TEXT = "none: what is counted is part of the answer"


_GROUPS = (
    r"[1-9]\d{0,2}(?:,\d{3})+(?![\d,])", r"[1-9]\d{0,2}(?: \d{3})+(?![\d,])",
    r"[1-9]\d{0,2}(?:'\d{3})+(?![\d'])", r"[1-9]\d?(?:,\d{2})+,\d{3}(?![\d,])",
)  # fmt: skip
_WHOLE = rf"(?:{'|'.join(_GROUPS)}|\d+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d+|\.$)?|\.\d+)"
_SIGNED = rf"[-+]?{_DECIMAL}"
_EUROPEAN = re.compile(
    r"([1-9]\d{0,2}(?:[. ]\d{3})+|\d+),(\d{1,2})(?![\d.,])|([1-9]\d{0,2}(?:\.\d{3}){2,})(?![\d.,])"
)
_REPEATING = re.compile(
    r"(\d*)\.(?:(\d*)(?:\\(?:overline|bar|dot) ?(?:\{(\d+)\}|(\d))|\((\d+)\))|"
    r"(\d{0,9}?)(\d{1,6}?)\7{2,99}(?:\.\.\.|\\[lc]?dots))"
)
_MIXED = re.compile(
    rf"({_WHOLE})(?: ?\\frac\{{(\d+)\}}\{{(\d+)\}}| (\d+) ?/ ?(\d+)| \((\d+) ?/ ?(\d+)\))(?!\d)"
)
_MIXED_INSIDE = re.compile(rf"(?<![\w.^_)}}\]\\])(?<!\d[ ,]){_MIXED.pattern}")
_FRACTION = re.compile(rf"\\frac\{{ ?({_SIGNED}) ?\}}\{{ ?({_SIGNED}) ?\}}")
_RATIO = re.compile(rf"({_DECIMAL}) ?(?:/|\\div) ?({_DECIMAL})(?![\w(\\])")
_SCIENTIFIC = re.compile(
    rf"({_DECIMAL}) ?(?:\\times|\\cdot|\*|[xX]) ?10 ?(?:\^|\*\*) ?"
    r"(?:\{ ?([-+]?\d+) ?\}|([-+]?\d+))"
)
_POWER = re.compile(r"(\d+) ?(?:\^|\*\*) ?(?:\{ ?([-+]?\d+) ?\}|(-?\d+))(?![\d!])")
_NAME = re.compile(r"0\d|\d+ ?/|\\frac")
"""Figures that name something: 007, the date, time or score 3/4."""
_EXPONENT = re.compile(rf"({_DECIMAL})(?:[eE]([-+]?\d+))?")

_INDIAN = re.compile(r"\d\d?(?:,\d{2})+,\d{3}")

FOREIGN = rf"(?:{'|'.join(TABLES['currencies']['codes'].split())})\b|zł|RM(?=\d)"
"""Currencies other than the dollar, which goes without saying."""
DOLLARS = r"(?:AU|CA|NZ|HK|NT|Mex|[ACRS])(?=\\?\$)"
_CURRENCY = rf"(?:(?:US|{DOLLARS})?\\?\$|USD\b|(?:{FOREIGN})\.?)"
_BEFORE = re.compile(
    rf" ?(?:(?P<minus>-|(?i:minus|negative)\b)|\+|(?i:plus)\b|(?P<currency>{_CURRENCY})|="
    r"|\\(?:approx|sim|simeq|cong)(?![A-Za-z])"
    r"|(?i:about|approximately|approx\b\.?|roughly|around|nearly|almost|exactly)(?![A-Za-z]))"
)
_AFTER_CURRENCY = re.compile(rf" ?{_CURRENCY}$")
_MAGNITUDES, _LETTERS = TABLES["magnitudes"], TABLES["letters"]
_MAGNITUDE = re.compile(r"[ -]?(" + "|".join(_MAGNITUDES) + r")s?(?![A-Za-z])", re.IGNORECASE)
_LETTER = re.compile(rf"( ?)({'|'.join(_LETTERS)})(?![A-Za-z\d^_'/])")
_MARK = re.compile(
    rf" ?(?:\\?%|percent\b|per cent\b|pct\b|{_CURRENCY}|\^ ?\{{? ?\\circ ?\}}?|\\degree\b)"
)

_UNIT_SHAPE = re.compile(r"(?:[^\W\d_]|[ .'/*()%-]|\^ ?\{?-?\d\}?|(?<=[A-Za-z])[23](?!\d))+")
_FRACTION_OF_UNITS = re.compile(r"\\frac ?\{([^{}]*)\}\{([^{}]*)\}")
_TRAILING_UNIT = re.compile(
    rf"(?<=\S)(?: ?(?:\\cdot |/ ?)?(?:{WRAPPER.pattern})(?:\^ ?\{{?-?\d\}}?)?)+$"
)
_SHORT_UNITS, _LETTER_UNITS, _UNIT_WORDS, _CHANGES = (
    frozenset(TABLES["units"][kind].split()) for kind in ("short", "letters", "words", "never")
)
_OTHER_WORDS = re.compile(r"illion(?:th)?|(?:eleven|twelf|teen|tie)th")
"""quintillion, trillionths, twentieths"""
_METRIC = re.compile(r"[munpkMGTcdhµ](?:m|g|s|L|l|A|V|W|J|N|T|F|C|H|Hz|Pa|eV|Ω|mol|B)")


def is_number(key: str) -> bool:
    """Whether this is the key of a plain number: such keys are equal only if identical."""
    return _NUMBER_KEY.fullmatch(key) is not None


def read_number(text: str, reading: Reading = Reading.NUMBER) -> str | None:
    r"""The key of a plain number with an optional sign, currency, percent or unit, else None.

    Args:
        text: as ``spelling.tidy`` leaves it.
        reading: which words may follow.
    """
    while (front := WRAPPER.match(text)) and text != (bare := front[1] + text[front.end() :]):
        text = bare.strip()
    value = _read(text, reading)
    return None if value is None else write_number(value)


def write_number(value: Fraction) -> str:
    """The key of a number: distinct ones have distinct keys.

    Whole numbers and decimals of up to 12 digits are written out, and so is a fraction of small
    numbers, rounded to 12 significant digits, which makes ``0.333333333333`` mean ``1/3``; other
    fractions are written as such.
    """
    if value.denominator == 1:
        return str(value.numerator)
    digits = f"{Decimal(value.numerator) / Decimal(value.denominator):.{_SIGNIFICANT - 1}e}"
    simple = abs(value.numerator) <= _SIMPLE and value.denominator <= _SIMPLE
    if not simple and Fraction(digits) != value:
        return f"{value.numerator}/{value.denominator}"
    plain = f"{Decimal(digits).normalize():f}"
    return plain if len(plain) <= 2 * _SIGNIFICANT else f"{Decimal(digits).normalize():e}"


def _read(text: str, reading: Reading) -> Fraction | None:
    sign, currency = 1, _AFTER_CURRENCY.search(text) is not None
    while match := _BEFORE.match(text):
        sign = -sign if match["minus"] else sign
        currency = currency or bool(match["currency"])
        text = text[match.end() :].lstrip()
    if text.startswith("(") and text.endswith(")") and "," not in text:
        inner = _read(text[1:-1].strip(), reading)
        return None if inner is None else sign * inner
    if reading is Reading.TEXT and _NAME.match(text):
        return None
    if reading is Reading.LATEX and not currency and _INDIAN.match(text):
        return None  # a list
    found = _read_unsigned(text, currency or reading is Reading.NUMBER, currency)
    if found is None:
        return None
    value, end = found
    factor = _read_rest(text[end:], reading, currency)
    return None if factor is None else sign * value * factor


def _read_unsigned(text: str, grouped: bool, currency: bool) -> tuple[Fraction, int] | None:
    """The number at the front of ``text`` and where it ends."""
    if match := _EUROPEAN.match(text):
        grouping = match[3] or ("." in match[1] or " " in match[1])
        if currency or (grouped and grouping):
            whole = re.sub(r"\D", "", match[1] or match[3])
            return Fraction(f"{whole}.{match[2] or 0}"), match.end()
    for pattern, read in _FORMS:
        if match := pattern.match(text):
            value = read(*(group for group in match.groups() if group is not None))
            return None if value is None else (value, match.end())
    return None


def _digits(text: str) -> str:
    return re.sub(r"[ ,']", "", text)


def _mix(whole: str, above: str, below: str) -> Fraction | None:
    part = _divide(above, below)
    return None if part is None or part >= 1 else Fraction(_digits(whole)) + part


def _divide(above: str, below: str) -> Fraction | None:
    top, bottom = _scale(above), _scale(below)
    return top / bottom if top is not None and bottom else None


def _scale(digits: str, exponent: str = "0") -> Fraction | None:
    digits = _digits(digits)
    if len(digits) > _MAX_DIGITS or len(exponent) > 4 or abs(int(exponent)) > _MAX_DIGITS:
        return None
    return _settle(digits) * Fraction(10) ** int(exponent)


def _raise(base: str, exponent: str) -> Fraction | None:
    if len(exponent) > 4 or len(base) * abs(int(exponent)) > _MAX_DIGITS or not int(base):
        return None
    return Fraction(int(base)) ** int(exponent)


def _repeat(whole: str, fixed: str, block: str) -> Fraction:
    nines = (10 ** len(block) - 1) * 10 ** len(fixed)
    return Fraction(f"{whole or 0}.{fixed or 0}") + Fraction(int(block), nines)


_FORMS: tuple[tuple[re.Pattern[str], Callable[..., Fraction | None]], ...] = (
    (_REPEATING, _repeat), (_MIXED, _mix), (_FRACTION, _divide), (_RATIO, _divide),
    (_SCIENTIFIC, _scale), (_POWER, _raise), (_EXPONENT, _scale),
)  # fmt: skip


def _settle(digits: str) -> Fraction:
    """A decimal; one that is a simple fraction cut off after many digits is that fraction."""
    value = Fraction(digits.rstrip(".") if digits.rstrip(".") else digits)
    decimals = len(digits.partition(".")[2])
    if decimals < 8 or len(digits) <= _SIGNIFICANT:
        return value
    near = value.limit_denominator(1000)
    return near if abs(near - value) < Fraction(10, 10**decimals) else value


def _read_rest(rest: str, reading: Reading, currency: bool) -> int | None:
    """What the words after a number multiply it by; None if they make something else of it."""
    factor = 1
    rest = re.sub(r"\^ ?\{ ?(-?\d+) ?\}", r"^\1", rest)
    unwrapped = unwrap_text(rest)
    while match := _MAGNITUDE.match(unwrapped):
        factor *= _MAGNITUDES[match[1].lower()]
        rest = unwrapped = unwrapped[match.end() :]
    if factor == 1 and (letter := _LETTER.match(unwrapped)):
        blank, name = letter.groups()
        if name in ("K", "T") and not (blank or currency):
            return None  # thousands or kelvin
        # 4k and 5M are thousands and millions; 300 K and 5m are kelvin and metres
        counts = len(name) > 1 or not (blank or name == "m")
        if currency or (counts and reading is not Reading.LATEX):
            factor, rest = _LETTERS[name], unwrapped[letter.end() :]
    while match := _MARK.match(rest):
        rest = rest[match.end() :]
    rest = rest.rstrip(" .'\"" if reading is Reading.NUMBER else " .")
    return factor if not rest or _is_unit(rest, reading) else None


def drop_unit(text: str) -> str:
    r"""An expression without the ``\text{ cm}^2`` after it."""
    match = _TRAILING_UNIT.search(text)
    return text[: match.start()] if match and _is_unit(match[0], Reading.LATEX) else text


def spell_mixed(text: str) -> str:
    r"""Mixed numbers in an expression as one fraction each: ``2 1/4`` as ``\frac{9}{4}``."""
    return _MIXED_INSIDE.sub(_improper, text)


def _improper(match: re.Match[str]) -> str:
    value = _mix(*(group for group in match.groups() if group is not None))
    return match[0] if value is None else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _is_unit(rest: str, reading: Reading) -> bool:
    if reading is Reading.TEXT:
        return False
    plain = _FRACTION_OF_UNITS.sub(r"\1/\2", unwrap_text(rest))
    plain = re.sub(r"\\(?:cdot|times)\b", "*", plain).replace("\\", "")
    plain = re.sub(r"(?<![A-Za-z])mu (?=[A-Za-zΩ])", "µ", plain.replace("Omega", "Ω"))
    if not _UNIT_SHAPE.fullmatch(plain) or not re.match(r" *[(/-]? ?[^\W\d_]", plain):
        return False
    words = re.findall(r"[^\W\d_]+", re.sub(r"^ an? (?=[a-z])", " ", plain))
    if any(_changes(word, place) for place, word in enumerate(words)):
        return False
    if _MAGNITUDE.search(plain) or (len(words) == 1 and words[0] in ("k", "M", "B", "T")):
        return False
    outside = re.sub(r"\\(?:frac|cdot|times)\b|\\ ", " ", WRAPPER.sub(" ", rest))
    bare = re.findall(r"[^\W\d_]+", outside)
    if reading is Reading.LATEX:
        glued = bare and not rest.startswith((" ", "}", "\\", "/"))
        return not glued and all(
            word in _SHORT_UNITS - {"mg", "pt", "mo", "ha"} or _singular(word) in _UNIT_WORDS
            for word in bare
        )
    first, *_ = words
    if plain.lstrip().startswith("/") and len(first) == 1:  # 3/t
        return False
    if any(len(word) == 1 and word not in _LETTER_UNITS | {"a"} for word in words):
        return False
    long = len(first) >= (3 if rest.startswith(" ") or bare != words else 4)
    known = first in _SHORT_UNITS | _LETTER_UNITS or _singular(first) in _UNIT_WORDS
    return long or known or _METRIC.fullmatch(first) is not None


def _changes(word: str, place: int) -> bool:
    """Whether a word is more than a unit; metres per second are squared, numbers are not."""
    word = word.lower()
    if place and word in ("squared", "cubed"):
        return False
    return bool({word, _singular(word)} & _CHANGES or _OTHER_WORDS.search(word))


def _singular(word: str) -> str:
    word = word.lower()
    return word.removesuffix("s") if len(word) > 3 else word
