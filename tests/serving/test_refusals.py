"""What cannot be served is refused in the protocol's own form, and never ignored."""

import asyncio
import json

import pytest
from served import CHAT, ask, in_process, post

from ttc_cli.serving.service import Limits

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "a", "function": {"name": "add", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "4"}


def refused(response, status, word=""):
    error = response.json()["error"]
    assert response.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert word in error["message"]
    return error


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"nonsense": 1}, "nonsense"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"seed": 2**70}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_completion_tokens": 10**400, "model": "script:quick"}, "max_completion_tokens"),
        ({"stop": "x" * 257}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": "x", "model": "script"}, "stop"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, None),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format"),
        ({"response_format": {"type": "json_object"}, "stop": "x"}, "response_format"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [USER, {"role": "assistant", "content": "Hi"}]}, "messages"),
        ({"messages": [USER, {"role": "system", "content": "No"}]}, "messages.1.role"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
        ({"messages": [{**USER, "name": "Ann"}]}, "messages.0.name"),
        ({"messages": [USER, RESULT]}, "messages.1.tool_call_id"),
        ({"messages": [USER, CALL, RESULT | {"tool_call_id": "b"}]}, "messages.2.tool_call_id"),
        ({"messages": [USER, CALL, RESULT, RESULT]}, "messages.3.tool_call_id"),
        ({"messages": [USER, CALL, RESULT, USER, RESULT]}, "messages.4.tool_call_id"),
    ],
)
def test_what_is_not_done_is_refused(world, more, param):
    error = refused(post(ask() | more), 400)
    assert error["type"] == "invalid_request_error"
    if param:
        assert error["param"] == param
    assert world.asked == []


def test_what_asks_for_nothing_may_stand_there(world):
    neutral = {
        "n": None,
        "logprobs": False,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "user": "me",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "modalities": ["text"],
        "response_format": {"type": "text"},
        "top_p": 1,
    }
    assert post(ask(**neutral)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "script", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "script", "messages": [{"role": "user", "content": "a\\u0000b"}]}',
        b'{"model": "script", "messages": [{"role": "user", "content": "Hi", "a\\u0000b": 1}]}',
        b'{"model": "script", "temperature": NaN, "messages": []}',
        b'{"model": "script", "top_p": 1e999, "messages": []}',
        b'{"model": "script", "seed": 1, "seed": 2, "messages": []}',
        b'{"model": ' + b"[" * 100_000 + b"}",
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b"[" * 90 + b"]" * 90,
    ],
)
def test_a_body_that_is_no_request_is_refused(world, body):
    refused(post(body), 400, "The body ")


def test_a_conversation_has_an_end(world):
    world.options["context"] = 1_000_000
    assert post(ask() | {"messages": [USER] * 4096}).status_code == 200
    refused(post(ask() | {"messages": [USER] * 4097}), 400, "at most 4,096")


def test_another_model_is_not_found(world):
    for name in ("gpt-4o", "script:enormous", "script:", "scripted"):
        assert refused(post(ask(model=name)), 404)["code"] == "model_not_found"


def test_completions_are_plain(world):
    body = {"model": "script:deep", "prompt": "Hi"}
    refused(post(body, path="/v1/completions"), 400, "/v1/chat/completions")
    for more in (
        {"suffix": "x"},
        {"echo": True},
        {"best_of": 2},
        {"prompt": ["a", "b"]},
        {"logprobs": 0},
        {"reasoning_effort": "low"},
    ):
        refused(post({"model": "script", "prompt": "Hi", **more}, path="/v1/completions"), 400)


def test_a_question_that_does_not_fit_is_refused_before_the_stream_begins(world):
    world.options["context"] = 64
    for stream in (False, True):
        error = refused(post(ask("word " * 200, stream=stream)), 400)
        assert error["code"] == "context_length_exceeded"


def test_a_schema_that_cannot_be_held_to_is_refused(world):
    schema = {"type": "string", "pattern": "(?=a)b"}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    refused(post(ask(response_format=form)), 400)


def test_a_schema_that_would_keep_others_waiting_is_refused(world):
    form = {"schema": {"type": "string", "pattern": "^(a?){1000}$"}}
    refused(post(ask(response_format={"type": "json_schema", "json_schema": form})), 400, "groups")


def test_a_schema_names_no_file(world, tmp_path):
    file = tmp_path / "schema.json"
    file.write_text('{"type": "integer"}')
    form = {"type": "json_schema", "json_schema": {"schema": str(file)}}
    refused(post(ask(response_format=form)), 400, "must be an object")


def get(*requests, **how):
    async def work():
        async with in_process(**how) as (client, _):
            return [await client.request(*each[:2], **each[2]) for each in requests]

    return asyncio.run(work())


def test_what_is_found_where(world):
    models, model, health, metrics, nowhere, wrong = get(
        ("GET", "/v1/models", {}),
        ("GET", "/v1/models/script:deep", {}),
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
        ("GET", "/v1/nowhere", {}),
        ("GET", CHAT, {}),
    )
    names = [each["id"] for each in models.json()["data"]]
    assert names[:3] == ["script", "script:none", "script:quick"]
    assert model.json()["id"] == "script:deep"
    assert health.json() == {"status": "ok"}
    assert "# TYPE ttc_requests_total counter" in metrics.text
    assert "ttc_branches 8" in metrics.text
    refused(nowhere, 404)
    refused(wrong, 405)


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ("Bearer secret", 200),
        ("bearer  secret", 200),
        ("Bearer wrong", 401),
        ("Bearer secrets", 401),
        ("Basic secret", 401),
        ("secret", 401),
        ("Bearer", 401),
        (None, 401),
    ],
)
def test_a_key_is_demanded_where_there_is_one(world, shown, status):
    more = {} if shown is None else {"headers": {"Authorization": shown}}
    paths = ("/v1/models", "/metrics", "/health")
    models, metrics, health = get(*(("GET", each, more) for each in paths), key="secret")
    assert [models.status_code, metrics.status_code, health.status_code] == [status, status, 200]
    if status == 401:
        assert refused(models, 401)["code"] == "invalid_api_key"


def test_web_pages_may_not_ask_unless_they_are_allowed_to(world):
    page = {"headers": {"Origin": "https://evil.example"}}
    refused(get(("GET", "/v1/models", page))[0], 403)
    known = {"headers": {"Origin": "https://chat.example"}}
    asks = {
        "headers": {
            **known["headers"],
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
            "Access-Control-Request-Private-Network": "true",
        }
    }
    evil, allowed, before = get(
        ("GET", "/v1/models", page),
        ("GET", "/v1/models", known),
        ("OPTIONS", CHAT, asks),
        origins=["https://chat.example"],
    )
    refused(evil, 403)
    assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
    assert before.status_code == 200
    assert "x-stainless-os" in before.headers["access-control-allow-headers"]


def test_a_page_cannot_reach_it_under_a_name_of_its_own(world):
    rebound = {"headers": {"Host": "evil.example:8484"}}
    refused(get(("GET", "/v1/models", rebound))[0], 421, "TTC_SERVE_KEY")
    for host in ("localhost:8484", "127.0.0.1", "[::1]:8484"):
        (found,) = get(("GET", "/v1/models", {"headers": {"Host": host}}))
        assert found.status_code == 200


def test_a_form_of_a_web_page_is_no_request(world):
    sent = {"content": json.dumps(ask()), "headers": {"Content-Type": "text/plain"}}
    refused(get(("POST", CHAT, sent))[0], 415)


def test_a_body_that_is_too_long_is_refused(world):
    refused(post(ask("x" * 2000), limits=Limits(body=1000)), 413, "--max-body")
