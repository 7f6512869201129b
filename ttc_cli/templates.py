"""Renders a model's chat template, an untrusted program, within bounds.

Jinja's immutable sandbox keeps the program from Python's objects. It does not keep it from
running for ever or filling the memory, so here every loop step, macro call and output character
is counted, and every value that an expression can make larger (a literal collection, a
concatenation, an operator, a call, a filter) is weighed by what it would be written out. What
exceeds a bound raises ``TemplateError``.

Not covered: a single operation on values within the bounds may still take some hundred
megabytes for a moment.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from ttc_cli.errors import TemplateError

MAX_SOURCE = 256 * 1024
_TOKENS = 10_000
"""Words and signs of Jinja; the longest real templates have some 3,000. Compiling takes 0.3 ms and
10 kB for each."""
_CPU_SECONDS = 1.0
_OUTPUT = 1 << 20
"""Characters and loop steps a rendering may take, beside eight times its input."""
_VALUE = 1 << 15
"""Characters and elements in one value, beside four times the input."""
_INTEGER = 10_000
"""Numbers given to a function: widths, counts, ranges."""
_PRODUCT = 1 << 26
_HINT = "Choose another model with: ttc models list"


class Template:
    """A compiled chat template. Safe to render from several threads, one at a time.

    Args:
        source: Jinja, as in a GGUF's ``tokenizer.chat_template``.

    Raises:
        TemplateError: it does not compile.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"The model's chat template is {len(source):,} characters.", _HINT)
        self._environment = Sandbox()
        self._lock = threading.Lock()
        try:
            self._template = self._environment.from_string(source)
        except Exception as error:  # the source is hostile: whatever breaks, it is the template
            raise _explain("does not compile", error) from error

    def render(self, variables: Mapping[str, object], now: Callable[[], datetime]) -> str:
        """The text for ``variables``; ``now`` is what ``strftime_now`` reads.

        Raises:
            TemplateError: it refused these messages, failed, or exceeded a bound.
        """
        with self._lock:
            self._environment.open_account(len(json.dumps(variables, default=str)))
            try:
                return self._template.render(**variables, strftime_now=_bind_strftime(now))
            except Exception as error:  # as above
                raise _explain("cannot be rendered", error) from error


def _explain(what: str, error: Exception) -> TemplateError:
    reason = str(error)[:200] or type(error).__name__
    return TemplateError(f"The model's chat template {what}: {reason}", _HINT)


def _bind_strftime(now: Callable[[], datetime]) -> Callable[[str], str]:
    def strftime_now(pattern: str) -> str:
        if len(pattern) > 100 or re.search(r"\d{3}", pattern):
            raise _BoundError("a date pattern of an absurd width")
        return now().strftime(pattern)

    return strftime_now


class _BoundError(Exception):
    """The template exceeded a bound."""


class _PlainNamespace(Namespace):
    def __repr__(self) -> str:
        return "namespace"  # the original writes out its contents, nested ones exponentially


