"""JSON Schemas: read, refused where no grammar can follow them, and the last word on an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers.schema import conforms, read_schema, simplify
from ttc_cli.engines.scripted.values import hold_to
from ttc_cli.errors import UsageError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["adult", "child"]},
        "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    },
    "required": ["name", "age", "kind"],
}


def test_a_schema_is_a_file_or_the_text_itself(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(PERSON, indent=2))
    assert json.loads(read_schema(str(path))) == PERSON
    assert read_schema(f"  {json.dumps(PERSON)}") == read_schema(str(path))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere.json", "Cannot read the schema nowhere.json"),
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"type": "strnig"}', "No valid JSON Schema, at type"),
        ('{"properties": {"a": {"minLength": "x"}}}', "at properties/a/minLength"),
        ('{"type": "string", "pattern": "^(a$"}', "No valid JSON Schema, at pattern"),
        ('{"$ref": "#/$defs/a"}', "'#/$defs/a', which is not there"),
        ('{"$ref": "https://example.org/a.json"}', "no place in it"),
    ],
)
def test_what_is_no_schema_is_refused(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read_schema(given)
    assert said in caught.value.message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_schema(str(tmp_path / "binary"))
    with pytest.raises(UsageError, match="Cannot read"):
        read_schema(str(tmp_path))


@pytest.mark.parametrize(
    ("schema", "place", "word"),
    [
        ({}, "#", "any value"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a", "no type"),
        ({"type": "number", "minimum": 0}, "#", "'minimum'"),
        ({"type": "integer", "minimum": 0}, "#", "a range"),
        ({"type": "integer", "minimum": 0, "maximum": 10**6}, "#", "a range"),
        ({"type": "integer", "multipleOf": 2}, "#", "'multipleOf'"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "#", "'uniqueItems'"),
        ({"type": "array", "minItems": 2}, "#/items", "allows"),
        ({"type": "object", "patternProperties": {}}, "#", "'patternProperties'"),
        ({"type": "object", "required": ["a"]}, "#", "requires 'a'"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "#", "pattern beside"),
        ({"type": "string", "maxLength": 10**6}, "#", "1,000,000 is above"),
        ({"anyOf": [{"type": "null"}], "type": "null"}, "#", "'type'"),
        ({"allOf": [{"type": "null"}, {"type": "null"}]}, "#", "allOf"),
        ({"type": ["string", "array"], "maxLength": 3}, "#", "several types"),
        ({"type": "string", "enum": [1, 2]}, "#", "none of its values"),
        ({"items": {"properties": {"a": {"if": {}}}}}, "#/items/properties/a", "no type"),
    ],
)
def test_what_would_be_passed_over_is_refused_with_its_place(
    schema: dict[str, Any], place: str, word: str
) -> None:
    with pytest.raises(UsageError) as caught:
        simplify(json.dumps(schema))
    assert f"at {place}: " in caught.value.message
    assert word in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("schema", "simple"),
    [
        ({"type": "string", "title": "A", "default": "b"}, {"type": "string"}),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 4}, {"enum": [1, 2, 3]}),
        ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, {"enum": [1, 2]}),
        ({"const": "x"}, {"enum": ["x"]}),
        ({"type": "string", "enum": ["x", 1]}, {"enum": ["x"]}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"allOf": [{"type": "null"}]}, {"type": "null"}),
        (
            {"$ref": "#/$defs/string", "$defs": {"string": {"type": "null"}}},
            {"$ref": "#/$defs/def-0", "$defs": {"def-0": {"type": "null"}}},
        ),
    ],
)
def test_what_can_be_said_in_fewer_words_is(schema: Any, simple: Any) -> None:
    assert simplify(json.dumps(schema)) == simple


def test_a_schema_that_holds_itself_is_simple_too() -> None:
    simple = simplify(json.dumps(PERSON))
    assert simple["properties"]["friends"]["items"] == {"$ref": "#/$defs/def-0"}
    assert simple["$defs"]["def-0"]["properties"]["friends"]["items"] == {"$ref": "#/$defs/def-0"}


@pytest.mark.parametrize("depth", [600, 50_000])
def test_a_schema_nested_too_deep_is_refused(depth: int) -> None:
    text = '{"type": "array", "items": ' * depth + '{"type": "null"}' + "}" * depth
    with pytest.raises(UsageError, match="nested too deep"):
        simplify(text)


SIMPLE = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "minLength": 2, "maxLength": 3},
            {"type": "number"},
            {"type": "integer", "minimum": -2, "maximum": 2},
            {"type": "boolean"},
            {"enum": ["a", 1, None]},
            {"type": ["integer", "null"]},
        ]
    ),
    lambda inner: (
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n}, inner,
                  st.integers(0, 3))
        | st.builds(lambda parts: {"type": "array", "prefixItems": parts},
                    st.lists(inner, min_size=1, max_size=2))
        | st.builds(lambda described: {"type": "object", "properties": described,
                                       "required": sorted(described)[:1]},
                    st.dictionaries(st.sampled_from("abc"), inner, max_size=3))
        | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=2))
    ),
    max_leaves=6,
)  # fmt: skip


@given(SIMPLE, st.integers(0, 99))
def test_whatever_conforms_to_the_simple_form_conforms_to_the_whole(schema: Any, seed: int) -> None:
    text = json.dumps(schema)
    made = hold_to(text, "", seed)
    assert conforms(made, text)
    assert conforms(made, json.dumps(simplify(text)))
    assert hold_to(text, f"{made} and more", seed) == made


def test_the_last_word_knows_more_than_a_grammar() -> None:
    schema = json.dumps({"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    assert conforms("[1, 2]", schema)
    assert not conforms("[1, 1]", schema)
    assert not conforms("[1,", schema)
    assert not conforms("[" * 100_000, schema)


def test_nothing_is_fetched_to_tell_whether_a_value_conforms() -> None:
    assert not conforms("1", '{"$ref": "http://127.0.0.1:9/schema.json"}')
