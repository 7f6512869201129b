"""JSON Schemas for answers: read, checked, and reduced to what a grammar can enforce.

``validating.conforms`` has the last word: it validates a whole value against the whole schema.
Before that, an engine holds each token to a grammar made from the schema, which can express less.
So ``simplify`` refuses what a grammar would silently ignore, and rewrites what it can: references
get names of their own, short ranges of whole numbers become lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ttc_cli.answers.structured import parse_json
from ttc_cli.errors import UsageError

LIMIT = 1 << 20
"""Bytes of a schema."""
MOST_DEEP = 100
"""Levels of objects and arrays in a schema."""
MOST_PARTS = 5_000
"""Schemas within a schema, counted again for each reference that leads to them; 0.5 ms each."""
MOST_VALUES = 1000
"""Whole numbers that a range is written out as, and the longest string or array with a limit."""

_NOTES = {
    "$anchor", "$comment", "$defs", "$id", "$schema", "contentEncoding", "contentMediaType",
    "default", "definitions", "deprecated", "description", "discriminator", "examples", "id",
    "readOnly", "title", "writeOnly",
}  # fmt: skip
"""Keywords that say nothing about which values conform."""
_RANGE = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_FORMATS = {"date", "time", "date-time", "uuid"}


def read_schema(given: str) -> str:
    """The schema that ``given`` is, or that lies in the file it names, as one line of JSON.

    Raises:
        UsageError: the file cannot be read, or does not hold a valid JSON Schema.
    """
    text = given if given.lstrip().startswith(("{", "[")) else _read_file(Path(given).expanduser())
    try:
        schema = parse_json(text)
    except ValueError as error:
        raise UsageError(
            f"The schema is not JSON: {error}.", "python3 -m json.tool FILE"
        ) from error
    if not isinstance(schema, dict):
        raise UsageError("The schema is not a JSON object.", '--schema \'{"type": "object", …}\'')
    if _is_deeper(schema, MOST_DEEP):
        _refuse("#", "it is nested too deep", "Make it flatter, with $defs and $ref.")
    if not isinstance(schema.get("$schema", ""), str):
        raise UsageError("Not a valid JSON Schema, at $schema: it is not a string.")
    _check_reachable(schema)
    written = json.dumps(schema, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        _refuse(
            "#",
            "it holds half of a surrogate pair, which text cannot hold",
            "Write the whole pair.",
        )
    return written


def simplify(schema: str) -> dict[str, Any]:
    """``schema`` (JSON text) in the few keywords that a grammar can be made of.

    Whatever conforms to the outcome conforms to ``schema``, but for what only a whole value can
    show: keys that occur twice, and ``oneOf`` where several fit.

    Raises:
        UsageError: a grammar would ignore part of it; names the keyword and its place.
    """
    try:
        return _Simplifier(json.loads(schema)).run()
    except RecursionError:
        _refuse("#", "it is nested too deep", "Make it flatter.")


class _Simplifier:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._kept: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        whole = self._visit(self._root, "#")
        passed: set[str] = set()
        while "$ref" in whole:  # the converter looks no further than a reference at the top
            name = whole["$ref"].rpartition("/")[2]
            if name in passed:
                _refuse("#", "a definition refers only to itself", "Say what it is.")
            passed.add(name)
            whole = self._kept[name]
        return {**whole, "$defs": self._kept} if self._kept else whole

    def _visit(self, node: Any, place: str) -> dict[str, Any]:
        if node is True or node == {}:
            _refuse(place, "it allows any value", "Give it a type.")
        if not isinstance(node, dict):
            _refuse(place, "it allows no value at all", "Leave it out.")
        said = {key: value for key, value in node.items() if key not in _NOTES}
        match said:
            case {"$ref": _}:
                return self._visit_reference(said, place)
            case {"enum": _} | {"const": _}:
                return self._visit_values(said, place)
            case {"anyOf": parts}:
                _allow(said, {"anyOf"}, place)
                return {"anyOf": self._visit_each(parts, f"{place}/anyOf")}
            case {"oneOf": parts}:
                _allow(said, {"oneOf"}, place)
                return {"anyOf": self._visit_each(parts, f"{place}/oneOf")}
            case {"allOf": parts}:
                _allow(said, {"allOf"}, place)
                if len(parts) != 1:
                    _refuse(place, "allOf of several schemas", "Write them as one.")
                return self._visit(parts[0], f"{place}/allOf/0")
            case {"type": list(kinds)}:
                return self._visit_types(said, kinds, place)
            case {"type": "string"}:
                return self._visit_string(said, place)
            case {"type": "integer"}:
                return self._visit_integer(said, place)
            case {"type": "number" | "boolean" | "null" as kind}:
                _allow(said, {"type"}, place)
                return {"type": kind}
        kind = said.get("type")
        if kind == "object" or (not kind and {"properties", "additionalProperties"} & said.keys()):
            return self._visit_object(said, place)
        if kind == "array" or (not kind and {"items", "prefixItems"} & said.keys()):
            return self._visit_array(said, place)
        _refuse(place, "it has no type", 'Add one, such as "type": "string".')

    def _visit_types(self, said: Mapping[str, Any], kinds: list[str], place: str) -> dict[str, Any]:
        """Several types: an alternative for each, and what the schema says beside goes with it."""
        beside = {key: value for key, value in said.items() if key != "type"}
        simple = {"boolean", "null"}
        parts = [{"type": kind, **({} if kind in simple else beside)} for kind in kinds]
        if beside and sum(kind not in simple for kind in kinds) > 1:
            _refuse(place, f"{', '.join(sorted(beside))} beside several types", "Use anyOf.")
        return {"anyOf": [self._visit(part, place) for part in parts]}

    def _visit_reference(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        _allow(said, {"$ref"}, place)
        target = str(said["$ref"])
        if target not in self._names:
            name = self._names[target] = f"def-{len(self._names)}"
            self._kept[name] = self._visit(_resolve(self._root, target, place), target)
        return {"$ref": f"#/$defs/{self._names[target]}"}

    def _visit_each(self, parts: list[Any], place: str) -> list[dict[str, Any]]:
        return [self._visit(part, f"{place}/{i}") for i, part in enumerate(parts)]

    def _visit_values(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        """``enum`` and ``const``: those of the values that the rest of the schema lets pass."""
        from ttc_cli.answers.validating import conforms

        _allow(said, {"enum", "const", "type", "pattern", *_RANGE}, place)
        values = said["enum"] if "enum" in said else [said["const"]]
        own = json.dumps(dict(said))
        fitting = [each for each in values if conforms(json.dumps(each), own)]
        if not fitting:
            _refuse(place, "none of its values conforms to it", "Correct enum or type.")
        return {"enum": fitting}

    def _visit_object(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        _allow(said, {"type", "properties", "required", "additionalProperties"}, place)
        described, more = said.get("properties", {}), said.get("additionalProperties", True)
        required = said.get("required", [])
        for name in required:
            if name not in described:
                _refuse(place, f"it requires {name!r}, which properties lacks", "Describe it.")
        if "$ref" in described:
            _refuse(place, "a property is called '$ref'", "Rename it.")
        if not described and more is True:
            return {"type": "object"}
        within = f"{place}/properties"
        parts = {name: self._visit(part, f"{within}/{name}") for name, part in described.items()}
        made = {"type": "object", "properties": parts, "required": required}
        if isinstance(more, dict) and more:
            made["additionalProperties"] = self._visit(more, f"{place}/additionalProperties")
        return made

    def _visit_array(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        if "prefixItems" in said or isinstance(said.get("items"), list):
            return self._visit_tuple(said, place)
        limits = {"minItems", "maxItems"}
        _allow(said, {"type", "items", *limits}, place)
        if not limits & said.keys() and said.get("items", True) in (True, {}):
            return {"type": "array"}
        kept = {key: _limit(said, key, place) for key in limits if key in said}
        return {"type": "array", "items": self._visit(said.get("items"), f"{place}/items"), **kept}

    def _visit_tuple(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        first = "prefixItems" if "prefixItems" in said else "items"
        parts = said[first]
        _allow(said, {"type", first, "items", "additionalItems", "minItems", "maxItems"}, place)
        closed = said.get("items" if first == "prefixItems" else "additionalItems", False)
        least, most = said.get("minItems", len(parts)), said.get("maxItems", len(parts))
        if not least <= len(parts) <= most or closed not in (False, True):
            _refuse(place, "an array that goes on after its first items", "Use items alone.")
        return {"type": "array", "prefixItems": self._visit_each(parts, place)}

    def _visit_string(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        form = said.get("format")
        beside = {"pattern", "minLength", "maxLength"} & said.keys()
        _allow(said, {"type", "format", "pattern", "minLength", "maxLength"}, place)
        if "pattern" in said and (len(beside) > 1 or form in _FORMATS):
            _refuse(place, "a pattern beside another limit", "Put it into the pattern.")
        if "pattern" in said:
            return {"type": "string", "pattern": said["pattern"]}
        if form in _FORMATS and beside:
            _refuse(place, f"the format {form} beside a length", "Leave the length out.")
        if form in _FORMATS:
            return {"type": "string", "format": form}
        return {"type": "string", **{key: _limit(said, key, place) for key in sorted(beside)}}

    def _visit_integer(self, said: Mapping[str, Any], place: str) -> dict[str, Any]:
        _allow(said, {"type", *_RANGE}, place)
        if not _RANGE & said.keys():
            return {"type": "integer"}
        lows = _edges(said, "minimum", "exclusiveMinimum", 1)
        highs = _edges(said, "maximum", "exclusiveMaximum", -1)
        low, high = (max(lows), min(highs)) if lows and highs else (0, -1)
        if not 0 <= high - low < MOST_VALUES:
            reason = f"a range that is not one of at most {MOST_VALUES:,} whole numbers"
            _refuse(place, reason, "Give both ends, or leave the range out.")
        return {"enum": list(range(low, high + 1))}


def _check_reachable(root: dict[str, Any]) -> None:
    """Make sure that ``root``, and all that references in it lead to, can be held to.

    Raises:
        UsageError: a part is not a valid schema, or a reference leads nowhere.
    """
    from ttc_cli.answers.validating import list_schemas

    places, parts = ["#"], 0
    for place in places:
        part = _resolve(root, place, "#")
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            _refuse("#", f"$ref to {place!r}, which is not a schema", "Correct it.")
        nodes = list(list_schemas(part))
        parts += len(nodes)
        if parts > MOST_PARTS:
            _refuse("#", f"it holds more than {MOST_PARTS:,} schemas", "Make it smaller.")
        _check_valid(part, root)
        for node in nodes:
            if "patternProperties" in node:
                _refuse("#", "'patternProperties' cannot be enforced", "Name the properties.")
            refers = _has_base(node) and any("$ref" in each for each in list_schemas(node))
            if refers and node is not root:
                _refuse("#", "a part with an $id of its own holds a $ref", "Leave the $id out.")
            target = node.get("$ref")
            if isinstance(target, str) and target not in places:
                places.append(target)


def _check_valid(part: dict[str, Any], root: dict[str, Any]) -> None:
    from jsonschema import SchemaError

    from ttc_cli.answers.validating import check_schema

    try:
        check_schema(part, root)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        why = "" if error.cause is None else f" ({error.cause})"
        said = error.message if len(error.message) < 200 else f"{error.message[:200]}…"
        raise UsageError(
            f"Not a valid JSON Schema, at {place}: {said}{why}.",
            "Use only classes, groups and repetitions in a pattern, no look-around."
            if why
            else None,
        ) from error


def _has_base(schema: dict[str, Any]) -> bool:
    """Whether references within ``schema`` are told from it, and not from what it stands in."""
    return isinstance(schema.get("$id"), str) and not schema["$id"].startswith("#")


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        held = (each.values() if isinstance(each, dict) else each for each in level)
        level = [part for parts in held for part in parts if isinstance(part, dict | list)]
    return bool(level)


def _resolve(root: dict[str, Any], target: str, place: str) -> Any:
    """What a reference within ``root`` points to, by a pointer (RFC 6901, 6) or a name."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    base, mark, fragment = target.partition("#")
    if not mark or base not in ("", str(root.get("$id", "")).partition("#")[0]):
        _refuse(
            place, f"$ref to {target!r}, which is not a place in it", "Write it as #/$defs/NAME."
        )
    dialect = specification_with(str(root.get("$schema")), default=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", dialect.create_resource(root))
    try:
        return registry.resolver().lookup(f"#{fragment}").contents
    except (Unresolvable, ValueError, TypeError):  # TypeError: within a number
        _refuse(place, f"$ref to {target!r}, which is not there", "Correct it.")


def _allow(said: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in said:
        if key not in known:
            _refuse(place, f"{key!r} cannot be enforced while an answer grows", "Leave it out.")


def _edges(said: Mapping[str, Any], closed: str, open: str, step: int) -> list[int]:
    """Whole numbers that a range ends with, by its two keywords for one of its ends."""
    found = [(said[key], move) for key, move in ((closed, 0), (open, step)) if key in said]
    return [
        (math.ceil(edge) if step > 0 else math.floor(edge)) + (move if edge == int(edge) else 0)
        for edge, move in found
    ]


def _limit(said: Mapping[str, Any], key: str, place: str) -> int:
    value = int(said[key])
    if value > MOST_VALUES:
        _refuse(place, f"{key} {value:,} is above {MOST_VALUES:,}", "Lower it, or leave it out.")
    return value


def _refuse(place: str, reason: str, hint: str) -> NoReturn:
    raise UsageError(f"The schema cannot be used, at {place}: {reason}.", hint)


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            data = opened.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise UsageError(f"The schema {path} is larger than {LIMIT >> 20} MiB.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"Cannot read the schema {path}: {error.strerror}.",
            "--schema takes a file, or the schema itself: '{\"type\": …}'",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The schema {path} is not UTF-8 text.") from error
