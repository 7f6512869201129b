"""Strategies, verifiers, forms and engines of other packages, found by their entry points.

A package names them in one of four groups, ``ttc.strategies``, ``ttc.verifiers``, ``ttc.forms``
and ``ttc.engines``. What is installed is known without importing any of it; a plugin is imported
when it is asked for by its name, or listed. It cannot take a name that ttc has itself, and runs
with the rights of whoever runs ttc. See ``docs/plugins.md``.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ttc_cli.errors import UsageError, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STRATEGIES, VERIFIERS = "ttc.strategies", "ttc.verifiers"
FORMS, ENGINES = "ttc.forms", "ttc.engines"
KINDS = {STRATEGIES: "strategy", VERIFIERS: "verifier", FORMS: "form", ENGINES: "engine"}

_NAME = re.compile(r"[A-Za-z][\w.-]*")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: ``name`` of its ``kind``, and the package that brings it."""

    kind: str
    name: str
    package: str
    version: str
    point: EntryPoint = field(repr=False)

    def __str__(self) -> str:
        return f"the {self.kind} {self.name} of the package {self.package} {self.version}"


def list_plugins(group: str) -> list[Plugin]:
    """What is installed in ``group``, by name; imports nothing of it."""
    from importlib.metadata import entry_points

    found = [
        Plugin(
            KINDS[group],
            point.name,
            point.dist.name if point.dist is not None else "?",
            point.dist.version if point.dist is not None else "?",
            point,
        )
        for point in entry_points(group=group)
    ]
    return sorted(found, key=lambda each: (each.name, each.package))


def list_names(group: str, own: Collection[str] = ()) -> list[str]:
    """The names in ``group``: ttc's ``own``, then those of other packages."""
    others = (each.name for each in list_plugins(group) if _NAME.fullmatch(each.name))
    return list(dict.fromkeys((*own, *others)))


def find_entry(
    group: str,
    name: str,
    wanted: type[_T],
    own: Mapping[str, str],
    guard: Callable[[Plugin, _T], _T],
    also: Collection[str] = (),
) -> _T:
    """The entry of ``group`` that is called ``name``.

    Args:
        group: where other packages name theirs.
        name: as the user wrote it.
        wanted: the class of the entry.
        own: ttc's entries, by name: where each is. They come first.
        guard: makes an entry of a plugin safe to use.
        also: names that a hint offers beside those of entries.

    Raises:
        UsageError: it is unknown, or another package's and cannot be loaded.
    """
    if name in own:
        entry: _T = pkgutil.resolve_name(own[name])
        return entry
    plugin = find_plugin(group, name)
    if plugin is not None:
        return guard(plugin, load(plugin, wanted))
    known = (*also, *list_names(group, own))
    hint = suggest(name, known, f"Choose one of {', '.join(known)}.")
    raise UsageError(f"There is no {KINDS[group]} called {name!r}.", hint)


def find_plugin(group: str, name: str) -> Plugin | None:
    """The plugin called ``name``: of several the one whose package's name comes first."""
    return next((each for each in list_plugins(group) if each.name == name), None)


def load(plugin: Plugin, wanted: type[_T]) -> _T:
    """What the entry point of ``plugin`` names.

    Raises:
        UsageError: it cannot be imported, or is not a ``wanted`` of that name; names the package.
    """
    try:
        found = plugin.point.load()
    except (Exception, SystemExit) as error:  # whatever another's module does when imported
        raise refuse(plugin, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, wanted):
        raise refuse(plugin, f"{plugin.point.value} is not a {wanted.__module__}.{wanted.__name__}")
    name = getattr(found, "name", None)
    if name != plugin.name or not _NAME.fullmatch(plugin.name):
        raise refuse(plugin, f"{plugin.point.value} calls itself {name!r}")
    return found


def load_unhidden(plugin: Plugin, wanted: type[_T], own: Collection[str]) -> _T:
    """As ``load``, and only if its name is not one of ttc's ``own``, or of another package.

    Raises:
        UsageError: it is; or as ``load``.
    """
    if plugin.name in own:
        raise refuse(plugin, f"ttc has a {plugin.kind} of that name itself")
    first = find_plugin(plugin.point.group, plugin.name)
    if first is not None and first.package != plugin.package:
        raise refuse(plugin, f"the package {first.package} has one of that name")
    return load(plugin, wanted)


def load_all(
    group: str, wanted: type[_T], own: Collection[str], warn: Callable[[str], None]
) -> list[tuple[Plugin, _T]]:
    """All of ``group`` that can be used; calls ``warn`` with the reason why others cannot."""
    found: list[tuple[Plugin, _T]] = []
    for plugin in list_plugins(group):
        try:
            found.append((plugin, load_unhidden(plugin, wanted, own)))
        except UsageError as error:
            warn(error.message)
    return found


def refuse(plugin: Plugin, why: str) -> UsageError:
    """The error that ``plugin`` cannot be used."""
    said = str(plugin)
    return UsageError(
        f"{said[0].upper()}{said[1:]} cannot be used: {why}",
        f"pip install --upgrade {plugin.package}, or without it: pip uninstall {plugin.package}",
    )
