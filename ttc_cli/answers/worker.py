r"""The process that does algebra, so that hostile LaTeX kills it and not the search.

Run as a script by ``algebra.Algebra``; imports nothing of ours. One JSON list a line:
``["value", a]`` asks for the number that an expression comes to (a string; one with free symbols
is taken at a fixed point and starts with ``at``; null if it is no number), ``["same", a, b]``
whether two expressions are equal. A reply is ``[answer, CPU seconds]``, null for "cannot tell".
The kernel ends the process when one request takes more CPU seconds than ``argv[1]``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

_MEMORY = 2 << 30


def main() -> None:
    """Answer requests from stdin until it closes."""
    limit = float(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS does not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable()
    import math_verify  # noqa: F401  the long part of the start

    _reply("ready")
    for line in sys.stdin:
        started = time.process_time()
        _allow(started + limit)
        operation, *expressions = json.loads(line)
        try:
            value = _OPERATIONS[operation](*expressions)
        except Exception:  # any failure of the algebra means "cannot tell"
            value = None
        _reply([value, time.process_time() - started])


def _reply(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _allow(cpu_seconds: float) -> None:
    soft = int(cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


@functools.lru_cache(maxsize=1024)
def _parse(expression: str) -> Any:
    from math_verify import LatexExtractionConfig, parse

    return parse(
        f"${expression}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )


def _value(expression: str) -> str | None:
    from sympy import Expr, Float  # type: ignore[import-untyped]

    parsed = _parse(expression)
    if not parsed or not isinstance(parsed[0], Expr):
        return None
    number = parsed[0].doit()
    symbols = number.free_symbols
    points = {symbol: Float(_choose_point(str(symbol)), 30) for symbol in symbols}
    number = number.subs(points).evalf(15)
    if not number.is_number or not number.is_finite:
        return None
    real, imaginary = (float(part) for part in number.as_real_imag())
    scale = max(abs(real), abs(imaginary), 1e-300)
    parts = [part if abs(part) > 1e-12 * scale else 0.0 for part in (real, imaginary)]
    return ("at " if symbols else "") + "{:.10e} {:.10e}".format(*parts)


def _choose_point(symbol: str) -> float:
    """A fixed value in [0.5, 2) for a symbol: expressions that differ there are different."""
    digest = hashlib.sha256(symbol.encode()).digest()
    return 0.5 + 1.5 * int.from_bytes(digest[:8], "big") / 2**64


def _same(first: str, second: str) -> bool:
    from math_verify import verify

    one, other = _parse(first), _parse(second)
    return bool(
        verify(one, other, timeout_seconds=None) or verify(other, one, timeout_seconds=None)
    )


_OPERATIONS: dict[str, Callable[..., object]] = {"value": _value, "same": _same}

if __name__ == "__main__":
    main()
