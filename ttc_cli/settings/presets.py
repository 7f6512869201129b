"""Presets: flags of ``ttc solve`` kept under a name, as ``[presets.NAME]`` in a settings file.

They lie in the user's ``config.toml``, where ``--save`` puts them, or in the project's
``ttc.toml``, whose presets the user's of the same name hide. Keys are the long flags with
underscores: every setting, and those below. What the project's may hold is the business of
``trust``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError, suggest
from ttc_cli.settings.config import (
    KEYS,
    PRESETS,
    Key,
    find_rule,
    parse_value,
    read_table,
    settings_files,
    show_value,
    user_file,
)
from ttc_cli.settings.trust import require_own_hand
from ttc_cli.types import AnswerType

RULES: dict[str, Key] = {
    **{key: rule for key, rule in KEYS.items() if not rule.help},  # those that are flags
    "option": Key(str),
    "check": Key(str),
    "check_seconds": Key(float, least=0.1, most=86_400),
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
                shown = each if isinstance(each, str) else show_value(each)
                found += [f"--{key.replace('_', '-')}", shown]
        return tuple(found)


def list_presets(folder: Path | None = None) -> dict[str, Preset]:
    """All presets by name, unchecked; the project file is looked for from ``folder`` upwards.

    Raises:
        UsageError: a file cannot be read, or its presets are no tables.
    """
    found: dict[str, Preset] = {}
    for path in reversed(settings_files(folder)):  # the user's own wins
        tables = read_table(path).get(PRESETS, {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise UsageError(f"{path}: a preset is a table.", "it begins with [presets.NAME]")
        found |= {name: Preset(name, values, path) for name, values in tables.items()}
    return dict(sorted(found.items()))


def find_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset called ``name``, its values checked.

    Raises:
        UsageError: there is none, it holds what no flag takes, or it is a project's and holds
            what only the user may say.
    """
    known = list_presets(folder)
    if name not in known:
        hint = f"There is: {', '.join(known)}" if known else "ttc solve --budget deep --save NAME"
        raise UsageError(f"There is no preset called {name!r}.", suggest(name, known, hint))
    preset = known[name]
    where = f"{preset.path}: {PRESETS}.{name}"
    own = preset.path == user_file()
    values = {key: _read(key, value, where, own) for key, value in preset.values.items()}
    return Preset(name, values, preset.path)


def save_preset(name: str, values: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Keep ``values`` as ``name`` in the user's file; ``warn`` as for ``settings_file.change``.

    Raises:
        UsageError: the name cannot be one, there is nothing to keep, or the file cannot be
            written.
    """
    from ttc_cli.settings import edit as settings_file

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


def _read(key: str, value: Any, where: str, own: bool) -> Any:
    rule = find_rule(key, where, RULES)
    given = value if key in LISTS and isinstance(value, list) else [value]
    parsed = [parse_value(key, each, where, RULES) for each in given]
    for each in parsed if not own else []:
        require_own_hand(key, each, where, listed=bool(rule.choices))
    return parsed if key in LISTS else parsed[0]
