"""Brings models to this machine, one process at a time for each.

A download goes: lock → still missing? → room on disk, fits memory? → sources in order → sha256 →
readable header → renamed into place → record. Killed at any point, it leaves either nothing or
something that the next run continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ttc_cli import paths
from ttc_cli.errors import (
    DiskFull,
    MemoryShort,
    ModelCorrupt,
    ModelError,
    ModelMissing,
)
from ttc_cli.models import files, sources
from ttc_cli.models.cleaning import delete, list_unfinished, measure
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hardware import read_free_disk, read_memory
from ttc_cli.models.hub import Hub
from ttc_cli.models.locks import lock
from ttc_cli.models.progress import Phase, Progress, Report, format_bytes, ignore, show_progress
from ttc_cli.models.registry import Entry, FileSource, load_registry

_MARGIN = 64 << 20
"""Bytes that stay free on the disk."""
_BESIDE_WEIGHTS = 400 << 20
"""Bytes for the library, its buffers and a modest KV cache: a guess for the time before the file
is here; the engine plans exactly."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A download that is about to begin. ``bytes`` is what is still to come, None if unknown."""

    entry: Entry
    bytes: int | None
    folder: Path
    sources: tuple[str, ...]


Confirm = Callable[[Plan], bool]


def ensure(
    wanted: str | files.Model, *, confirm: Confirm | None = None, report: Report | None = None
) -> Path:
    """The file of a model, downloaded if it is missing: what a command that needs it calls.

    ``confirm`` is asked before a download; None means yes. Without ``report``, progress is shown
    on stderr.

    Raises:
        ModelMissing: not here, and ``confirm`` said no.
        UsageError, ModelCorrupt: as ``files.resolve``.
        DiskFull, MemoryShort, NetworkError, ModelUnsupported: as ``pull``.
    """
    model = files.resolve(wanted) if isinstance(wanted, str) else wanted
    if model.path is not None:
        return model.path
    if confirm is not None and not confirm(plan(model)):
        size = f" ({format_bytes(model.entry.size)})" if model.entry.size else ""
        raise ModelMissing(
            f"The model {model.name} is not on this machine{size}.", f"ttc models pull {model.name}"
        )
    if report is not None:
        return pull(model.name, report=report)
    with show_progress() as shown:
        return pull(model.name, report=shown)


def plan(model: files.Model) -> Plan:
    """What downloading ``model`` would mean."""
    folder = files.folder_of(model.name)
    size = model.entry.size
    left = None if size is None else max(0, size - _size_of_unfinished(folder))
    described = tuple(sources.describe(source) for source in model.entry.sources)
    return Plan(model.entry, left, folder, described)


def pull(
    reference: str, *, report: Report = ignore, force: bool = False, hub: Hub | None = None
) -> Path:
    """Download ``reference`` unless it is here; return its file.

    ``force`` downloads again what is here, and what does not fit the memory.

    Raises:
        UsageError: ``reference`` names nothing, or several files of a repository.
        DiskFull, MemoryShort: before anything is downloaded, or when the disk fills meanwhile.
        AccessDenied, Unreachable, NetworkError, ModelMissing: no source delivered.
        ModelCorrupt: what came is not what is pinned, or no GGUF.
        ModelUnsupported: a model that tree search cannot use.
    """
    model, path = _look(reference)
    if path is not None and (not force or files.folder_of(model.name) not in path.parents):
        return path
    hub = hub or Hub.from_environment()
    if model.reference is not None:
        model = _pin(model, model.reference, hub)
    entry = model.entry
    if not force:
        check_memory(entry)
    with lock(entry.name, report):
        # Another process may have brought it while this one waited.
        _, path = (model, None) if force else _look(reference)
        if path is not None:
            return path
        folder = files.folder_of(entry.name)
        check_disk(entry, folder)
        folder.mkdir(parents=True, exist_ok=True)
        return _place(entry, sources.fetch(entry, folder, hub, report), folder)


def _look(reference: str) -> tuple[files.Model, Path | None]:
    """The model and its file; a damaged file counts as none."""
    try:
        model = files.resolve(reference)
    except ModelCorrupt:
        return files.resolve_unchecked(reference), None
    return model, model.path


