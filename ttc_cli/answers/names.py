"""What names mean in Python's and SymPy's notation of a value, and how LaTeX writes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GREEK = _words(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi rho sigma tau phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
NAMES: Mapping[str, str] = {
    "pi": r"\pi", "E": "e", "I": "i", "oo": r"\infty", "EmptySet": r"\emptyset",
    "Reals": r"\mathbb{R}", "Integers": r"\mathbb{Z}", "Rationals": r"\mathbb{Q}",
    "Naturals": r"\mathbb{N}", "Complexes": r"\mathbb{C}", "lamda": r"\lambda",
    "GoldenRatio": r"\frac{1 + \sqrt{5}}{2}",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z](?:_?\d{1,3}|_[A-Za-z])?")
MODULES = frozenset(("S", "sp", "sympy", "sym", "math", "np", "numpy", "fractions", "decimal"))
SCALARS = _words(
    "Integer Float Decimal mpf float64 float32 int64 int32 Symbol str int float simplify Poly "
    "list tuple set frozenset sorted deque dict_values dict_keys odict_values array Tuple"
)
"""Calls that mean their first argument."""
COMMANDS = _words(
    "sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan min max gcd lcm"
)
SPELT = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "log": "ln", "ln": "ln", "Min": "min",
    "Max": "max", "acot": "operatorname{arccot}", "re": "operatorname{Re}",
    "im": "operatorname{Im}", "arg": "arg",
}  # fmt: skip
AROUND = {
    "Abs": (r"\left|", r"\right|"), "abs": (r"\left|", r"\right|"), "exp": ("e^{", "}"),
    "floor": (r"\lfloor ", r" \rfloor"), "ceiling": (r"\lceil ", r" \rceil"),
    "ceil": (r"\lceil ", r" \rceil"), "sqrt": (r"\sqrt{", "}"), "cbrt": (r"\sqrt[3]{", "}"),
    "conjugate": (r"\overline{", "}"),
}  # fmt: skip
RELATIONS = {
    "Eq": "=", "Equality": "=", "Ne": r"\neq", "Unequality": r"\neq", "Lt": "<", "Le": r"\leq",
    "Gt": ">", "Ge": r"\geq", "StrictLessThan": "<", "LessThan": r"\leq",
    "StrictGreaterThan": ">", "GreaterThan": r"\geq",
}  # fmt: skip
COMPARED = {
    ast.Eq: "=", ast.NotEq: r"\neq", ast.Lt: "<", ast.LtE: r"\leq", ast.Gt: ">", ast.GtE: r"\geq",
}  # fmt: skip
JOINED = {
    "Union": r" \cup ", "Intersection": r" \cap ", "Complement": r" \setminus ",
    "And": r" \land ", "Or": r" \lor ", "ProductSet": r" \times ",
}  # fmt: skip
MATRICES = _words(
    "Matrix ImmutableMatrix MutableDenseMatrix ImmutableDenseMatrix DenseMatrix Vector"
)
POINTS = _words("Point Point2D Point3D")
OPEN_ENDS = {"open": (True, True), "Lopen": (True, False), "Ropen": (False, True)}
