"""What a script says under a grammar: its own value where that conforms, else one made up."""

from __future__ import annotations

import json
import random
from typing import Any

from ttc_cli.answers.schema import simplify
from ttc_cli.answers.structured import write_json
from ttc_cli.answers.validating import conforms


def hold_to(schema: str, text: str, seed: int) -> str:
    """The JSON value at the head of ``text`` if it conforms to ``schema``, else one from ``seed``.

    Raises:
        UsageError: the schema says what no grammar can hold an answer to.
        ValueError: a pattern, or an endless definition, for which no value can be made up.
    """
    simple = simplify(schema)
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
        said = text.lstrip()[:end]
    except ValueError:
        said = ""
    if conforms(said, schema):
        return said
    value = write_json(_make_up(simple, simple.get("$defs", {}), random.Random(seed)))
    if not conforms(value, schema):
        raise ValueError(f"no value of {schema} can be made up; {value} does not conform")
    return value


def _make_up(node: dict[str, Any], kept: dict[str, Any], draw: random.Random) -> Any:
    """A small value of a simplified schema; optional properties are left out."""
    if "$ref" in node:
        return _make_up(kept[node["$ref"].rpartition("/")[2]], kept, draw)
    if "anyOf" in node:
        return _make_up(node["anyOf"][-1], kept, draw)
    if "enum" in node:
        return draw.choice(node["enum"])
    if "prefixItems" in node:
        return [_make_up(each, kept, draw) for each in node["prefixItems"]]
    made: dict[str, Any] = {
        "boolean": draw.random() < 0.5,
        "null": None,
        "integer": draw.randint(0, 99),
        "number": draw.randint(0, 99) / 10,
        "string": "word" if node.get("maxLength", 4) >= 4 else "",
    }
    match node["type"]:
        case "object":
            needed = node.get("required", ())
            return {key: _make_up(node["properties"][key], kept, draw) for key in needed}
        case "array":
            return [_make_up(node["items"], kept, draw) for _ in range(node.get("minItems", 0))]
        case "string" if "minLength" in node:
            return "w" * node["minLength"]
        case kind:
            return made[kind]
