"""Numbers as floats print them, without the noise of their arithmetic."""

from __future__ import annotations

import re
from decimal import Decimal

_FLOAT = re.compile(r"(-?)(\d+)\.(\d+)(?:[eE]([+-]?\d{1,4}))?")
_NOISY = 12
"""Significant digits from which on the last ones of a number may be noise."""
_NOISE = ((Decimal("1e-12"), 9), (Decimal("1e-9"), 6))
"""How far, relatively, a float may lie from a decimal of so many digits that is meant."""


def drop_noise(text: str) -> str:
    """A number as a float prints it, without the noise of its arithmetic; else ``text``.

    ``18.0`` and ``18.000000000000004`` are ``18``, ``0.30000000000000004`` is ``0.3``. What has
    few digits, as ``12.50``, stays as it is.
    """
    found = _FLOAT.fullmatch(text)
    if found is None or len(text) > 100:
        return text
    if not found[3].strip("0") and not found[4] and len(found[3]) != 2:
        return "0" if not found[2].strip("0") else found[1] + found[2]
    if len((found[2] + found[3]).lstrip("0")) < _NOISY:
        return text
    value = Decimal(text)
    for near, digits in _NOISE:
        meant = Decimal(f"{value:.{digits - 1}e}")
        if abs(meant - value) <= abs(value) * near:
            plain = f"{meant.normalize():f}"
            return plain if len(plain) <= 24 else f"{meant.normalize():e}"
    return text
