"""Hidden states as the lines of a pool hold them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ttc_cli.engines.states import States

if TYPE_CHECKING:
    from ttc_cli.engines.states import Vector


def pack(states: States | None) -> dict[str, Any] | None:
    """Half-precision little-endian numbers in base64: a tenth of the digits, ten bits kept."""
    if states is None:
        return None
    whole = {name: _pack_vector(getattr(states, name)) for name in ("last", "tail", "whole")}
    parts = {name: list(map(_pack_vector, getattr(states, name))) for name in ("steps", "tails")}
    return {**whole, **parts}


def unpack(raw: Mapping[str, Any] | None) -> States | None:
    """What ``pack`` made.

    Raises:
        KeyError, ValueError: it made nothing of this kind.
    """
    if raw is None:
        return None
    last, tail, whole = (_unpack_vector(raw[name]) for name in ("last", "tail", "whole"))
    steps, tails = (list(map(_unpack_vector, raw[name])) for name in ("steps", "tails"))
    return States(last, tail, whole, steps, tails)


def _pack_vector(state: Vector) -> str:
    bounded = np.clip(state, -65504.0, 65504.0).astype("<f2")
    return base64.b64encode(bounded.tobytes()).decode()


def _unpack_vector(text: str) -> Vector:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
