"""JSON Schemas: read, refused where no grammar can follow them, and the last word on an answer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers.schema import read_schema, simplify
from ttc_cli.answers.validating import conforms, count_places
from ttc_cli.engines.llamacpp.constraint import write_grammar
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
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"type": "strnig"}', "Not a valid JSON Schema, at type"),
        ('{"properties": {"a": {"minLength": "x"}}}', "at properties/a/minLength"),
        ('{"type": "string", "pattern": "^(a$"}', "Not a valid JSON Schema, at pattern"),
        ('{"$ref": "#/$defs/a"}', "'#/$defs/a', which is not there"),
        ('{"$ref": "https://example.org/a.json"}', "not a place in it"),
        ('{"$ref": "#/a", "a": {"minLength": "x"}}', "Not a valid JSON Schema, at minLength"),
        ('{"$ref": "#/a", "a": {"$ref": "#/b", "b": {}}}', "'#/b', which is not there"),
        ('{"items": {"pattern": "^(?=a)"}}', "Not a valid JSON Schema, at items/pattern"),
        ('{"$ref": "#/a", "a": {"pattern": "(a)\\\\1"}}', "at pattern"),
        (f'{{"pattern": "{"(" * 3000}a{")" * 3000}"}}', "at pattern"),
        ('{"pattern": "(?:a{1,1000}){1,1000}"}', "at pattern"),
        ('{"patternProperties": {"^(a+)+$": {}}}', "'patternProperties' cannot be enforced"),
        ('{"enum": ["a", "\\ud800"]}', "half of a surrogate pair"),
        ('{"properties": {"\\udc00": {}}}', "half of a surrogate pair"),
        ('{"$schema": 5}', "Not a valid JSON Schema, at $schema"),
        ('{"$schema": []}', "Not a valid JSON Schema, at $schema"),
        ('{"$ref": "#/enum", "enum": [[1]]}', "'#/enum', which is not a schema"),
        ('{"a": ' * 150 + "1" + "}" * 150, "nested too deep"),
        ('{"a": ' * 9000 + "1" + "}" * 9000, "nested too deep"),
    ],
)
def test_what_is_no_schema_is_refused(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read_schema(given)
    assert said in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "null"}}},
        {"const": {"pattern": "(", "$ref": "https://example.org"}},
        {"$ref": "#/$defs/a/anyOf/0", "$defs": {"a": {"anyOf": [{"type": "null"}]}}},
        {"pattern": "^[^@\\s]+@[\\w.-]+\\.\\w{2,}$"},
    ],
)
def test_what_only_looks_wrong_is_read(schema: Any) -> None:
    assert json.loads(read_schema(json.dumps(schema))) == schema


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
            {"type": "null", "$defs": {"def-0": {"type": "null"}}},
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


def test_a_part_that_is_named_in_many_ways_is_counted_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ttc_cli.answers.schema.MOST_PARTS", 100)
    part = {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(40)}}
    once, twice = (
        json.dumps({"$defs": {"a": part}, "anyOf": [{"$ref": f"#/$defs/{each}"} for each in names]})
        for names in (["a"], ["a", "%61"])
    )
    assert read_schema(once) == once
    with pytest.raises(UsageError, match="more than 100 schemas"):
        read_schema(twice)


def test_the_last_word_knows_more_than_a_grammar() -> None:
    schema = json.dumps({"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
    assert conforms("[1, 2]", schema)
    assert not conforms("[1, 1]", schema)
    assert not conforms("[1,", schema)
    assert not conforms("[" * 100_000, schema)


def test_nothing_is_fetched_to_tell_whether_a_value_conforms() -> None:
    assert not conforms("1", '{"$ref": "http://127.0.0.1:9/schema.json"}')


NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "fitting", "other"),
    [
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": NULL}}, "null", "1"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"},
                                            "c": NULL}},
            "null",
            "1",
        ),
        (
            {
                "$ref": "#/$defs/tree",
                "$defs": {
                    "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/twig"}}},
                    "twig": {"anyOf": [NULL, {"$ref": "#/$defs/tree"}]},
                },
            },
            '{"left": {"left": null}}',
            '{"left": 1}',
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}}},
            "[[], [[]]]",
            "[1]",
        ),
    ],
)  # fmt: skip
def test_a_reference_at_the_top_may_lead_to_others(schema: Any, fitting: str, other: str) -> None:
    text = read_schema(json.dumps(schema))
    write_grammar(text)
    assert conforms(fitting, text)
    assert not conforms(other, text)
    assert conforms(hold_to(text, "", 1), text)


NAMED = {
    "Box<string>": NULL, "my type": NULL, "Größe": NULL, "a/b%c": NULL, "a~1b": NULL,
    "n": {"$anchor": "node", **NULL},
}  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "#/$defs/Box%3Cstring%3E", "#/%24defs/my%20type", "#/$defs/my type",
        "#/$defs/Gr%C3%B6%C3%9Fe", "#/$defs/Größe", "#/$defs/a~1b%25c", "#/$defs/a~01b", "#node",
        "https://example.org/s.json#/$defs/n", "https://example.org/s.json#node",
    ],
)  # fmt: skip
@pytest.mark.parametrize("wraps", [False, True])
def test_a_reference_may_be_written_in_any_form_of_a_place(target: str, wraps: bool) -> None:
    part: Any = {"$ref": target}
    part = {"type": "array", "items": part, "minItems": 1} if wraps else part
    text = read_schema(json.dumps({"$id": "https://example.org/s.json", "$defs": NAMED, **part}))
    write_grammar(text)
    assert conforms("[null]" if wraps else "null", text)
    assert not conforms("[1]" if wraps else "1", text)


def test_names_of_parts_and_of_the_whole_in_older_dialects() -> None:
    seven = {"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#n"}
    four = {"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://example.org/a"}
    for schema in (
        {**seven, "definitions": {"a": {"$id": "#n", **NULL}}},
        {**four, "$ref": "#/definitions/a", "definitions": {"a": NULL}},
    ):
        text = read_schema(json.dumps(schema))
        write_grammar(text)
        assert conforms("null", text)
        assert not conforms("1", text)


def test_a_part_with_an_address_of_its_own_that_refers_is_refused() -> None:
    part = {"$id": "http://example.org/a", "type": "array", "items": {"$ref": "#/$defs/b"}}
    with pytest.raises(UsageError, match="an \\$id of its own"):
        read_schema(json.dumps({"$ref": "#/$defs/a", "$defs": {"a": part, "b": NULL}}))
    del part["items"]
    assert conforms("[]", read_schema(json.dumps({"$ref": "#/$defs/a", "$defs": {"a": part}})))


def test_values_that_look_like_schemas_are_compared_as_they_are() -> None:
    for value in ({"$schema": "x"}, {"$id": "x", "$ref": "y"}):
        for schema in ({"enum": [value]}, {"const": value}):
            text = read_schema(json.dumps(schema))
            assert conforms(json.dumps(value), text)
            assert not conforms("{}", text)


HALF = "".join(random.Random(1).choices("ab", k=90_000))
TWICE = {
    "oneOf": [
        {"type": "array", "items": {"$ref": "#/$defs/a"}},
        {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1},
    ]
}


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 90_000 + "!"),
        ({"type": "string", "pattern": "^(a|a)*$"}, "a" * 90_000 + "!"),
        ({"type": "string", "pattern": "(a|b)*a(a|b){1000}c"}, HALF),
        ({"pattern": "^([a-z]+ ?)+$", "enum": ["a" * 5000 + "!"]}, "a" * 5000 + "!"),
        ({"propertyNames": {"pattern": "^(a+)+$"}}, {"a" * 5000 + "!": 1}),
        (  # a part that names its dialect
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "items": {"$ref": "#/definitions/a"},
                "definitions": {"a": {"$schema": "http://json-schema.org/draft-07/schema#",
                                      "pattern": "^(a+)+$"}},
            },
            ["a" * 5000 + "!"],
        ),
        ({"$ref": "#/$defs/a", "$defs": {"a": TWICE}}, json.loads("[" * 60 + "]" * 60)),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, 1),
    ],
)  # fmt: skip
def test_no_schema_and_no_value_take_long(schema: Any, value: Any) -> None:
    assert not conforms(json.dumps(value), json.dumps(schema))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_what_is_long_and_plain_is_looked_at_to_its_end() -> None:
    unlike = {"type": "array", "uniqueItems": True, "items": {"type": "object"}}
    items: list[Any] = [{"a": number} for number in range(7000)]
    assert conforms(json.dumps(items), json.dumps(unlike))
    assert not conforms(json.dumps([*items, {"a": 1.0}]), json.dumps(unlike))
    assert conforms(json.dumps([1, True, [1], [True]]), '{"uniqueItems": true}')
    digits = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}}
    assert conforms(f"[{'1,' * 45_000}1]", json.dumps(digits))
    assert conforms(json.dumps("x" * 900), '{"type": "string", "pattern": "^.{1,1000}$"}')


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("", 1), ("abc", 3), ("^a|b$", 2), (r"[^\]\d]x", 2), ("a{3}b", 4), ("(ab){2,5}", 10),
        ("((a{10}){10}){10}", 1000), ("(?:[0-9]{1,3}[.]){3}", 12), ("a{2,}", 2), ("x{0}", 1),
        ("a{b}", 4), (r"\{3\}", 3), (")a(", 2),
    ],
)  # fmt: skip
def test_the_places_of_a_pattern_are_counted(pattern: str, places: int) -> None:
    assert count_places(pattern) == places
