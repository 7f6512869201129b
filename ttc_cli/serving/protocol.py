"""Requests of OpenAI's protocol, as ttc understands them.

The fields are those of https://platform.openai.com/docs/api-reference/chat/create and
/completions/create. What a field asks for is done, or the request is refused.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ttc_cli.serving.fields import Fields, read_json
from ttc_cli.serving.refusals import Refusal
from ttc_cli.types import AnswerType, Conversation, Message, Problem

PLAIN = "none"
LEVELS = (PLAIN, "quick", "normal", "deep", "max")
"""What may stand after a model's name and a colon: a budget, or a single plain reply."""
_EFFORTS = {"none": PLAIN, "low": "quick", "medium": "normal", "high": "deep"}
MOST_CHOICES = 16
_MOST_STOPS = 4
_LONGEST_STOP = 256
"""Characters; with each token all of them may be compared with the end of the reply."""
_MOST_TOKENS = 2**31 - 1
_MOST_TOOLS = 128
_MOST_TURNS = 4096
"""No model here has room for as many, and a template takes a second for some ten thousand."""
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "functions": ([],),
    "function_call": ("none",),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
}
"""Things that are not done here, and the values that do not ask for them."""
_IDENTITY = ("user", "metadata", "safety_identifier", "prompt_cache_key")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that can be served.

    Attributes:
        model: the name that it was asked for by.
        problem: the question, with its conversation.
        effort: one of ``LEVELS``.
        how: further options of ``Solver.ask``.
        seed: of the first choice; each further one has the next.
        count: choices, each found by itself.
        max_tokens: of a reply; where the model thinks harder, over all candidates.
        top_p: as ``Sampling.top_p``.
        stream: send the reply as it grows.
        reports_usage: end the stream with what was computed.
        tools: names that the model may call.
        chat: whether it is a chat, or a text to go on with.
    """

    model: str
    problem: Problem
    effort: str
    how: dict[str, Any]
    seed: int
    count: int = 1
    max_tokens: int | None = None
    top_p: float | None = None
    stream: bool = False
    reports_usage: bool = False
    tools: tuple[str, ...] = ()
    chat: bool = True

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end the reply, and are no part of it."""
        talk = self.problem.conversation
        return talk.stop if talk is not None else ()


def list_names(label: str) -> list[str]:
    """The names that the model ``label`` is served under."""
    return [label, *(f"{label}:{level}" for level in LEVELS)]


def read_chat(body: bytes, label: str) -> Wanted:
    """The chat that ``body`` asks the model ``label`` for.

    Raises:
        Refusal: it is not understood, or asks for what is not done here.
    """
    fields = Fields(read_json(body))
    model, level = _take_model(fields, label)
    effort = _take_effort(fields, level)
    messages = fields.need("messages", list)
    if len(messages) > _MOST_TURNS:
        raise fields.refuse("messages", f"must be at most {_MOST_TURNS:,}")
    system, turns = _read_turns(messages)
    wanted = _take_sampling(fields, model, effort)
    most = fields.take("max_completion_tokens", int, within=(1, _MOST_TOKENS))
    if most is not None and wanted.max_tokens not in (None, most):
        raise fields.refuse("max_tokens", "contradicts max_completion_tokens")
    tools = _take_tools(fields)
    schema = _take_schema(fields)
    if schema is not None and (tools or wanted.stop):
        raise fields.refuse("response_format", "cannot go with tools, or with stop")
    _end(fields)
    text = next(each.content for each in reversed(turns) if each.role == "user")
    stop = wanted.stop
    simple = len(turns) == 1 and not tools and not stop
    talk = None if simple else Conversation(turns, json.dumps(tools) if tools else "", stop)
    how = dict(wanted.how)
    if schema is not None:
        how["schema"] = schema
        if effort == PLAIN:  # one that is held to the schema, and asked of nobody
            how["strategy"] = "majority"
    elif effort == PLAIN or tools:
        how["answer_type"] = AnswerType.FREE
    if talk is not None:
        how["form"] = "prose"
    return replace(
        wanted,
        problem=Problem(text, system=system, conversation=talk),
        how=how,
        max_tokens=wanted.max_tokens or most,
        tools=tuple(each["function"]["name"] for each in tools),
    )