def _pin(model: files.Model, reference: files.HubReference, hub: Hub) -> files.Model:
    source, listed = sources.pick_file(hub, reference.repo, reference.wanted, reference.revision)
    entry = replace(model.entry, sources=(source,), bytes=listed.size, sha256=listed.sha256)
    return replace(model, entry=entry)


def _place(entry: Entry, fetched: sources.Fetched, folder: Path) -> Path:
    """Move a complete file to its place, after a look at its header; write its record."""
    ours = not isinstance(fetched.source, FileSource)
    try:
        read_header(fetched.path)
    except ModelError:
        if ours:
            fetched.path.unlink()
        raise
    final = folder / files.file_name(entry, fetched.source) if ours else fetched.path
    if ours:
        fetched.path.replace(final)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    files.record_file(entry.name, final, fetched.sha256, fetched.source)
    for leftover in list_unfinished(folder):
        delete(leftover)
    return final


def _size_of_unfinished(folder: Path) -> int:
    return sum(measure(path) for path in list_unfinished(folder))


def check_disk(entry: Entry, folder: Path) -> None:
    """Make sure that ``entry`` fits the disk.

    Raises:
        DiskFull: it does not.
    """
    if entry.size is None or all(isinstance(source, FileSource) for source in entry.sources):
        return
    needed = entry.size - _size_of_unfinished(folder) + _MARGIN
    free = read_free_disk(folder)
    if needed > free:
        raise DiskFull(
            f"{entry.name} needs {format_bytes(needed)} more on the disk of {paths.models_dir()}, "
            f"{format_bytes(free)} are free.",
            "free some space (ttc models prune, ttc models rm NAME), or set TTC_HOME to a folder "
            "on another disk",
        )


def needed_memory(entry: Entry) -> int | None:
    """Bytes of memory that running ``entry`` takes, roughly; None if its size is unknown."""
    return None if entry.size is None else entry.size * 21 // 20 + _BESIDE_WEIGHTS


def check_memory(entry: Entry, total: int | None = None) -> None:
    """Make sure that this machine could run ``entry``. ``total``: its memory in bytes.

    Raises:
        MemoryShort: it could not; names the models that it could.
    """
    needed = needed_memory(entry)
    total = read_memory().total if total is None else total
    if needed is None or needed <= total:
        return
    fitting = [
        other.name
        for other in load_registry().entries.values()
        if other.kind == entry.kind and other.tier != "test"
        if (needed_memory(other) or total + 1) <= total
    ]
    raise MemoryShort(
        f"{entry.name} needs about {format_bytes(needed)} of memory, this machine has "
        f"{format_bytes(total)}." + (f" These fit: {', '.join(fitting)}." if fitting else ""),
        f"ttc models pull {fitting[0]}" if fitting else f"ttc models pull --force {entry.name}",
    )


def verify(name: str, report: Report = ignore) -> files.Record:
    """Hash the file of ``name`` again, whatever its record says, and read its header.

    Raises:
        ModelMissing: it is not here.
        ModelCorrupt: it is not what was downloaded, or not what the registry pins.
        UsageError: there is no such model.
    """
    model = files.resolve_unchecked(name)
    record = files.read_record(files.folder_of(model.name))
    path = record.path if record is not None and record.path.is_file() else model.path
    if path is None:
        path = files.resolve(name).path
    if path is None:
        raise ModelMissing(
            f"The model {model.name} is not on this machine.", f"ttc models pull {model.name}"
        )
    total = path.stat().st_size
    report(Progress(model.name, Phase.CHECK, 0, total))
    wanted = model.entry.sha256 or (record.sha256 if record is not None else None)
    sha256 = files.check_file(
        path,
        wanted,
        model.name,
        lambda done: report(Progress(model.name, Phase.CHECK, done, total)),
    )
    read_header(path)
    source = record.source if record is not None else model.entry.sources[0]
    if record is not None:
        files.check_tuned(record, again=True)
    if model.path is not None:
        status = path.stat()  # a bare path: nothing of it is kept
        return files.Record(model.name, path, total, status.st_mtime_ns, sha256, source)
    return files.record_file(model.name, path, sha256, source)
