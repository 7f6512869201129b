"""Settings: flag > ``TTC_*`` > ``ttc.toml`` of the project > user's ``config.toml`` > default.

The project file is the nearest ``ttc.toml`` in the working directory or above it; the variable of
``gpu_layers`` is ``TTC_GPU_LAYERS``. Both files may also hold tables ``[presets.NAME]``, which
``presets`` reads. ``trust`` says what the project's file may set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.settings.keys import KEYS, RENAMED, parse_value
from ttc_cli.settings.trust import belongs_to_user, require_own_hand
from ttc_cli.toml_files import read_toml

PROJECT_FILE = "ttc.toml"
PRESETS = "presets"
"""The one table beside the settings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was set: a variable's name or a file, the user's ``own`` or not."""

    value: Any
    origin: str
    own: bool = True


class Config:
    """The settings that no flag gave, from the environment and both files."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = dict(settings)

    def get(self, key: str, flag: Any = None, default: Any = None) -> Any:
        """``flag`` unless it is None, else the setting of ``key``, else ``default``.

        Raises:
            UsageError: the flag is a number out of range, or the setting is one that only the
                user's own hand may set.
        """
        if flag is not None:
            if key in KEYS and isinstance(flag, int | float):
                parse_value(key, flag, f"--{key.replace('_', '-')}")
            return flag
        setting = self._settings.get(key)
        if setting is None:
            return default
        if not setting.own:
            require_own_hand(key, setting.value, setting.origin)
        return setting.value

    def over(self, settings: Mapping[str, Setting]) -> Config:
        """The same with ``settings`` in place of those of the same keys."""
        return Config({**self._settings, **settings})

    def narrow(self, keys: Iterable[str]) -> Config:
        """Only the settings of ``keys``."""
        return Config({key: self._settings[key] for key in keys if key in self._settings})

    def origin(self, key: str) -> str | None:
        """Where ``key`` was set, or None."""
        setting = self._settings.get(key)
        return None if setting is None else setting.origin


def load_config() -> Config:
    """Read both files and the environment.

    Raises:
        UsageError: a file that is not TOML, an unknown key, or a value of the wrong kind.
    """
    environ = os.environ
    project, ignored = _search()
    for path in ignored - _told:
        _told.add(path)
        Output().warn(f"{path} is not read: it, or its folder, belongs to another user")
    settings: dict[str, Setting] = {}
    for path in filter(None, (user_file(), project)):
        content = read_toml(path)
        content.pop(PRESETS, None)
        settings |= read_settings(content, path, own=path == user_file())
    for old, new in RENAMED.items():
        if environ.get(f"TTC_{old.upper()}"):
            raise UsageError(
                f"The variable TTC_{old.upper()} is not read.",
                f"did you mean TTC_{new.upper()}?",
            )
    for key in KEYS:
        variable = f"TTC_{key.upper()}"
        if environ.get(variable):
            settings[key] = Setting(parse_value(key, environ[variable], variable), variable)
    return Config(settings)


def read_settings(content: Mapping[str, Any], path: Path, *, own: bool) -> dict[str, Setting]:
    """The settings in ``content``, read from ``path``, by key.

    Raises:
        UsageError: an unknown key, or a value of the wrong kind.
    """
    return {
        key: Setting(parse_value(key, value, str(path)), str(path), own)
        for key, value in content.items()
    }


def user_file() -> Path:
    """The user's own settings."""
    return paths.config_dir() / "config.toml"


def find_project_file() -> Path | None:
    """The nearest ``ttc.toml`` in the working directory or above it."""
    return _search()[0]


_told: set[Path] = set()
"""Files already reported as not read."""


def _search() -> tuple[Path | None, set[Path]]:
    """The project's file, and those nearer that are not the user's own."""
    ignored: set[Path] = set()
    try:
        folder = Path.cwd()
    except OSError:  # it was deleted
        return None, ignored
    for place in (folder, *folder.parents):
        path = place / PROJECT_FILE
        if os.path.isfile(path):  # unlike Path's own, no error where it may not be looked
            if belongs_to_user(path) and belongs_to_user(place):
                return path, ignored
            ignored.add(path)
    return None, ignored
