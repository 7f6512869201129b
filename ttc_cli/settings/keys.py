"""The keys of settings and presets, and the limits of their values, wherever they come from.

Keys are the long flags of ``ttc solve`` with underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttc_cli.errors import UsageError, suggest
from ttc_cli.types import AnswerType


@dataclass(frozen=True, slots=True)
class Key:
    """What one key takes: the ``type`` of its value, the words it may be, or its range.

    ``most`` is the largest that llama.cpp's own numbers hold unless the key says otherwise.
    ``help`` describes a key that is not a flag of ``ttc solve``.
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
    "form": Key(str),
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
"""The settings."""

PRESET_KEYS: dict[str, Key] = {
    **{key: rule for key, rule in KEYS.items() if not rule.help},  # those that are flags
    "option": Key(str),
    "check": Key(str),
    "check_seconds": Key(float, least=0.1, most=86_400),
    "samples": Key(int, least=1),
    "answer_type": Key(str, tuple(each.value for each in AnswerType)),
    "system": Key(str),
}
"""What a preset may hold."""

RENAMED = {"template": "chat_template"}
"""Former names of keys, and what they are called now."""


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
    """``value`` as messages quote it, shortened."""
    try:
        shown = repr(value)
    except ValueError:  # it holds an integer of thousands of digits, which Python does not write
        return "a number without end"
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def parse_value(
    key: str, value: Any, origin: str, rules: Mapping[str, Key] = KEYS
) -> str | int | float:
    """``value`` in the type of ``key``; text is read as a number where one is wanted.

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
