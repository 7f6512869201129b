"""A reply that grows, told apart into thought and answer; calls of tools in a text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.serving.replies import LiveText, cut_at
from ttc_cli.serving.tool_calls import read_calls


def feed(pieces, stops=(), thinks=None):
    live = LiveText(stops, thinks)
    told = [live.feed(piece) for piece in pieces]
    return "".join(thought for thought, _ in told), "".join(said for _, said in told)


def test_what_may_begin_a_stop_is_held_back_until_that_is_known():
    live = LiveText(("END",), None)
    assert live.feed("so E") == ("", "so ")
    assert live.feed("N") == ("", "")
    assert live.feed("T") == ("", "ENT")
    assert live.feed("END and more") == ("", "")
    assert live.feed("even more") == ("", "")


@pytest.mark.parametrize(
    ("text", "thinks", "thought", "said"),
    [
        ("<think>a</think>b", None, "a", "b"),
        ("\n<think>a</think>\n\nb", None, "a", "b"),
        ("a</think>\n\nb", ("<think>", "</think>"), "a", "b"),
        ("<think>a</think>b", ("<think>", "</think>"), "a", "b"),
        ("b < c", None, "", "b < c"),
        ("<thing>", None, "", "<thing>"),
        ("[T]a[/T]b", ("[T]", "[/T]"), "a", "b"),
    ],
)
def test_a_thought_ends_at_its_mark_however_the_text_is_cut(text, thinks, thought, said):
    for size in (1, 2, 3, len(text)):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert feed(pieces, thinks=thinks) == (thought, said)


@given(st.lists(st.text("abEND<>", max_size=4), max_size=12))
def test_whatever_comes_the_stop_and_what_is_behind_it_are_never_said(pieces):
    whole = "".join(pieces)
    _, said = feed(["x", *pieces], stops=("END", "ab"))
    assert cut_at(f"x{whole}", ("END", "ab")).startswith(said)
    assert "END" not in said


CALL = '{"name": "add", "arguments": {"a": 1}}'
ADD = {"name": "add", "arguments": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "rest", "count"),
    [
        (f"<tool_call>\n{CALL}\n</tool_call>", "", 1),
        (f"I add.\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "I add.", 2),
        (f"<tool_call>{CALL}", "", 1),
        (f"[TOOL_CALLS] [{CALL}]", "", 1),
        (CALL, "", 1),
        (f"```json\n{CALL}\n```", "", 1),
        (f"<|python_tag|>{CALL.replace('arguments', 'parameters')}", "", 1),
        (f"[{CALL}, {CALL}]", "", 2),
        ('{"type": "function", "function": ' + CALL + "}", "", 1),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', "", 1),
    ],
)
def test_calls_are_read_as_models_write_them(text, rest, count):
    assert read_calls(text, ["add"]) == (rest, [ADD] * count)


@pytest.mark.parametrize(
    "text",
    [
        "It is 4.",
        "",
        "<tool_call>{broken</tool_call>",
        f"<tool_call>{CALL}</tool_call><tool_call>nothing</tool_call>",
        '{"name": "remove_all", "arguments": {}}',
        '{"name": "add", "arguments": [1]}',
        '{"name": "add", "arguments": "nothing"}',
        "[]",
        "5",
        "[" * 5000,
        '{"name": "add", "arguments": {"a": NaN}}',
        '{"name": "add", "arguments": {"a": 1e999}}',
        '{"name": "add", "arguments": {"a": "\\ud800"}}',
        '{"name": "add", "arguments": "{\\"a\\": \\"\\\\u0000\\"}"}',
        '{"name": ["add"], "arguments": {}}',
    ],
)
def test_what_is_no_call_of_what_is_offered_is_text(text):
    assert read_calls(text, ["add"]) == (text, [])


@pytest.mark.parametrize("text", ["```\n{}x", "<tool_call>{}x", "[TOOL_CALLS]{}[x]"])
def test_a_text_that_goes_on_and_on_is_read_in_a_moment(text):
    began = time.process_time()
    for filling in ("\n", "[TOOL_CALLS] [", "<tool_call>", "</tool_call>"):
        assert read_calls(text.format(filling * 100_000), ["add"])[1] == []
    assert time.process_time() - began < 5
