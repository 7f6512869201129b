"""Presets: flags of ``ttc solve`` kept under a name, as ``[presets.NAME]`` in a settings file.

They lie in the user's ``config.toml``, where ``--save`` puts them, or in the project's
``ttc.toml``; of two with the same name the user's own is used. ``trust`` says what the project's
may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError, suggest
from ttc_cli.settings.config import PRESETS, find_project_file, user_file
from ttc_cli.settings.keys import PRESET_KEYS, parse_value, show_value
from ttc_cli.settings.trust import require_own_hand
from ttc_cli.toml_files import read_toml

_LISTS = ("verifier", "option")
"""Keys of flags that may be repeated: their value may be a list."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Preset:
    """``values`` by the long flags with underscores; ``path`` is the file they are from."""

    name: str
    values: Mapping[str, Any]
    path: Path

    @property
    def words(self) -> tuple[str, ...]:
        """The flags as they are typed, without quotes."""
        found: list[str] = []
        for key, value in self.values.items():
            for each in value if isinstance(value, list) else [value]:
                shown = each if isinstance(each, str) else show_value(each)
                found += [f"--{key.replace('_', '-')}", shown]
        return tuple(found)


def list_presets() -> dict[str, Preset]:
    """All presets by name, unchecked.

    Raises:
        UsageError: a file cannot be read, or its presets are not tables.
    """
    found: dict[str, Preset] = {}
    for path in filter(None, (find_project_file(), user_file())):  # the latter wins
        tables = read_toml(path).get(PRESETS, {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise UsageError(f"{path}: a preset is a table.", "it begins with [presets.NAME]")
        found |= {name: Preset(name, values, path) for name, values in tables.items()}
    return dict(sorted(found.items()))


def find_preset(name: str) -> Preset:
    """The preset called ``name``, its values checked.

    Raises:
        UsageError: there is none, it holds what no flag takes, or it is a project's and holds
            what only the user may set.
    """
    known = list_presets()
    if name not in known:
        hint = f"There is: {', '.join(known)}" if known else "ttc solve --budget deep --save NAME"
        raise UsageError(f"There is no preset called {name!r}.", suggest(name, known, hint))
    preset = known[name]
    where = f"{preset.path}: {PRESETS}.{name}"
    values: dict[str, Any] = {}
    for key, value in preset.values.items():
        given = value if key in _LISTS and isinstance(value, list) else [value]
        parsed = [parse_value(key, each, where, PRESET_KEYS) for each in given]
        for each in parsed if preset.path != user_file() else []:
            require_own_hand(key, each, where)
        values[key] = parsed if key in _LISTS else parsed[0]
    return Preset(name, values, preset.path)


def save_preset(name: str, values: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Keep ``values`` as ``name`` in the user's file; ``warn`` as for ``toml_files.change``.

    Raises:
        UsageError: the name cannot be one, there is nothing to keep, or the file cannot be
            written.
    """
    from ttc_cli.toml_files import change

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a preset.",
            "Use letters, digits, dashes and underscores: --save maths",
        )
    if not values:
        raise UsageError(
            "There is nothing to save: none of the flags given can be kept in a preset.",
            f"ttc solve --budget deep --verifier judge --save {name}",
        )
    change(user_file(), (PRESETS, name), dict(values), warn)
