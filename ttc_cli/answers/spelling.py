r"""One spelling of characters and of LaTeX's layout, before anything is read from an answer.

Unicode's superscripts, subscripts and fractions keep their meaning (``10⁶`` is ``10^{6}`` and not
``106``), and so do the signs of mathematics. What the text then says is for others to read.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

TABLES: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
)
_PLAIN = {char: into for into, chars in TABLES["plain"].items() for char in chars}
_LATEX: dict[str, str] = {char: into for into, chars in TABLES["latex"].items() for char in chars}
_GREEK = zip(TABLES["greek"]["letters"], TABLES["greek"]["names"].split(), strict=True)
_LATEX |= {letter: f"\\{name} " for letter, name in _GREEK}
_STACKED = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄∕/]([₀₁₂₃₄₅₆₇₈₉]+)")
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
_ROOT = re.compile(r"([√∛∜])\s*(?:(\d+(?:\.\d+)?|[A-Za-z]|\\[A-Za-z]+)|\(([^()]*)\)|\{([^{}]*)\})")

_DELIMITERS = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"),
    ("`", "`"), ('"', '"'), ("*", "*"),
)  # fmt: skip
WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|boldsymbol|bm|bf|rm|"
    r"underline|emph)\*?"
    r"\s*\{([^{}]*)\}"
)
_SIZE = re.compile(
    r"\\(?:(?:display|text)style|limits|small|[lL]arge|LARGE|[hH]uge|normalsize)(?![A-Za-z])|"
    r"\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?![A-Za-z])\.?|(?<!\\)\\[()]|"
    r"\\(?:(?:text)?color|[hv]?phantom|tag\*?|label)\s*\{[^{}]*\}|\\(?:qed|checkmark)(?![A-Za-z])"
)
_COMMA = re.compile(r"(?<=\d)(?:(?:\{,\}|,\\!)(?=\d{3}(?!\d))|(\{,\})(?=\d))")
_GAP = re.compile(r"(?<=\d)[ \t]*(?:\\q?quad(?![A-Za-z])|\n)\s*(?=\d)")
"""Between two numbers it keeps them apart, where a blank may stand between thousands."""
_SPACE = re.compile(r"(?<!\\)\\[,;:> ]|\\q?quad\b|~|\\(?:thin|med|thick)?space\b|\s+")


def spell(text: str, *, latex: bool = True) -> str:
    r"""``text`` in plain characters; with ``latex`` its mathematical signs as LaTeX.

    Without, a subscript is an ordinary letter (``H₂O`` is ``H2O``, but ``25₈`` no 258) and ``½``
    is ``1/2``.
    """
    if text.isascii():
        return text
    text = _STACKED.sub(lambda match: _spell_fraction(match[1], match[2], latex), text)
    parts: list[str] = []
    for kind, run in groupby(text, key=lambda char: _decompose(char)[0]):
        plain = "".join(_decompose(char)[1] for char in run)
        if kind == "super":
            parts.append(f"^{{{plain}}}" if latex else f"^{plain}")
        elif kind == "sub":
            base = parts and parts[-1][-1:].isdigit()
            parts.append(f"_{{{plain}}}" if latex else f"_{plain}" if base else plain)
        elif kind == "fraction":
            above, _, below = plain.partition("/")
            parts.append(_spell_fraction(above, below, latex))
        else:
            parts.append("".join(map(_spell_sign, plain)) if latex else plain)
    spelled = "".join(parts)
    if not latex:
        return spelled
    spelled = _ROOT.sub(lambda m: rf"\sqrt{_ROOTS[m[1]]}{{{m[m.lastindex or 0]}}}", spelled)
    return spelled.replace("√", r"\sqrt ")


def _spell_fraction(above: str, below: str, latex: bool) -> str:
    above, below = (unicodedata.normalize("NFKC", digits) for digits in (above, below))
    return rf" \frac{{{above}}}{{{below}}}" if latex and below.isdigit() else f" {above}/{below}"


@lru_cache(maxsize=4096)
def _decompose(char: str) -> tuple[str, str]:
    """What kind of character this is (super, sub, fraction or "") and what it says plainly."""
    if char in _PLAIN:
        return "", _PLAIN[char]
    if char in _LATEX:
        return "", char
    if unicodedata.category(char) == "Cf":  # joiners, marks of direction
        return "", ""
    if char.isdecimal():
        return "", str(unicodedata.decimal(char))
    tag = unicodedata.decomposition(char).partition(">")[0].removeprefix("<")
    plain = "".join(_PLAIN.get(each, each) for each in unicodedata.normalize("NFKC", char))
    return (tag if tag in ("super", "sub", "fraction") else ""), plain


def _spell_sign(char: str) -> str:
    if char != "$" and unicodedata.category(char) == "Sc":
        return "$"
    return _LATEX.get(char, char)


def strip_delimiters(text: str) -> str:
    """Without surrounding white space, Markdown emphasis, quotes and LaTeX math delimiters."""
    text = text.strip()
    while True:
        before = text
        for left, right in _DELIMITERS:
            inside = text[len(left) : len(text) - len(right)]
            # not "A" and "B", but ``A`` and $\$5$
            alone = left not in inside.strip(left).replace(f"\\{left}", "")
            if inside and alone and text.startswith(left) and text.endswith(right):
                text = inside.strip()
        if text == before:
            return text


def unwrap_text(text: str) -> str:
    r"""``\text{…}`` and its like replaced by what they hold, innermost first."""
    while True:
        unwrapped = WRAPPER.sub(r"\1", text)
        if unwrapped == text:
            return text
        text = unwrapped


def drop_layout(text: str) -> str:
    r"""Blanks of any width as one blank, ``\left`` and ``\!`` gone, ``1{,}234`` as ``1234``."""
    text = _COMMA.sub(lambda match: "" if match[1] is None else ".", text.replace(r"\text{}", ""))
    text = _GAP.sub(", ", _SIZE.sub("", text.replace(r"\!", "")))
    return _SPACE.sub(" ", _SPACE.sub(" ", text)).strip()


def spell_fractions(text: str) -> str:
    r"""``\dfrac``, ``\frac43``, ``\frac{a}7`` and ``\sqrt2`` with all their braces."""
    if "\\" not in text:
        return text
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\[dt]binom", r"\\binom", text)
    text = re.sub(r"\\(frac|binom)\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\\1{\2}{\3}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*(?=\{)", r"\\frac{\1}", text)
    # \sqrt12 is set as the root of 1, and meant as that of 12: it is left as it is
    return re.sub(r"\\sqrt\s*(\d(?!\d)|[a-zA-Z])", r"\\sqrt{\1}", text)


def tidy(text: str) -> str:
    """``text`` in one spelling and layout, without what only surrounds it."""
    text = strip_delimiters(spell(strip_delimiters(text)))
    if text.endswith(".") and not text.endswith(".."):
        text = strip_delimiters(text[:-1])
    text = spell_fractions(drop_layout(text)).rstrip("\\; ")
    while whole := WRAPPER.fullmatch(text):
        text = whole[1].strip()
    return text
