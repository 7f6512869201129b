"""How sums are written: LaTeX and Markdown made plain, and cut into tokens."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))

OPENING, CLOSING, BREAK = "«", "»", "¶"
"""Stops that stand for the delimiters of a formula and for a line break within one."""

EQUALS = re.compile(r"(?<![<>!:=≠])=(?!=)")
_ENVIRONMENT = r"(?:align(?:ed|at)?|equation|gather(?:ed)?|split|multline)\*?"
_REWRITTEN = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\$\$([^$]*)\$\$", f" {OPENING} \\1 {CLOSING} "),
        # A pair of bare dollars, unless they are prices: "$5 + $3".
        (
            r"(?<![\\$])\$(?!\s)((?:[^$\\]|\\.)*[^\s$\\])\$(?![\d$])",
            f" {OPENING} \\1 {CLOSING} ",
        ),
        (r"\\\\", f" {BREAK} "),
        (r"\\(?:boxed|mathrm|mathbf|textbf|text)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" ((\1)/(\2)) "),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:left|right|displaystyle|,|!|;|:| )", ""),
        (r"\\(?:approx|simeq|sim)(?![A-Za-z])", " ≈ "),
        (r"\\%|(?<=\d)\s*per\s?cent\b", "%"),
        (rf"^\s*\$\$|\\[(\[]|\\begin\{{{_ENVIRONMENT}\}}", f" {OPENING} "),
        (rf"\$\$|\\[)\]]|\\end\{{{_ENVIRONMENT}\}}", f" {CLOSING} "),
        (r"\\(?=[$€£])", ""),
        (r"&=|=&", "="),
        (r"\\q?quad(?![A-Za-z])", " ; "),
        (r"(?<=\d)\*\*(?=-?\d)", "^"),
        (r"(?:\*\*|__)(?=:)", ""),
        (r"\*\*|__", " "),
        (r"[×⋅·∗]", "*"),
        (r"÷", "/"),
        (r"[−–]", "-"),
        (r"(?<=[\d)])\s+[xX]\s+(?=[\d($])|(?<=[1-9])[xX](?=\d)|(?<=\d0)[xX](?=\d)", " * "),
        (r"\^\s*\{\s*(\d)\s*\}", r"^\1"),
    )
)
_TOKEN = re.compile(
    # As many digits as there are, or the rest of a number would be taken for one.
    r"(?P<number>\d{1,3}(?:\{?,\}?\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<word>[^\W\d_]{2,}(?:[-'’][^\W\d_]+)*)"
    rf"|(?P<equals>{EQUALS.pattern})"
    r"|(?P<operator>[-+*/^()%])"
    r"|(?P<money>[$€£])"
    rf"|(?P<stop>[,;:.!?≈{OPENING}{CLOSING}{BREAK}](?=\s|$))"
    r"|(?P<blank>\s+)"
    r"|(?P<other>.)"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a line. ``tight``: no blank before it."""

    kind: str
    text: str
    tight: bool

    def is_operand(self) -> bool:
        """Whether a number or a bracket begins with it."""
        return self.kind in ("number", "money") or self.text == "("


def match_words(kind: str) -> str:
    """A regular expression for the words of one ``kind`` in ``words.toml``."""
    words = re.escape(" ".join(_WORDS[kind].split()))
    return words.replace(r"\ ", "|").replace(r"\*", r"\w*").replace("_", " ")


def read_tokens(line: str) -> list[Token]:
    """``line`` in plain notation, as tokens.

    Their ``kind`` is one of ``number``, ``word`` (two letters or more), ``equals``, ``operator``,
    ``money`` (a sign of currency), ``stop`` (punctuation) and ``other``, which is not understood.
    """
    for pattern, new in _REWRITTEN:
        line = pattern.sub(new, line)
    return list(_scan(line))


def write(tokens: Sequence[Token]) -> str:
    """``tokens`` as a message shows them."""
    shown = (each.text for each in tokens if each.kind != "money")
    return " ".join(re.sub(r"[{},]", "", text) for text in shown)


def _scan(line: str) -> Iterator[Token]:
    tight = False
    for found in _TOKEN.finditer(line):
        kind = found.lastgroup or "other"
        if kind == "blank":
            tight = False
            continue
        yield Token(kind, found.group(), tight)
        tight = True
