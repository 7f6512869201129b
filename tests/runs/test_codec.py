import collections.abc
import dataclasses
import enum
import json
import types
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli import events
from ttc_cli.errors import RunDamaged
from ttc_cli.runs.codec import decode, encode
from ttc_cli.types import PROSE, Candidate, Finish

KINDS = typing.get_args(events.Event)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)


def values_of(hint):
    """Every value that a field with this type hint can hold, fields with a default included."""
    arguments, origin = typing.get_args(hint), typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = {f.name: values_of(hints[f.name]) for f in dataclasses.fields(hint)}
        return st.builds(hint, **fields)
    if origin is types.UnionType:
        return st.one_of(*map(values_of, arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is collections.abc.Mapping:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if hint is float:
        return st.floats().map(lambda value: value + 0.0)  # -0.0 equals the default and is left out
    return TEXTS if hint is str else st.from_type(hint)


def kept(event):
    """What a store gives back for ``event``."""
    return decode(json.loads(json.dumps(encode(event))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_event_comes_back_as_it_was(kind, data):
    event = data.draw(values_of(kind))
    assert repr(kept(event)) == repr(event)  # NaN is not equal to itself


def test_an_event_that_was_kept_before_there_were_forms_is_of_prose():
    started = {"v": 1, "kind": "CandidateStarted", "id": 3, "wave": 0}
    assert decode(started) == events.CandidateStarted(3, 0, form=PROSE)
    one = {"id": 3, "text": "So 6.", "tokens": 4, "finish": "stop"}
    ended = decode({"v": 1, "kind": "CandidateEnded", "candidate": one})
    assert ended == events.CandidateEnded(Candidate(3, "So 6.", 4, Finish.STOP, form=PROSE))


def test_no_event_is_forgotten():
    defined = {
        value
        for value in vars(events).values()
        if dataclasses.is_dataclass(value) and value.__module__ == events.__name__
    }
    assert set(KINDS) == defined - {events.EventStream}


def test_a_row_of_version_1_is_read_by_every_later_one():
    row = (
        '{"v":1,"kind":"CandidateEnded","candidate":{"id":3,"text":"It is 6.","tokens":4,'
        '"finish":"stop","answer":{"text":"6","key":"6","type":"number"},'
        '"scores":[{"verifier":"judge","value":0.5}],"parent":1}}'
    )
    ended = decode(json.loads(row)).candidate
    assert (ended.answer.text, ended.scores[0].step, ended.parent, ended.wave) == ("6", None, 1, 0)


def test_what_a_decode_step_says_takes_little_room():
    grew = events.Grew({0: "word ", 11: ""}, 2, 0, 160, 4096)
    assert len(json.dumps(encode(grew))) < 120


def test_fields_of_the_future_are_ignored():
    row = encode(events.Warned("slow"))
    assert decode(row | {"colour": "red"}) == events.Warned("slow")


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"v": 1, "kind": "Stepped", "id": "x", "step": 0, "text": "", "tokens": 1}, "Stepped.id"),
        ({"v": 1, "kind": "Spent"}, "Spent.usage"),
        ({"v": 1, "kind": "Exploded"}, "Exploded"),
        ({"v": 1, "kind": []}, "There is no event"),
        ({"v": 2, "kind": "Warned", "message": ""}, "version 2"),
        ({}, "version None"),
        ([1], "an object"),
    ],
)
def test_a_bad_row_says_what_is_wrong(row, word):
    with pytest.raises(RunDamaged, match=word):
        decode(row)
