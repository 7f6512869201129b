"""Settings: flag > ``TTC_*`` > ``ttc.toml`` of the project > user's ``config.toml`` > default.

The project file is the nearest ``ttc.toml`` in the working directory or above it. Keys are the
long flags with underscores; the variable of ``gpu_layers`` is ``TTC_GPU_LAYERS``.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import UsageError

PROJECT_FILE = "ttc.toml"
USER_FILE = "config.toml"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: the ``type`` of its value, and what it must keep to."""

    type: type[str] | type[int] | type[float]
    choices: tuple[str, ...] = ()
    least: float | None = None


KEYS: dict[str, Key] = {
    "model": Key(str),
    "server": Key(str),
    "template": Key(str),
    "parameters": Key(float, least=1),
    "strategy": Key(str),
    "verifier": Key(str),
    "budget": Key(str, ("quick", "normal", "deep", "max")),
    "max_tokens": Key(int, least=1),
    "max_seconds": Key(float, least=0),
    "max_flops": Key(float, least=1),
    "max_samples": Key(int, least=1),
    "temperature": Key(float, least=0),
    "think_tokens": Key(int, least=0),
    "wait": Key(int, least=0),
    "think_keep": Key(float, least=0),
    "threads": Key(int, least=1),
    "gpu_layers": Key(int, least=-1),
    "verifier_gpu_layers": Key(int, least=-1),
    "parallel": Key(int, least=1),
    "context": Key(int, least=1),
    "kv_type": Key(str, ("f16", "q8_0", "q4_0")),
    "view": Key(str, ("auto", "tree", "plain", "none")),
    "color": Key(str, ("auto", "always", "never")),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was set: a variable's name or a file."""

    value: Any
    origin: str


class Config:
    """The settings that no flag gave, from the environment and both files."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = dict(settings)

    def get(self, key: str, flag: Any = None, default: Any = None) -> Any:
        """``flag`` unless it is None, else the setting of ``key``, else ``default``."""
        if flag is not None:
            return flag
        setting = self._settings.get(key)
        return default if setting is None else setting.value

    def origin(self, key: str) -> str | None:
        """Where ``key`` was set, or None."""
        setting = self._settings.get(key)
        return None if setting is None else setting.origin


def load_config(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Config:
    """Read both files and the environment.

    Raises:
        UsageError: a file that is no TOML, an unknown key, or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    settings: dict[str, Setting] = {}
    for path in (paths.config_dir() / USER_FILE, _project_file(folder or Path.cwd())):
        if path is not None:
            settings |= _read_file(path)
    for key in KEYS:
        variable = f"TTC_{key.upper()}"
        if environ.get(variable):
            settings[key] = Setting(parse_value(key, environ[variable], variable), variable)
    return Config(settings)


def _project_file(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if (place / PROJECT_FILE).is_file():
            return place / PROJECT_FILE
    return None


def _read_file(path: Path) -> dict[str, Setting]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    return {
        key: Setting(parse_value(key, value, str(path)), str(path))
        for key, value in content.items()
    }


def _check_key(key: str, origin: str) -> str:
    if key in KEYS:
        return key
    near = difflib.get_close_matches(key, KEYS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(KEYS)}"
    raise UsageError(f"{origin}: unknown key {key!r}.", hint)


def parse_value(key: str, value: Any, origin: str) -> str | int | float:
    """``value`` as the setting ``key`` wants it; text is read as a number where one is wanted.

    Raises:
        UsageError: no such key, a value of the wrong kind, none of the choices, or too small.
    """
    rule = KEYS[_check_key(key, origin)]
    wanted = {str: "text", int: "a whole number", float: "a number"}[rule.type]
    wrong = UsageError(f"{origin}: {key} must be {wanted}, not {value!r}.")
    allowed = {str: str, int: str | int, float: str | int | float}[rule.type]
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise wrong
    try:
        parsed = rule.type(value)
    except (TypeError, ValueError):
        raise wrong from None
    if rule.choices and parsed not in rule.choices:
        raise UsageError(f"{origin}: {key} must be one of {', '.join(rule.choices)}.")
    if rule.least is not None and not isinstance(parsed, str) and not parsed >= rule.least:
        raise UsageError(f"{origin}: {key} must be at least {rule.least:g}.")
    return parsed
