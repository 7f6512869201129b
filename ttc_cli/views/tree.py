"""The live tree on a terminal: folds events as they come, and draws eight frames a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleDimensions, ConsoleOptions, ConsoleRenderable
from rich.control import Control
from rich.live import Live
from rich.segment import ControlCode, ControlType, Segment

from ttc_cli.events import Event
from ttc_cli.views.frame import HINT, Frame, render
from ttc_cli.views.state import ViewState, reduce, tick

FRAMES_PER_SECOND = 8


class _Terminal(Console):
    """A console that asks its own file descriptor for its size, at every frame."""

    @property
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 24
        return ConsoleDimensions(columns or 80, lines or 24)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("the terminal has the size it has")


class _EraseBelow:
    """Clears from the cursor to the end of the screen, which Rich has no control for."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield Segment("\x1b[J", None, [(ControlType.ERASE_IN_LINE, 0)])


class _Live(Live):
    """A live display that clears what a resized terminal made of its last frame.

    Most terminals wrap the lines they show when they get narrower: the last frame then takes
    more rows than Rich believes. ``stale`` is how many more, None where nothing was resized.
    """

    stale: int | None = None

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if self.stale is None:
            return super().process_renderables(renderables)
        up: list[ControlCode] = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)]
        reset = Control(*up * self.stale)
        self.stale = None
        back, *rest = super().process_renderables(renderables)
        return [reset, back, _EraseBelow(), *rest]


class LiveTree:
    """A reader of the event stream that shows the run while it is on, and then leaves no trace.

    Use as a context manager around the run, subscribed to its ``EventStream``. Reading an event
    only folds it; drawing happens on a thread of its own. It never redirects stdout or stderr:
    while it is open nobody else may write to the terminal.
    """

    def __init__(
        self,
        fd: int = 2,
        *,
        colour: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        stays: bool = False,
        hint: str = HINT,
    ) -> None:
        """Draw on a duplicate of ``fd``. ``colour`` None follows NO_COLOR and the terminal.

        The last frame is left where it is if it ``stays``. ``hint`` is as for ``render``.
        """
        self._hint = hint
        self._clock = clock
        self._state = ViewState()
        self._lock = threading.Lock()
        self._last = Frame(())
        self._last_size = (0, 0)
        self._file = os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace")
        self._terminal = _Terminal(
            file=self._file,
            force_terminal=self._file.isatty(),
            force_interactive=self._file.isatty(),
            force_jupyter=False,
            no_color=None if colour is None else not colour,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )
        self._live = _Live(
            get_renderable=self._draw,
            console=self._terminal,
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=not stays,
            vertical_overflow="crop",
        )

    def __call__(self, event: Event) -> None:
        """Fold ``event``. Cheap; safe from any thread."""
        with self._lock:
            self._state = reduce(self._state, event, self._clock())

    @property
    def state(self) -> ViewState:
        """What has been folded until now."""
        return self._state

    def _draw(self) -> Frame:
        width, height = self._terminal.size
        if (width, height) != self._last_size and self._last.rows:
            self._live.stale = self._last.wrapped(width) - len(self._last.rows)
        self._last = render(tick(self._state, self._clock()), width, height, self._hint)
        self._last_size = (width, height)
        return self._last

    def refresh(self) -> None:
        """Draw a frame now."""
        self._live.refresh()

    def __enter__(self) -> LiveTree:
        self._live.start()
        return self

    def close(self) -> None:
        """Erase the tree and give the cursor back. Idempotent; safe from a signal handler.

        It takes no lock that the interrupted thread could hold: Rich's are re-entrant.
        """
        if self._file.closed:
            return
        # Where the terminal is gone, there is nothing to give back.
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()
        with contextlib.suppress(OSError):
            self._file.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
