"""How many ways a text may go on under a schema, all of which every token is held against.

llama.cpp follows all of them at once, without a bound on time or memory, on the thread on which the
texts of all clients grow. Two kilobytes of schema are enough for more ways than memory holds: a
choice of two equal parts, each of them such a choice again, thirty times over. So the schema of a
client is refused where it may come to many, before it becomes a grammar.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ttc_cli.answers.schema import read_schema, simplify
from ttc_cli.errors import UsageError

Node = Mapping[str, Any]

MOST_WAYS = 128
MOST_COPIES = 20_000
"""Items and characters that all limits together are written out as."""
MOST_LOOSE = 3
"""Repetitions in a pattern whose number is open."""
MOST_SPAN = 100
"""Of those with two ends: the product of how far these are apart, where there are several."""
_VALUES_A_WAY = 16
"""Of an ``enum``; most of them end with the first token."""

_LIMITS = ("minItems", "maxItems", "minLength", "maxLength")

_ATOM = r"(?:\\.|\[(?:\\.|[^\]\\])+\]|[^][\\(){}|*+?^$])"
_TIMES = r"(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})?"
_PART = re.compile(_ATOM + _TIMES, re.DOTALL)
_PATTERN = re.compile(rf"\^?(?:{_ATOM}{_TIMES})*\$?", re.DOTALL)


def check_ways(schema: str) -> None:
    """Make sure that ``schema`` (JSON text) comes to few ways.

    Raises:
        UsageError: it may come to many, or is none (``answers.schema.read_schema``, ``simplify``).
    """
    simple = simplify(read_schema(schema))
    try:
        _Counter(simple.get("$defs", {})).count(simple)
    except RecursionError:
        _refuse("it is nested too deep", "Make it flatter.")


class _Counter:
    """Counts ways and copies in a simplified schema; ``kept`` are its definitions by name."""

    def __init__(self, kept: Mapping[str, Node]) -> None:
        self._kept = kept
        self._endless = _find_endless(kept)
        self._ways: dict[str, int] = {}
        self._copies = 0

    def count(self, node: Node) -> int:
        """The most places in ``node`` at which one text may be at once."""
        self._copy(max(node.get(key, 0) for key in _LIMITS))
        match node:
            case {"$ref": target}:
                ways = self._follow(_name(target))
            case {"enum": values}:
                ways = 1 + len(values) // _VALUES_A_WAY
            case {"anyOf": parts}:
                ways = sum(map(self.count, parts))
                self._refuse_growth(parts)
            case {"properties": parts, "required": required}:
                inner = [*parts.values(), node.get("additionalProperties", {})]
                ways = max(1 + len(parts) - len(required), *map(self.count, inner))
            case {"prefixItems": parts}:
                ways = max(map(self.count, parts), default=1)
            case {"items": part}:
                ways = self.count(part)
            case {"pattern": pattern}:
                ways = self._count_pattern(pattern)
            case _:
                ways = 1
        if ways > MOST_WAYS:
            _refuse(f"a text may go on in more than {MOST_WAYS} ways", "Offer fewer alternatives.")
        return ways

    def _follow(self, name: str) -> int:
        """The ways of a definition; what it holds of itself is one."""
        if name not in self._ways:
            self._ways[name] = 1
            self._ways[name] = self.count(self._kept[name])
        return self._ways[name]

    def _copy(self, times: int) -> None:
        self._copies += times
        if self._copies > MOST_COPIES:
            reason = f"its limits come to more than {MOST_COPIES:,} items and characters"
            _refuse(reason, "Lower them, or leave them out.")

    def _count_pattern(self, pattern: str) -> int:
        """The ways of a pattern without groups and choices, of which there may be any number."""
        if _PATTERN.fullmatch(pattern) is None:
            _refuse(f"the pattern {pattern!r:.80} has groups or alternatives", "Do without them.")
        spans = []
        for sign, least, open, most in _PART.findall(pattern):
            low, high = int(least or 1), int(most or least or 1)
            self._copy(high)
            if sign or (open and most != least):
                spans.append(2 if sign == "?" else 1 + high - low)
        if len(spans) > MOST_LOOSE or (len(spans) > 1 and math.prod(spans) > MOST_SPAN):
            _refuse(f"the pattern {pattern!r:.80} repeats too much", "Say how often.")
        return 1

    def _refuse_growth(self, parts: Sequence[Node]) -> None:
        """Refuse alternatives that begin alike and may hold themselves: each level is a choice."""
        endless = [each for each in self._flatten(parts) if self._is_endless(each)]
        if any(itertools.starmap(_begin_alike, itertools.combinations(endless, 2))):
            _refuse(
                "alternatives that may hold themselves begin alike",
                "Let each begin with a required property that has a value of its own.",
            )

    def _flatten(self, parts: Sequence[Node]) -> Iterator[Node]:
        """``parts``, with what stands behind references and alternatives among them."""
        todo, seen = list(parts), set()
        while todo:
            part = todo.pop()
            if "anyOf" in part:
                todo += part["anyOf"]
            elif "$ref" in part and (name := _name(part["$ref"])) not in seen:
                seen.add(name)
                todo.append(self._kept[name])
            elif "$ref" not in part:
                yield part

    def _is_endless(self, node: Node) -> bool:
        return any(name in self._endless for name in _list_references(node))


def _begin_alike(first: Node, second: Node) -> bool:
    """Whether an array or object of one may begin as that of the other."""
    if ("properties" in first) != ("properties" in second):
        return False
    name, value = _find_head(first)
    other, different = _find_head(second)
    told_apart = name != other or (value != different and None not in (value, different))
    return not (name and other and told_apart)


def _find_head(node: Node) -> tuple[str, Any]:
    """The property that all objects of ``node`` begin with, and its value if it has only one."""
    name = next((each for each in node.get("properties", ()) if each in node["required"]), "")
    values = node["properties"][name].get("enum", ()) if name else ()
    return name, list(values) if len(values) == 1 else None


def _find_endless(kept: Mapping[str, Node]) -> set[str]:
    """The names of the definitions that hold themselves, or one that does."""
    left = {name: set(_list_references(node)) for name, node in kept.items()}
    size = -1
    while size != len(left):
        size = len(left)
        for name in list(left):  # what others hold comes before them, so that one round does
            if not left[name] & left.keys():
                del left[name]
    return set(left)


def _list_references(node: Node) -> Iterator[str]:
    """The names of the definitions that ``node`` refers to itself."""
    todo: list[Any] = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, list):
            todo += part
        elif isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield _name(part["$ref"])
            lists = {key for key in ("enum", "required") if isinstance(part.get(key), list)}
            todo += [each for key, each in part.items() if key not in lists]


def _name(target: str) -> str:
    return target.rpartition("/")[2]


def _refuse(reason: str, hint: str) -> NoReturn:
    raise UsageError(f"The schema cannot be used here: {reason}.", hint)
