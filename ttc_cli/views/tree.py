"""The live tree on a terminal: folds events as they come, draws eight frames a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from ttc_cli.events import Event
from ttc_cli.views.frame import Frame, render
from ttc_cli.views.state import ViewState, reduce, tick

__all__ = ["Frame", "LiveTree", "render"]

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


class LiveTree:
    """A reader of the event stream that shows the run while it is on, and leaves nothing behind.

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
    ) -> None:
        """Draw on a duplicate of ``fd``. ``colour`` None follows NO_COLOR and the terminal."""
        self._clock = clock
        self._state = ViewState()
        self._lock = threading.Lock()
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
        self._live = Live(
            get_renderable=self._draw,
            console=self._terminal,
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
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
        return render(tick(self._state, self._clock()), width, height)

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
