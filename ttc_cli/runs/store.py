"""The store of kept runs: begun, appended to as they happen, found again, removed.

A run is a row that says what was asked for, and its events in their order. What a list shows is
kept in the row itself and brought up to date with every append, so that a run which was killed
shows as much as one that ended. A row is only ever written by the process that runs; whether that
still lives is looked up when it is read.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ttc_cli.errors import RunDamaged, RunsUnavailable, UsageError
from ttc_cli.events import CandidateEnded, RunEnded, RunStarted, Spent
from ttc_cli.runs import codec, database
from ttc_cli.runs.database import explain_faults, transaction
from ttc_cli.runs.run import Run, RunState, Timed, describe_process, lives
from ttc_cli.runs.spending import Cost
from ttc_cli.types import Result

SHOWN_CHARS = 1000
"""Of a question, in the row of its run."""
LAST = "last"
"""The name of the newest run."""

KEYS = ("TTC_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables whose values are never stored, wherever they turn up."""
_SHORTEST_KEY = 8
_MOST = (1 << 63) - 1

_COLUMNS = tuple(field.name for field in fields(Run))


class RunStore:
    """The log of runs. One thread at a time may use it; other processes may at any time.

    Every method raises ``RunsUnavailable``, ``RunDamaged`` or ``DiskFull`` where the database does
    not do as it should, except those that a recorder calls (``begin``, ``append``, ``finish``),
    which let the faults of SQLite through.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._file = database.identify(path)
        self.path = path

    @classmethod
    def open(cls, path: Path, warn: Callable[[str], None]) -> RunStore:
        """As ``database.open_database``."""
        return cls(database.open_database(path, warn), path)

    @classmethod
    def open_to_read(cls, path: Path) -> RunStore:
        """As ``database.open_to_read``."""
        return cls(database.open_to_read(path), path)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._connection.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- writing --------------------------------------------------------------------------------

    def begin(
        self,
        *,
        question: str,
        model: str,
        strategy: str,
        level: str,
        request: Mapping[str, Any],
        parent: str | None = None,
    ) -> str:
        """Note that this process begins a run; returns its id.

        ``request`` is all that is needed to ask for it again, in values that JSON has, the whole
        question among them.
        """
        values = (
            time.time(),
            RunState.RUNNING,
            describe_process(),
            parent,
            *map(_safe, (question[:SHOWN_CHARS], model, strategy, level)),
            hide_keys(json.dumps(request)),
        )
        with transaction(self._connection):
            id = secrets.token_hex(4)
            while self._connection.execute("SELECT 1 FROM runs WHERE id = ?", (id,)).fetchone():
                id = secrets.token_hex(4)
            made = self._connection.execute(
                "INSERT INTO runs (id, started, state, process, parent, question, model, "
                "strategy, level, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, *values),
            )
            self._add_text(made.lastrowid, question)
        return id

    def append(self, id: str, batch: Sequence[Timed]) -> None:
        """Add events to the run ``id``, all or none, and bring its row up to date."""
        with transaction(self._connection):
            found = self._connection.execute("SELECT number FROM runs WHERE id = ?", (id,))
            row = found.fetchone()
            if row is None:
                raise RunDamaged(f"The run {id} was removed while it ran.")
            number = int(row[0])
            for each in batch:
                body = hide_keys(json.dumps(codec.encode(each.event), separators=(",", ":")))
                self._connection.execute(
                    "INSERT INTO events (run, seconds, body) VALUES (?, ?, ?)",
                    (number, each.seconds, body),
                )
                self._follow(number, each)

    def finish(
        self,
        id: str,
        state: RunState | None = None,
        note: str | None = None,
        full: Cost | None = None,
    ) -> None:
        """Note how the run ended; ``state`` None is as its last event said.

        Raises:
            RunsUnavailable: what was written went into a file that is not at ``path`` any more.
        """
        self._connection.execute(
            "UPDATE runs SET state = coalesce(?, state), note = ?, full_tokens = ?, full_flops = ? "
            "WHERE id = ?",
            (state, note and _safe(note), full and full.tokens, full and full.flops, id),
        )
        if database.identify(self.path) != self._file:
            raise RunsUnavailable(
                f"The log of runs, {self.path}, was deleted or replaced while the run went on."
            )

    def read_note(self, name: str) -> str | None:
        """What ``write_note`` left under ``name``."""
        with explain_faults(self.path):
            found = self._connection.execute("SELECT value FROM notes WHERE name = ?", (name,))
            row = found.fetchone()
        return row and str(row[0])

    def write_note(self, name: str, value: str) -> None:
        """Leave a word to later processes."""
        with explain_faults(self.path):
            self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def _follow(self, number: int, timed: Timed) -> None:
        """Bring the row of a run up to date with one more event."""
        event = timed.event
        changes: dict[str, Any] = {"seconds": timed.seconds}
        if isinstance(event, RunStarted):  # of each model of a cascade
            changes |= {"state": RunState.RUNNING}
            if timed.seconds == 0:  # as the engine calls the first one
                changes |= {"model": _safe(event.model)}
        elif isinstance(event, CandidateEnded):
            self._connection.execute(
                "UPDATE runs SET candidates = candidates + 1 WHERE number = ?", (number,)
            )
            self._add_text(number, event.candidate.text)
        elif isinstance(event, Spent):
            changes |= {"tokens": _fit(event.usage.generated_tokens), "flops": event.usage.flops}
        elif isinstance(event, RunEnded):
            result = event.result
            changes |= {
                "state": RunState.INTERRUPTED if result.interrupted else RunState.DONE,
                "answer": None if result.answer is None else _safe(result.answer.text),
                "difficulty": None if result.estimate is None else result.estimate.difficulty,
                "tokens": _fit(result.usage.generated_tokens),
                "flops": result.usage.flops,
                "seconds": result.usage.seconds,
                **({"model": _safe(result.model)} if result.model else {}),
            }
        names = ", ".join(f"{name} = ?" for name in changes)
        self._connection.execute(
            f"UPDATE runs SET {names} WHERE number = ?", (*changes.values(), number)
        )

    def _add_text(self, number: int | None, text: str) -> None:
        self._connection.execute(
            "INSERT INTO texts (run, text) VALUES (?, ?)", (number, _safe(text))
        )

    # -- reading --------------------------------------------------------------------------------

    def newest(self, limit: int | None = None) -> list[Run]:
        """The newest ``limit`` runs, newest first; all with None."""
        return self._select("ORDER BY number DESC LIMIT ?", (-1 if limit is None else limit,))

    def find(self, prefix: str) -> Run:
        """The run whose id begins with ``prefix``, or the newest for ``last``.

        Raises:
            UsageError: there is none, or more than one.
        """
        if prefix == LAST:
            found = self.newest(1)
        else:
            found = self._select(
                "WHERE substr(id, 1, ?) = ? ORDER BY number DESC", (len(prefix), prefix.lower())
            )
        if not found or not prefix:
            what = "No run is kept yet." if prefix == LAST else f"There is no run {prefix!r}."
            raise UsageError(what, "ttc runs list")
        if len(found) > 1:
            few = ", ".join(run.id for run in found[:5])
            raise UsageError(f"{len(found)} runs begin with {prefix!r}: {few}.", "ttc runs list")
        return found[0]

    def events(self, run_id: str) -> Iterator[Timed]:
        """The events of the run with this whole id, in order, until now.

        Text that grew comes in pieces of about half a second, each with the numbers of its last
        decode step.

        Raises:
            RunDamaged: one of them cannot be read.
        """
        with explain_faults(self.path):
            rows = self._connection.execute(
                "SELECT seconds, body FROM events WHERE run = (SELECT number FROM runs WHERE "
                "id = ?) ORDER BY number",
                (run_id,),
            )
            for seconds, body in rows:
                try:
                    value = json.loads(body, parse_int=codec.read_integer)
                except (ValueError, RecursionError) as error:
                    raise RunDamaged(f"An event of the run {run_id} is damaged.") from error
                yield Timed(seconds, codec.decode(value))

    def read_result(self, run_id: str) -> Result | None:
        """What the run came to, None where it did not end."""
        ends = [each.event for each in self.events(run_id) if isinstance(each.event, RunEnded)]
        return ends[-1].result if ends else None

    def search(self, words: str, limit: int | None = None) -> list[Run]:
        """Runs whose question or solutions hold all ``words``, newest first.

        By the index, in one text, a word standing for all that begin with it; where that finds
        nothing, or there is none, ``words`` as they stand, anywhere in a text.
        """
        terms = [each for each in words.split() if any(map(str.isalnum, each))]
        having = "WHERE number IN (SELECT run FROM texts WHERE {}) ORDER BY number DESC LIMIT ?"
        most = -1 if limit is None else limit
        with explain_faults(self.path):
            indexed = bool(terms) and database.has_index(self._connection)
        if indexed:
            match = " ".join('"{}"*'.format(each.replace('"', '""')) for each in terms)
            inside = "number IN (SELECT rowid FROM words WHERE words MATCH ?)"
            if found := self._select(having.format(inside), (_safe(match), most)):
                return found
        pattern = re.sub(r"[\\%_]", r"\\\g<0>", _safe(words))
        return self._select(having.format("text LIKE ? ESCAPE '\\'"), (f"%{pattern}%", most))

    def remove(self, ids: Sequence[str]) -> None:
        """Delete runs and everything that they hold; the file shrinks.

        In short steps, so that a run which goes on or begins meanwhile is kept.
        """
        with explain_faults(self.path):
            self._connection.execute("PRAGMA secure_delete = ON")
            left = list(ids)
            while left:
                with database.turn() as spent, transaction(self._connection):
                    while left:
                        self._connection.execute("DELETE FROM runs WHERE id = ?", (left.pop(),))
                        if spent():
                            break
            alone = all(run.state is not RunState.RUNNING for run in self.newest())
            database.shrink(self._connection, alone=alone)

    def _select(self, rest: str, arguments: Sequence[Any]) -> list[Run]:
        with explain_faults(self.path):
            names = ", ".join(_COLUMNS)
            query = f"SELECT {names}, process FROM runs {rest}"
            return [_read(row) for row in self._connection.execute(query, arguments).fetchall()]


_BLANK: Mapping[str, Any] = {
    "question": "",
    "flags": {},
    "words": [],
    "files": {},
    "version": "",
    "hidden": False,
}
"""The parts of a request, as ``keeping`` writes them."""


def hide_keys(text: str) -> str:
    """``text`` without the keys that the environment holds: a question or a check may quote one."""
    for name in KEYS:
        key = os.environ.get(name, "").strip()
        if len(key) >= _SHORTEST_KEY:
            text = text.replace(key, "…").replace(json.dumps(key)[1:-1], "…")
    return text


def _safe(text: str) -> str:
    """``text`` as SQLite takes it: without keys, and without halves of characters."""
    return hide_keys(text).encode("utf-8", "replace").decode("utf-8")


def _fit(count: int) -> int:
    """``count`` as SQLite takes it."""
    return max(-_MOST, min(_MOST, count))


def _read(row: Sequence[Any]) -> Run:
    *values, process = row
    run = dict(zip(_COLUMNS, values, strict=True))
    try:
        run["state"] = RunState(run["state"])
        running = run["state"] is RunState.RUNNING
        if running and not lives(process, run["started"] + run["seconds"]):
            run["state"] = RunState.KILLED
    except (ValueError, KeyError, TypeError):  # a damaged row
        run["state"] = RunState.KILLED
    return Run(**{**run, "request": _read_request(run["request"], str(run["question"]))})


def _read_request(text: object, shown: str) -> dict[str, Any]:
    """What was asked for. What is damaged of it is blank; without flags nothing can be resumed."""
    try:
        kept = json.loads(str(text))
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        kept = {}
    whole = {
        name: kept[name] if isinstance(kept.get(name), type(blank)) else blank
        for name, blank in _BLANK.items()
    }
    whole["words"] = list(map(str, whole["words"]))
    return {**whole, "question": whole["question"] or shown}
