"""Settings: flag > ``TTC_*`` > ``ttc.toml`` of the project > user's ``config.toml`` > default.

The project file is the nearest ``ttc.toml`` in the working directory or above it. Keys are the
long flags with underscores; the variable of ``gpu_layers`` is ``TTC_GPU_LAYERS``. Both files may
also hold tables ``[presets.NAME]``, which are the business of ``presets``. What the project's file
may set is the business of ``trust``.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli import paths
from ttc_cli.errors import UsageError, suggest
from ttc_cli.output import Output
from ttc_cli.settings.trust import belongs_to_user, require_own_hand
from ttc_cli.texts import decode

PROJECT_FILE = "ttc.toml"
USER_FILE = "config.toml"
PRESETS = "presets"
"""The one table beside the settings."""

MAX_BYTES = 1 << 20
"""Of a settings file."""
_MAX_DOTS = 200
"""In one of its lines: the time that a dotted key takes grows with the square of its parts."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: the ``type`` of its value, and what it must keep to, from whatever hand.

    Numbers lie in ``least`` to ``most``, which is what llama.cpp's own hold where nothing is said.
    ``help`` says what it is; empty where a flag of ``ttc solve`` of the same name does.
    """

    type: type[str] | type[int] | type[float]
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float = 2**31 - 1
    help: str = ""


KEYS: dict[str, Key] = {
    "model": Key(str),
    "server": Key(str),
    "chat_template": Key(str),
    "parameters": Key(float, least=1, most=1e15),
    "strategy": Key(str),
    "verifier": Key(str),
    "budget": Key(str, ("quick", "normal", "deep", "max")),
    "max_tokens": Key(int, least=1),
    "max_seconds": Key(float, least=0),
    "max_flops": Key(float, least=1, most=1e30),
    "max_samples": Key(int, least=1),
    "temperature": Key(float, least=0, most=100),
    "think_tokens": Key(int, least=0),
    "wait": Key(int, least=0),
    "think_keep": Key(float, least=0, most=1),
    "threads": Key(int, least=1, most=512),
    "gpu_layers": Key(int, least=-1),
    "verifier_gpu_layers": Key(int, least=-1),
    "parallel": Key(int, least=1, most=4096),
    "context": Key(int, least=1, most=1 << 24),
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
            listed = bool(KEYS[key].choices)
            require_own_hand(key, setting.value, setting.origin, listed=listed)
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


def load_config(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Config:
    """Read both files and the environment.

    Raises:
        UsageError: a file that is no TOML, an unknown key, or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    settings: dict[str, Setting] = {}
    settings |= _read_settings(user_file(), own=True)
    project, ignored = _search(folder)
    for path in ignored - _told:
        _told.add(path)
        Output().warn(f"{path} is not read: it, or its folder, belongs to another user")
    if project is not None:
        settings |= _read_settings(project, own=False)
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
    return _search(folder)[0]


_told: set[Path] = set()
"""Files of which it has been said that they are not read."""


def _search(folder: Path | None) -> tuple[Path | None, set[Path]]:
    """The project's file, and those nearer that are not the user's own."""
    ignored: set[Path] = set()
    try:
        folder = folder or Path.cwd()
    except OSError:  # it was deleted
        return None, ignored
    for place in (folder, *folder.parents):
        path = place / PROJECT_FILE
        if os.path.isfile(path):  # unlike Path's own, no error where it may not be looked
            if belongs_to_user(path) and belongs_to_user(place):
                return path, ignored
            ignored.add(path)
    return None, ignored


def settings_files(folder: Path | None = None) -> tuple[Path, ...]:
    """The files that settings are read from; what a later one says wins."""
    project = find_project_file(folder)
    return (user_file(),) if project is None else (user_file(), project)


def read_table(path: Path, hint: str | None = "ttc config edit") -> dict[str, Any]:
    """What the file holds; empty where there is none. ``hint`` is for where it is no TOML.

    Raises:
        UsageError: it cannot be read, is no regular file, too large, or no TOML.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is no regular file.")
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    return parse_table(data, str(path), hint)


def _open_at_once(path: str, flags: int) -> int:
    """Also where it is a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_table(data: bytes, where: str, hint: str | None = None) -> dict[str, Any]:
    """``data`` as TOML; ``where`` and ``hint`` are for the error.

    Raises:
        UsageError: it is no text, no TOML, too large, or nested without measure.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{where} is larger than {MAX_BYTES >> 20} MiB: it holds no settings.")
    text = decode(data, where, where)
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MAX_DOTS:
            raise UsageError(f"{where}: line {number} has more than {_MAX_DOTS} dots.", hint)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply.", hint) from None
    except ValueError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.", hint) from error


def _read_settings(path: Path, *, own: bool) -> dict[str, Setting]:
    return {
        key: Setting(parse_value(key, value, str(path)), str(path), own)
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
    hint = suggest(RENAMED.get(key, key), rules, f"known keys: {', '.join(rules)}", quoted=True)
    raise UsageError(f"{origin}: unknown key {show_value(key)}.", hint)


def show_value(value: Any) -> str:
    """``value`` as it is quoted: what a file holds may be long."""
    try:
        shown = repr(value)
    except ValueError:  # it holds an integer of thousands of digits, which Python does not write
        return "a number without end"
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def parse_value(
    key: str, value: Any, origin: str, rules: Mapping[str, Key] = KEYS
) -> str | int | float:
    """``value`` as the setting ``key`` wants it; text is read as a number where one is wanted.

    Raises:
        UsageError: no such key, a value of the wrong kind, none of the choices, or out of range.
    """
    rule = find_rule(key, origin, rules)
    wanted = {str: "text", int: "a whole number", float: "a number"}[rule.type]
    wrong = UsageError(f"{origin}: {key} must be {wanted}, not {show_value(value)}.")
    allowed = {str: str, int: str | int, float: str | int | float}[rule.type]
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise wrong
    try:
        parsed = rule.type(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if rule.choices and parsed not in rule.choices:
        hint = suggest(str(parsed), rule.choices, quoted=True)
        raise UsageError(f"{origin}: {key} must be one of {', '.join(rule.choices)}.", hint)
    if isinstance(parsed, str):
        return parsed
    if rule.least is not None and not parsed >= rule.least:
        raise UsageError(f"{origin}: {key} must be at least {rule.least:g}.")
    if not parsed <= rule.most:
        raise UsageError(f"{origin}: {key} must be at most {rule.most:,.10g}.")
    return parsed
