r"""The process that does algebra, so that hostile LaTeX kills it and not the search.

Run as a script by ``algebra.Algebra``; imports nothing of ours. One JSON list a line:
``["value", a]`` asks what number an expression comes to, ``["same", a, b]`` whether two mean the
same. A value is ``[exact, near]``: the fraction if it is one (its hash if it is long), else null,
and 15 digits, taken at a fixed point if there are free symbols. They can show that expressions
differ, never that they are equal. A reply is ``[answer, CPU seconds]``, null
for "cannot tell". The kernel ends the process when one request takes more CPU seconds than
``argv[1]``.

LaTeX is read by latex2sympy2_extended; what is compared is ours: exactly if numbers are
fractions, else to more digits than the largest and smallest number in the expressions can hide.
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
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy2
from sympy.core.evalf import PrecisionExhausted
from sympy.logic.boolalg import Boolean

_MEMORY = 2 << 30
_MAX_BITS = 1 << 22
"""Of a whole number; a power or a factorial beyond it is not worked out."""
_MAX_FACTORIAL = 100_000
_MAX_WRITTEN = 13_000
"""Bits of a number that is written out: more than a plain number has, fewer than Python reads."""
_MAX_SPAN = 4000
"""Decimal orders between the numbers of one expression up to which digits can prove equality."""
_SCALES = (1.0, 3.7, 0.3, -1.0, -2.9, 37.0)
_DIGITS = 60


def main() -> None:
    """Answer requests from stdin until it closes."""
    limit = float(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS does not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable()
    _reply("ready")
    for line in sys.stdin:
        started = time.process_time()
        seconds = int(started + limit) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        operation, *expressions = json.loads(line)
        try:
            value = _OPERATIONS[operation](*map(_parse, expressions))
        except Exception:  # any failure of the algebra means "cannot tell"
            value = None
        _reply([value, time.process_time() - started])


def _reply(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class _Reader(latex2sympy2._Latex2Sympy):  # type: ignore[misc]
    r"""The reader of LaTeX, with letters as they stand, also ``I`` and ``\gamma``.

    It takes ``2(3)`` for a mixed number; those were spelled out before, and this is a product.
    """

    def __init__(self, latex: str) -> None:
        config = latex2sympy2.ConversionConfig(lowercase_symbols=False)
        super().__init__(convert_degrees=r"\circ" in latex, config=config)
        self._integral = r"\int" in latex

    def parse_number(self, text: str) -> Any:
        return sympy.Rational(text.replace(",", ""))

    def convert_atom(self, atom: Any) -> Any:
        read = super().convert_atom(atom)
        if read in (sympy.I, sympy.EulerGamma):
            return sympy.Symbol(atom.getText())
        if atom.DIFFERENTIAL() and not self._integral:  # d times x
            return sympy.Symbol("d") * sympy.Symbol(read.name[1:])
        return read

    def convert_postfix_list(self, arr: Any, i: int = 0) -> Any:
        read = self.convert_postfix(arr[i])
        if i == len(arr) - 1:
            return read
        if not isinstance(read, (sympy.Expr, sympy.Matrix)):
            return super().convert_postfix_list(arr, i)
        rest = self.convert_postfix_list(arr, i + 1)
        matrix = getattr(read, "is_Matrix", False) or getattr(rest, "is_Matrix", False)
        return self.mat_mul_flat(read, rest) if matrix else self.mul_flat(read, rest)


@functools.lru_cache(maxsize=1024)
def _parse(expression: str) -> Any:
    for sign, join in ((r"\lor ", sympy.Or), (r"\land ", sympy.And)):
        if sign in expression:
            return join(*map(_parse, expression.split(sign)))
    latex = expression.replace(",", ", ")
    return _build(_Reader(latex).parse(latex), r"\sum" not in latex)


def _build(node: Any, imaginary: bool) -> Any:
    """The expression worked out, but for numbers that are too large; ``i`` is the unit."""
    if isinstance(node, sympy.MatrixBase):
        return sympy.ImmutableMatrix(node.applyfunc(lambda each: _build(each, imaginary)))
    if imaginary and node == sympy.Symbol("i"):
        return sympy.I
    if not getattr(node, "args", None):
        return node
    args = [_build(each, imaginary) for each in node.args]
    if isinstance(node, sympy.UnevaluatedExpr):
        return args[0]
    if isinstance(node, sympy.Pow) and all(each.is_Rational for each in args):
        _check_power(*args)
    if isinstance(node, sympy.factorial) and args[0].is_Number and args[0] > _MAX_FACTORIAL:
        raise OverflowError
    if isinstance(node, sympy.Rel):
        return node.func(*args, evaluate=False)
    for kind in (sympy.And, sympy.FiniteSet):
        if isinstance(node, kind):
            return kind(*args)
    built = node.func(*args)
    if isinstance(built, sympy.MatrixExpr):
        return sympy.ImmutableMatrix(built.doit())
    undone = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)
    return built.doit() if isinstance(built, undone) else built


def _check_power(base: Any, exponent: Any) -> None:
    bits = max(int(base.p).bit_length(), int(base.q).bit_length()) if abs(base) != 1 else 0
    if bits * abs(exponent) > _MAX_BITS:
        raise OverflowError


def _find_value(parsed: Any) -> list[str | None] | None:
    if not isinstance(parsed, sympy.Expr) or isinstance(parsed, sympy.MatrixBase):
        return None
    exact = _write(parsed.p, parsed.q) if parsed.is_Rational else None
    near = _evaluate(parsed, _choose_points(parsed.free_symbols)[0], 30)
    return None if near in (None, (0, 0)) and not exact else [exact, " ".join(_round(near))]


def _write(above: int, below: int) -> str:
    if max(above.bit_length(), below.bit_length()) <= _MAX_WRITTEN:
        return f"{above}/{below}"
    return hashlib.sha256(f"{above:x}/{below:x}".encode()).hexdigest()


def _evaluate(expression: Any, point: dict[Any, Any], digits: int, most: int = 1000) -> Any:
    """The real and imaginary part at a point; 0 if ``most`` digits show nothing, None if none."""
    try:
        number = expression.evalf(digits, subs=point, maxn=most, strict=True)
    except PrecisionExhausted:
        return (0, 0)
    if not number.is_number or not number.is_finite:
        return None
    return number.as_real_imag()


def _round(parts: Iterable[Any]) -> list[str]:
    numbers = [Decimal(str(part)) for part in parts]
    least = max(map(abs, numbers)) * Decimal("1e-20")
    return [f"{part:.14e}" if abs(part) > least else "0" for part in numbers]


def _choose_points(symbols: Iterable[Any]) -> list[dict[Any, Any]]:
    """Fixed points, some of them negative: expressions that differ there are different."""

    def draw(symbol: Any, turn: int) -> Any:
        digest = hashlib.sha256(f"{symbol}{turn}".encode()).digest()
        drawn = 0.5 + 1.5 * int.from_bytes(digest[:8], "big") / 2**64  # in [0.5, 2)
        return sympy.Rational(round(_SCALES[turn] * drawn * 2**20), 2**20)

    symbols = list(symbols)
    turns = range(len(_SCALES) if symbols else 1)
    return [{symbol: draw(symbol, turn) for symbol in symbols} for turn in turns]


def _equal(one: Any, other: Any) -> bool | None:
    if one == other:
        return True
    if isinstance(one, sympy.MatrixBase) or isinstance(other, sympy.MatrixBase):
        shapes = [getattr(each, "shape", None) for each in (one, other)]
        return shapes[0] == shapes[1] and all(map(_equal, one.flat(), other.flat()))
    if isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr):
        return _equal_everywhere(one, other)
    for kind in (sympy.Eq, sympy.Ne):
        if isinstance(one, kind) and isinstance(other, kind):
            return _ratio(one.lhs - one.rhs, other.lhs - other.rhs) is not None
    if isinstance(one, sympy.Rel) and isinstance(other, sympy.Rel):
        if isinstance(one, (sympy.Gt, sympy.Lt)) is not isinstance(other, (sympy.Gt, sympy.Lt)):
            return False
        ratio = _ratio(one.gts - one.lts, other.gts - other.lts)
        if ratio is not None or one.free_symbols != other.free_symbols:
            return ratio is not None and bool(ratio > 0)
    held = [each for each in (one, other) if isinstance(each, Boolean)]
    if len(held) == 2 and one.free_symbols != other.free_symbols:
        return False
    sets = [each if isinstance(each, sympy.Set) else _find_set(each) for each in (one, other)]
    return None if None in sets else _equal_sets(*sets)


def _equal_everywhere(one: Any, other: Any) -> bool:
    """Whether two expressions agree at every point where they are real."""
    difference = one - other
    if difference == 0:
        return True
    span = _measure_span(difference)
    jumps = (sympy.core.function.AppliedUndef, sympy.floor, sympy.ceiling, sympy.Mod)
    if span > _MAX_SPAN or difference.has(*jumps):
        return bool(sympy.simplify(difference) == 0)
    most = _DIGITS + 2 * span
    points = _choose_points(difference.free_symbols)
    agreed = 0
    for point in points:
        values = [_evaluate(each, point, 50, most + 50) for each in (one, other)]
        if None in values:
            continue
        if not difference.has(sympy.I):
            real = [bool(abs(value[1]) <= abs(value[0]) * 1e-30) for value in values]
            if not any(real):
                continue
            if not all(real):
                return False
        apart = _round(values[0]) != _round(values[1])
        if apart or _evaluate(difference, point, 15, most) != (0, 0):
            return False
        agreed += 1
    return agreed >= min(2, len(points))


def _measure_span(expression: Any) -> int:
    """How many decimal digits the numbers in an expression may cover between them."""
    span = 0
    for node in sympy.preorder_traversal(expression):
        if node.is_Rational:
            span = max(span, int(max(node.p.bit_length(), node.q.bit_length()) * 0.302))
        elif node.is_number and node.args:
            size = abs(node).evalf(3)
            if size.is_finite and size > 0:
                span = max(span, int(abs(sympy.log(size, 10).evalf(5))))
        elif isinstance(node, sympy.Pow) and node.exp.is_Rational:
            span = max(span, int(abs(node.exp)) * 2)
    return span


def _ratio(one: Any, other: Any) -> Any:
    """The constant by which two sides of equations differ; None if there is none."""
    if other == 0 or one.free_symbols != other.free_symbols:
        return None
    ratio = sympy.cancel(one / other)
    return ratio if ratio != 0 and not ratio.free_symbols and ratio.is_finite else None


def _find_set(relation: Any) -> Any:
    """The real numbers for which a relation of one unknown holds."""
    if not isinstance(relation, Boolean) or len(relation.free_symbols) != 1:
        return None
    (symbol,) = relation.free_symbols
    return relation.subs(symbol, sympy.Symbol("x", real=True)).as_set()


def _equal_sets(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval):
        return (one.left_open, one.right_open) == (other.left_open, other.right_open) and all(
            a == b or (a.is_finite and b.is_finite and _equal_everywhere(a, b))
            for a, b in ((one.start, other.start), (one.end, other.end))
        )
    return one.symmetric_difference(other).is_empty is True


_OPERATIONS: dict[str, Callable[..., object]] = {"value": _find_value, "same": _equal}

if __name__ == "__main__":
    main()