def read_completion(body: bytes, label: str) -> Wanted:
    """The text that ``body`` asks the model ``label`` to go on with, as ``read_chat``.

    There is no template around it and no search: ``NAME`` and ``NAME:none`` are the same here.
    """
    fields = Fields(read_json(body))
    model, level = _take_model(fields, label)
    if level not in (None, PLAIN):
        raise Refusal(
            f"A completion is one plain text: ask for {label}, or /v1/chat/completions.",
            param="model",
        )
    prompt = fields.take_any("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str) or not prompt:
        raise fields.refuse("prompt", "must be one text that is not empty")
    wanted = _take_sampling(fields, model, PLAIN)
    _end(fields)
    talk = Conversation(stop=wanted.stop)
    how = {**wanted.how, "answer_type": AnswerType.FREE, "form": "prose"}
    problem = Problem(prompt, conversation=talk)
    return replace(wanted, problem=problem, how=how, max_tokens=wanted.max_tokens or 16, chat=False)


def _end(fields: Fields) -> None:
    fields.pass_over(*_IDENTITY)
    fields.expect(_NEUTRAL)
    fields.end()


def _take_model(fields: Fields, label: str) -> tuple[str, str | None]:
    """The name that is asked for, and the level in it."""
    name = fields.need("model", str)
    level = name.removeprefix(f"{label}:")
    if name == label:
        return name, None
    if level == name or level not in LEVELS:
        raise Refusal(
            f"The model {name[:80]!r} is not served here: GET /v1/models lists those that are.",
            status=404,
            code="model_not_found",
            param="model",
        )
    return name, level


def _take_effort(fields: Fields, level: str | None) -> str:
    effort = fields.take("reasoning_effort", str)
    if effort is None:
        return level or "normal"
    if effort not in _EFFORTS:
        raise fields.refuse("reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
    if level not in (None, _EFFORTS[effort]):
        raise fields.refuse("reasoning_effort", f"contradicts the model's name, which says {level}")
    return _EFFORTS[effort]


def _take_sampling(fields: Fields, model: str, effort: str) -> Wanted:
    """What chats and completions share; the problem holds only the texts to stop at."""
    stream = fields.take("stream", bool, False) or False
    usage = False
    if (options := fields.take("stream_options", dict)) is not None:
        if not stream:
            raise fields.refuse("stream_options", "needs stream")
        inner = Fields(options, "stream_options")
        usage = inner.take("include_usage", bool, False) or False
        inner.expect({"include_obfuscation": (False,)})
        inner.end()
    how: dict[str, Any] = {}
    if effort == PLAIN:
        how["samples"] = 1
    else:
        how["budget"] = effort
    if (temperature := fields.take("temperature", float, within=(0, 2))) is not None:
        how["temperature"] = temperature
    seed = fields.take("seed", int, within=(-(2**63), 2**63 - 1))
    stop = _take_stop(fields)
    if stop and effort != PLAIN:
        raise fields.refuse("stop", "needs reasoning_effort none: candidates end by themselves")
    return Wanted(
        model=model,
        problem=Problem("", conversation=Conversation(stop=stop)),
        effort=effort,
        how=how,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        count=fields.take("n", int, 1, within=(1, MOST_CHOICES)) or 1,
        max_tokens=fields.take("max_tokens", int, within=(1, _MOST_TOKENS)),
        top_p=fields.take("top_p", float, within=(0, 1)),
        stream=stream,
        reports_usage=usage,
    )


def _take_stop(fields: Fields) -> tuple[str, ...]:
    given = fields.take_any("stop")
    stop = [given] if isinstance(given, str) else given or []
    fine = isinstance(stop, list) and len(stop) <= _MOST_STOPS
    if not fine or not all(isinstance(s, str) and 0 < len(s) <= _LONGEST_STOP for s in stop):
        raise fields.refuse(
            "stop", f"must be at most {_MOST_STOPS} texts of 1 to {_LONGEST_STOP} characters"
        )
    return tuple(dict.fromkeys(stop))


def _take_schema(fields: Fields) -> str | None:
    """The JSON Schema, as JSON text, that the reply must conform to; None for plain text."""
    given = fields.take("response_format", dict)
    if given is None:
        return None
    inner = Fields(given, "response_format")
    kind = inner.need("type", str)
    schema: Any = None
    if kind == "json_object":
        schema = {"type": "object"}
    elif kind == "json_schema":
        within = Fields(inner.need("json_schema", dict), "response_format.json_schema")
        within.pass_over("name", "strict")  # it is always held to
        described = within.take("description", str)
        schema = within.need("schema", dict)
        schema = {"description": described, **schema} if described else schema
        within.end()
    elif kind != "text":
        raise inner.refuse("type", "must be one of text, json_object, json_schema")
    inner.end()
    return None if schema is None else json.dumps(schema)


def _take_tools(fields: Fields) -> list[dict[str, Any]]:
    """The tools that the model may call, as templates take them."""
    given = fields.take("tools", list) or []
    choice = fields.take_any("tool_choice")
    if choice not in (None, "auto", "none"):
        raise fields.refuse("tool_choice", "can be auto or none: no call is forced here")
    if len(given) > _MOST_TOOLS:
        raise fields.refuse("tools", f"must be at most {_MOST_TOOLS}")
    tools = []
    for place, each in enumerate(given):
        path = f"tools.{place}"
        outer = Fields(each, path)
        if outer.need("type", str) != "function":
            raise outer.refuse("type", "must be function")
        inner = Fields(outer.need("function", dict), f"{path}.function")
        outer.end()
        name = inner.need("name", str)
        if not _TOOL_NAME.fullmatch(name):
            raise inner.refuse("name", "must be 1 to 64 letters, digits, - and _")
        described = {
            "name": name,
            "description": inner.take("description", str, "") or "",
            "parameters": inner.take("parameters", dict) or {"type": "object", "properties": {}},
        }
        inner.expect({"strict": (False,)})
        inner.end()
        tools.append({"type": "function", "function": described})
    return [] if choice == "none" else tools


def _read_turns(given: list[Any]) -> tuple[str | None, tuple[Message, ...]]:
    """The instructions of a conversation, and its turns.

    Raises:
        Refusal: it is none that a template could show, or does not end with a question.
    """
    system: list[str] = []
    turns: list[Message] = []
    called: list[str | None] = []
    for place, each in enumerate(given):
        fields = Fields(each, f"messages.{place}")
        role = fields.need("role", str)
        if role in ("system", "developer"):
            if turns:
                raise fields.refuse("role", f"is {role}, which must come before all others")
            system.append(_take_content(fields))
        elif role == "user":
            turns.append(Message(role, _take_content(fields)))
            called = []
        elif role == "assistant":
            calls = _take_calls(fields)
            # Clients send back what they were given: thoughts are no part of a conversation.
            fields.pass_over("reasoning_content", "reasoning", "ttc")
            fields.expect({"annotations": ([],)})
            turns.append(Message(role, _take_content(fields, needed=not calls), calls))
            called = [each["id"] for each in json.loads(calls or "[]")]
        elif role == "tool":
            # Templates show results in the order of the calls, without their ids.
            place = _take_call(fields, called)
            behind = called[place:].count(None)
            called[place] = None
            turns.insert(len(turns) - behind, Message(role, _take_content(fields)))
        else:
            raise fields.refuse("role", "must be system, developer, user, assistant or tool")
        fields.end()
    if not turns or turns[-1].role not in ("user", "tool"):
        raise Refusal("The last message must be of a user or a tool.", param="messages")
    asked = [each.content for each in turns if each.role == "user"]
    if not asked or not asked[-1].strip():
        raise Refusal("The question is empty.", param="messages")
    return "\n\n".join(system) or None, tuple(turns)


def _take_call(fields: Fields, called: Sequence[str | None]) -> int:
    """Which call a result is of; without an id, the first that has none. ``called``: None has one.

    Raises:
        Refusal: there is no such call.
    """
    wanted = fields.take("tool_call_id", str)
    for place, id in enumerate(called):
        if id is not None and wanted in (None, id):
            return place
    raise fields.refuse("tool_call_id", "names no call of the turn before that waits for a result")


def _take_content(fields: Fields, *, needed: bool = True) -> str:
    content = fields.take_any("content")
    if content is None and not needed:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise fields.refuse("content", "must be a text or an array of parts")
    texts = []
    for place, each in enumerate(content):
        part = Fields(each, f"{fields.name('content')}.{place}")
        if part.need("type", str) != "text":
            raise part.refuse("type", "must be text: there is no model here that sees or hears")
        texts.append(part.need("text", str))
        part.end()
    return "".join(texts)


def _take_calls(fields: Fields) -> str:
    """The calls of an assistant's turn, as ``Message.calls``."""
    calls = []
    for place, each in enumerate(fields.take("tool_calls", list) or []):
        outer = Fields(each, f"{fields.name('tool_calls')}.{place}")
        id = outer.take("id", str, "") or ""
        if outer.take("type", str, "function") != "function":
            raise outer.refuse("type", "must be function")
        inner = Fields(outer.need("function", dict), f"{outer.name('function')}")
        outer.pass_over("index")
        outer.end()
        name, text = inner.need("name", str), inner.need("arguments", str)
        inner.end()
        if not _TOOL_NAME.fullmatch(name):
            raise inner.refuse("name", "must be 1 to 64 letters, digits, - and _")
        try:
            arguments = read_json(text.encode()) if text.strip() else {}
        except Refusal:
            arguments = None
        if not isinstance(arguments, dict):
            raise inner.refuse("arguments", "must be a JSON object, as text")
        calls.append({"id": id, "name": name, "arguments": arguments})
    return json.dumps(calls) if calls else ""
