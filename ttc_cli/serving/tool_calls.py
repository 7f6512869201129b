"""The calls that a model wrote, in the ways in which the templates of models ask for them.

``<tool_call>{"name": …, "arguments": …}</tool_call>`` (Hermes, Qwen), ``[TOOL_CALLS] [{…}]``
(Mistral), or nothing but the object, bare or in a fence (Llama, and small models of all families),
with ``parameters`` for ``arguments``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ttc_cli.serving.fields import read_json
from ttc_cli.serving.refusals import Refusal

_HEAD = "<|python_tag|>"


def read_calls(text: str, tools: Collection[str]) -> tuple[str, list[dict[str, Any]]]:
    """What ``text`` says beside its calls of ``tools``, and these: name and arguments, as objects.

    A text in which one call cannot be read, or calls what is not offered, holds none. What is read
    here is what a client may send back (``fields.read_json``).
    """
    beside, parts = [], []
    for piece in text.split("</tool_call>"):
        before, opened, part = piece.partition("<tool_call>")
        beside.append(before)
        parts += [part] if opened else []
    if not parts:
        before, listed, part = text.partition("[TOOL_CALLS]")
        beside = [before] if listed else []
        parts = [part if listed else _unfence(text.strip()).removeprefix(_HEAD)]
    try:
        values = [read_json(part.encode()) for part in parts]
        calls = [_read_call(each, tools) for each in _flatten(values)]
    except (Refusal, ValueError):
        return text, []
    return ("".join(beside).strip(), calls) if calls else (text, [])


def _unfence(text: str) -> str:
    """What is in the fence that all of ``text`` is; else ``text``."""
    head, _, body = text.partition("\n")
    fenced = head.strip() in ("```", "```json") and body.endswith("```")
    return body.removesuffix("```") if fenced else text


def _flatten(values: Iterable[Any]) -> list[Any]:
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def _read_call(value: object, tools: Collection[str]) -> dict[str, Any]:
    """The call that ``value`` is.

    Raises:
        ValueError: it is none of ``tools``.
        Refusal: its arguments are no JSON.
    """
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or value.get("name") not in tools:
        raise ValueError("no call")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = read_json(arguments.encode())
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    return {"name": value["name"], "arguments": arguments}
