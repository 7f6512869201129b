"""The file that runs are kept in: opened, migrated, and set aside where it is damaged.

SQLite in WAL mode: two processes may write at once, and one that is killed leaves nothing torn.
The version is ``PRAGMA user_version``, the number of ``MIGRATIONS`` that were made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ttc_cli.errors import DiskFull, RunDamaged, RunsUnavailable, TtcError

BUSY_SECONDS = 1.0
"""How long another process is waited for at each statement."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            started REAL NOT NULL,
            state TEXT NOT NULL,
            process TEXT NOT NULL,
            parent TEXT,
            question TEXT NOT NULL,
            model TEXT NOT NULL,
            strategy TEXT NOT NULL,
            level TEXT NOT NULL,
            request TEXT NOT NULL,
            answer TEXT,
            difficulty INTEGER,
            candidates INTEGER NOT NULL DEFAULT 0,
            tokens INTEGER NOT NULL DEFAULT 0,
            flops REAL NOT NULL DEFAULT 0,
            seconds REAL NOT NULL DEFAULT 0,
            full_tokens REAL,
            full_flops REAL,
            note TEXT
        )""",
        """CREATE TABLE events (
            number INTEGER PRIMARY KEY,
            run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
            seconds REAL NOT NULL,
            body TEXT NOT NULL
        )""",
        "CREATE INDEX events_of_run ON events (run)",
        """CREATE TABLE texts (
            number INTEGER PRIMARY KEY,
            run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
            text TEXT NOT NULL
        )""",
        "CREATE INDEX texts_of_run ON texts (run)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
"""Statements from each version to the next. One that was released is never changed."""

_INDEX = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS words "
    "USING fts5(text, content=texts, content_rowid=number)",
    """CREATE TRIGGER words_insert AFTER INSERT ON texts BEGIN
        INSERT INTO words (rowid, text) VALUES (new.number, new.text);
    END""",
    """CREATE TRIGGER words_delete AFTER DELETE ON texts BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text);
    END""",
    "INSERT INTO words (words) VALUES ('rebuild')",
)
_NO_INDEX = ("DROP TRIGGER words_insert", "DROP TRIGGER words_delete")

_SMALLEST = 512
"""Bytes of the smallest page. What is shorter SQLite may take for empty, and write over it."""
_STEP_PAGES = 500
"""Of 4 KiB, that a step of long work writes."""
_TURN_SECONDS = 0.1
_IN_STEPS = 2
"""``auto_vacuum``: free pages are given back on request, some at a time."""
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def open_database(path: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """Open ``path`` for reading and writing; made where it is missing, migrated where it is old.

    A file that is not a database is moved aside, ``warn`` is told, and a new one begun.

    Raises:
        RunsUnavailable: it cannot be opened or written, is locked, or of a newer ttc.
        DiskFull: no room to begin it.
    """
    with explain_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        damaged = path.exists() and 0 < path.stat().st_size < _SMALLEST
        try:
            if not damaged:
                connection = _connect(path)
                if _is_ready(connection, path):
                    return connection
                connection.close()
        except sqlite3.DatabaseError as error:
            damaged = is_damage(error)
            if not damaged:
                raise
        if damaged:
            set_aside(path, warn)
        with _alone(path):
            connection = _connect(path)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open ``path`` where nothing can be written, in a folder of another user say.

    Raises:
        RunsUnavailable: it cannot be read, or is of another version.
        RunDamaged: it is not a database.
    """
    with explain_faults(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            ready = _is_ready(connection, path)
        except sqlite3.OperationalError:
            # Its journal cannot be joined, which takes a file beside it: without what that holds.
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
            ready = _is_ready(connection, path)
        if not ready:
            connection.close()
            raise RunsUnavailable(f"{path} was made by an older ttc and cannot be written to here.")
        return connection


def set_aside(path: Path, warn: Callable[[str], None]) -> Path | None:
    """Move a damaged database out of the way, and say where to; None where it is not damaged.

    Raises:
        OSError: it cannot be moved.
    """
    with _alone(path):
        try:
            with contextlib.closing(_connect(path)) as connection:
                sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
                if sound and not 0 < path.stat().st_size < _SMALLEST:
                    return None
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    warn(
        f"the log of runs was damaged: it was moved to {aside}, and a new one was begun (sqlite3 "
        f"'{aside}' .recover shows what can be saved)"
    )
    return aside


@contextlib.contextmanager
def explain_faults(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the system into ttc's own, which name ``path``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path) from error


def explain(error: sqlite3.Error | OSError, path: Path) -> TtcError:
    """What ``error`` of the database at ``path`` means to the user."""
    log = f"The log of runs, {path},"
    if isinstance(error, OSError):
        return RunsUnavailable(f"{log} cannot be used: {error.strerror or error}.")
    code = _code(error)
    if code in _LOCKED:
        return RunsUnavailable(f"{log} is locked by another process.")
    if code in _DAMAGED:
        return RunDamaged(
            f"{log} is damaged: {error}.",
            f"mv '{path}' '{path}.damaged' lets ttc begin another; "
            f"sqlite3 '{path}' .recover shows what can be saved",
        )
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"No room left on the disk for the log of runs, {path}.")
    what = "written to" if code in _REFUSED else "used"
    return RunsUnavailable(f"{log} cannot be {what}: {error}.")


def is_damage(error: BaseException | None) -> bool:
    """Whether ``error`` says that the database is damaged."""
    return isinstance(error, sqlite3.Error) and _code(error) in _DAMAGED


def is_lock(error: BaseException) -> bool:
    """Whether ``error`` says that another process has it."""
    return isinstance(error, sqlite3.Error) and _code(error) in _LOCKED


def is_refusal(error: BaseException | None) -> bool:
    """Whether ``error`` says that the database cannot be written; it may still be readable."""
    if isinstance(error, OSError):
        return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return isinstance(error, sqlite3.Error) and _code(error) in _REFUSED


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements within or none; the lock to write is taken at once, not halfway."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def has_index(connection: sqlite3.Connection) -> bool:
    """Whether words can be searched by the index, and not only by reading all."""
    return _knows_fts(connection) and _is_indexed(connection)


def identify(path: Path) -> tuple[int, int] | None:
    """Which file ``path`` is, None without one: SQLite goes on writing to one that was deleted."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def turn() -> Iterator[Callable[[], bool]]:
    """A step of long work; calls what it yields to learn whether it took long enough.

    Other processes, which try again every now and then, have as long a turn afterwards.
    """
    began = time.monotonic()
    yield lambda: time.monotonic() - began > _TURN_SECONDS
    time.sleep(time.monotonic() - began)


def shrink(connection: sqlite3.Connection, *, alone: bool) -> None:
    """Forget words that were deleted and give free pages back, in short steps.

    ``alone``: no run goes on. A file that an older ttc made cannot shrink in steps: then it is
    rewritten, so that it can, which holds it for as long as that takes; else it stays as large
    as it is until a later removal.
    """
    if has_index(connection):
        pages, before = -_STEP_PAGES, -1
        while connection.total_changes - before > 1:  # less is a step that found nothing to do
            before = connection.total_changes
            with turn():
                connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
            pages = _STEP_PAGES
    try:
        if alone and connection.execute("PRAGMA auto_vacuum").fetchone() != (_IN_STEPS,):
            connection.execute(f"PRAGMA auto_vacuum = {_IN_STEPS}")
            connection.execute("VACUUM")
        free = -1
        while free != (free := connection.execute("PRAGMA freelist_count").fetchone()[0]):
            with turn():
                connection.execute(f"PRAGMA incremental_vacuum({_STEP_PAGES})").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError:
        return  # another process is at work


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit; the file is its owner's alone, and so are its journals."""
    # Made first, because SQLite would make it for all to read. It is opened where it is new alone:
    # closing a second descriptor would let go of the locks that this process may hold.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            with contextlib.suppress(OSError):  # another user's: to be read, or not even that
                path.chmod(0o600)
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While one process makes, migrates or moves the file, others wait."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=10 * BUSY_SECONDS, mode=0o600):
            yield
    except Timeout as error:
        raise RunsUnavailable(f"The log of runs, {path}, is locked by another process.") from error


def _is_ready(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether it is of this version, its index as this SQLite can keep it; closed on errors."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise RunsUnavailable(
                f"The log of runs, {path}, was made by a newer ttc (version {version}; this one "
                f"knows {len(MIGRATIONS)}) and is left alone.",
                "update ttc, or set TTC_HOME to another folder",
            )
        return version == len(MIGRATIONS) and _is_indexed(connection) == _knows_fts(connection)
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection) -> None:
    """Bring it to this version, whole or not at all."""
    connection.execute(f"PRAGMA auto_vacuum = {_IN_STEPS}")  # of a new file; an old one stays
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
        knows = _knows_fts(connection)
        if knows != _is_indexed(connection):
            for statement in _INDEX if knows else _NO_INDEX:
                connection.execute(statement)


def _knows_fts(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'")
    return found.fetchone() is not None


def _is_indexed(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'words_insert'")
    return found.fetchone() is not None
