"""Schemas of clients that would keep all others waiting, and those that must not be refused."""

import json
import time

import pytest

from ttc_cli.errors import UsageError
from ttc_cli.serving.ways import check_ways

TEXT = {"type": "string"}


def make(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


def refer(name):
    return {"$ref": f"#/$defs/{name}"}


def choose(*parts):
    return {"anyOf": list(parts)}


def arrays(depth):
    part = {"type": "integer"}
    for _ in range(depth):
        part = {"type": "array", "items": part, "minItems": 1000, "maxItems": 1000}
    return part


DOUBLED = {f"d{n}": choose(refer(f"d{n + 1}"), refer(f"d{n + 1}")) for n in range(30)}
LIST = {"type": "array", "items": refer("a")}
LONGER = {**LIST, "minItems": 2}


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"$defs": {**DOUBLED, "d30": TEXT}, **refer("d0")}, "ways"),
        (choose(*[TEXT] * 200), "ways"),
        ({"type": "object", "properties": {f"p{n}": TEXT for n in range(200)}}, "ways"),
        ({"$defs": {"a": choose(LIST, LONGER)}, **refer("a")}, "begin alike"),
        ({"$defs": {"a": choose(make(l=refer("a")), make(l=LIST))}, **refer("a")}, "begin alike"),
        (
            {"$defs": {"a": choose(refer("b"), refer("c")), "b": LIST, "c": LIST}, **refer("a")},
            "begin alike",
        ),
        (
            {"$defs": {"a": choose(make(enum=refer("a")), make(enum=LIST))}, **refer("a")},
            "begin alike",
        ),
        (arrays(30), "20,000"),
        ({"type": "string", "pattern": f"^{'a{900}' * 30}$"}, "20,000"),
        ({"type": "string", "pattern": "^(a?){1000}$"}, "groups"),
        ({"type": "string", "pattern": "^(a|aa)*$"}, "groups"),
        ({"type": "string", "pattern": "^a*a*a*a*$"}, "repeats too much"),
        ({"type": "string", "pattern": "^a{0,20}a{0,20}$"}, "repeats too much"),
        ({"type": "wizard"}, "Not a valid"),
    ],
)
def test_what_may_come_to_many_ways_is_refused_in_a_moment(schema, word):
    began = time.process_time()
    with pytest.raises(UsageError, match=word):
        check_ways(json.dumps(schema))
    assert time.process_time() - began < 5


def kind(name, **more):
    return make(kind={"const": name}, **more)


@pytest.mark.parametrize(
    "schema",
    [
        make(name=TEXT, year={"type": "integer", "minimum": 1900, "maximum": 2100}),
        choose(*(kind(f"k{n}", value=TEXT) for n in range(20))),
        {"$defs": {"a": choose(TEXT, LIST, make(l=refer("a")))}, **refer("a")},
        {
            "$defs": {
                "a": choose(
                    {"type": "number"}, kind("add", l=refer("a")), kind("neg", of=refer("a"))
                )
            },
            **refer("a"),
        },
        {"$defs": {"a": choose(make(left=refer("a")), make(right=refer("a")), TEXT)}, **refer("a")},
        {"$defs": {"t": make(items={"type": "array", "items": refer("t")})}, **refer("t")},
        make(left=choose(TEXT, LIST), right=choose(TEXT, LIST)) | {"$defs": {"a": TEXT}},
        {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        {"type": "string", "pattern": r"^\+?[0-9]{7,15}$"},
        {"type": "string", "pattern": r"^[^@]+@[^@]+\.[a-z]{2,6}$"},
        {"type": "string", "maxLength": 1000},
        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 50},
        {"type": "object"},
    ],
)
def test_what_people_ask_for_is_not(schema):
    check_ways(json.dumps(schema))
