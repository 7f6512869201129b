"""How a reply ends: a turn, a text that was cut off, a line of a stream, a failure in words.

The probe meets a good server; what comes after it is written byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_openai import FakeServer, Raw, choice, stream, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_openai import answer, connect, sample

from ttc_cli.engines import openai
from ttc_cli.engines.openai import Settings
from ttc_cli.errors import ServerFailed
from ttc_cli.types import Finish

pytestmark = pytest.mark.usefixtures("hasty")

# --- why a text ends --------------------------------------------------------------------------

ENDS = [
    *((word, Finish.STOP) for word in ("stop", "STOP", "eos", "eos_token", "stop_sequence")),
    *((word, Finish.STOP) for word in ("end_turn", "COMPLETE", {"type": "stop"})),
    *((word, Finish.LENGTH) for word in ("length", "MAX_TOKENS", {"type": "length"})),
    *((word, Finish.CUT) for word in ("abort", "content_filter", "error", "load", "SAFETY")),
    *((word, Finish.CUT) for word in ("tool_calls", "function_call", "insufficient_resource")),
    *((word, Finish.CUT) for word in ({"type": "abort"}, {}, 7, True, ["stop"], "?", "s t o p")),
]


@pytest.mark.parametrize(("word", "finish"), ENDS, ids=str)
def test_only_a_natural_end_is_one(start: Any, word: Any, finish: Finish) -> None:
    fake = start()
    if word == {}:
        word, finish = None, Finish.CUT
    for reply in (stream(choice(" so 4"), choice("", word)), whole(choice(" so 4", word))):
        growth = answer(fake, reply)
        assert (growth.text, growth.finish) == (" so 4", finish)
        fake.raw = None


def test_what_a_server_cut_off_is_said_once_with_its_reasons(start: Any) -> None:
    fake = start()
    engine = connect(fake)
    assert engine.tell_trouble() == []
    for word in ("abort", "abort", None):
        answer(fake, stream(choice(" so 4", word)), engine=engine)
    (said,) = engine.tell_trouble()
    assert "cut off 3 texts" in said
    assert "'abort', none told" in said
    assert engine.tell_trouble() == []


def test_choices_of_one_request_end_each_for_its_own_reason(start: Any) -> None:
    fake = start()
    engine = connect(fake)
    both = [
        {"index": 0, "text": " 4", "finish_reason": "abort"},
        {"index": 1, "text": " 5", "finish_reason": "stop"},
        {"index": 2, "text": " 6", "finish_reason": None},
    ]
    fake.raw = lambda path, body: whole({"choices": both})
    assert [each.finish for each in sample(engine, 3)] == [Finish.CUT, Finish.STOP, Finish.CUT]


# --- where a line ends ------------------------------------------------------------------------


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\u2028\u2029\x85\xa0")
    ),
    end=st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n", "\r"]),
    cut=st.integers(1, 40),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_a_line_ends_at_lf_and_cr_and_at_nothing_else(
    good: tuple[FakeServer, Any], text: str, end: str, cut: int, mark: str
) -> None:
    fake, engine = good
    message = json.dumps(choice(f" {text}", "stop"), ensure_ascii=False)
    data = f"{mark}: ping{end}data: {message}{end}data: [DONE]{end}".encode()
    parts = [data[place : place + cut] for place in range(0, len(data), cut)]
    assert answer(fake, Raw(parts), engine=engine).text == f" {text}"


INDENTED = json.dumps(choice(" 4", "stop"), indent=1)


SEVERAL = [
    *((INDENTED, kind) for kind in ("text/event-stream", "text/plain", "application/json")),
    *(
        (f"{data}{end.join(INDENTED.splitlines()).replace(end, end + data)}{end}{last}", "")
        for data in ("data:", "data: ")
        for end in ("\n", "\r\n")
        for last in ("", f"{end}data: [DONE]{end}{end}")
    ),
]


@pytest.mark.parametrize(("said", "kind"), SEVERAL)
def test_a_message_may_go_over_several_lines(start: Any, said: str, kind: str) -> None:
    growth = answer(start(), Raw([said.encode()], kind or "text/event-stream"))
    assert (growth.text, growth.finish) == (" 4", Finish.STOP)


@pytest.mark.parametrize("char", ["\t", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\u2029"])
def test_a_control_character_in_a_text_may_stand_as_it_is(start: Any, char: str) -> None:
    said = json.dumps(choice(" 4@5", "stop")).replace("@", char).encode()
    for reply in (Raw([b"data: ", said, b"\n\n"]), Raw([said], "application/json")):
        assert answer(start(), reply).text == f" 4{char}5"


# --- failures in a reply of success -----------------------------------------------------------

FAILURES: list[Any] = [
    {"object": "error", "message": "The engine is dead.", "code": 500},
    {"object": "error", "message": "The engine is dead.", "choices": []},
    {"error": "The engine is dead."},
    {"error": {"message": "The engine is dead.", "type": "x"}, "choices": [{"text": " 4"}]},
    {"detail": "The engine is dead."},
    {"detail": [{"msg": "The engine is dead."}]},
    {"message": "The engine is dead.", "type": "x"},
    {"type": "error", "error": {"message": "The engine is dead."}},
    {"status": "error", "msg": "The engine is dead."},
    {"errors": ["The engine is dead."]},
    "error: The engine is dead.",
    "data: The engine is dead.",
    'data: ["The engine is dead."]',
    'event: error\ndata: {"message": "The engine is dead."}',
    '{"error": "The engine is dead."}',
    {"choices": [{"finish_reason": "error", "error": {"message": "The engine is dead."}}]},
    {"error": True, "reason": "The engine is dead."},
    {"success": False, "reason": "The engine is dead."},
    {"choices": [], "message": "The engine is dead."},
    {"Error": {"Message": "The engine is dead."}},
    "[ERROR] The engine is dead.",
    "<title>The engine is dead.</title>",
    'event: error\n\ndata: {"code": 500, "title": "The engine is dead."}',
]


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize("form", ["whole", "alone", "in the middle"])
def test_a_failure_is_quoted_at_once(start: Any, failure: Any, form: str) -> None:
    fake = start()
    if form == "whole":
        reply = whole(failure)
    else:
        before = [choice(" The"), choice(" answer")] if form == "in the middle" else []
        reply = stream(*before, failure)
    with pytest.raises(ServerFailed, match=r"The engine is dead\."):
        answer(fake, reply)
    assert len(fake.completions) == 1


def test_the_last_that_is_said_before_a_stream_breaks_off_is_quoted(start: Any) -> None:
    fake = start()
    engine = connect(fake, tries=2)
    reply = stream(choice(" The"), {"success": False, "reason": "Bye."}, done=False)
    with pytest.raises(ServerFailed, match=r"breaks off its answers .*Bye\."):
        answer(fake, reply, engine=engine)


ASIDES: list[Any] = [
    {"type": "ping"},
    {"choices": [], "prompt_filter_results": [{"detail": "x"}]},
    {"usage": {"prompt_tokens": 3, "completion_tokens": 2}, "message": "done"},
    {"success": True},
]


@pytest.mark.parametrize("aside", ASIDES, ids=str)
@pytest.mark.parametrize("done", [True, False])
def test_what_stands_beside_an_answer_takes_none_away(start: Any, aside: Any, done: bool) -> None:
    for reply in (
        stream(aside, choice(" 4"), aside, choice("", "stop"), done=done),
        stream(choice(" 4"), choice("", "stop"), aside, done=done),
    ):
        growth = answer(start(), reply)
        assert (growth.text, growth.finish) == (" 4", Finish.STOP)


@pytest.mark.parametrize("failure", FAILURES[:3], ids=str)
def test_a_failure_is_quoted_by_the_probe_too(start: Any, failure: Any) -> None:
    fake = start(raw=lambda path, body: whole(failure) if body else None)
    with pytest.raises(ServerFailed, match=r"The engine is dead\."):
        openai.connect(Settings(fake.url))


PAGE = b"<!doctype html>\n<title>Sign in</title>\n"


@pytest.mark.parametrize("kind", ["text/html", "text/plain", "application/json", ""])
def test_a_page_is_no_stream_of_events(start: Any, kind: str) -> None:
    fake = start()
    with pytest.raises(ServerFailed, match=r"<!doctype html>"):
        answer(fake, Raw([PAGE], kind))
    assert len(fake.completions) == 1


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl", "text/plain"])
def test_lines_of_json_are_a_stream_too(start: Any, kind: str) -> None:
    lines = [json.dumps(each) for each in (choice(" 4"), choice("", "stop"))]
    assert answer(start(), Raw(["\n".join(lines).encode()], kind)).text == " 4"


def test_a_stream_that_ends_in_the_middle_of_a_message_is_taken_up(start: Any) -> None:
    fake = start()
    parts = [f"data: {json.dumps(each)}\n\n".encode() for each in (choice(" 4"), choice(" 5"))]

    def reply(body: Any) -> Raw:
        begun = len(fake.completions) == 1
        return Raw([parts[0], parts[1][:30]]) if begun else stream(choice(" 6", "stop"))

    assert answer(fake, reply).text == " 4 6"
    assert len(fake.completions) == 2


MUTE = [
    (choice(None, "stop", reasoning_content="It is 4."), "reasoning_content"),
    (choice("", "stop", reasoning="It is 4."), "reasoning"),
    ({"choices": [{"message": {"content": "It is 4."}, "finish_reason": "stop"}]}, "chat messages"),
    ({"choices": [{"delta": {"content": "It is 4."}, "finish_reason": "stop"}]}, "chat messages"),
    (
        {"choices": [{"message": {"reasoning_content": "4"}, "finish_reason": "stop"}]},
        "reasoning_content",
    ),
]


@pytest.mark.parametrize(("message", "said"), MUTE, ids=str)
@pytest.mark.parametrize("reply", [stream, whole])
def test_text_in_another_place_is_told_so(
    start: Any, message: Any, said: str, reply: Callable[[Any], Raw]
) -> None:
    fake = start()
    with pytest.raises(ServerFailed, match=f"sends no text.*{said}") as caught:
        answer(fake, reply(message))
    assert caught.value.hint
    assert len(fake.completions) == 1


@pytest.mark.parametrize(
    ("message", "said"), [*MUTE, (choice(None, "stop"), "empty"), (choice("", "length"), "empty")]
)
def test_a_server_without_text_is_found_by_the_probe(start: Any, message: Any, said: str) -> None:
    fake = start(raw=lambda path, body: whole(message) if body else None)
    with pytest.raises(ServerFailed, match=f"sends no text.*{said}"):
        openai.connect(Settings(fake.url))
