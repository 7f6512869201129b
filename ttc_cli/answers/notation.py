r"""Python's and SymPy's notation of a value, as a program prints it, written as LaTeX.

``2*sqrt(3) + 1`` becomes ``2\sqrt{3} + 1``, ``[{x: 1}, {x: 2}]`` becomes ``x = 1, x = 2``. Printed
text is hostile: it is parsed by ``ast`` and never evaluated, a power is never worked out, and a
name means something only if it is listed here.
"""

from __future__ import annotations

import ast
import re
import warnings

from ttc_cli.answers.latex import MOST_DEEP, Writer, read_name
from ttc_cli.answers.names import SCALARS
from ttc_cli.answers.normalise import MAX_ANSWER

_LITERAL = re.compile(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?!(?:[eE][+-]?\d+|[jJ])\b)[A-Za-z_]")
"""A number with a word at its end: Python would warn of ``1if``."""
_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")

_COLUMNS = re.compile(r"\\begin\{[pb]matrix\}")
_INTERVALS = re.compile(r"\b(?:interval|range|domain)\b", re.IGNORECASE)


class Value:
    """A printed value, parsed.

    Attributes:
        node: the expression.
    """

    def __init__(self, node: ast.expr, source: bytes) -> None:
        self.node = node
        self._source = source

    def elements(self) -> list[Value] | None:
        """What a list, a tuple, a set or a mapping holds; None for anything else."""
        node = _unwrap(self.node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [Value(each, self._source) for each in node.elts]
        if isinstance(node, ast.Dict):
            return [Value(each, self._source) for each in node.values]
        if isinstance(node, ast.Call) and read_name(node.func) in ("set", "FiniteSet", "frozenset"):
            return [Value(each, self._source) for each in node.args]
        return None

    def write(self, question: str = "") -> str:
        """As LaTeX.

        A list is its elements, as ``solve`` gives solutions. Rows of equal length are a matrix.
        A question about vectors as columns makes a list of numbers such a column, one about a
        range or an interval makes a list of two a closed interval.

        Raises:
            NotationError: it is no value that this module knows.
        """
        node = _unwrap(self.node)
        writer = Writer(self._source)
        if isinstance(node, ast.List):
            nested = any(isinstance(each, (ast.List, ast.Tuple, ast.Dict)) for each in node.elts)
            if not nested and len(node.elts) > 1 and _COLUMNS.search(question):
                return writer.write_column(node)
            if not nested and len(node.elts) == 2 and _INTERVALS.search(question):
                return writer.write(node)[0]
            return writer.write_list(node)
        if isinstance(node, ast.Tuple) and not self.source.startswith("("):
            return writer.write_all(node.elts)
        return writer.write(node)[0]

    @property
    def source(self) -> str:
        """Its own text."""
        return self._source[self.node.col_offset : self.node.end_col_offset].decode()

    @property
    def text(self) -> str | None:
        """What it says if it is a string."""
        value = self.node.value if isinstance(self.node, ast.Constant) else None
        return value if isinstance(value, str) else None


def parse(text: str) -> Value | None:
    """``text`` as one expression or equation of Python; None if it is none.

    ``^`` is a power, and ``=`` between two expressions is ``==``.
    """
    text = text.strip().replace("^", "**")
    if len(text) > MAX_ANSWER or _LITERAL.search(text) or re.search(r"[\\$\n]", text):
        return None
    for form in dict.fromkeys((text, _EQUALS.sub("==", text))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what others wrote
                return Value(ast.parse(form, mode="eval").body, form.encode())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _unwrap(node: ast.expr) -> ast.expr:
    """What calls such as ``list(…)`` and ``np.float64(…)`` are made for."""
    for _ in range(MOST_DEEP):
        if not (isinstance(node, ast.Call) and node.args and read_name(node.func) in SCALARS):
            break
        node = node.args[0]
    return node
