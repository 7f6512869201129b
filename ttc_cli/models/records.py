"""What ttc keeps about each model on this machine: a folder, a record, a lock, and known hashes.

Each model has one folder below ``paths.models_dir()``: the file (or a pointer to one that lies
elsewhere: in the user's hub cache, or a path of the user's) and ``model.json``, the *record*: its
sha256 with the size and time of change it was computed at. A file that still has both is not
hashed again; one that has not is hashed before it is used. A record may also tell of a *tuning*:
the file rewritten in a type that suits the processor, and used in its place.

Files that have no record are the user's own. Their hashes are remembered by place, size and time
of change: enough to find a model's policy and verdicts by, never a proof of its bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import ModelCorrupt, ModelMissing, TtcError
from ttc_cli.models import parts
from ttc_cli.models.progress import ModelProgress, Phase, Report
from ttc_cli.models.registry import SOURCES, Source

RECORD = "model.json"
TUNED = "*.tuned-*.gguf"
"""Names of re-quantised files, beside the record."""
HASHES = "hashes.json"
"""In the cache folder: the hashes of files without a record."""
MAX_HASHES = 200
"""Files whose hashes are remembered; the oldest is forgotten first."""
CHUNK = 1 << 20
"""Bytes read or written at once."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """A model's file rewritten as ``kind``, how that was done, and what came of it.

    ``state``: ``trial`` (written, not yet measured to the end), ``used`` (in place of the file it
    was made from), ``slower``, ``changed`` (it answered otherwise) or ``undone``; of the last
    three only this note is kept. ``made_from``: sha256 of the original. ``lossy``: ``kind`` has
    fewer bits than the original. ``build``, ``processor``, ``date``: with what, where and when.
    ``figures``: what was measured, by name.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    kind: str
    lossy: bool
    made_from: str
    state: str = "trial"
    build: str = ""
    processor: str = ""
    date: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a file on this machine.

    ``path``: of several parts the first; ``size`` and ``mtime_ns``, when its content last changed,
    are ``parts.measure``'s. ``chosen``: ttc took it by itself, as the default
    for this machine, which it then stays.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int
    sha256: str
    source: Source | None = None
    tuning: Tuning | None = None
    chosen: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether the file still has the size and time of change of its hash."""
        return is_unchanged(self)

    @property
    def tuned(self) -> Tuning | None:
        """The tuning whose file is used in place of ``path``, or None."""
        tuning = self.tuning
        used = tuning is not None and tuning.state == "used" and tuning.path.is_file()
        return tuning if used else None

    @property
    def used(self) -> Path:
        """The file that runs: the tuned one, else the original."""
        return self.path if self.tuned is None else self.tuned.path


def is_unchanged(known: Record | Tuning) -> bool:
    """Whether the file of ``known`` still has the size and time of change of its hash."""
    return parts.measure(known.path) == (known.size, known.mtime_ns)


def folder_of(name: str) -> Path:
    """The folder that holds the model called ``name``."""
    return paths.models_dir() / re.sub(r"[/:@]", "--", name)


@contextmanager
def lock(name: str, report: Report | None = None) -> Iterator[None]:
    """Hold the lock of ``name``. The system releases it when a process dies, however it dies.

    With ``report``, waits for another process that has it, and says so; without, does not wait.

    Raises:
        TtcError: another process has it, and nobody wants to wait.
    """
    from filelock import FileLock, Timeout

    folder = paths.models_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    guard = FileLock(folder / f"{folder_of(name).name}.lock")
    busy = f"Another process is working on {name}"
    try:
        held = guard.acquire(timeout=0)
    except Timeout:
        if report is None:
            raise TtcError(f"{busy}.", "wait for it, or stop it") from None
        report(ModelProgress(name, Phase.NOTE, note=f"{busy}: waiting for it."))
        held = guard.acquire()
    with held:
        yield


def read_record(folder: Path) -> Record | None:
    """The record in ``folder``, or None where there is none that can be read."""
    try:
        raw = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        source, tuning = raw.get("source"), raw.get("tuning")
        return Record(
            name=str(raw["name"]),
            path=folder / str(raw["path"]),  # an absolute path replaces the folder
            size=int(raw["size"]),
            mtime_ns=int(raw["mtime_ns"]),
            sha256=str(raw["sha256"]),
            source=None if source is None else SOURCES[source["type"]](**source),
            tuning=None if tuning is None else _read_tuning(folder, tuning),
            chosen=raw.get("chosen") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # absent or damaged: what it described is hashed again


def find_record(name: str) -> Record | None:
    """The record of the model called ``name``, or None where there is none that can be read."""
    return read_record(folder_of(name))


def _read_tuning(folder: Path, raw: dict[str, Any]) -> Tuning | None:
    try:
        return Tuning(**{**raw, "path": folder / Path(str(raw["path"])).name})
    except (KeyError, TypeError):
        return None  # of another version: as if it had not been tuned; prune finds the file


def write_record(folder: Path, record: Record) -> None:
    """Put ``record`` into ``folder``, whole or not at all."""
    values = asdict(record)
    values["path"] = record.path.name if record.path.parent == folder else str(record.path)
    if record.tuning is not None:
        values["tuning"]["path"] = record.tuning.path.name
    folder.mkdir(parents=True, exist_ok=True)
    paths.write_whole(folder / RECORD, json.dumps(values, indent=1))


def record_file(
    name: str, path: Path, sha256: str, source: Source | None, *, chosen: bool = False
) -> Record:
    """Write the record of a file whose hash was just computed.

    What was made from a file of that very content stays known, and that it was ``chosen``.
    """
    size, changed = parts.measure(path)
    before = find_record(name)
    tuning = before.tuning if before is not None else None
    if tuning is not None and tuning.made_from != sha256:
        tuning = None
    chosen = chosen or (before is not None and before.chosen)
    record = Record(name, path, size, changed, sha256, source, tuning, chosen)
    write_record(folder_of(name), record)
    return record


def list_records() -> Iterator[Record]:
    """The records of everything on this machine, by name."""
    for file in sorted(paths.models_dir().glob(f"*/{RECORD}")):
        record = read_record(file.parent)
        if record is not None:
            yield record


def hash_file(path: Path, report: Callable[[int], None] = lambda done: None) -> str:
    """The sha256 of a file, in lower-case hexadecimal; ``report`` gets the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done)
    return digest.hexdigest()


