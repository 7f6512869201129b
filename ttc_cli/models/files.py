"""Which models are on this machine, and where: found by name, path or hub reference.

Each model has one folder below ``paths.models_dir()``: the file (or a pointer to one that lies
elsewhere: in the user's hub cache, or a path of the user's) and ``model.json``, the *record*: its
sha256 with the size and time of change it was computed at. A file that still has both is not
hashed again; one that has not is hashed before it is used. A record may also tell of a *tuning*:
the file written anew in a type that suits the processor, and used in its place.

Downloading is ``pull``'s business, tuning is ``tune``'s.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import ModelCorrupt, ModelMissing, UsageError
from ttc_cli.models import hashes
from ttc_cli.models.registry import (
    SOURCES,
    Entry,
    FileSource,
    HubSource,
    Source,
    is_plain_path,
    load_registry,
)

RECORD = "model.json"
TUNED = "*.tuned-*.gguf"
"""Names of re-quantised files, beside the record."""
DEFAULT_QUANT = "Q4_K_M"

_HUB_REFERENCE = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(:(?P<wanted>[^:@]+))?(@(?P<revision>[^:@]+))?"
)
_BESIDE = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""In the names of projectors of images and of importance matrices."""
_ADAPTER = re.compile(r"(?<![a-z])(lora|adapter|control-?vector)s?(?![a-z])", re.IGNORECASE)
_LONGEST = 200
"""Characters of a reference: it becomes the name of a folder, and systems end those at 255."""
_HUB_PREFIX = re.compile(r"^(https?://)?(hf\.co|huggingface\.co)/|^hf:(//)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubReference:
    """``user/repo:wanted@revision`` as the user wrote it; ``wanted`` is a file or quantisation."""

    repo: str
    wanted: str
    revision: str = "main"

    @property
    def name(self) -> str:
        """The name under which ttc keeps it."""
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repo}:{self.wanted}{at}"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A model's file written anew as ``kind``, how that was done, and what came of it.

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
    """What is known of a file on this machine. ``mtime_ns``: when its content last changed."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    sha256: str
    source: Source | None = None
    tuning: Tuning | None = None

    def matches(self, path: Path) -> bool:
        """Whether ``path`` still has the size and time of change of its hash."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)

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


@dataclass(frozen=True, slots=True)
class Model:
    """A model that was asked for.

    ``entry`` is the registry's, or one made up for a path or a hub reference. ``path`` is the
    file, None while it is not on this machine. ``reference`` is set for hub references that no
    download has pinned yet.
    """

    name: str
    entry: Entry
    path: Path | None
    reference: HubReference | None = None


def resolve(reference: str) -> Model:
    """What ``reference`` names, and whether it is here. Never touches the network.

    ``reference`` is a name of the registry, the path of a GGUF file, or ``user/repo``,
    ``user/repo:quant``, ``user/repo:file`` on the hub. May hash a file that is new or changed.

    Raises:
        UsageError: none of these; names the nearest model.
        ModelMissing: a path without a file.
        ModelCorrupt: the file is there and is not what was downloaded, or not what is pinned.
    """
    model = resolve_unchecked(reference)
    if model.path is not None or model.reference is not None:
        return model
    return replace(model, path=_locate(model.entry))


def resolve_unchecked(reference: str) -> Model:
    """As ``resolve``, without a look at the files of known models: ``path`` is None for them.

    A path has a slash or ends with ``.gguf``. What may as well be a place on the hub is not taken
    for a file that happens to lie in the working folder, nor the other way round.

    Raises:
        UsageError, ModelMissing: as ``resolve``.
    """
    registry = load_registry()
    entry = registry.get(reference)
    if entry is not None:
        return Model(entry.name, entry, None)
    path = Path(os.path.expanduser(reference))
    is_file = os.path.isfile(path)  # unlike Path's own, no error for a name that no system takes
    hub = parse_hub_reference(reference)
    if hub is not None:
        if is_file and not _HUB_PREFIX.match(reference):
            raise UsageError(
                f"{reference} is a file here, and may be a place on the hub.",
                f"for the file: ./{reference}; for the hub: hf:{reference}",
            )
        return _resolve_hub(hub)
    if reference.lower().endswith(".gguf") or os.sep in reference:
        if is_file:
            return _local(path)
        raise ModelMissing(f"There is no file {path}.", "ttc models list")
    return Model(reference, registry.require(reference), None)  # raises: no such name


def find(reference: str) -> Path | None:
    """The file of ``reference``, or None while it is not on this machine.

    Raises:
        UsageError, ModelMissing, ModelCorrupt: as ``resolve``.
    """
    return resolve(reference).path


def parse_hub_reference(text: str) -> HubReference | None:
    """``text`` as a hub reference, or None if it is none."""
    prefixed = _HUB_PREFIX.match(text)
    match = _HUB_REFERENCE.fullmatch(text[prefixed.end() :] if prefixed else text)
    if match is None:
        return None
    wanted, revision = match["wanted"], match["revision"]
    if not all(is_plain_path(each) for each in (wanted, revision) if each is not None):
        return None
    if len(text) > _LONGEST:
        return None
    if wanted is None and not prefixed and text.lower().endswith(".gguf"):
        return None  # a path that does not exist
    return HubReference(match["repo"], wanted or DEFAULT_QUANT, revision or "main")


