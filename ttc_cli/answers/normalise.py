r"""Plain normal forms: the ``key`` that decides most comparisons without any algebra.

Keys of equal numbers are equal, however they were written (``1,234``, ``\$1234.00``,
``\frac{2468}{2}``). A percent sign, a currency, a degree and a trailing unit are dropped: the
question fixes them. Keys of LaTeX are the expression in one spelling; what two different
expressions are worth to each other is ``equivalence``'s business.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from ttc_cli.answers.structured import key_code, key_json
from ttc_cli.types import AnswerType

MAX_ANSWER = 2000
"""Characters; a longer "final answer" is none."""
_MAX_DIGITS = 400
_SIGNIFICANT = 12
"""Digits in which numbers that are not whole are compared."""

_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
        "×": r"\times ", "·": r"\cdot ", "÷": "/", "⁄": "/", "∕": "/",
        "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "±": r"\pm ", "≤": r"\leq ", "≥": r"\geq ",
        "²": "^2", "³": "^3", "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3",
        "°": "", "’": "'", "‘": "'", "“": '"', "”": '"', "，": ",", "\u00a0": " ", "\u202f": " ",
        "\u2009": " ", "€": "$", "£": "$", "¥": "$", "₹": "$",
    }
)  # fmt: skip

_PLAIN = r"(?:\d+(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)"
_DECIMAL = re.compile(rf"{_PLAIN}(?:[eE][+-]?\d+)?")
_RATIO = re.compile(rf"({_PLAIN})/({_PLAIN})")
_FRACTION = re.compile(rf"({_PLAIN})?\\frac\{{(-?{_PLAIN})\}}\{{(-?{_PLAIN})\}}")
_MIXED = re.compile(r"(\d+) +(\d+)/(\d+)")
_POWER = re.compile(rf"({_PLAIN})(?:\\times|\\cdot|\*|x)10(?:\^|\*\*)\{{?([+-]?\d+)\}}?")
_NUMBER_KEY = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")

_SPACING = re.compile(
    r"(?<!\\)\\[,;:! ]|\\q?quad\b|\\(?:displaystyle|limits|,)|~|\\(?:left|right|big|Big)(?![a-z])"
)
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boldsymbol|bf|rm)\*?"
    r"\s*\{([^{}]*)\}"
)
_UNIT = re.compile(r"(?<=[\d})])(?:\\ |\s)*\\(?:text|mathrm|textrm|mbox)\{[^{}]*\}(?:\^\{?\d\}?)?$")
_UNIT_WORDS = re.compile(
    r"(?<=[\d}]) +(?!(?:times|plus|minus|divided|multiplied|and|or|to)\b)"
    r"(?:[A-Za-z]{3,}|[ckm]m|kg|mg|ft|in|mi|oz|lbs?|hr|km/h)\b[A-Za-z .'/-]*(?:\^?\{?[23]\}?)?$"
)
_GLUED_UNIT = re.compile(
    r"(.*\d)\s*(?!times|plus|minus|divided|multiplied)"
    r"(?:[A-Za-z]{2,}|[mghslLc])(?:[ /.][A-Za-z /.]*)?"
)
_WORDS = re.compile(r"[^\W\d_]+(?:[\s'’.-]+[^\W\d_]+)*\.?")
_BASE = re.compile(r"[0-9A-Fa-f]+_\{?(\d+)\}?")
_ASSIGNED = re.compile(
    r"(?:\\(?:angle|theta|alpha|beta|lambda)\s*)?[A-Za-z]{0,3}(?:\([A-Za-z]\)|_\{?\w\}?)?\s*(?:=|\\in(?![a-z]))\s*(?=\S)"
)
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")

_YES = {"yes", "true", "y", "correct"}
_NO = {"no", "false", "n", "incorrect"}


def make_key(text: str, type: AnswerType) -> str | None:
    """The normal form of ``text`` as an answer of this type; None if it cannot be one."""
    long = type in (AnswerType.FREE, AnswerType.CODE, AnswerType.JSON)
    if not text.strip() or (not long and len(text) > MAX_ANSWER):
        return None
    match type:
        case AnswerType.CODE:
            return key_code(text)
        case AnswerType.JSON:
            return key_json(text)
        case AnswerType.NUMBER:
            return _key_number(text)
        case AnswerType.CHOICE:
            return _key_choice(text)
        case AnswerType.BOOLEAN:
            return _key_boolean(text)
        case AnswerType.TEXT:
            return read_number(text) or _key_text(text)
        case AnswerType.FREE:
            return text.strip()
        case AnswerType.LATEX | AnswerType.AUTO:
            latex = normalise_latex(text)
            return read_number(text) or read_number(latex) or latex or None


def is_number(key: str) -> bool:
    """Whether this key is that of a plain number: two such are equal only if identical."""
    return _NUMBER_KEY.fullmatch(key) is not None


def is_literal(key: str) -> bool:
    """Whether this key means its own letters: words, or a number in another base."""
    return bool(_BASE.fullmatch(key)) or (
        re.search(r"[^\W\d_]{3}", key) is not None
        and re.fullmatch(r"[^\W\d_]+( [^\W\d_]+)*", key) is not None
    )


def read_number(text: str) -> str | None:
    r"""The key of a plain number with an optional sign, currency, percent or unit, else None.

    Whole numbers are exact; others are rounded to 12 significant digits, which makes the
    comparison of ``1/3`` with ``0.333333333333`` an equivalence relation.
    """
    text = _tidy_number(text)
    sign = ""
    while text[:1] in ("-", "+", "(") and text:
        if text[0] == "(" and not (text.endswith(")") and "," not in text):
            return None
        text, sign = (text[1:-1], sign) if text[0] == "(" else (text[1:], _flip(sign, text[0]))
        text = text.strip()
    value = _read_unsigned(text)
    if value is None:
        return None
    return _write(-value if sign == "-" else value)


def _flip(sign: str, char: str) -> str:
    if char == "+":
        return sign
    return "" if sign == "-" else "-"


def _spell_symbols(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_SYMBOLS)).translate(_SYMBOLS)


def _tidy_number(text: str) -> str:
    text = strip_delimiters(_spell_symbols(text))
    text = _UNIT.sub("", text)
    text = unwrap_text(text)
    text = re.sub(r"\\[$%]|[$%]|\^\{?\\circ\}?|\\degree|USD\b", "", text)
    text = _SPACING.sub("", text).replace("{,}", ",")
    text = _UNIT_WORDS.sub("", text.strip())
    text = _spell_fractions(text).strip().rstrip(".")
    mixed = _MIXED.fullmatch(text)
    if mixed:
        return rf"{mixed[1]}\frac{{{mixed[2]}}}{{{mixed[3]}}}"
    return text.replace(" ", "") if re.search(r"[\\/*^]", text) else text


def _read_unsigned(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return _fraction(text)
    if match := _RATIO.fullmatch(text):
        return _divide(match[1], match[2])
    if match := _FRACTION.fullmatch(text):
        part = _divide(match[2], match[3])
        whole = _fraction(match[1]) if match[1] else Fraction(0)
        return None if part is None or whole is None else whole + part
    if match := _POWER.fullmatch(text):
        return _fraction(f"{match[1]}e{match[2]}")
    return None


def _divide(above: str, below: str) -> Fraction | None:
    top, bottom = _fraction(above), _fraction(below)
    return top / bottom if top is not None and bottom else None


def _fraction(text: str) -> Fraction | None:
    if len(text) > _MAX_DIGITS:
        return None
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return Fraction(value) if abs(value.adjusted()) <= _MAX_DIGITS else None


def _write(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    digits = f"{Decimal(value.numerator) / Decimal(value.denominator):.{_SIGNIFICANT - 1}e}"
    rounded = Fraction(Decimal(digits))
    if rounded.denominator == 1:
        return str(rounded.numerator)
    plain = f"{Decimal(digits).normalize():f}"
    return plain if len(plain) <= 2 * _SIGNIFICANT else f"{Decimal(digits).normalize():e}"


def _key_number(text: str) -> str | None:
    """A number; else a closed expression that stands for one; prose and names are none."""
    if (key := read_number(text)) is not None:
        return key
    latex = normalise_latex(text)
    if (key := read_number(latex)) is not None:
        return key
    if "=" in latex and (key := read_number(latex.rsplit("=", 1)[1])) is not None:
        return key
    if (glued := _GLUED_UNIT.fullmatch(latex)) and (key := read_number(glued[1])) is not None:
        return key
    closed = re.search(r"\d|\\(?:pi|sqrt|infty)", latex)
    prose = re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", " ", latex))
    return latex if closed and not prose else None


def _key_choice(text: str) -> str | None:
    text = unwrap_text(strip_delimiters(text)).strip()
    text = re.sub(
        r"^(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s*:?\s*", "", text, flags=re.I
    )
    if re.fullmatch(r"[a-z]\W*", text):
        text = text.upper()
    letter = re.match(
        r"\(?([A-Z])\)(?![A-Za-z])|([A-Z])(?:[.:,;](?=\s|$)|\s*$)|([B-HJ-Z])\s+(?=[A-Z\d])", text
    )
    return next(group for group in letter.groups() if group) if letter else None


def _key_boolean(text: str) -> str | None:
    word = re.match(r"[A-Za-z]+", unwrap_text(strip_delimiters(text)).strip())
    if word is None:
        return None
    if word[0].lower() in _YES:
        return "yes"
    return "no" if word[0].lower() in _NO else None


def _key_text(text: str) -> str | None:
    text = unwrap_text(strip_delimiters(_spell_symbols(text)))
    text = re.sub(r"(?<=\b\w)\.(?=\w\b)", "", text)
    words = re.sub(r"[^\w\s+#%$/.'-]|[.'-](?!\w)|(?<!\w)[.'-](?!\d)", " ", text.casefold())
    words = " ".join(words.replace("'", "").replace("_", " ").split())
    without = " ".join(_ARTICLES.sub(" ", words).split())
    return without or words or None


def strip_delimiters(text: str) -> str:
    """Without surrounding white space, Markdown emphasis, quotes and LaTeX math delimiters."""
    text = text.strip()
    while True:
        before = text
        for left, right in _DELIMITERS:
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
                text = text[len(left) : len(text) - len(right)].strip()
        if text == before:
            return text


_DELIMITERS = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"),
    ("`", "`"), ('"', '"'), ("*", "*"),
)  # fmt: skip


def unwrap_text(text: str) -> str:
    r"""``\text{…}`` and its like replaced by what they hold, innermost first."""
    while True:
        unwrapped = _WRAPPER.sub(r"\1", text)
        if unwrapped == text:
            return text
        text = unwrapped


def _spell_fractions(text: str) -> str:
    r"""``\dfrac``, ``\frac43``, ``\frac{a}7`` and ``\sqrt2`` with all their braces."""
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*(?=\{)", r"\\frac{\1}", text)
    return re.sub(r"\\sqrt\s*([0-9a-zA-Z])", r"\\sqrt{\1}", text)


def normalise_latex(text: str) -> str:
    r"""One spelling of a LaTeX answer: no layout, no units, ``x=`` and ``x\in`` dropped.

    Words (``\text{Evelyn}``) come out in lower case, a number in another base as ``52_8``.
    """
    text = strip_delimiters(_spell_symbols(text))
    if text.endswith(".") and not text.endswith(".."):
        text = strip_delimiters(text[:-1])
    text = _UNIT.sub("", text)
    bare = " ".join(_SPACING.sub(" ", unwrap_text(text)).split())
    if _WORDS.fullmatch(bare) and re.search(r"[^\W\d_]{3}", bare):
        return _key_text(bare) or ""
    text = re.sub(r"\\[$%]|(?<!\\)[$%]|\^\s*\{?\s*\\circ\s*\}?|\\degree", "", unwrap_text(text))
    text = _SPACING.sub(" ", text).replace("{,}", ",")
    text = re.sub(r" (?:or|and) ", ",", text)
    text = _spell_fractions(text)
    text = re.sub(r"\\(?:leq|le)(?![a-z])", r"\\leq", text)
    text = re.sub(r"\\(?:geq|ge)(?![a-z])", r"\\geq", text)
    text = re.sub(r"([_^])\s*\{\s*(\w)\s*\}", r"\1\2", text)
    if single := re.fullmatch(r"\\\{([^,{}]*)\\\}", text):
        text = single[1]
    assigned = _ASSIGNED.match(text)
    if assigned and "=" not in text[assigned.end() :]:
        text = text[assigned.end() :]
    if base := _BASE.fullmatch(text.replace(" ", "")):
        return f"{text.split('_')[0].strip()}_{base[1]}"
    text = " ".join(text.split())
    return re.sub(r"(\\[A-Za-z]+ (?=[A-Za-z]))| ", lambda kept: kept[1] or "", text)
