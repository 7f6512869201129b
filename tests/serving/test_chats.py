"""Chats and completions in OpenAI's protocol, on a scripted engine."""

import json

import pytest
from served import FOUR, ask, join_pieces, post, read_pieces

from ttc_cli.engines.scripted import Reply
from ttc_cli.types import Finish

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}


def test_a_plain_reply_is_what_the_model_wrote(world):
    response = post(ask("Hello", seed=7))
    found = response.json()
    (choice,) = found["choices"]
    assert response.status_code == 200
    assert found["object"] == "chat.completion"
    assert found["model"] == "script:none"
    assert choice["message"] == {"role": "assistant", "content": FOUR}
    assert choice["finish_reason"] == "stop"
    assert choice["ttc"]["seed"] == 7
    assert choice["ttc"]["candidates"] == 1
    (prompt,) = set(world.asked)
    assert prompt == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_a_name_with_an_effort_thinks_as_hard_as_the_command(world):
    found = post(ask(model="script:quick")).json()
    (choice,) = found["choices"]
    assert choice["message"]["content"] == FOUR
    told = choice["ttc"]
    assert told["answer"] == "4"
    assert told["agreement"] == 1.0
    assert told["candidates"] > 1
    assert told["estimate"]["settled"] > 0.5
    assert told["stop_reason"]
    assert "budget quick" in choice["message"]["reasoning_content"]


@pytest.mark.parametrize(
    ("effort", "level"), [("low", "quick"), ("medium", "normal"), ("high", "deep")]
)
def test_reasoning_effort_is_a_budget(world, effort, level):
    found = post(ask(model="script", reasoning_effort=effort)).json()
    assert f"budget {level}" in found["choices"][0]["message"]["reasoning_content"]


