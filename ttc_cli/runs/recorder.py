"""Writes the events of a run to the log while it goes on.

A thread of its own writes, so that a slow disk or a database that another process has locked keep
no search waiting. Text that grows is put together for half a second; everything else is written
at once, and what was grown before it with it. Whatever goes wrong ends the writing, not the run:
``failure`` then says why.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ttc_cli.errors import RunsUnavailable, TtcError
from ttc_cli.events import Event, Grew
from ttc_cli.runs import codec, database
from ttc_cli.runs.run import RunState, Timed
from ttc_cli.runs.spending import Cost
from ttc_cli.runs.store import RunStore

PIECE_SECONDS = 0.5
"""How long text that grows is held back."""
GRACE_SECONDS = 3.0
"""How long the end of a run waits for the last of it to be written."""


_End = tuple[RunState | None, str | None, Cost | None]
"""How the run ended: its state, why it failed, and what all its samples would have cost."""


@dataclass(slots=True)
class Pieces:
    """Puts ``Grew`` events together: all pass in order, those in a row and close by as one."""

    held: Timed | None = None
    since: float = 0.0
    texts: dict[int, str] = field(default_factory=dict)

    def add(self, timed: Timed) -> list[Timed]:
        """What is to be written now that ``timed`` has come."""
        if not isinstance(timed.event, Grew):
            return [*self.take(), timed]
        if self.held is None:
            self.since = timed.seconds
        for id, text in timed.event.texts.items():
            self.texts[id] = self.texts.get(id, "") + text
        self.held = timed
        return self.take() if timed.seconds - self.since >= PIECE_SECONDS else []

    def take(self) -> list[Timed]:
        """What is held back."""
        if self.held is None or not isinstance(self.held.event, Grew):
            return []
        whole = Timed(self.held.seconds, replace(self.held.event, texts=self.texts))
        self.held, self.texts = None, {}
        return [whole]


class Recorder:
    """A reader of the event stream that keeps what it reads, for the run ``id``, which has begun.

    Its thread alone uses ``store`` from now on; ``clock`` tells seconds.
    """

    def __init__(
        self, store: RunStore, id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.failure: TtcError | None = None
        self.id = id
        self._store = store
        self._clock = clock
        self._first: float | None = None
        self._queue: queue.SimpleQueue[Timed | _End] = queue.SimpleQueue()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="ttc-recorder", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take ``event``; never waits and never raises."""
        if self.failure is None:
            now = self._clock()
            self._first = now if self._first is None else self._first
            self._queue.put(Timed(now - self._first, event))

    def close(
        self, state: RunState | None = None, note: str | None = None, full: Cost | None = None
    ) -> None:
        """Write what is left, and how the run ended, as ``RunStore.finish`` takes it.

        Returns within some seconds, even where the writer is stuck; else the store is closed.
        """
        self._deadline = time.monotonic() + GRACE_SECONDS
        self._queue.put((state, note, full))
        self._thread.join(GRACE_SECONDS + 2 * database.BUSY_SECONDS)
        if self._thread.is_alive():
            self.failure = RunsUnavailable(f"The log of runs, {self._store.path}, did not answer.")
        else:
            self._store.close()

    def _run(self) -> None:
        try:
            codec.prepare()  # the model is being loaded meanwhile
            self._write()
        except (sqlite3.Error, OSError) as error:
            self.failure = database.explain(error, self._store.path)
            self.failure.__cause__ = error
        except TtcError as error:
            self.failure = error
        except Exception as error:  # a number or a text that nobody thought of
            self.failure = RunsUnavailable(
                f"An event cannot be kept: {type(error).__name__}: {error}."
            )
            self.failure.__cause__ = error

    def _write(self) -> None:
        pieces = Pieces()
        while True:
            try:
                item = self._queue.get(timeout=None if pieces.held is None else PIECE_SECONDS)
            except queue.Empty:
                self._append(pieces.take())
                continue
            batch: list[Timed] = []
            while isinstance(item, Timed):
                batch += pieces.add(item)
                if self._queue.empty():
                    break
                item = self._queue.get()
            if not isinstance(item, Timed):
                self._append([*batch, *pieces.take()])
                self._insist(self._store.finish, self.id, *item)
                return
            self._append(batch)

    def _append(self, batch: list[Timed]) -> None:
        if batch:
            self._insist(self._store.append, self.id, batch)

    def _insist(self, write: Callable[..., None], *arguments: Any) -> None:
        """Write while another process has the database, until the run has waited long enough."""
        while True:
            try:
                return write(*arguments)
            except sqlite3.OperationalError as error:
                if not database.is_lock(error) or time.monotonic() > self._deadline:
                    raise
