r"""Plain normal forms: the ``key`` that decides most comparisons without any algebra.

Keys of equal numbers are equal, however they were written. Of type ``NUMBER`` a percent sign, a
currency, a degree and a unit are dropped: the question fixes them. Keys of LaTeX are in one
spelling, lists in one order; whether two different expressions are equal is for ``equivalence`` to
say.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from ttc_cli.answers.numerals import Reading, drop_unit, read_number, spell_mixed
from ttc_cli.answers.spelling import WRAPPER, spell, strip_delimiters, tidy, unwrap_text
from ttc_cli.answers.structured import key_code, key_json
from ttc_cli.answers.words import drop_marks, key_boolean, key_choice, key_text, key_words
from ttc_cli.types import AnswerType

MAX_ANSWER = 2000
"""Characters; anything longer is not a final answer."""
_MOST_DEEP = 50
"""Levels of brackets; anything deeper is not an answer."""

_WORDS = re.compile(r"[^\W\d_]+(?:[\s'’.-]{1,3}[^\W\d_]+)*\.?")
_BASE = re.compile(r"[0-9A-Fa-f]+_\{?(\d+)\}?")
_GROUPED = re.compile(r"(?<![\d.])(?<!\d,)[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)")
_BRACKET = re.compile(r"\\(?:begin|langle)\b|\\(?:end|rangle)\b|\\?[{}]|\\.|[()\[\],;]", re.DOTALL)
_OPENING = ("(", "[", "{", r"\{", r"\begin", r"\langle")
_CLOSING = (")", "]", "}", r"\}", r"\end", r"\rangle")
_AND = re.compile(
    r",? ?(?:\\(?:text|mathrm|textrm|mbox) ?\{ ?,? ?(?:and|or) ?\}|\\lor\b|\\vee\b|"
    r"(?<![A-Za-z\\{])(?:and|or)(?![A-Za-z]))[ ,]*"
)
_RELATION = re.compile(r"[<>≤≥≠]|\\(?:[lgn]eq?|[lg]eqslant|[lg]t)(?![a-z])")
_JOINED = re.compile(r" ?(\\lor|\\land)(?![a-z]) ?")
_NAME = (
    r"(?:\\?(?:text|mathrm) ?\{[A-Za-z ]+\}|"
    r"m?(?:\\(?:angle|overline|[Aa]lpha|[Bb]eta|[Gg]amma|[Dd]elta|[Tt]heta|[Ll]ambda|mu|[Pp]hi|"
    r"[Ss]igma|rho|tau|[Oo]mega|epsilon|varepsilon|varphi|ell) ?)?(?:\{?[A-Z]{2,3}\}?|[A-Za-z]?)"
    r"(?:_ ?(?:\w|\{\w+\}))?(?:'{1,2}|\^ ?\{ ?-1 ?\})?"
    r"(?: ?\([A-Za-z0-9](?:,[A-Za-z0-9])?\))?|\|[A-Z]{2}\||"
    r"\\frac\{d[a-z]\}\{d[a-z]\}|\\(?:sin|cos|tan|cot) ?(?:[A-Za-z]|\\(?:theta|alpha|beta|phi)))"
)
_ASSIGNED = re.compile(rf"({_NAME}) ?= ?(?=[^=\s])")
_ELEMENT = re.compile(r"[A-Za-z](?:_ ?\w)? ?\\in(?![a-z]) ?(?=\S)")
_SPELLINGS = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (r"\\(?:leqslant|leq|le)(?![a-z])", r"\\leq"),
        (r"\\(?:geqslant|geq|ge)(?![a-z])", r"\\geq"),
        (r"\\ne(?:q)?(?![a-z])", r"\\neq"), (r"\\lt(?![a-z])", "<"), (r"\\gt(?![a-z])", ">"),
        (r"<=", r"\\leq "), (r">=", r"\\geq "), (r"!=", r"\\neq "),
        (r"\\(?:dots|cdots|dotsc)(?![a-z])|\.\.\.+", r"\\ldots"),
        (r"\\varnothing(?![a-z])|\\\{ ?\\\}", r"\\emptyset"),
        (r"\\mathbb ([A-Z])", r"\\mathbb{\1}"),
        (r"\\(?:mathrm|mathbf|text) ?\{ ?([A-Za-z]) ?\}", r"\1"),
        (r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![A-Za-z])", r"\\\1 "),
        (r"\\?(?<![A-Za-z])sqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\*\* ?(-?\d+|[A-Za-z])", r"^{\1}"),
        (r"([_^]) ?\{ ?(\w) ?\}(?! ?\d)", r"\1\2"), (r"([_^]) ?(\w) (?=\d)", r"\1{\2}"),
        (r"\\pmod ?(?:\{ ?(\w+) ?\}|(\w+))|\( ?\\?b?mod ?(\w+) ?\)", r"\\pmod{\1\2\3}"),
        # \{x \mid x > 2\}
        (r"\\\{ ?[A-Za-z] ?(?:\\in ?\\mathbb\{R\} ?)?(?:\\(?:mid|vert)(?![a-z])|[:|])"
         r"(?=[^{}]*\\\})", r"\\{"),
        (r"(?<=\d)\\?[$%](?=\d)", " "), (r"\\[$%]|(?<!\\)[$%]", ""),
    )
)  # fmt: skip
_CLOSED = re.compile(r"\\(?:frac|sqrt|times|cdot|div|pi|binom)(?![A-Za-z])")
_DEGREE = re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ\b)|\\degree\b")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)\b")
_LITERAL = re.compile(
    r"\d \d|\\log_\d\d|:|'|!!|\\ldots|\\[pm]{2}\b|\\sqrt\d|\d_|[^\x00-\x7f]|"
    r"(?<![\w^_{.])\d+\\frac\{\d+\}\{\d+\}|"
    r"(?<![A-Za-z\\{])[A-Za-z]{4,}|"
    r"/(?:\d+|[A-Za-z])(?:[A-Za-z(]|\\(?!\\|end|leq|geq|neq|cdot|times|div|cup|cap))"  # 1/2x
)
_WORD_KEY = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)*")

_DEBRIS = " \t\n*_`#"
_HALVES = ((r"\[", r"\]"), (r"\(", r"\)"))
_NUMERIC = re.compile(r"(?:[A-Za-z0-9\s+\-*/^!().,:=<>|{}\[\]_'\"$%&]|\\[A-Za-z]+|\\[$%{},;:! ])+")
_NO_END = re.compile(r"[+\-*/^=<>,:;_(\[{&\\]$")


def make_key(text: str, type: AnswerType) -> str | None:
    """The normal form of ``text`` as an answer of this type; None if it cannot be one."""
    if not text.strip():
        return None
    if type not in (AnswerType.FREE, AnswerType.CODE, AnswerType.JSON):
        if len(text) > MAX_ANSWER or _is_deep(text):
            return None
        text = drop_marks(text)
    return _KEYS.get(type, _key_latex)(text)


def is_literal(key: str) -> bool:
    """Whether this key means its own letters: words, a time, what can be read in two ways."""
    words = _WORD_KEY.fullmatch(key) and re.search(r"[^\W\d_]{3}", key)
    return bool(_BASE.fullmatch(key) or words or _LITERAL.search(key))


def split_name(key: str) -> tuple[str, str]:
    """``x=5`` as ``x`` and ``5``; an empty name unless it is a single assignment."""
    match = _ASSIGNED.match(key)
    if match is None or not match[1] or re.search(r"[=<>]|\\[lg]eq", key[match.end() :]):
        return "", key
    return match[1].strip(), key[match.end() :]


def split_joined(key: str) -> list[str]:
    r"""The relations that ``\lor`` or ``\land`` stands between."""
    return _JOINED.split(key)[::2]


def split_tuple(key: str) -> tuple[str, list[str], str] | None:
    """Opening bracket, elements, closing bracket of a point, an interval or a vector."""
    if key[:1] not in "([" or key[-1:] not in ")]" or not _is_closed(key[1:-1]):
        return None
    elements = _split_inside(key[1:-1])
    return (key[0], elements, key[-1]) if len(elements) > 1 else None


def _key_latex(text: str) -> str | None:
    text = _drop_braces(tidy(text)).strip()
    key = read_number(text, Reading.LATEX) or _key_tidy(text)
    return key if re.search(r"[^\W_]", key) else None


def _key_number(text: str) -> str | None:
    """A number, or a closed expression for one; None for prose and names."""
    text = tidy(_drop_debris(strip_delimiters(text)))
    if (key := read_number(text)) is not None:
        return key
    latex = _AND.sub(", ", _pick_side(_drop_braces(text).strip()))
    if (key := read_number(latex)) is not None:
        return key
    closed = re.search(r"\d|\\(?:pi|sqrt|infty)|√|π", latex)
    prose = re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+|(?<![A-Za-z])sqrt", " ", latex))
    if not closed or prose or _NO_END.search(latex) or not _is_closed(latex):
        return None
    return _key_tidy(latex) if _NUMERIC.fullmatch(latex) else None


def _drop_debris(text: str) -> str:
    """``text`` without remains of Markdown, delimiters and brackets around a number."""
    for _ in range(3):
        text = text.strip(_DEBRIS).rstrip(_DEBRIS + ",;:").rstrip("\\")
        for left, right in _HALVES:
            if (left in text) is not (right in text):
                text = text.removeprefix(left).removesuffix(right)
        if text[-1:] in (")", "]", "}") and not _is_closed(text):
            text = text[:-1]
    return _drop_braces(text)


def _drop_braces(text: str) -> str:
    braced = text[:1] == "{" and text[-1:] == "}" and _is_closed(text[1:-1])
    return text[1:-1] if braced else text


def _pick_side(text: str) -> str:
    """The last side of ``x = a = b``, before any approximation; never a bare name."""
    sides = [side.strip() for side in re.split(r"(?<![<>!\\])=", text)]
    if len(sides) > 1 and re.fullmatch(_NAME, sides[-1]):
        sides.pop()
    sides = [side.strip() for side in re.split(r"\\(?:approx|sim)(?![a-z])", sides[-1])]
    return next((side for side in sides if side and not re.fullmatch(_NAME, side)), text)


def _key_tidy(text: str) -> str:
    r"""One spelling of a tidy LaTeX answer: no layout, no units, lists sorted, ``x\in`` dropped.

    Words (``\text{Evelyn}``) come out in lower case, a number in another base as ``52_8``.
    """
    if words := _read_words(text):
        return words
    if _RELATION.search(text):  # it matters whether both hold or one of them
        text = _AND.sub(lambda m: r" \lor " if re.search(r"or|\\vee", m[0]) else r" \land ", text)
    else:
        text = _AND.sub(", ", text)
    for pattern, into in _SPELLINGS:
        text = pattern.sub(into, text)
    text = text.replace(";", ", ") if "," not in text else text
    text = _turn(_ELEMENT.sub("", text.strip(), count=1))
    name, rest = split_name(text)
    parts = split_list(_join_groups(rest))
    names = {split_name(part)[0] for part in parts}
    if len(parts) > 1 and not name and len(names) == 1:  # x = 1, x = 2
        name = names.pop()
        parts = [split_name(part)[1] for part in parts]
    keys = [key for part in parts for each in _choose_signs(part) if (key := _key_part(each))]
    if len(keys) > 1 and not any(r"\ldots" in key for key in keys):
        keys.sort()
    return (f"{_squeeze(name)}=" if name and keys else "") + ",".join(keys)


def _key_part(text: str) -> str:
    """The key of one element: a number, words, a tuple, a set, an expression."""
    text = text.strip()
    if len(set(signs := _JOINED.findall(text))) == 1:
        return f"{signs[0]} ".join(sorted(map(_key_part, split_joined(text))))
    if found := read_number(strip_delimiters(text), Reading.LATEX) or _read_words(text):
        return found
    if text.startswith(r"\{") and text.endswith(r"\}") and _is_closed(text[2:-2]):
        keys = [key for part in _split_inside(text[2:-2]) if (key := _key_part(part))]
        return ",".join(keys if any(r"\ldots" in key for key in keys) else sorted(set(keys)))
    if (parts := split_tuple(text)) is not None:
        return parts[0] + ",".join(_key_part(part) for part in parts[1]) + parts[2]
    text = spell_mixed(drop_unit(text))
    if not _TRIGONOMETRIC.search(text):
        text = _DEGREE.sub("", text)
    if base := _BASE.fullmatch(text.replace(" ", "")):
        return f"{text.split('_')[0].strip()}_{base[1]}"
    return _squeeze(text)


def _squeeze(text: str) -> str:
    """``text`` without blanks, except between a command and a letter or two numbers."""
    text = " ".join(text.split())
    return re.sub(r"(\\[A-Za-z]+ (?=[A-Za-z])|(?<=\d) (?=\d))| ", lambda m: m[1] or "", text)


def _turn(text: str) -> str:
    r"""``5 = x`` as ``x = 5``, ``x = a = b`` as ``x = b``, and of ``a \approx b`` only ``a``."""
    if "," in text:
        return text
    exact = [side for side in re.split(r" ?\\approx(?![a-z]) ?", text) if side]
    if len(exact) > 1 and re.fullmatch(_NAME, exact[0]):
        return f"{exact[0]}={exact[1]}"
    sides = re.split(r"(?<![<>!\\]) ?= ?", exact[0]) if exact else []
    if len(sides) < 2 or not all(sides):
        return exact[0] if exact else text
    if re.fullmatch(_NAME, sides[0]):
        return f"{sides[0]}={sides[-1]}"
    if len(sides) == 2 and re.fullmatch(_NAME, sides[1]):
        return f"{sides[1]}={sides[0]}"
    if not re.search(r"[A-Za-z]", _CLOSED.sub("", exact[0])):  # 2 + 2 = 4
        return sides[-1]
    return exact[0]


def _choose_signs(text: str) -> list[str]:
    r"""``a \pm b`` as its two values; what has several such signs stays as it is."""
    before, *behind = re.split(r"\\(?:pm|mp)(?![a-z]) ?", text)
    if len(behind) != 1:
        return [text]
    return [f"{before}{sign}{behind[0]}".strip().removeprefix("+") for sign in "+-"]


def _read_words(text: str) -> str:
    bare = unwrap_text(text)
    if not _WORDS.fullmatch(bare) or not re.search(r"[^\W\d_]{3}", _AND.sub(", ", bare)):
        return ""
    formula = re.search(r"(?<![A-Za-z])(?:sin|cos|tan|log|ln|sqrt)\b", bare)
    if formula and WRAPPER.search(text) is None:
        return ""
    return bare if re.fullmatch(r"[A-Z]{3,4}", bare) else key_words(bare)


def _split_inside(text: str) -> list[str]:
    """The elements between brackets, where ``100,200`` is one number only beside a ``, ``."""
    return split_list(_join_groups(text) if re.search(r", | ,", text) else text)


def _join_groups(text: str) -> str:
    """``1,234`` outside of brackets as ``1234``."""
    if "," not in text:
        return text
    depths = _measure_depths(text)
    return _GROUPED.sub(lambda m: m[0] if depths[m.start()] > 0 else m[0].replace(",", ""), text)


def split_list(text: str) -> list[str]:
    """What stands between commas outside of brackets; all of it where brackets do not close."""
    if not _is_closed(text):
        return [text]
    depths = _measure_depths(text)
    marks = (mark for mark in _BRACKET.finditer(text) if mark[0] in (",", ";"))
    places = [-1, *(mark.start() for mark in marks if not depths[mark.start()]), len(text)]
    parts = (text[before + 1 : place].strip() for before, place in itertools.pairwise(places))
    return [part for part in parts if part]


def _is_deep(text: str) -> bool:
    return max(_measure_depths(spell(text))) > _MOST_DEEP


def _is_closed(text: str) -> bool:
    """Whether all brackets pair."""
    depths = _measure_depths(text)
    return min(depths) == depths[-1] == 0


def _measure_depths(text: str) -> list[int]:
    """How many brackets are open at each character, and at the end."""
    depths, depth = [0], 0
    for mark in _BRACKET.finditer(text):
        depths += [depth] * (mark.start() + 1 - len(depths))
        depth += (mark[0] in _OPENING) - (mark[0] in _CLOSING)
        depths[-1] = depth
    return depths + [depth] * (len(text) + 1 - len(depths))


_KEYS: dict[AnswerType, Callable[[str], str | None]] = {
    AnswerType.CODE: key_code,
    AnswerType.JSON: key_json,
    AnswerType.NUMBER: _key_number,
    AnswerType.CHOICE: key_choice,
    AnswerType.BOOLEAN: key_boolean,
    AnswerType.TEXT: key_text,
    AnswerType.FREE: str.strip,
}
