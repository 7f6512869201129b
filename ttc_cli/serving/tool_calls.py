"""The calls that a model wrote, in the ways in which the templates of models ask for them.

``<tool_call>{"name": …, "arguments": …}</tool_call>`` (Hermes, Qwen), ``[TOOL_CALLS] [{…}]``
(Mistral), or nothing but the object, bare or in a fence (Llama, and small models of all families),
with ``parameters`` for ``arguments``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_LISTED = re.compile(r"\[TOOL_CALLS\]\s*(\[.*\])\s*\Z", re.DOTALL)
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)
_HEAD = "<|python_tag|>"


def read_calls(text: str, tools: Collection[str]) -> tuple[str, list[dict[str, Any]]]:
    """What ``text`` says beside its calls of ``tools``, and these: name and arguments, as objects.

    A text in which one call cannot be read, or calls what is not offered, holds none.
    """
    tagged = _TAGGED.findall(text)
    if tagged:
        return _read(tagged, tools, text, _TAGGED.sub("", text))
    if listed := _LISTED.search(text):
        return _read([listed[1]], tools, text, text[: listed.start()])
    fenced = _FENCED.match(text)
    bare = fenced[1] if fenced else text.strip().removeprefix(_HEAD)
    return _read([bare], tools, text, "")


def _read(
    parts: list[str], tools: Collection[str], text: str, rest: str
) -> tuple[str, list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []
    for part in parts:
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            return text, []
        for each in value if isinstance(value, list) else [value]:
            call = _read_call(each, tools)
            if call is None:
                return text, []
            calls.append(call)
    return (rest.strip(), calls) if calls else (text, [])


def _read_call(value: object, tools: Collection[str]) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or name not in tools or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}
