"""The fields of a request: each is read once, checked, and none is ignored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from ttc_cli.serving.refusals import Refusal

T = TypeVar("T")

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "an array",
    dict: "an object",
}
_MOST_DEEP = 64


class Fields:
    """A JSON object whose fields are taken one after the other; null is as good as absent.

    ``path`` is where it stands in the request.
    """

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise Refusal(f"{path or 'The body'} must be a JSON object.", param=path or None)
        self._left = {name: each for name, each in value.items() if each is not None}
        self._path = path

    def name(self, field: str) -> str:
        """The path of ``field``, as errors name it."""
        return f"{self._path}.{field}" if self._path else field

    def refuse(self, field: str, wrong: str, code: str | None = None) -> Refusal:
        """The error that ``field`` is ``wrong``."""
        name = self.name(field)
        return Refusal(f"{name} {wrong}.", param=name, code=code)

    def take(
        self,
        field: str,
        kind: type[T],
        default: T | None = None,
        *,
        within: tuple[float, float] | None = None,
    ) -> T | None:
        """The value of ``field``, or ``default`` where it is absent.

        Raises:
            Refusal: it is of another kind, or not ``within`` its bounds, both of which are in.
        """
        value = self._left.pop(field, None)
        if value is None:
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**53 else value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(field, f"must be {_KINDS[kind]}")
        if within is not None and isinstance(value, int | float):
            low, high = within
            if not low <= value <= high:
                raise self.refuse(field, f"must be at least {low:,} and at most {high:,}")
        taken: T = value
        return taken

    def need(self, field: str, kind: type[T]) -> T:
        """As ``take``, of a field that must be there."""
        value = self.take(field, kind)
        if value is None:
            raise self.refuse(field, "is missing")
        return value

    def take_any(self, field: str) -> Any:
        """The value of ``field``, of whatever kind; None where it is absent."""
        return self._left.pop(field, None)

    def pass_over(self, *fields: str) -> None:
        """Take fields that ask for nothing, such as who the user is."""
        for each in fields:
            self._left.pop(each, None)

    def expect(self, neutral: Mapping[str, tuple[Any, ...]]) -> None:
        """Take fields of things that are not done here; each may only say that it is not wanted.

        Raises:
            Refusal: one asks for it.
        """
        for field, values in neutral.items():
            value = self._left.pop(field, None)
            # False is no 0: in a completion, 0 logprobs are those of the tokens that were drawn.
            alike = [each for each in values if isinstance(each, bool) == isinstance(value, bool)]
            if value is not None and value not in alike:
                raise self.refuse(field, "is not supported", "unsupported_parameter")

    def end(self) -> None:
        """Refuse what was not taken.

        Raises:
            Refusal: a field is left.
        """
        for field in self._left:
            name = self.name(field[:80])
            raise Refusal(f"There is no field {name!r} here.", param=name, code="unknown_parameter")


def read_json(body: bytes) -> Any:
    """The JSON value that ``body`` holds, if it means the same to every reader.

    Its texts can be encoded and hold no NUL, its numbers are finite, its names stand once.

    Raises:
        Refusal: it is none.
    """
    try:
        value = json.loads(
            body,
            parse_constant=_refuse_constant,
            parse_float=_read_float,
            object_pairs_hook=_read_object,
        )
        _check(value)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        why = "half of a surrogate pair" if isinstance(error, UnicodeEncodeError) else error
        raise Refusal(f"The body is not JSON that can be read: {why}.") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return named


def _check(value: object, depth: int = 0) -> None:
    if depth > _MOST_DEEP:
        raise ValueError("it is nested too deep")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text holds a NUL character")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for each in value if isinstance(value, list) else ():
        _check(each, depth + 1)
