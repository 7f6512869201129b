"""Cleans model text before it reaches a terminal.

Removed: escape sequences (CSI, OSC, DCS, SOS, PM, APC; ECMA-48 in its 7-bit and 8-bit forms),
control characters other than newline and tab, bidirectional controls, zero-width and other
invisible format characters, the tag block. Line and paragraph separators become newlines, lone
surrogates U+FFFD.

Not covered: Rich markup (print ``Text(clean(s))``, never a markup string) and letters that look
alike.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_SEQUENCE = 4096
"""Characters an escape sequence may swallow before it is taken to be broken and text goes on."""

_NEWLINES = "\x85\u2028\u2029"
_INVISIBLE = "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_SPECIAL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_INVISIBLE}]")


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CSI = auto()
    STRING = auto()


_INTRODUCERS = {"[": _State.CSI} | dict.fromkeys("]PX^_", _State.STRING)
_C1_INTRODUCERS = {"\x9b": _State.CSI} | dict.fromkeys("\x90\x98\x9d\x9e\x9f", _State.STRING)


class Cleaner:
    """Cleans text that arrives in chunks, wherever they are cut.

    Nothing of an escape sequence is ever shown, so an unfinished one needs no buffer: it is
    remembered as a state, and left behind after ``MAX_SEQUENCE`` characters without an end.
    """

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._swallowed = 0

    def feed(self, chunk: str) -> str:
        """The clean part of ``chunk``; what it left open goes on in the next chunk."""
        out: list[str] = []
        position = 0
        while position < len(chunk):
            if self._state is _State.TEXT:
                special = _SPECIAL.search(chunk, position)
                if special is None:
                    out.append(chunk[position:])
                    break
                out.append(chunk[position : special.start()])
                out.append(self._show(special.group()))
                position = special.end()
            elif self._swallow(chunk[position]):
                position += 1
        return "".join(out)

    def _show(self, char: str) -> str:
        """What stands for one special character; enters a sequence where it opens one."""
        if char == "\x1b":
            self._enter(_State.ESCAPE)
        elif char in _C1_INTRODUCERS:
            self._enter(_C1_INTRODUCERS[char])
        elif char in _NEWLINES:
            return "\n"
        elif "\ud800" <= char <= "\udfff":
            return "\ufffd"
        return ""

    def _enter(self, state: _State) -> None:
        self._state = state
        self._swallowed = 0

    def _swallow(self, char: str) -> bool:
        """Whether ``char`` belongs to the open sequence; if not, the sequence is over."""
        self._swallowed += 1
        if self._swallowed > MAX_SEQUENCE:
            self._state = _State.TEXT
            return False
        if self._state is _State.STRING:
            if char == "\x1b":
                self._enter(_State.ESCAPE)
            elif char in "\x07\x18\x1a\x9c":
                self._state = _State.TEXT
            return True
        if " " <= char <= "/" or (self._state is _State.CSI and "0" <= char <= "?"):
            return True
        if self._state is _State.ESCAPE and char in _INTRODUCERS:
            self._enter(_INTRODUCERS[char])
            return True
        final = "@" if self._state is _State.CSI else "0"
        self._state = _State.TEXT
        return final <= char <= "~"


def clean(text: str) -> str:
    """``text`` without anything a terminal would act on or hide. Idempotent."""
    return Cleaner().feed(text) if _SPECIAL.search(text) else text
