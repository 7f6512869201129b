"""Which files are the user's own, and what only the user may set.

The user's own hand is a flag, a variable, their ``config.toml`` with its presets, and the templates
in their folder. A ``ttc.toml`` and any other template came with a folder, and folders come from
anywhere: what they set may change how much a run thinks, but never run a command, send anything
anywhere, or read a file that the user did not name (docs/adr/0019).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ttc_cli.builtin import FORMS, STRATEGIES, split_names
from ttc_cli.errors import UsageError, find_near
from ttc_cli.models.registry import load_registry
from ttc_cli.settings.keys import KEYS, PRESET_KEYS

_VERIFIER = re.compile(r"(?P<name>\w+)(=(?P<argument>[^:]*))?(:[0-9.]+)?")
_PLAIN_VERIFIERS = ("judge", "confidence", "arithmetic", "prm", "generative")


def _is_known_model(value: str) -> bool:
    return load_registry().get(value) is not None


def _are_plain_verifiers(value: str) -> bool:
    """Whether they run no command, read no file, and are asked of models known by name."""
    return all(map(_is_plain_verifier, split_names(value)))


def _is_plain_verifier(word: str) -> bool:
    found = _VERIFIER.fullmatch(word)
    if found is None:
        return False
    name, argument = found["name"], found["argument"]
    if name in ("prm", "generative") and argument:
        model, at, _ = argument.rpartition("@")
        return _is_known_model(model if at else argument)
    return name in _PLAIN_VERIFIERS


_HARMLESS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "model": ("a model that 'ttc models list' does not show", _is_known_model),
    "strategy": ("a strategy that is not ttc's own", ("auto", *STRATEGIES).__contains__),
    "form": ("a form that is not ttc's own", ("auto", *FORMS).__contains__),
    "verifier": (
        "a verifier that is not ttc's own, runs a command or reads a file",
        _are_plain_verifiers,
    ),
    "keep_runs": ("runs to be kept", lambda value: value == "no"),
    "option": ("", lambda value: True),
    "system": ("", lambda value: True),
}
"""Keys that anybody may set to a harmless value: what the harmful ones are called, and how a
harmless one is known. Any other text only the user may set; numbers, and words from a list, do no
harm."""


def require_own_hand(key: str, value: Any, origin: str) -> None:
    """Refuse what only the user's own hand may set, and ``origin`` is not.

    ``key`` is of a setting or a preset, ``value`` as ``parse_value`` returns it; ``origin`` names
    the file and the place in it.

    Raises:
        UsageError: only the user may set ``key`` to ``value``.
    """
    rule = PRESET_KEYS.get(key) or KEYS.get(key)
    listed = rule is not None and bool(rule.choices)
    if not isinstance(value, str) or (listed and key not in _HARMLESS):
        return
    what, is_plain = _HARMLESS.get(key, (f"a {key.replace('_', ' ')}", lambda value: False))
    if is_plain(value):
        return
    near = _ask_near(key, value)
    shown = value if len(value) <= 200 else f"{value[:199]}…"
    flag = "" if listed else f"--{key.replace('_', '-')} {shlex.quote(shown)}, or "
    raise UsageError(
        f"{origin} sets {key} to {shown!r}: no folder, and no file from elsewhere, may ask for "
        f"{what}.",
        f"{near}if you want that, remove it there and set it yourself: {flag}in your config.toml",
    )


def _ask_near(key: str, value: str) -> str:
    """Whether another name was meant than one in ``value``; empty where none is like it."""
    names = {"strategy": STRATEGIES, "form": FORMS, "verifier": _PLAIN_VERIFIERS}.get(key, ())
    for word in split_names(value):
        name = word.partition("=")[0]
        near = find_near(name, names)
        if near is not None and name not in names:
            return f"did you mean {near}? "
    return ""


def belongs_to_user(path: Path) -> bool:
    """Whether ``path``, and what it leads to where it is a link, is the user's own.

    As git asks of a repository: root's own are also those of the user who called ``sudo``.
    """
    user = os.geteuid()
    own = {user}
    caller = os.environ.get("SUDO_UID", "")
    if user == 0 and caller.isdecimal():
        own.add(int(caller))
    try:
        return {path.lstat().st_uid, path.stat().st_uid} <= own
    except OSError:
        return False
