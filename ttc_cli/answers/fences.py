"""Fenced code blocks of a text, as Markdown has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*\n(.*?)(^ {0,3}\1[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """``language`` is what stands behind the fence, in lower case. ``closed``: it has an end."""

    language: str
    content: str
    closed: bool


def find_blocks(text: str) -> list[Block]:
    """The fenced blocks of ``text`` in their order; one without an end runs to that of the text."""
    return [Block(each[2].lower(), each[3], bool(each[4])) for each in _FENCE.finditer(text)]
