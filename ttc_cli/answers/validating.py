"""Whether a value conforms to a JSON Schema, in bounded time for any value and schema.

This runs on the event loop, on what a model wrote. So the library's validator is changed in three
ways. Patterns are searched by an engine that takes linear time (pydantic's, in Rust; Python's own
takes 2ⁿ steps for ``^(a+)+$``). Unique items are compared by their normal form, not in pairs. And
all work is counted, so that alternatives within alternatives take no more than about a second.
"""

from __future__ import annotations

import contextvars
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import FormatChecker, ValidationError
from jsonschema.validators import extend, validator_for
from pydantic_core import SchemaError, SchemaValidator, core_schema
from referencing import Registry
from referencing.exceptions import Unresolvable

from ttc_cli.answers.structured import key_json, parse_json

MOST_WORK = 200_000
"""Steps of one validation: keywords held against values. Some 6 µs each."""
_HELD_A_STEP = 16
"""Members of the two that count as a step."""
_PLACES_A_STEP = 300
"""Places of a pattern, times characters, that count as a step; 16 ns each at worst."""

_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
"""Keywords whose schemas stand under names."""
_VALUES = {"const", "default", "enum", "examples"}
"""Keywords that hold values, which may look like schemas."""

_PART = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?P?<\w+>|\?[a-zA-Z-]*:)?"
    r"|\{(?P<least>\d+)(?:,(?P<most>\d*))?\}|.",
    re.DOTALL,
)

_left = contextvars.ContextVar("work that is left", default=MOST_WORK)


class _TooMuchWork(Exception):
    """A validation was given up before it came to a result."""


class BadPattern(ValueError):
    """Not a regular expression, or one that cannot be searched in linear time; says why."""


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> SchemaValidator:
    """What tells whether ``pattern`` occurs in a text, in time linear in the text.

    Raises:
        BadPattern: it is not a regular expression, looks around or back, or is too large.
    """
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True))
    except SchemaError as error:
        raise BadPattern(str(error).splitlines()[-1].strip().removeprefix("error: ")) from error


_FORMATS = FormatChecker(())
"""What dialects say of a schema's own texts: that patterns are regular expressions."""


def _is_pattern(value: object) -> bool:
    return not isinstance(value, str) or compile_pattern(value) is not None


_FORMATS.checks("regex", raises=BadPattern)(_is_pattern)


def check_schema(schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    """Make sure that ``schema`` is valid in the dialect that ``root`` names.

    Raises:
        jsonschema.SchemaError: it is not; the cause is a ``BadPattern`` if a pattern is bad.
        RecursionError: it is nested too deep.
    """
    validator_for(root).check_schema(schema, format_checker=_FORMATS)


def conforms(value: str, schema: str) -> bool:
    """Whether the JSON text ``value`` is a value of ``schema`` (JSON text too).

    Nothing is fetched. A value that takes more than ``MOST_WORK`` to validate does not conform.
    """
    _left.set(MOST_WORK)
    try:
        return bool(_make_validator(schema).is_valid(parse_json(value)))
    except (ValueError, RecursionError, Unresolvable, _TooMuchWork):
        return False


def list_schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``schema`` and all schemas within it, but not values that look like schemas."""
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            yield node
            for key, value in node.items():
                if key in _NAMED and isinstance(value, dict):
                    todo += value.values()
                elif key not in _VALUES:
                    todo.append(value)


@functools.lru_cache(maxsize=32)
def _make_validator(schema: str) -> Any:
    read = json.loads(schema)
    kind = validator_for(read)
    for part in list_schemas(read):
        # One that names a dialect would be asked with the library's own validator of it.
        if isinstance(part.get("$schema"), str):
            del part["$schema"]
    return _bound(kind)(read, registry=Registry())


@functools.cache
def _bound(kind: Any) -> Any:
    """The validator of a dialect with its work counted."""
    checks = kind.VALIDATORS | {"pattern": _check_pattern, "uniqueItems": _check_unique}
    return extend(kind, {name: _count(check) for name, check in checks.items()})


def _count(check: Callable[..., Any]) -> Callable[..., Any]:
    def counted(validator: Any, said: Any, value: Any, schema: Any) -> Any:
        held = sum(len(each) for each in (said, value) if isinstance(each, dict | list))
        _spend(1 + held // _HELD_A_STEP)
        return check(validator, said, value, schema)

    return counted


def _spend(steps: int) -> None:
    left = _left.get() - steps
    if left < 0:
        raise _TooMuchWork
    _left.set(left)


def _check_pattern(validator: Any, said: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str):
        _spend(count_places(said) * len(value) // _PLACES_A_STEP)
        if not compile_pattern(said).isinstance_python(value):
            yield ValidationError(f"{said!r} does not occur")


def _check_unique(validator: Any, said: bool, value: Any, schema: Any) -> Iterator[ValidationError]:
    if said and isinstance(value, list):
        forms = {key_json(json.dumps(each)) for each in value}
        if len(forms) < len(value):
            yield ValidationError("an item occurs twice")


@functools.lru_cache(maxsize=256)
def count_places(pattern: str) -> int:
    """How many characters ``pattern`` has with its repetitions written out."""
    before: list[int] = []  # what stood before each group that is open
    total = last = 0
    for found in _PART.finditer(pattern):
        part = found[0]
        if part[0] == "(":
            before.append(total)
            last = 0
        elif part == ")" and before:
            last = total - before.pop()
        elif found["least"] is not None:
            times = max(int(found["least"]), int(found["most"] or 0), 1)
            total += last * (times - 1)
            last *= times
        elif part not in "*+?|^$":
            last = 1
            total += 1
    return max(total, 1)