def test_usage_counts_candidates_that_lost_too(world):
    world.texts = [FOUR, "No idea, it may be five.\n\nThe final answer is 5."]
    found = post(ask(model="script:normal")).json()
    told, usage = found["choices"][0]["ttc"], found["usage"]
    generator, verifier = told["usage"]["generator"], told["usage"]["verifier"]
    assert usage["completion_tokens"] == generator["generated_tokens"] + 0
    assert usage["prompt_tokens"] == generator["prompt_tokens"] + verifier["prompt_tokens"]
    assert usage["total_tokens"] == usage["completion_tokens"] + usage["prompt_tokens"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


def test_a_plain_reply_streams_as_it_grows(world):
    pieces = read_pieces(post(ask(stream=True, stream_options={"include_usage": True})))
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(pieces) > 5
    assert join_pieces(pieces) == FOUR
    last, usage = pieces[-2:]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["choices"][0]["ttc"]["stop_reason"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0
    assert len({each["id"] for each in pieces}) == 1


def test_a_thoughtful_reply_streams_its_progress_in_words(world):
    pieces = read_pieces(post(ask(model="script:quick", stream=True)))
    words = join_pieces(pieces, "reasoning_content")
    assert "started: " in words
    assert "policy: " in words
    assert join_pieces(pieces) == FOUR


def test_a_thought_is_told_from_the_reply_while_both_grow(world):
    world.texts = ["<think>\nHm, four.\n</think>\n\nIt is 4."]
    pieces = read_pieces(post(ask(stream=True)))
    assert join_pieces(pieces) == "It is 4."
    assert join_pieces(pieces, "reasoning_content").strip() == "Hm, four."
    assert post(ask()).json()["choices"][0]["message"]["content"] == "It is 4."


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_ends_before_a_text_to_stop_at(world, stream):
    world.texts = ["one, two, three, four"]
    response = post(ask(stop=[" three", "four"], stream=stream))
    if stream:
        pieces = read_pieces(response)
        said, finish = join_pieces(pieces), pieces[-1]["choices"][0]["finish_reason"]
    else:
        (choice,) = response.json()["choices"]
        said, finish = choice["message"]["content"], choice["finish_reason"]
    assert (said, finish) == ("one, two,", "stop")


@pytest.mark.parametrize(
    "text", ["caf\xe9 \x85\u2028\x9b31m ok", "<thinking>\n4\n</thinking>\nIt ends E"]
)
def test_a_stream_holds_all_that_was_written_in_lines_of_its_own(world, text):
    world.texts = [text]
    response = post(ask(stream=True, stop="END"))
    assert join_pieces(read_pieces(response)) == text
    assert response.content.isascii()
    assert response.text.splitlines() == response.text.split("\n")[:-1]


@pytest.mark.parametrize("model", ["script:none", "script:quick", "script:deep"])
def test_a_single_token_is_a_reply_too(world, model):
    for stream in (False, True):
        response = post(ask(model=model, max_tokens=1, stream=stream))
        assert response.status_code == 200
    assert read_pieces(response)[-1]["choices"][0]["finish_reason"] == "length"


def test_max_tokens_cut_a_reply(world):
    world.texts = [Reply("on and on ", Finish.LENGTH)]
    found = post(ask(max_tokens=6)).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 6
    assert found["choices"][0]["message"]["content"].startswith("on and on")


def test_max_tokens_are_a_cap_on_all_candidates_where_it_thinks(world):
    world.texts = [Reply("on and on ", Finish.LENGTH)]
    found = post(ask(model="script", max_completion_tokens=40)).json()
    assert found["usage"]["completion_tokens"] <= 48  # by at most a step of all branches
    assert found["choices"][0]["finish_reason"] == "length"


def test_several_choices_are_found_each_by_itself(world):
    world.texts = [lambda ask: f"My seed is {ask.seed}."]
    found = post(ask(n=3, seed=1)).json()
    said = [each["message"]["content"] for each in found["choices"]]
    assert len(set(said)) == 3
    again = post(ask(seed=2)).json()
    assert again["choices"][0]["message"]["content"] == said[1]
    pieces = read_pieces(post(ask(n=3, seed=1, stream=True)))
    assert [join_pieces(pieces, place=place) for place in range(3)] == said


def test_temperature_zero_takes_the_likeliest_token(world):
    seeds = set()
    world.texts = [lambda ask: seeds.add(ask.seed) or "4"]
    post(ask(temperature=0))
    assert seeds == {0}


def test_turns_are_written_as_the_template_wants_them(world):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."},
        {"role": "user", "content": "What is 2+2?<|im_end|>"},
    ]
    response = post({"model": "script:none", "messages": turns})
    assert response.status_code == 200
    (prompt,) = set(world.asked)
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_conversation_is_thought_about_as_a_whole(world):
    turns = [
        {"role": "user", "content": "Let n be 2."},
        {"role": "assistant", "content": "Fine."},
        {"role": "user", "content": "What is n+n?"},
    ]
    found = post({"model": "script:quick", "messages": turns}).json()
    assert found["choices"][0]["ttc"]["answer"] == "4"
    assert all("Let n be 2." in each for each in world.asked)


@pytest.mark.parametrize("model", ["script:none", "script:quick"])
def test_a_schema_is_held_to(world, model):
    world.texts = ['It is this.\n\n```json\n{"n": 4}\n```']
    described = {"name": "sum", "schema": SCHEMA, "description": "A sum."}
    form = {"type": "json_schema", "json_schema": described}
    for stream in (False, True):
        response = post(ask(model=model, response_format=form, stream=stream))
        if stream:
            said = join_pieces(read_pieces(response))
        else:
            said = response.json()["choices"][0]["message"]["content"]
        assert isinstance(json.loads(said)["n"], int)
    assert '"description": "A sum."' in world.asked[0]


def test_json_objects_are_objects(world):
    world.texts = ['{"n": 4}']
    found = post(ask(response_format={"type": "json_object"})).json()
    assert isinstance(json.loads(found["choices"][0]["message"]["content"]), dict)


def test_a_completion_goes_on_with_the_text_itself(world):
    world.texts = [" and two make four."]
    body = {"model": "script", "prompt": "Two", "max_tokens": 50}
    found = post(body, path="/v1/completions").json()
    assert set(world.asked) == {"Two"}
    assert found["object"] == "text_completion"
    assert found["choices"][0]["text"] == " and two make four."
    pieces = read_pieces(post({**body, "stream": True}, path="/v1/completions"))
    assert "".join(each["choices"][0]["text"] for each in pieces) == " and two make four."


def test_tools_are_shown_and_calls_come_back_parsed(world, monkeypatch):
    monkeypatch.setattr("ttc_cli.engines.scripted.engine.CHATML", TOOLS_TEMPLATE)
    world.texts = ['<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>']
    found = post(ask(tools=[TOOL])).json()
    (choice,) = found["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"] == {"name": "add", "arguments": '{"a": 2}'}
    assert '"name": "add"' in world.asked[0]

    pieces = read_pieces(post(ask(tools=[TOOL], stream=True)))
    deltas = [each["choices"][0]["delta"] for each in pieces]
    (given,) = [each["tool_calls"] for each in deltas if "tool_calls" in each]
    assert given[0]["index"] == 0
    assert pieces[-1]["choices"][0]["finish_reason"] == "tool_calls"

    world.texts, world.asked[:] = ["It is 4."], []
    turns = [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "4 <|im_end|>"},
    ]
    again = post({"model": "script:none", "messages": turns, "tools": [TOOL]}).json()
    assert again["choices"][0]["message"]["content"] == "It is 4."
    assert '{"a": 2}' in world.asked[0]
    assert "tool\n4 <|im_end|>" in world.asked[0]


def test_results_stand_in_the_order_of_the_calls(world, monkeypatch):
    monkeypatch.setattr("ttc_cli.engines.scripted.engine.CHATML", TOOLS_TEMPLATE)
    add = {"name": "add", "arguments": "{}"}
    calls = [{"id": id, "type": "function", "function": add} for id in "abc"]
    results = [{"role": "tool", "tool_call_id": id, "content": f"from {id}"} for id in "cab"]
    turns = [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "tool_calls": calls},
        *results,
    ]
    assert post({"model": "script:none", "messages": turns, "tools": [TOOL]}).status_code == 200
    shown = world.asked[0].index
    assert shown("from a") < shown("from b") < shown("from c")


def test_tools_that_the_template_does_not_show_are_refused(world):
    response = post(ask(tools=[TOOL]))
    assert response.status_code == 400
    assert "add" in response.json()["error"]["message"]


def test_many_clients_share_one_batch(world):
    world.options = {"parallel": 4}
    world.texts = ["one two three four five six seven eight nine ten"]
    alone = post(ask("Hi"))
    steps = world.steps
    responses = post(*(ask("Hi") for _ in range(8)))
    assert {each.json()["choices"][0]["message"]["content"] for each in responses} == set(
        world.texts
    )
    assert alone.status_code == 200
    assert world.steps <= 3 * steps  # two waves of four, and a step or two between them


TOOLS_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    "{{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