class _Generation(Extension):
    """``{% generation %}``, which marks the model's own text for training; here it is nothing."""

    tags = {"generation"}  # noqa: RUF012  jinja2's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body alone."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counting(NodeTransformer):
    """Has every loop and macro body counted, and every value weighed that a template builds."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        node = super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
            count = _call("count", nodes.Const(written + 1), node)
            node.body.insert(0, nodes.ExprStmt(count, lineno=node.lineno))
        elif isinstance(node, nodes.List | nodes.Dict | nodes.Concat) or (
            isinstance(node, nodes.Tuple) and node.ctx == "load"
        ):
            return _call("weigh", node, node)
        return node


def _call(method: str, argument: nodes.Expr, at: nodes.Node) -> nodes.Call:
    function = nodes.EnvironmentAttribute(method, lineno=at.lineno)
    return nodes.Call(function, [argument], [], None, None, lineno=at.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja within the bounds above; ``undefined`` is what a name stands for that nobody set."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, undefined: type[jinja2.Undefined] = jinja2.Undefined) -> None:
        super().__init__(
            undefined=undefined,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing of the template runs while it compiles
            finalize=self._write,
            extensions=[loopcontrols, _Generation],
        )
        self.open_account(0)
        self.globals = {
            "range": range,
            "dict": dict,
            "namespace": _PlainNamespace,
            "raise_exception": _refuse,
        }
        self.filters = {name: self._bound(filter) for name, filter in self.filters.items()}
        self.filters["tojson"] = self._bound(_to_json)

    def open_account(self, input_size: int) -> None:
        """Begin a rendering whose variables are ``input_size`` characters."""
        self._left = _OUTPUT + 8 * input_size
        self._limit = _VALUE + 4 * input_size
        self._deadline = time.thread_time() + _CPU_SECONDS

    def count(self, amount: int) -> None:
        """Book ``amount`` steps or characters."""
        self._left -= amount
        if self._left < 0:
            raise _BoundError("it writes or loops without end")
        if time.thread_time() > self._deadline:
            raise _BoundError("it takes too long")

    def weigh(self, value: Any) -> Any:
        """``value`` itself, if what it holds, written out, stays within the limit."""
        if self._size(value) > self._limit:
            raise _BoundError("it builds a value of an absurd size")
        return value

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Jinja's call, with its arguments and its result weighed."""
        if obj in (self.count, self.weigh):
            return obj(*args)
        owner = getattr(obj, "__self__", None)
        self._check(*args, *kwargs.values(), *([owner] if isinstance(owner, str) else []))
        return self.weigh(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Jinja's operator, with its operands checked before and its result weighed after."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        if operator == "**" and not (abs(left) <= _INTEGER and abs(right) <= 64):
            raise _BoundError("a power of an absurd size")
        if operator == "*" and isinstance(right, str | list | tuple):
            left, right = right, left
        repeats = operator == "*" and isinstance(left, str | list | tuple)
        if repeats and self._size(left) * right > self._limit:
            raise _BoundError("it builds a value of an absurd size")
        return self.weigh(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's safe ``str.format``, without widths."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tokens = 0
        for _, kind, _ in self.lex(source):
            tokens += kind != "whitespace"
            if tokens > _TOKENS:
                raise _BoundError(f"it has more than {_TOKENS:,} words")
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return tree

    def _write(self, value: Any) -> Any:
        self.count(self._size(value))
        return value

    def _bound(self, filter: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(filter)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._check(*args, *kwargs.values())
            if filter.__name__ == "do_format":
                _check_format(args[0])
            return self.weigh(filter(*args, **kwargs))

        return bounded

    def _check(self, *arguments: Any) -> None:
        product = 1
        for argument in arguments:
            self.weigh(argument)
            if isinstance(argument, int) and abs(argument) > _INTEGER:
                raise _BoundError("a number of an absurd size")
            product *= len(argument) + 1 if isinstance(argument, str | list | tuple) else 1
        if product > _PRODUCT:
            raise _BoundError("it builds a value of an absurd size")

    def _size(self, value: Any) -> int:
        self.count(1)
        size, waiting = 0, [value]
        while waiting and size <= self._limit:
            part = waiting.pop()
            if isinstance(part, str | bytes):
                size += len(part)
            elif isinstance(part, Mapping):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, list | tuple | set | frozenset):
                waiting += part
            elif isinstance(part, int):
                size += part.bit_length() // 3
            size += 1
        return size


def _check_format(pattern: object) -> None:
    if re.search(r"\d{4}|\*|:[^{}]*\{", str(pattern)):
        raise _BoundError("a format of an absurd width")


def _refuse(message: str = "") -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any, indent: int | None = None, separators: Any = None, sort_keys: bool = False, **_: Any
) -> str:
    """JSON as it is, not escaped for HTML as Jinja's own filter does."""
    if indent is not None and not 0 <= indent <= 8:
        raise _BoundError("an indent of an absurd width")
    return json.dumps(
        value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
    )
