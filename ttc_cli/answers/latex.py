r"""Expressions of Python and SymPy, parsed by ``ast``, written as LaTeX. Nothing is evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence

from ttc_cli.answers.floats import drop_noise
from ttc_cli.answers.names import (
    AROUND,
    COMMANDS,
    COMPARED,
    GREEK,
    JOINED,
    MATRICES,
    MODULES,
    NAME,
    NAMES,
    OPEN_ENDS,
    POINTS,
    RELATIONS,
    SCALARS,
    SPELT,
)

MOST_DEEP = 40
"""Levels of an expression; anything deeper is not an answer."""

_NOTHING = 1e-12
"""The share of a complex number below which one of its parts is noise."""

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4
_Written = tuple[str, int]
"""LaTeX, and how tightly its outermost operation binds; 0 for relations and lists."""


class NotationError(Exception):
    """It is not notation that can be written as LaTeX."""


def read_name(node: ast.expr) -> str:
    """A name, also as ``sympy.pi`` and ``S.Reals``; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id in MODULES else ""
    return ""


def _bracket(text: str) -> str:
    return rf"\left({text}\right)"


class Writer:
    """Writes one expression; ``source`` is its text, for the digits of its numbers."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._depth = 0

    def write(self, node: ast.expr) -> _Written:
        """``node``, and how tightly its outermost operation binds.

        Raises:
            NotationError: it is deep, or holds what this module does not know.
        """
        write = _WRITERS.get(type(node))
        self._depth += 1
        if write is None or self._depth > MOST_DEEP:
            raise NotationError
        written = write(self, node)
        self._depth -= 1
        return written

    def _write_at(self, node: ast.expr, level: int) -> str:
        """``node`` so that it can stand in an operation that binds as tightly as ``level``."""
        text, its = self.write(node)
        return text if its >= level else _bracket(text)

    def write_all(self, nodes: Sequence[ast.expr]) -> str:
        """``nodes`` with commas between them."""
        return ", ".join(self.write(node)[0] for node in nodes)

    def write_list(self, node: ast.List) -> str:
        """A list at the outside: its elements, or the matrix whose rows they are."""
        rows = [each.elts for each in node.elts if isinstance(each, ast.List)]
        if rows and len(rows) == len(node.elts) and len({len(row) for row in rows}) == 1:
            return self._lay_out(rows)
        return self.write_all(node.elts)

    def write_column(self, node: ast.List) -> str:
        """A list as a column vector."""
        return self._lay_out([[each] for each in node.elts])

    def _write_constant(self, node: ast.Constant) -> _Written:
        value = node.value
        if isinstance(value, bool):
            return rf"\text{{{value}}}", _ATOM
        if isinstance(value, str):
            if not re.fullmatch(r"[\w .,'/+*()=-]{1,200}", value):
                raise NotationError
            return value, 0
        if not isinstance(value, (int, float, complex)):
            raise NotationError
        source = self._source[node.col_offset : node.end_col_offset].decode()
        digits, unit = source.rstrip("jJ"), "i" if isinstance(value, complex) else ""
        if not digits[-1:].isdigit() and digits[-1:] != ".":
            raise NotationError
        plain = drop_noise(digits)
        if unit and plain == "1":
            return unit, _ATOM
        mantissa, _, exponent = plain.lower().partition("e")
        if exponent:
            return rf"{mantissa} \times 10^{{{int(exponent)}}}{unit}", _PRODUCT
        return plain + unit, _PRODUCT if unit else _ATOM

    def _write_name(self, node: ast.expr) -> _Written:
        name = read_name(node)
        if name in NAMES:
            return NAMES[name], _SUM if name == "GoldenRatio" else _ATOM
        if name in GREEK:
            return f"\\{name}", _ATOM
        if not NAME.fullmatch(name):
            raise NotationError
        letter, index = name[0], name[1:].lstrip("_")
        return (f"{letter}_{{{index}}}" if index else letter), _ATOM

    def _write_unary(self, node: ast.UnaryOp) -> _Written:
        if not isinstance(node.op, (ast.USub, ast.UAdd)):
            raise NotationError
        text = self._write_at(node.operand, _PRODUCT)
        if isinstance(node.op, ast.UAdd):
            return text, _PRODUCT
        return ("0", _ATOM) if text == "0" else (f"-{text}", _SUM)

    def _write_binary(self, node: ast.BinOp) -> _Written:
        match node.op:
            case ast.Add() | ast.Sub():
                return self._write_sum(node), _SUM
            case ast.Mult() | ast.Div():
                return self._write_product(node)
            case ast.FloorDiv():
                above, below = self.write(node.left)[0], self.write(node.right)[0]
                return rf"\lfloor \frac{{{above}}}{{{below}}} \rfloor", _ATOM
            case ast.Mod():
                left, right = (self._write_at(each, _POWER) for each in (node.left, node.right))
                return rf"{left} \bmod {right}", 0
            case ast.Pow():
                if isinstance(node.right, (ast.Set, ast.Dict, ast.List, ast.Tuple)):
                    raise NotationError
                base, power = self._write_at(node.left, _ATOM), self.write(node.right)[0]
                return f"{base}^{{{power}}}", _POWER
            case ast.BitAnd() | ast.BitOr():
                return self._join(node, isinstance(node.op, ast.BitAnd), node.left, node.right)
        raise NotationError

    def _write_sum(self, node: ast.BinOp) -> str:
        real, imaginary = _find_number(node.left), _find_number(node.right)
        if isinstance(imaginary, complex) and real is not None and imaginary:  # (6e-17+1j)
            if abs(real) < _NOTHING * abs(imaginary):
                sign = "-" if isinstance(node.op, ast.Sub) else ""
                return sign + self._write_at(node.right, _PRODUCT)
            if abs(imaginary) < _NOTHING * abs(real):
                return self._write_at(node.left, _SUM)
        left = self._write_at(node.left, _SUM)
        if isinstance(node.op, ast.Sub):
            return f"{left} - {self._write_at(node.right, _PRODUCT)}"
        right = self._write_at(node.right, _SUM)
        if right == "0i":  # (1+0j)
            return left
        return f"{left} - {right[1:]}" if right.startswith("-") else f"{left} + {right}"

    def _write_product(self, node: ast.BinOp) -> _Written:
        """A product or a fraction; a sign in front of its first factor comes to the front."""
        divides, left, sign = isinstance(node.op, ast.Div), node.left, ""
        if isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
            left, sign = left.operand, "-"
        if divides:
            above, below = self.write(left)[0], self.write(node.right)[0]
            if above.startswith("-") and _multiplies(left):
                above, sign = above[1:], "" if sign else "-"
            text, level = rf"\frac{{{above}}}{{{below}}}", _POWER
        else:
            text, level = self._multiply(left, node.right), _PRODUCT
        if text.startswith("-"):
            text, sign = text[1:], "" if sign else "-"
        return sign + text, _SUM if sign else level

    def _multiply(self, left: ast.expr, right: ast.expr) -> str:
        text, level = self.write(left)
        sign = ""
        if text.startswith("-") and _multiplies(left):  # -2*x*y is (-2*x)*y
            text, level, sign = text[1:], _PRODUCT, "-"
        first = text if level >= _PRODUCT else _bracket(text)
        second = self._write_at(right, _POWER)
        if first == "1":
            return sign + second
        close = re.fullmatch(r"\d+(?:\.\d+)?", first) and not re.match(r"\d|\\frac|\\times", second)
        return sign + first + ("" if close else r" \cdot ") + second

    def _write_comparison(self, node: ast.Compare) -> _Written:
        *_, last = node.comparators
        if isinstance(node.left, ast.Tuple) and isinstance(node.ops[0], ast.Eq):  # (x, y) = (1, 2)
            return self.write(last)
        text = self.write(node.left)[0]
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if type(operator) not in COMPARED:
                raise NotationError
            text += f" {COMPARED[type(operator)]} {self.write(right)[0]}"
        return text, 0

    def _write_logic(self, node: ast.BoolOp) -> _Written:
        return self._join(node, isinstance(node.op, ast.And), *node.values)

    def _join(self, node: ast.expr, both: bool, *parts: ast.expr) -> _Written:
        """Relations of which all or one holds; that something is less than infinity says nothing.

        Raises:
            NotationError: none of them says anything.
        """
        written = [self.write(part)[0] for part in parts]
        if both:
            written = [each for each in written if r"\infty" not in each]
        if not written:
            raise NotationError
        return (r" \land " if both else r" \lor ").join(written), 0

    def _write_tuple(self, node: ast.Tuple) -> _Written:
        if not node.elts:
            raise NotationError
        inside = self.write_all(node.elts)
        return (inside if len(node.elts) == 1 else f"({inside})"), 0

    def _write_list_inside(self, node: ast.List) -> _Written:
        return f"[{self.write_all(node.elts)}]", 0

    def _write_set(self, node: ast.Set) -> _Written:
        return rf"\{{{self.write_all(node.elts)}\}}", _ATOM

    def _write_mapping(self, node: ast.Dict) -> _Written:
        """What each unknown is; of several unknowns the point."""
        if not node.keys or None in node.keys:
            raise NotationError
        values = [self.write(value)[0] for value in node.values]
        if len(values) > 1:
            return f"({', '.join(values)})", 0
        (key,) = node.keys
        assert key is not None
        if isinstance(key, ast.Constant):
            return values[0], 0
        return f"{self.write(key)[0]} = {values[0]}", 0

    def _write_call(self, node: ast.Call) -> _Written:
        name, args = read_name(node.func), node.args
        if isinstance(node.func, ast.Attribute) and read_name(node.func.value) == "Interval":
            name, ends = "Interval", OPEN_ENDS.get(node.func.attr)
            if ends is None:
                raise NotationError
            return self._write_interval(args, ends)
        if any(isinstance(each, ast.Starred) for each in args) or not args:
            raise NotationError
        if name == "Interval":
            given = [isinstance(each, ast.Constant) and each.value is True for each in args[2:4]]
            opened = [*given, False, False]
            return self._write_interval(args[:2], (opened[0], opened[1]))
        if name in SCALARS:
            inner = args[0]
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                return drop_noise(inner.value), _ATOM
            return self.write(inner)
        if name in RELATIONS and len(args) == 2:
            left, right = (self.write(each)[0] for each in args)
            return f"{left} {RELATIONS[name]} {right}", 0
        if name in ("And", "Or"):
            return self._join(node, name == "And", *args)
        if name in JOINED:
            return JOINED[name].join(self._write_at(each, 0) for each in args), 0
        if name in MATRICES:
            return self._write_matrix(args), _ATOM
        if name in POINTS:
            return f"({self.write_all(args)})", 0
        if name == "FiniteSet":
            return rf"\{{{self.write_all(args)}\}}", _ATOM
        if (write := _CALLS.get(name)) is not None:
            return write(self, args)
        if len(args) == 1 and name in AROUND:
            before, behind = AROUND[name]
            return before + self.write(args[0])[0] + behind, _POWER if name == "exp" else _ATOM
        if name in COMMANDS or name in SPELT or re.fullmatch(r"[fgh]", name):
            spelt = name if re.fullmatch(r"[fgh]", name) else "\\" + SPELT.get(name, name)
            return spelt + _bracket(self.write_all(args)), _POWER
        raise NotationError

    def _write_interval(self, args: Sequence[ast.expr], ends: tuple[bool, bool]) -> _Written:
        if len(args) != 2:
            raise NotationError
        low, high = (self.write(each)[0] for each in args)
        opening = "(" if ends[0] or low == r"-\infty" else "["
        closing = ")" if ends[1] or high == r"\infty" else "]"
        return f"{opening}{low}, {high}{closing}", 0

    def _write_matrix(self, args: Sequence[ast.expr]) -> str:
        rows = args[-1]
        if not isinstance(rows, (ast.List, ast.Tuple)):
            raise NotationError
        if len(args) == 3:  # Matrix(2, 2, [1, 2, 3, 4])
            _, width = (each.value if isinstance(each, ast.Constant) else 0 for each in args[:2])
            if not isinstance(width, int) or not 0 < width <= len(rows.elts):
                raise NotationError
            places = range(0, len(rows.elts), width)
            return self._lay_out([rows.elts[place : place + width] for place in places])
        inner = [each.elts if isinstance(each, ast.List) else [each] for each in rows.elts]
        if not inner or len({len(row) for row in inner}) != 1 or not inner[0]:
            raise NotationError
        return self._lay_out(inner)

    def _lay_out(self, rows: Sequence[Sequence[ast.expr]]) -> str:
        lines = (" & ".join(self.write(each)[0] for each in row) for row in rows)
        return r"\begin{pmatrix} " + r" \\ ".join(lines) + r" \end{pmatrix}"

    def _write_fraction(self, args: Sequence[ast.expr]) -> _Written:
        if len(args) == 2:
            return self._write_product(ast.BinOp(args[0], ast.Div(), args[1]))
        if len(args) == 1 and isinstance(args[0], ast.Constant):
            return str(args[0].value), _PRODUCT
        raise NotationError

    def _write_two(self, command: str, args: Sequence[ast.expr]) -> _Written:
        if len(args) != 2:
            raise NotationError
        first, second = (self.write(each)[0] for each in args)
        return rf"{command}{{{first}}}{{{second}}}", _ATOM

    def _write_root(self, args: Sequence[ast.expr]) -> _Written:
        if len(args) != 2:
            raise NotationError
        inside, degree = (self.write(each)[0] for each in args)
        return rf"\sqrt[{degree}]{{{inside}}}", _ATOM

    def _write_logarithm(self, args: Sequence[ast.expr]) -> _Written:
        if len(args) == 1:
            return r"\ln" + _bracket(self.write(args[0])[0]), _POWER
        if len(args) != 2:
            raise NotationError
        inside, base = (self.write(each)[0] for each in args)
        return rf"\log_{{{base}}}" + _bracket(inside), _POWER

    def _write_factorial(self, args: Sequence[ast.expr]) -> _Written:
        if len(args) != 1:
            raise NotationError
        return f"{self._write_at(args[0], _ATOM)}!", _POWER


def _multiplies(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div))


def _find_number(node: ast.expr) -> float | complex | None:
    """The number that ``node`` is, with its sign; None if it is none."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    value = node.value if isinstance(node, ast.Constant) else None
    return sign * value if isinstance(value, (float, complex)) else None


_WRITERS: Mapping[type, Callable[..., _Written]] = {
    ast.Constant: Writer._write_constant, ast.Name: Writer._write_name,
    ast.Attribute: Writer._write_name, ast.UnaryOp: Writer._write_unary,
    ast.BinOp: Writer._write_binary, ast.Compare: Writer._write_comparison,
    ast.BoolOp: Writer._write_logic, ast.Tuple: Writer._write_tuple,
    ast.List: Writer._write_list_inside, ast.Set: Writer._write_set,
    ast.Dict: Writer._write_mapping, ast.Call: Writer._write_call,
}  # fmt: skip
_CALLS: Mapping[str, Callable[[Writer, Sequence[ast.expr]], _Written]] = {
    "Rational": Writer._write_fraction, "Fraction": Writer._write_fraction,
    "binomial": lambda writer, args: writer._write_two(r"\binom", args),
    "comb": lambda writer, args: writer._write_two(r"\binom", args),
    "root": Writer._write_root, "log": Writer._write_logarithm, "ln": Writer._write_logarithm,
    "factorial": Writer._write_factorial,
}  # fmt: skip
