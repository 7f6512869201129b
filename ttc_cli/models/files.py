"""Finds models by name, path or hub reference, and says whether their files are here.

Nothing here touches the network: ``pull`` downloads.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ttc_cli.errors import ModelCorrupt, ModelMissing, UsageError
from ttc_cli.models import parts, records
from ttc_cli.models.registry import (
    Entry,
    FileSource,
    HubSource,
    Source,
    is_plain_path,
    load_registry,
)

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

    def require_path(self) -> Path:
        """The file.

        Raises:
            ModelMissing: it is not on this machine.
        """
        if self.path is None:
            raise ModelMissing(
                f"The model {self.name} is not on this machine.", f"ttc models pull {self.name}"
            )
        return self.path


def resolve(reference: str) -> Model:
    """What ``reference`` names, and whether it is here.

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
                f"{reference} is a file here, and may also be a repository on the hub.",
                f"for the file: ./{reference}; for the hub: hf:{reference}",
            )
        return _resolve_hub(hub)
    if reference.lower().endswith(".gguf") or os.sep in reference:
        if is_file:
            path = path.absolute()
            name, sources = str(path), (FileSource(str(path)),)
            return Model(name, Entry(name, path.name, sources, own=True), path)
        raise ModelMissing(f"There is no file {path}.", "ttc models list")
    return Model(reference, registry.require(reference), None)  # raises: no such name


def find(reference: str) -> Path | None:
    """The file of ``reference``, or None while it is not on this machine; raises as ``resolve``."""
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


def _resolve_hub(reference: HubReference) -> Model:
    record = records.find_record(reference.name)
    unpinned = HubSource(reference.repo, reference.wanted, reference.revision)
    blank = Entry(name=reference.name, title=reference.name, sources=(unpinned,))
    if record is not None and isinstance(record.source, HubSource):
        entry = replace(blank, sources=(record.source,), bytes=record.size, sha256=record.sha256)
        return Model(entry.name, entry, None)
    from ttc_cli.models.hub import Hub

    cached = Hub.from_environment().list_cached(reference.repo, reference.revision)
    matching = match_names(cached, reference.wanted)
    if len(matching) == 1 and not parts.is_split(matching[0]):
        source = replace(unpinned, file=matching[0])
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


def _locate(entry: Entry) -> Path | None:
    """The file of ``entry``, hashed unless its record vouches for it; None if it is not here."""
    folder = records.folder_of(entry.name)
    record = records.read_record(folder)
    if record is not None and record.path.is_file():
        if entry.sha256 is not None and record.sha256 != entry.sha256:
            return None  # an older revision: prune removes it
        if not record.unchanged:
            _adopt(entry.name, record.path, record.sha256, record.source)
        records.check_tuned(record)
        return record.used
    for source in entry.sources:  # files without a record: the user's, or ours after a crash
        if isinstance(source, FileSource):
            path = Path(source.path).expanduser()
        else:
            path = folder / file_name(entry, source)
        if path.is_file():
            return _adopt(entry.name, path, entry.sha256, source)
    for source in entry.sources:
        if isinstance(source, HubSource):
            from ttc_cli.models.hub import Hub

            cached = Hub.from_environment().find_cached(source, entry.sha256)
            # The size tells most impostors apart without reading them.
            if cached is not None and entry.bytes in (None, parts.measure(cached)[0]):
                with contextlib.suppress(ModelCorrupt, ModelMissing):  # as if it were not there
                    return _adopt(entry.name, cached, entry.sha256, source)
    return None


def _adopt(name: str, path: Path, sha256: str | None, source: Source | None) -> Path:
    """Hash a file that no record vouches for, and record it; returns ``path``."""
    found = records.check_file(path, sha256, name)
    with contextlib.suppress(OSError):  # then it is hashed again next time
        records.record_file(name, path, found, source)
    return path


def lies_here(entry: Entry) -> bool:
    """Whether a file of ``entry`` is on this machine, by its record or its place; hashes nothing.

    A record that is lost or damaged is written again when the file is used.
    """
    folder = records.folder_of(entry.name)
    record = records.read_record(folder)
    if record is not None:
        return record.path.is_file()
    own = (each for each in entry.sources if not isinstance(each, FileSource))
    return any((folder / file_name(entry, source)).is_file() for source in own)


def file_name(entry: Entry, source: Source) -> str:
    """What the file of ``entry`` is called in its folder."""
    return Path(source.file).name if isinstance(source, HubSource) else f"{entry.name}.gguf"


def read_hash(model: Model) -> str:
    """What a model is known by: the sha256 of its file, or of the one that this was tuned from.

    A tuned file is the same model, so that policies, verdicts and pools of the original hold for
    it, unless it is lossy. From the record where that still holds, else computed once.

    Raises:
        ModelMissing: it is not on this machine.
    """
    path = model.require_path()
    record = records.find_record(model.name)
    tuned = record.tuned if record is not None else None
    if tuned is not None and tuned.path == path:
        return tuned.sha256 if tuned.lossy else tuned.made_from
    if record is not None and record.path == path and record.unchanged:
        return record.sha256
    return records.hash_once(path, model.name)
