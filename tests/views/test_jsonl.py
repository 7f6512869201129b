import io
import json
from pathlib import Path

import jsonschema
import pytest
import story
from hypothesis import given, settings
from test_frame import happenings

from ttc_cli import events
from ttc_cli.types import Score
from ttc_cli.views.jsonl import JsonLines, encode, error_json, result_json, to_line

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "events.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def written(timed):
    stream, now = io.StringIO(), [0.0]
    lines = JsonLines(stream, clock=lambda: now[0])
    for now[0], event in timed:
        lines(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", story.STORIES)
def test_every_line_of_a_run_fits_the_published_schema(name):
    for line in written(story.STORIES[name]()):
        VALIDATOR.validate(line)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(happenings)
def test_any_event_is_a_line_of_ascii_that_fits_the_schema(event):
    line = to_line(encode(event))
    assert line.isascii()
    assert line.count("\n") == 1
    VALIDATOR.validate(json.loads(line))


def test_an_undocumented_key_does_not_fit():
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**result_json(story.result()), "extra": 1})


def test_every_type_in_the_schema_can_be_written():
    types = {encode(event)["type"] for _, event in story.whole()}
    types |= {encode(event)["type"] for _, event in story.branching()}
    types.add(error_json("no", None, 1)["type"])
    named = {
        SCHEMA["$defs"][ref["$ref"].rsplit("/")[-1]]["properties"]["type"]["const"]
        for ref in SCHEMA["oneOf"]
    }
    assert types == named


def test_the_last_line_is_the_result_with_what_the_run_began_with():
    last = written(story.whole())[-1]
    assert last == result_json(
        story.result(), question=story.QUESTION, model="qwen2.5-coder-1.5b", seed=7
    )
    assert (last["v"], last["type"], last["answer"]) == (1, "result", "6")
    assert last["usage"]["generated_tokens"] == 1_084


def test_confidence_is_null_unless_calibrated():
    value = result_json(story.result())
    assert value["confidence"] is None
    assert value["agreement"] == pytest.approx(6 / 10)


def test_text_of_many_steps_is_joined_into_few_lines():
    steps = [(i / 100, events.Grew({0: f"{i} ", 1: ""}, 2, 1, i, 99)) for i in range(300)]
    lines = [line for line in written(steps) if line["type"] == "grew"]
    assert 20 <= len(lines) <= 8 * 3 + 1
    joined = "".join(line["texts"].get("0", "") for line in lines)
    assert "".join(f"{i} " for i in range(300)).startswith(joined)
    assert set(lines[0]) >= {"live", "queued", "kv_used", "kv_cells"}


def test_no_text_of_a_candidate_comes_after_its_end():
    lines = written(story.whole())
    ended = {}
    for at, line in enumerate(lines):
        if line["type"] == "candidate_ended":
            ended[str(line["candidate"]["id"])] = at
    for at, line in enumerate(lines):
        for id_ in line.get("texts", {}):
            assert at < ended.get(id_, len(lines))


def test_what_is_no_number_becomes_null():
    value = encode(events.Scored(0, Score("judge", float("nan"))))
    assert json.loads(to_line(value))["score"]["value"] is None


def test_a_reader_that_goes_away_is_reported_once():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    calls = []
    lines = JsonLines(Gone(), on_broken=lambda: calls.append(1))
    for _, event in story.whole():
        lines(event)
    assert calls == [1]
    assert isinstance(lines.failure, OSError)


def test_an_error_line_fits_the_schema():
    VALIDATOR.validate(error_json("The model is missing.", "ttc models pull x", 3))
