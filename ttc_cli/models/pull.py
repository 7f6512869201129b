"""Brings models to this machine, one process at a time for each.

A download goes: lock → still missing? → room on disk, fits memory? → sources in order → sha256 →
readable header → renamed into place → record. Killed at any point, it leaves either nothing or
something that the next run continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ttc_cli.errors import ModelCorrupt, ModelError, ModelMissing
from ttc_cli.models import files, records, sources
from ttc_cli.models.cleaning import delete, list_unfinished, measure
from ttc_cli.models.fitting import check_disk, check_memory
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hub import Hub
from ttc_cli.models.progress import Phase, Progress, Report, format_bytes, ignore, show_progress
from ttc_cli.models.registry import Entry, FileSource


def ensure(model: files.Model, confirm: Callable[[int | None], bool] = lambda left: True) -> Path:
    """The file of a model, downloaded if it is missing, with progress on stderr.

    ``confirm`` is asked before a download, with the bytes that are still to come (None: unknown).

    Raises:
        ModelMissing: not here, and ``confirm`` said no.
        DiskFull, MemoryShort, NetworkError, ModelUnsupported: as ``pull``.
    """
    if model.path is not None:
        return model.path
    size = model.entry.size
    unfinished = sum(map(measure, list_unfinished(records.folder_of(model.name))))
    if not confirm(None if size is None else max(0, size - unfinished)):
        shown = f" ({format_bytes(size)})" if size else ""
        raise ModelMissing(
            f"The model {model.name} is not on this machine{shown}.",
            f"ttc models pull {model.name}",
        )
    with show_progress() as report:
        return pull(model.name, report=report)


def pull(
    reference: str, *, report: Report = ignore, force: bool = False, hub: Hub | None = None
) -> Path:
    """Download ``reference`` unless it is here; return its file.

    ``force`` downloads again what is here, and what does not fit the memory.

    Raises:
        UsageError: ``reference`` names nothing, or several files of a repository.
        DiskFull, MemoryShort: before anything is downloaded, or when the disk fills meanwhile.
        AccessDenied, Unreachable, NetworkError, ModelMissing: no source delivered.
        ModelCorrupt: what came is not what is pinned, or not a GGUF.
        ModelUnsupported: a model that tree search cannot use.
    """
    model, path = _look(reference)
    if path is not None and (not force or records.folder_of(model.name) not in path.parents):
        return path
    hub = hub or Hub.from_environment()
    entry = model.entry
    if (wanted := model.reference) is not None:
        source, listed = sources.pick_file(hub, wanted.repo, wanted.wanted, wanted.revision)
        entry = replace(entry, sources=(source,), bytes=listed.size, sha256=listed.sha256)
    if not force:
        check_memory(entry)
    with records.lock(entry.name, report):
        # Another process may have brought it while this one waited.
        path = None if force else _look(reference)[1]
        if path is not None:
            return path
        folder = records.folder_of(entry.name)
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
    records.record_file(entry.name, final, fetched.sha256, fetched.source)
    for leftover in list_unfinished(folder):
        delete(leftover)
    return final


def verify(name: str, report: Report = ignore) -> records.Record:
    """Hash the file of ``name`` again, whatever its record says, and read its header.

    Raises:
        ModelMissing: it is not here.
        ModelCorrupt: it is not what was downloaded, or not what the registry pins.
        UsageError: there is no such model.
    """
    model = files.resolve_unchecked(name)
    record = records.find_record(model.name)
    path = record.path if record is not None and record.path.is_file() else model.path
    if path is None:
        path = files.resolve(name).require_path()
    total = path.stat().st_size

    def tell(done: int) -> None:
        report(Progress(model.name, Phase.CHECK, done, total))

    tell(0)
    wanted = model.entry.sha256 or (record.sha256 if record is not None else None)
    sha256 = records.check_file(path, wanted, model.name, tell)
    read_header(path)
    source = record.source if record is not None else model.entry.sources[0]
    if record is not None:
        records.check_tuned(record, again=True)
    if model.path is not None:
        status = path.stat()  # a bare path: nothing of it is kept
        return records.Record(model.name, path, total, status.st_mtime_ns, sha256, source)
    return records.record_file(model.name, path, sha256, source)
