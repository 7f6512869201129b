"""Cutting and padding text by terminal cells, and the rows of a frame with their styles.

Widths are summed over code points. A terminal that joins several into one glyph then draws
narrower than planned, never wider, so that no row can wrap and push the frame apart.
"""

from __future__ import annotations

import math
from functools import lru_cache

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style

# Each style only repeats what a number or a sign says already.
BOLD = Style(bold=True)
DIM = Style(dim=True)
RULE = Style(dim=True)
GOOD = Style(color="green", bold=True)
CALM = Style(color="cyan")
WARN = Style(color="yellow")
BAD = Style(color="red")


@lru_cache(maxsize=4096)
def _size(char: str) -> int:
    """Cells of one code point. Half a flag takes two where a terminal knows no flags."""
    return 2 if "\U0001f1e6" <= char <= "\U0001f1ff" else get_character_cell_size(char)


def cells(text: str) -> int:
    """How many terminal cells ``text`` takes at most."""
    return len(text) if text.isascii() else sum(map(_size, text))


def _fit(text: str, width: int) -> int:
    """How many characters of ``text`` fit in ``width`` cells."""
    for i, char in enumerate(text):
        width -= _size(char)
        if width < 0:
            return i
    return len(text)


def cut(text: str, width: int) -> str:
    """The start of ``text``, in at most ``width`` cells, ``…`` where something is missing."""
    if cells(text) <= width:
        return text
    return text[: _fit(text, width - 1)].rstrip() + "…" if width > 0 else ""


def cut_front(text: str, width: int) -> str:
    """The end of ``text``, in at most ``width`` cells, ``…`` where something is missing."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    left, first = width - 1, len(text)
    while first and left >= (size := _size(text[first - 1])):
        left -= size
        first -= 1
    kept = text[first:]
    if text[first - 1] != " ":  # rather lose the rest of a word than show half of it
        space = kept.find(" ", 0, 12)
        kept = kept[space:] if space >= 0 else kept
    return "…" + kept.lstrip()


@lru_cache(maxsize=64)
def wrap(text: str, width: int, lines: int) -> tuple[str, ...]:
    """``text`` (one line) broken at spaces into at most ``lines`` lines of ``width`` cells."""
    out: list[str] = []
    rest = text
    while len(out) < lines - 1 and (end := _fit(rest, width)) < len(rest):
        if rest[end] != " " and " " in rest[:end]:
            end = rest.rindex(" ", 0, end)
        if not end:
            break  # not even one character fits
        out.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest and lines > 0:
        out.append(cut(rest, width))
    return tuple(out)


def bar(share: float, width: int) -> tuple[str, str]:
    """A bar of ``width`` cells filled to ``share`` (clipped to [0, 1]): its two parts."""
    share = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    halves = round(share * width * 2)
    full = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return full, "─" * (width - len(full))


class FrameRow:
    """One line of a frame, filled from the left, that never gets wider than ``width`` cells."""

    __slots__ = ("left", "segments")

    def __init__(self, width: int, indent: int = 1) -> None:
        self.left = width
        self.segments: list[Segment] = []
        self.add(" " * indent)

    def add(self, text: str, style: Style | None = None, width: int | None = None) -> FrameRow:
        """Append ``text``; with ``width`` it takes exactly that many cells, if they are left."""
        room = self.left if width is None else min(width, self.left)
        shown = cut(text, room)
        taken = cells(shown)
        if taken < room and (width is not None or shown is not text):
            # A column is padded; a row that had to be cut is full.
            shown += " " * (room - taken)
            taken = room
        text = shown
        if text:
            self.segments.append(Segment(text, style))
            self.left -= taken
        return self

    def add_bar(self, share: float, width: int, style: Style, rest: Style) -> FrameRow:
        """Append a bar of ``width`` cells."""
        full, empty = bar(share, min(width, self.left))
        return self.add(full, style).add(empty, rest)

    @property
    def text(self) -> str:
        """What the row says, without its styles."""
        return "".join(segment.text for segment in self.segments)
