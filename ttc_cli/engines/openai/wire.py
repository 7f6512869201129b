"""Reads the reply to a completion, streamed or whole, with log-probabilities in either form in use.

OpenAI's legacy form, which vLLM, SGLang and llama_cpp.server keep to::

    {"tokens": [" 4"], "token_logprobs": [-0.1], "top_logprobs": [{" 4": -0.1, " 5": -2.6}]}

and llama-server's (tools/server/server-task.cpp, ``probs_vector_to_json``)::

    {"content": [{"token": " 4", "logprob": -0.1, "top_logprobs": [{"token": …, "logprob": …}]}]}

A server is a stranger: a value of the wrong kind, sign or size counts as missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

UNLIKELY = -100.0
"""The log-probability of what a server has no number for."""

MOST = 10**9
"""The greatest count of anything that is believed."""

LONGEST_TOKEN = 256
"""Characters of one token at most; the longest in vocabularies in use are runs of 128 blanks."""

_DIGITS = 18
_FIELD = re.compile(r"\s*$|:|(data|event|id|retry)(:|$)")
_SAID = 300
_NO_FINISH = ("", "null", "none")
"""Words of servers that write the missing ``finish_reason`` of a text that goes on as a text."""


class Reported(Exception):
    """A reply, or a part of one, that says that the server failed, or nothing that can be used."""


class Unreadable(Reported):
    """Not JSON where JSON should be: another kind of page, or only the beginning of a message."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One token drawn: its log-probability, and the likeliest tokens with theirs, best first."""

    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one choice gained. ``finish`` is the server's word, None while it goes on.

    ``index`` is −1 where the server does not say which choice it is.

    ``stopped_by`` is the stop text that ended it, where the server tells (vLLM's ``stop_reason``,
    SGLang's ``matched_stop``); servers leave it out of ``text``. ``elsewhere`` names the field that
    holds text in place of ``text``, "" where none does.
    """

    index: int
    text: str
    draws: tuple[Draw, ...] = ()
    finish: str | None = None
    stopped_by: str | None = None
    elsewhere: str = ""

    @property
    def tokens(self) -> int:
        """Tokens in it, as far as it can be told: those with log-probabilities, else one.

        More where the text is longer than any token.
        """
        return max(len(self.draws), -(-len(self.text) // LONGEST_TOKEN))


@dataclass(frozen=True, slots=True)
class Count:
    """The server's own count of one request. ``cached`` of the prompt's tokens were not read."""

    prompt: int
    generated: int
    cached: int = 0

    def within(self, prompt: int, generated: int) -> Count:
        """The same, no part of it greater than it can be."""
        read = min(self.prompt, prompt)
        return Count(read, min(self.generated, generated), min(self.cached, read))


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of a stream, or a whole reply; after one that is ``last`` comes no other."""

    pieces: tuple[Piece, ...] = ()
    count: Count | None = None
    last: bool = False


def read_json(text: str, hide: Callable[[str], str] | None = None) -> Any:
    """The JSON value that is ``text``; ``hide`` takes out of its texts what nobody may see.

    Raises:
        ValueError: it is not JSON, or is nested beyond reason.
    """
    try:
        # Not strict: some write tabs and other control characters into a text as they are.
        found = json.loads(text.removeprefix("\ufeff"), parse_int=_read_integer, strict=False)
        # Read before it is looked through: what is hidden could be a part of a number.
        return found if hide is None or hide(text) == text else _hide_in(found, hide)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _hide_in(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, list):
        return [_hide_in(each, hide) for each in value]
    if isinstance(value, dict):
        return {hide(name): _hide_in(each, hide) for name, each in value.items()}
    return value


def find_message(found: Any) -> str:
    """What a server says in a message of failure, in one of the forms in use, on one line."""
    for key in ("error", "errors", "message", "detail", "msg"):
        while isinstance(found, dict) and isinstance(found.get(key), str | dict | list):
            if not found[key]:
                break
            found = found[key]
    try:
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except RecursionError:
        text = "(nested too deeply)"
    return " ".join(text[: 4 * _SAID].split())[:_SAID]


def is_stray(line: str) -> bool:
    """Whether ``line`` has no place in an event stream."""
    return not _FIELD.match(line.removeprefix("\ufeff"))


def read_line(line: str, hide: Callable[[str], str] | None = None) -> Chunk | None:
    """A line of an event stream; None for what says nothing (blank, comment, name of an event).

    Raises:
        Unreadable: it is no JSON.
        Reported: the server says that it failed.
    """
    field, colon, value = line.removeprefix("\ufeff").partition(":")
    value = value.strip()
    if line.startswith("{"):  # lines of JSON without the stream around
        field, value = "data", line
    if field == "error" and colon:
        raise Reported(value)
    if field != "data" or not value:
        return None
    return Chunk(last=True) if value == "[DONE]" else _read_object(value, hide)


def read_reply(text: str, hide: Callable[[str], str] | None = None) -> Chunk:
    """A whole reply.

    Raises:
        Reported: it is no JSON, holds no choices, or says that the server failed.
    """
    chunk = _read_object(text, hide)
    if not chunk.pieces:
        raise Reported(f"no choices: {find_message(text)}")
    return Chunk(chunk.pieces, chunk.count, last=True)


def _read_object(text: str, hide: Callable[[str], str] | None) -> Chunk:
    try:
        found = read_json(text, hide)
    except ValueError:
        raise Unreadable(f"no JSON: {find_message(text)}") from None
    if not isinstance(found, dict):
        raise Reported(f"no JSON object: {find_message(text)}")
    choices = found.get("choices")
    listed = choices if isinstance(choices, list) else []
    bare = listed is not choices and "usage" not in found
    if found.get("error") or _is_failure(found, bare=bare):
        raise Reported(find_message(found))
    failed = [each for each in listed if isinstance(each, dict) and each.get("error")]
    if failed:  # OpenRouter, of a provider that fails in mid-answer
        raise Reported(find_message(failed[0]))
    pieces = tuple(
        _read_choice(choice, place if len(listed) > 1 else -1)
        for place, choice in enumerate(listed)
        if isinstance(choice, dict)
    )
    return Chunk(pieces, _read_usage(found.get("usage")))


def _is_failure(found: Mapping[str, Any], *, bare: bool) -> bool:
    """Whether ``found`` tells of a failure outside ``error``; ``bare``: it has no choices."""
    named = "error" in (found.get("object"), found.get("type"), found.get("status"))
    return named or (bare and any(found.get(key) for key in ("errors", "message", "detail", "msg")))


def _read_choice(choice: Mapping[str, Any], place: int) -> Piece:
    text = read_text(choice.get("text"))
    matched = read_text(choice.get("stop_reason", choice.get("matched_stop")))
    index = read_count(choice.get("index"))
    return Piece(
        index=place if index is None else index,
        text=text,
        draws=_read_logprobs(choice.get("logprobs")),
        finish=_read_finish(choice.get("finish_reason")),
        stopped_by=matched or None,
        elsewhere="" if text else _find_elsewhere(choice),
    )


def _read_finish(found: Any) -> str | None:
    """The server's word for why it ended; "?" for an end without a usable word."""
    if isinstance(found, dict):  # SGLang's own interface
        found = found.get("type") or "?"
    if not isinstance(found, str):
        return "?" if found else None
    word = found.strip().casefold()[:40]
    return None if word in _NO_FINISH else word


def _find_elsewhere(choice: Mapping[str, Any]) -> str:
    """Which field holds the text that ``text`` does not."""
    for place in ("", "message", "delta"):
        part = choice.get(place) if place else choice
        for name in ("reasoning_content", "reasoning", "content"):
            if isinstance(part, dict) and isinstance(part.get(name), str) and part[name]:
                return f"{place}.{name}" if place else name
    return ""


def _read_usage(usage: Any) -> Count | None:
    prompt = read_count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    if prompt is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = read_count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Count(prompt, read_count(usage.get("completion_tokens")) or 0, min(prompt, cached or 0))


def _read_logprobs(found: Any) -> tuple[Draw, ...]:
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):
        return tuple(
            Draw(read_logprob(each.get("logprob")), _order(_pairs(each.get("top_logprobs"))))
            for each in found["content"]
            if isinstance(each, dict)
        )
    drawn, tops = found.get("token_logprobs"), found.get("top_logprobs")
    if not isinstance(drawn, list):
        return ()
    listed = tops if isinstance(tops, list) else []
    return tuple(
        Draw(read_logprob(value), _order(_pairs(listed[i] if i < len(listed) else None)))
        for i, value in enumerate(drawn)
    )


def _pairs(top: Any) -> list[tuple[str, float]]:
    if isinstance(top, dict):
        return [(read_text(token), read_logprob(value)) for token, value in top.items()]
    return [
        (read_text(each.get("token")), read_logprob(each.get("logprob")))
        for each in (top if isinstance(top, list) else [])
        if isinstance(each, dict)
    ]


def _order(pairs: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def read_text(value: Any) -> str:
    """A text that any encoding can write, without halves of characters; "" for any other value."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def read_count(value: Any, most: int = MOST) -> int | None:
    """A whole number from 0 to ``most``, also written as 5.0; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= most and value == int(value) else None


def read_logprob(value: Any) -> float:
    """A log-probability; what a server cannot say (null, NaN, its lowest float) is unlikely."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return UNLIKELY
    return 0.0 if value >= 0 else UNLIKELY if value <= UNLIKELY else float(value)