def hash_model(path: Path, report: Callable[[int], None] = lambda done: None) -> str:
    """The sha256 of a model, of however many files; ``report`` gets the bytes read so far."""
    done, hashes = 0, []
    for file in parts.list_files(path):
        before = done

        def tell(more: int, before: int = before) -> None:
            report(before + more)

        hashes.append(hash_file(file, tell))
        done += file.stat().st_size
    return parts.join_hashes(hashes)


def check_file(
    path: Path, sha256: str | None, name: str, report: Callable[[int], None] = lambda done: None
) -> str:
    """Hash ``path`` and hold it against ``sha256`` (None: anything goes); return its hash.

    ``report`` gets the bytes read so far.

    Raises:
        ModelMissing: it cannot be read.
        ModelCorrupt: it is another one.
    """
    try:
        found = hash_model(path, report)
    except OSError as error:
        raise ModelMissing(f"{path} cannot be read: {error.strerror}.", f"ls -l {path}") from error
    if sha256 is not None and found != sha256:
        raise ModelCorrupt(
            f"The file of {name} is not the expected one: it is truncated, damaged or replaced "
            f"({path}, {parts.measure(path)[0]:,} bytes, sha256 {found[:12]}… instead of "
            f"{sha256[:12]}…).",
            f"ttc models pull --force {name}",
        )
    return found


def check_tuned(record: Record, *, again: bool = False) -> None:
    """Make sure that a tuned file that is used is what was written; hash it if it was touched.

    ``again``: hash it in any case.

    Raises:
        ModelCorrupt: it is another one.
    """
    tuned = record.tuned
    if tuned is None or (is_unchanged(tuned) and not again):
        return
    status = tuned.path.stat()
    try:
        check_file(tuned.path, tuned.sha256, f"{record.name} ({tuned.kind})")
    except ModelCorrupt as error:
        raise ModelCorrupt(error.message, f"ttc models tune {record.name} --undo") from None
    fresh = replace(tuned, mtime_ns=status.st_mtime_ns)
    with contextlib.suppress(OSError):  # then it is hashed again next time
        write_record(folder_of(record.name), replace(record, tuning=fresh))


def hash_once(path: Path, name: str) -> str:
    """The sha256 of a file without a record, computed only if it changed since the last time.

    Raises:
        ModelMissing: it cannot be read.
    """
    file = paths.cache_dir() / HASHES
    status = path.stat()
    stamp = [*parts.measure(path), status.st_ino]
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        known = {place: (list(seen), str(sha256)) for place, (seen, sha256) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        known = {}  # a cache: absent or damaged is the same
    place = str(path.absolute())
    seen, sha256 = known.pop(place, (None, ""))
    if seen == stamp:
        return sha256
    sha256 = check_file(path, None, name)
    kept = list(known.items())[-MAX_HASHES + 1 :]
    with contextlib.suppress(OSError):  # then it is hashed again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(file, json.dumps({**dict(kept), place: (stamp, sha256)}))
    return sha256
