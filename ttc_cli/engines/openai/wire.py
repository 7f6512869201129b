"""What a completion's reply says, streamed or whole, in either form of log-probabilities in use.

OpenAI's legacy form, which vLLM, SGLang and llama_cpp.server keep to::

    {"tokens": [" 4"], "token_logprobs": [-0.1], "top_logprobs": [{" 4": -0.1, " 5": -2.6}]}

and llama-server's (tools/server/server-task.cpp, ``probs_vector_to_json``)::

    {"content": [{"token": " 4", "logprob": -0.1, "top_logprobs": [{"token": …, "logprob": …}]}]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttc_cli.errors import ServerFailed

UNLIKELY = -100.0
"""The log-probability of what a server has no number for."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One token drawn: its log-probability, and the likeliest tokens with theirs, best first."""

    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one choice gained. ``finish`` is the server's word, None while it goes on.

    ``stopped_by`` is the stop text that ended it, where the server tells (vLLM's ``stop_reason``,
    SGLang's ``matched_stop``); servers leave it out of ``text``.
    """

    index: int
    text: str
    draws: tuple[Draw, ...] = ()
    finish: str | None = None
    stopped_by: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens in it, as far as it can be told: those with log-probabilities, else one."""
        return len(self.draws) or int(bool(self.text))


@dataclass(frozen=True, slots=True)
class Count:
    """The server's own count of one request. ``cached`` of the prompt's tokens were not read."""

    prompt: int
    generated: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of a stream, or a whole reply."""

    pieces: tuple[Piece, ...] = ()
    count: Count | None = None


def read_line(line: str) -> Chunk | None:
    """A line of an event stream; None for what says nothing (blank, comment, end mark).

    Raises:
        ServerFailed: no JSON, or the server reports a failure in mid-stream.
    """
    field, colon, value = line.partition(":")
    value = value.strip()
    if field == "error" and colon:
        raise ServerFailed(f"The server failed in mid-answer: {value[:300]}")
    if field != "data" or not value or value == "[DONE]":
        return None
    return read_reply(value)


def read_reply(text: str) -> Chunk:
    """A JSON reply.

    Raises:
        ServerFailed: it is none, or says that the server failed.
    """
    try:
        found = json.loads(text)
    except ValueError:
        raise ServerFailed("The server's reply is no JSON.") from None
    if not isinstance(found, dict):
        raise ServerFailed("The server's reply is no object.")
    if found.get("error"):
        raise ServerFailed(f"The server failed in mid-answer: {json.dumps(found['error'])[:300]}")
    listed = found.get("choices")
    pieces = tuple(
        _read_choice(choice, place)
        for place, choice in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(choice, dict)
    )
    return Chunk(pieces, _read_usage(found.get("usage")))


def _read_choice(choice: Mapping[str, Any], place: int) -> Piece:
    index, text, finish = choice.get("index"), choice.get("text"), choice.get("finish_reason")
    matched = choice.get("stop_reason", choice.get("matched_stop"))
    return Piece(
        index=index if isinstance(index, int) else place,
        text=text if isinstance(text, str) else "",
        draws=_read_logprobs(choice.get("logprobs")),
        finish=finish if isinstance(finish, str) else None,
        stopped_by=matched if isinstance(matched, str) and matched else None,
    )


def _read_usage(usage: Any) -> Count | None:
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    prompt, generated = usage["prompt_tokens"], usage.get("completion_tokens")
    return Count(
        max(0, prompt),
        max(0, generated) if isinstance(generated, int) else 0,
        min(prompt, max(0, cached)) if isinstance(cached, int) else 0,
    )


def _read_logprobs(found: Any) -> tuple[Draw, ...]:
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):
        return tuple(
            Draw(_number(each.get("logprob")), _order(_pairs(each.get("top_logprobs"))))
            for each in found["content"]
            if isinstance(each, dict)
        )
    drawn, tops = found.get("token_logprobs"), found.get("top_logprobs")
    if not isinstance(drawn, list):
        return ()
    listed = tops if isinstance(tops, list) else []
    return tuple(
        Draw(_number(value), _order(_pairs(listed[i] if i < len(listed) else None)))
        for i, value in enumerate(drawn)
    )


def _pairs(top: Any) -> list[tuple[str, float]]:
    if isinstance(top, dict):
        return [(str(token), _number(value)) for token, value in top.items()]
    return [
        (str(each.get("token")), _number(each.get("logprob")))
        for each in (top if isinstance(top, list) else [])
        if isinstance(each, dict)
    ]


def _order(pairs: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _number(value: Any) -> float:
    """A log-probability; what a server cannot say (null, NaN, its lowest float) is unlikely."""
    if not isinstance(value, int | float) or value != value:
        return UNLIKELY
    return min(0.0, max(UNLIKELY, float(value)))
