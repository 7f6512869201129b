"""Presets: flags of ``ttc solve`` kept under a name, as ``[presets.NAME]`` in a settings file.

They lie in the user's ``config.toml``, where ``--save`` puts them, or in the project's
``ttc.toml``, whose presets hide the user's of the same name. Keys are the long flags with
underscores: every setting, and those below. A check is taken from the user's own file alone:
else a folder could run any command as soon as ttc is used there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.config import (
    KEYS,
    PRESETS,
    Key,
    find_project_file,
    find_rule,
    parse_value,
    read_table,
    settings_files,
    user_file,
)
from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType

RULES: dict[str, Key] = {
    **{key: rule for key, rule in KEYS.items() if not rule.help},  # those that are flags
    "option": Key(str),
    "check": Key(str),
    "check_seconds": Key(float, least=0.1),
    "samples": Key(int, least=1),
    "answer_type": Key(str, tuple(each.value for each in AnswerType)),
    "system": Key(str),
}
LISTS = ("verifier", "option")
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
                found += [f"--{key.replace('_', '-')}", str(each)]
        return tuple(found)


def list_presets(folder: Path | None = None) -> dict[str, Preset]:
    """All presets by name, unchecked; the project file is looked for from ``folder`` upwards.

    Raises:
        UsageError: a file cannot be read, or its presets are no tables.
    """
    found: dict[str, Preset] = {}
    for path in settings_files(folder):
        tables = read_table(path).get(PRESETS, {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise UsageError(f"{path}: a preset is a table.", "it begins with [presets.NAME]")
        found |= {name: Preset(name, values, path) for name, values in tables.items()}
    return dict(sorted(found.items()))


def find_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset called ``name``, its values checked.

    Raises:
        UsageError: there is none, it holds what no flag takes, or a check from a project's file.
    """
    known = list_presets(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"There is: {', '.join(known)}" if known else "ttc solve --budget deep --save NAME"
        raise UsageError(
            f"There is no preset called {name!r}.", f"Did you mean {near[0]}?" if near else hint
        )
    preset = known[name]
    where = f"{preset.path}: {PRESETS}.{name}"
    values = {key: _read(key, value, where) for key, value in preset.values.items()}
    if _runs_commands(values) and preset.path == find_project_file(folder):
        raise UsageError(
            f"{where}: a check is not taken from a project's file.",
            f"Give it as --check, or save the preset as your own: --check COMMAND --save {name}",
        )
    return Preset(name, values, preset.path)


def save_preset(name: str, values: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Keep ``values`` as ``name`` in the user's file; ``warn`` as for ``settings_file.change``.

    Raises:
        UsageError: the name cannot be one, there is nothing to keep, or the file cannot be
            written.
    """
    from ttc_cli import settings_file

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a preset.",
            "Use letters, digits, dashes and underscores: --save maths",
        )
    if not values:
        raise UsageError(
            "There is nothing to save: no flag was given that a preset can keep.",
            f"ttc solve --budget deep --verifier judge --save {name}",
        )
    settings_file.change(user_file(), (PRESETS, name), dict(values), warn)


def _read(key: str, value: Any, where: str) -> Any:
    find_rule(key, where, RULES)
    if key not in LISTS:
        return parse_value(key, value, where, RULES)
    listed = value if isinstance(value, list) else [value]
    return [parse_value(key, each, where, RULES) for each in listed]


def _runs_commands(values: Mapping[str, Any]) -> bool:
    words = ",".join(values.get("verifier", [])).split(",")
    return "check" in values or any(word.strip().startswith("check") for word in words)
