"""Where words go: stdout is the answer alone, stderr is everything else.

Model text reaches a terminal only through ``sanitise.clean``; a pipe gets it raw, byte for byte.
Colour follows ``--color``, then ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM=dumb``, then whether the
stream is a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ttc_cli.sanitise import clean

SAY_SECONDS = 30.0
"""Between two lines of progress where stderr is not a terminal."""


def use_color(choice: str = "auto") -> bool:
    """Whether to colour stderr. ``choice`` is ``auto``, ``always`` or ``never``."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return os.environ.get("TERM") != "dumb" and sys.stderr.isatty()


def print_error(message: str, hint: str | None = None) -> None:
    """``error: …`` and ``hint: …`` on stderr, cleaned: messages quote file names and model text."""
    _say(f"{_label('error', '31')} {clean(message)}")
    if hint:
        _say(f"{_label('hint', '36')} {clean(hint)}")


def _label(word: str, code: str, color: str = "auto") -> str:
    return f"\x1b[1;{code}m{word}:\x1b[0m" if use_color(color) else f"{word}:"


def _say(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:  # nobody listens; the exit code still tells
        silence(sys.stderr)


def fill_closed() -> bool:
    """Put a stream that leads nowhere in place of each closed one; whether stdout was closed.

    The next file that is opened would get the number of the closed stream (``ttc … 1>&-``), and
    whatever is then said on it would go into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free: ``number``
    closed = sys.stdout is None
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    return closed


def silence(stream: TextIO) -> None:
    """Send what ``stream`` still buffers nowhere, so that Python's own flush at exit succeeds."""
    try:
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    except (OSError, ValueError):  # not backed by a descriptor (a test's buffer), or closed
        return


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """``rows`` as lines whose columns are as wide as they must be."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


@dataclass(frozen=True, slots=True)
class Output:
    """How one command prints: with ``quiet``, nothing goes to stderr but errors."""

    quiet: bool = False
    color: str = "auto"

    def answer(self, text: str) -> None:
        """``text`` and a newline on stdout: cleaned for a terminal, raw for a pipe."""
        print(clean(text) if sys.stdout.isatty() else text, flush=True)

    def document(self, value: Mapping[str, Any]) -> None:
        """``value`` as one JSON object on stdout, in ASCII; indented for a terminal."""
        print(json.dumps(value, indent=2 if sys.stdout.isatty() else None), flush=True)

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """``rows``, the head first, on stdout."""
        self.answer("\n".join(align(rows)))

    def status(self, text: str) -> None:
        """On a terminal, what ttc is waiting for; the next ``status`` or line replaces it."""
        if not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            _say(f"\r\x1b[K{clean(text)}", end="")

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            _say(clean(text))

    def warn(self, text: str) -> None:
        """A warning, printed even when quiet: the answer may not be what was asked for."""
        _say(f"{_label('warning', '33', self.color)} {clean(text)}")


class Ticker:
    """Progress: in place on a terminal, else a line now and then."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said = time.monotonic()

    def tell(self, text: str, *, last: bool = False) -> None:
        """Report how far the work has come; ``last`` once it is done."""
        if sys.stderr.isatty():
            self._out.status("" if last else text)
        elif last or time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            self._out.say(text)
