"""Settings: flag > ``TTC_*`` > ``ttc.toml`` of the project > user's ``config.toml`` > default.

The project file is the nearest ``ttc.toml`` in the working directory or above it. Keys are the
long flags with underscores; the variable of ``gpu_layers`` is ``TTC_GPU_LAYERS``. Both files may
also hold tables ``[presets.NAME]``, which are the business of ``presets``.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import UsageError

PROJECT_FILE = "ttc.toml"
USER_FILE = "config.toml"
PRESETS = "presets"
"""The one table beside the settings."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: the ``type`` of its value, and what it must keep to.

    ``help`` says what it is; empty where a flag of ``ttc solve`` of the same name does.
    """

    type: type[str] | type[int] | type[float]
    choices: tuple[str, ...] = ()
    least: float | None = None
    help: str = ""


KEYS: dict[str, Key] = {
    "model": Key(str),
    "server": Key(str),
    "chat_template": Key(str),
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
    "keep_runs": Key(
        str, ("yes", "no"), help="Whether runs are kept, for 'ttc runs'.  [default: yes]"
    ),
}

RENAMED = {"template": "chat_template"}
"""Keys that had another meaning once, and what they are called now."""


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


def load_config(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Config:
    """Read both files and the environment.

    Raises:
        UsageError: a file that is no TOML, an unknown key, or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    settings: dict[str, Setting] = {}
    for path in settings_files(folder):
        settings |= _read_settings(path)
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


def user_file() -> Path:
    """The user's own settings."""
    return paths.config_dir() / USER_FILE


def find_project_file(folder: Path | None = None) -> Path | None:
    """The nearest ``ttc.toml`` in ``folder`` (the working directory) or above it."""
    folder = folder or Path.cwd()
    for place in (folder, *folder.parents):
        if (place / PROJECT_FILE).is_file():
            return place / PROJECT_FILE
    return None


def settings_files(folder: Path | None = None) -> tuple[Path, ...]:
    """The files that settings are read from; what a later one says wins."""
    project = find_project_file(folder)
    return (user_file(),) if project is None else (user_file(), project)


def read_table(path: Path) -> dict[str, Any]:
    """What the file holds; empty where there is none.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path} is not valid TOML: {error}.", "ttc config edit") from error


def _read_settings(path: Path) -> dict[str, Setting]:
    return {
        key: Setting(parse_value(key, value, str(path)), str(path))
        for key, value in read_table(path).items()
        if key != PRESETS
    }


def find_rule(key: str, origin: str, rules: Mapping[str, Key] = KEYS) -> Key:
    """What a value of ``key`` must keep to; ``origin`` is named in the error.

    Raises:
        UsageError: there is no such key; the hint names the nearest.
    """
    if key in rules:
        return rules[key]
    near = [RENAMED[key]] if key in RENAMED else difflib.get_close_matches(key, rules, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(rules)}"
    raise UsageError(f"{origin}: unknown key {key!r}.", hint)


def parse_value(
    key: str, value: Any, origin: str, rules: Mapping[str, Key] = KEYS
) -> str | int | float:
    """``value`` as the setting ``key`` wants it; text is read as a number where one is wanted.

    Raises:
        UsageError: no such key, a value of the wrong kind, none of the choices, or too small.
    """
    rule = find_rule(key, origin, rules)
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
        near = difflib.get_close_matches(str(parsed), rule.choices, 1)
        hint = f"did you mean {near[0]!r}?" if near else None
        raise UsageError(f"{origin}: {key} must be one of {', '.join(rule.choices)}.", hint)
    if rule.least is not None and not isinstance(parsed, str) and not parsed >= rule.least:
        raise UsageError(f"{origin}: {key} must be at least {rule.least:g}.")
    return parsed
