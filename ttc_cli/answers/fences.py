"""Fenced blocks of a text, as Markdown has them and as models write them.

Pairing follows CommonMark (0.31, § 4.5): a closing fence is of the same character, at least as
long, and has nothing after it; the indent of the opening fence is taken off each line. Two things
are more lenient than in CommonMark. A fence may be indented by any amount and follow a list mark,
and its block does not end with the list. A fence that names a language always opens a block, so
that one that was never closed does not swallow the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(
    r"((?:[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t])?[ \t]*)(?:(`{3,})([^`]*)|(~{3,})(.*))", re.DOTALL
)
_WORD = re.compile(r"[{.]*([\w+#-]+)")
_TAB = 4


@dataclass(frozen=True, slots=True)
class Block:
    """``language`` is the first word after the fence, in lower case.

    ``closed``: it has a closing fence; one without ends where another opens, or with the text.
    ``start`` is where the line of its opening fence begins.
    """

    language: str
    content: str
    closed: bool
    start: int


@dataclass(frozen=True, slots=True)
class _Fence:
    indent: int
    marks: str
    info: str
    start: int

    def ends(self, other: _Fence) -> bool:
        """Whether the block that ``other`` opened ends here."""
        return self.marks.startswith(other.marks) and self.indent < other.indent + _TAB


def find_blocks(text: str) -> list[Block]:
    """The fenced blocks of ``text`` in their order."""
    blocks: list[Block] = []
    opened: _Fence | None = None
    inside: list[str] = []
    place = 0
    for line in text.removesuffix("\n").split("\n"):
        fence = _read_fence(line, place)
        place += len(line) + 1
        if opened is None:
            opened = fence
        elif fence is None or not fence.ends(opened):
            inside.append(_dedent(line, opened.indent))
        else:
            blocks.append(_make_block(opened, inside, closed=not fence.info))
            opened, inside = fence if fence.info else None, []
    if opened is not None:
        if inside and inside[-1].rstrip().endswith(opened.marks):  # return a + b```
            inside[-1] = inside[-1].rstrip().removesuffix(opened.marks)
        blocks.append(_make_block(opened, inside, closed=False))
    return blocks


def _read_fence(line: str, start: int) -> _Fence | None:
    found = _FENCE.fullmatch(line)
    if found is None:
        return None
    before, ticks, words, tildes, others = found.groups()
    info = (words if ticks else others).strip()
    return _Fence(len(before.expandtabs(_TAB)), ticks or tildes, info, start)


def _make_block(fence: _Fence, lines: list[str], *, closed: bool) -> Block:
    word = _WORD.match(fence.info)
    language = word[1].lower() if word else ""
    return Block(language, "".join(f"{line}\n" for line in lines), closed, fence.start)


def _dedent(line: str, columns: int) -> str:
    """``line`` without the blanks in its first ``columns`` columns."""
    column = place = 0
    while column < columns and line[place : place + 1] in (" ", "\t"):
        column += 1 if line[place] == " " else _TAB - column % _TAB
        place += 1
    return " " * (column - columns) + line[place:]