def folder_of(name: str) -> Path:
    """The folder that holds the model called ``name``."""
    return paths.models_dir() / re.sub(r"[/:@]", "--", name)


def read_record(folder: Path) -> Record | None:
    """The record in ``folder``, or None where there is none that can be read."""
    try:
        raw = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        source = _read_source(raw.get("source"))
        return Record(
            name=str(raw["name"]),
            path=folder / str(raw["path"]),  # an absolute path replaces the folder
            size=int(raw["size"]),
            mtime_ns=int(raw["mtime_ns"]),
            sha256=str(raw["sha256"]),
            source=source,
            tuning=_read_tuning(folder, raw.get("tuning")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # absent or damaged: what it described is hashed anew


def _read_source(raw: dict[str, Any] | None) -> Source | None:
    return None if raw is None else SOURCES[raw["type"]](**raw)


def _read_tuning(folder: Path, raw: dict[str, Any] | None) -> Tuning | None:
    if raw is None:
        return None
    try:
        return Tuning(**{**raw, "path": folder / Path(str(raw["path"])).name})
    except (KeyError, TypeError):
        return None  # of another version: as if it had not been tuned; prune finds the file


def write_record(folder: Path, record: Record) -> None:
    """Put ``record`` into ``folder``, whole or not at all."""
    path = record.path.relative_to(folder) if record.path.parent == folder else record.path
    values = {
        "name": record.name,
        "path": str(path),
        "size": record.size,
        "mtime_ns": record.mtime_ns,
        "sha256": record.sha256,
        "source": asdict(record.source) if record.source is not None else None,
    }
    if record.tuning is not None:
        values["tuning"] = {**asdict(record.tuning), "path": record.tuning.path.name}
    folder.mkdir(parents=True, exist_ok=True)
    paths.write_whole(folder / RECORD, json.dumps(values, indent=1))


def record_file(name: str, path: Path, sha256: str, source: Source | None) -> Record:
    """Write the record of a file whose hash was just computed.

    What was made from a file of that very content stays known.
    """
    status = path.stat()
    before = read_record(folder_of(name))
    tuning = before.tuning if before is not None else None
    if tuning is not None and tuning.made_from != sha256:
        tuning = None
    record = Record(name, path, status.st_size, status.st_mtime_ns, sha256, source, tuning)
    write_record(folder_of(name), record)
    return record


def list_records() -> Iterator[Record]:
    """The records of everything on this machine, by name."""
    for file in sorted(paths.models_dir().glob(f"*/{RECORD}")):
        record = read_record(file.parent)
        if record is not None:
            yield record


def _local(path: Path) -> Model:
    path = path.absolute()
    entry = Entry(name=str(path), title=path.name, sources=(FileSource(str(path)),), own=True)
    return Model(entry.name, entry, path)


def _resolve_hub(reference: HubReference) -> Model:
    record = read_record(folder_of(reference.name))
    blank = Entry(name=reference.name, title=reference.name, sources=(_unpinned(reference),))
    if record is not None and isinstance(record.source, HubSource):
        entry = replace(blank, sources=(record.source,), bytes=record.size, sha256=record.sha256)
        return Model(entry.name, entry, None)
    from ttc_cli.models.hub import Hub

    cached = Hub.from_environment().list_cached(reference.repo, reference.revision)
    matching = match_names(cached, reference.wanted)
    if len(matching) == 1 and not is_split(matching[0]):
        source = HubSource(reference.repo, matching[0], reference.revision)
        return Model(blank.name, replace(blank, sources=(source,)), None)
    return Model(blank.name, blank, None, reference)


def match_names(names: Iterable[str], wanted: str) -> list[str]:
    """Those of ``names`` that ``wanted`` means: the file of that name, else of that quantisation.

    ``Q4_K`` does not mean ``Q4_K_M``. An adapter is meant by its whole name alone.
    """
    listed = list(names)
    if wanted in listed and not _BESIDE.search(wanted):
        return [wanted]
    quant = re.compile(rf"(?<![A-Za-z0-9]){re.escape(wanted)}(?![A-Za-z0-9_])", re.IGNORECASE)
    return [name for name in listed if is_model(name) and quant.search(name)]


def is_model(name: str) -> bool:
    """Whether a GGUF of that name may be a model, and not what lies beside one."""
    adapter = _ADAPTER.search(name) is not None and "merged" not in name.lower()
    return not adapter and _BESIDE.search(name) is None


def is_split(name: str) -> bool:
    """Whether a file name is that of one of several parts of a GGUF."""
    match = re.search(r"-[0-9]{5}-of-([0-9]{5})\.gguf$", name, re.IGNORECASE)
    return match is not None and int(match[1]) > 1


def _unpinned(reference: HubReference) -> HubSource:
    return HubSource(reference.repo, reference.wanted, reference.revision)


def _locate(entry: Entry) -> Path | None:
    """The file of ``entry``, hashed unless its record vouches for it; None if it is not here."""
    folder = folder_of(entry.name)
    record = read_record(folder)
    if record is not None and record.path.is_file():
        if entry.sha256 is not None and record.sha256 != entry.sha256:
            return None  # an older revision: prune removes it
        if not record.matches(record.path):
            check_file(record.path, record.sha256, entry.name)
            _stamp(entry, record.path, record.sha256, record.source)
        check_tuned(record)
        return record.used
    for path, source in _own_files(entry, folder):
        sha256 = check_file(path, entry.sha256, entry.name)
        _stamp(entry, path, sha256, source)
        return path
    for path, source in _cached_files(entry):
        try:
            sha256 = check_file(path, entry.sha256, entry.name)
        except (ModelCorrupt, ModelMissing):
            continue  # the cache is not ours to judge: as if it were not there
        _stamp(entry, path, sha256, source)
        return path
    return None


def check_tuned(
    record: Record, report: Callable[[int], None] = lambda done: None, *, again: bool = False
) -> None:
    """Make sure that a tuned file that is used is what was written; hash it if it was touched.

    ``again``: hash it in any case.

    Raises:
        ModelCorrupt: it is another one.
    """
    tuned = record.tuned
    if tuned is None:
        return
    status = tuned.path.stat()
    if (status.st_size, status.st_mtime_ns) == (tuned.size, tuned.mtime_ns) and not again:
        return
    try:
        check_file(tuned.path, tuned.sha256, f"{record.name} ({tuned.kind})", report)
    except ModelCorrupt as error:
        raise ModelCorrupt(error.message, f"ttc models tune {record.name} --undo") from None
    fresh = replace(tuned, mtime_ns=status.st_mtime_ns)
    try:
        write_record(folder_of(record.name), replace(record, tuning=fresh))
    except OSError:
        return  # as ``_stamp``


def _own_files(entry: Entry, folder: Path) -> Iterator[tuple[Path, Source]]:
    """Files that should be the entry's but have no record: the user's, or ours after a crash."""
    for source in entry.sources:
        if isinstance(source, FileSource):
            path = Path(source.path).expanduser()
        else:
            path = folder / file_name(entry, source)
        if path.is_file():
            yield path, source


def file_name(entry: Entry, source: Source) -> str:
    """What the file of ``entry`` is called in its folder."""
    return Path(source.file).name if isinstance(source, HubSource) else f"{entry.name}.gguf"


def _cached_files(entry: Entry) -> Iterator[tuple[Path, Source]]:
    """Files in the user's hub cache that may be the entry's."""
    for source in entry.sources:
        if isinstance(source, HubSource):
            from ttc_cli.models.hub import Hub

            cached = Hub.from_environment().find_cached(source, entry.sha256)
            # The size tells most impostors apart without reading them.
            if cached is not None and entry.bytes in (None, cached.stat().st_size):
                yield cached, source


def _stamp(entry: Entry, path: Path, sha256: str, source: Source | None) -> None:
    try:
        record_file(entry.name, path, sha256, source)
    except OSError:
        return  # a folder that cannot be written only costs hashing again next time


def check_file(
    path: Path, sha256: str | None, name: str, report: Callable[[int], None] = lambda done: None
) -> str:
    """Hash ``path`` and hold it against ``sha256`` (None: anything goes); return its hash.

    ``report`` gets the bytes read so far.

    Raises:
        ModelCorrupt: it is another one.
    """
    from ttc_cli.models.download import hash_file

    try:
        found = hash_file(path, report)
    except OSError as error:
        raise ModelMissing(f"{path} cannot be read: {error.strerror}.", f"ls -l {path}") from error
    if sha256 is not None and found != sha256:
        raise ModelCorrupt(
            f"The file of {name} is not what it should be: truncated, damaged or replaced "
            f"({path}, {path.stat().st_size:,} bytes, sha256 {found[:12]}… instead of "
            f"{sha256[:12]}…).",
            f"ttc models pull --force {name}",
        )
    return found


def read_hash(model: Model) -> str:
    """What a model is known by: the sha256 of its file, or of the one that this was tuned from.

    A tuned file is the same model, so that policies, verdicts and pools of the original hold for
    it, unless it is lossy. From the record where that still holds, else computed once.

    Raises:
        ModelMissing: it is not on this machine.
    """
    if model.path is None:
        raise ModelMissing(f"{model.name} is not on this machine.", f"ttc models pull {model.name}")
    record = read_record(folder_of(model.name))
    tuned = record.tuned if record is not None else None
    if tuned is not None and tuned.path == model.path:
        return tuned.sha256 if tuned.lossy else tuned.made_from
    if record is not None and record.path == model.path and record.matches(model.path):
        return record.sha256
    known = hashes.recall(model.path)
    if known is None:
        known = check_file(model.path, None, model.name)
        hashes.remember(model.path, known)
    return known
