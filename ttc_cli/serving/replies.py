"""What a client gets: results as the protocol words them, whole and in pieces."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ttc_cli.forms.program import show_solution
from ttc_cli.serving.protocol import Wanted
from ttc_cli.serving.tool_calls import read_calls
from ttc_cli.types import Candidate, Finish, Result
from ttc_cli.views.jsonl import result_json

_TOLD = (
    "answer",
    "answer_type",
    "agreement",
    "confidence",
    "score",
    "difficulty",
    "estimate",
    "decided_by",
    "stop_reason",
    "interrupted",
    "strategy",
    "usage",
)
"""Keys of ``--json`` that the field ``ttc`` has too."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice: what is said, the tools that are called, and why it ends there."""

    content: str
    calls: tuple[Mapping[str, Any], ...]
    finish: str


def make_reply(wanted: Wanted, result: Result) -> Reply:
    """The choice that ``result`` makes.

    Where no candidate stated an answer it is the first that ended, or the longest.
    """
    if "schema" in wanted.how:
        text = "" if result.answer is None else result.answer.text
        return Reply(text, (), "stop" if text else "length")
    chosen = choose_candidate(result)
    if chosen is None:
        return Reply("", (), "length")
    said, finish = show_solution(chosen), "stop" if chosen.finish is Finish.STOP else "length"
    said = cut_at(said, wanted.stop)
    if not wanted.tools:
        return Reply(said, (), finish)
    rest, calls = read_calls(said, wanted.tools)
    return Reply(rest, tuple(calls), "tool_calls" if calls else finish)


def choose_candidate(result: Result) -> Candidate | None:
    """The winner; else the first that ended by itself, or the longest; None without any."""
    for each in result.candidates:
        if each.id == result.winner:
            return each
    ended = [each for each in result.candidates if each.finished]
    return next(iter(ended), max(result.candidates, key=lambda each: each.tokens, default=None))


def cut_at(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops`` in it."""
    places = [place for each in stops if (place := text.find(each)) >= 0]
    return text[: min(places)] if places else text


def count_usage(results: Sequence[Result]) -> dict[str, Any]:
    """All that was read and drawn for ``results``, candidates that lost and verifiers included.

    ``reasoning_tokens`` are those of all but the candidates that are shown.
    """
    read = sum(each.usage.tokens - each.usage.generated_tokens for each in results)
    drawn = sum(each.usage.generated_tokens for each in results)
    shown = sum(chosen.tokens for each in results if (chosen := choose_candidate(each)))
    return {
        "prompt_tokens": read,
        "completion_tokens": drawn,
        "total_tokens": read + drawn,
        "completion_tokens_details": {"reasoning_tokens": max(0, drawn - shown)},
    }


def tell_search(result: Result, seed: int) -> dict[str, Any]:
    """The field ``ttc`` of a choice: how its answer was found, as ``--json`` says it."""
    whole = result_json(result)
    told = {key: whole[key] for key in _TOLD}
    return {**told, "seed": seed, "candidates": len(result.candidates), "heard": result.heard}


def tell_calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``calls`` as the protocol has them."""
    return [
        {
            "index": place,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {
                "name": each["name"],
                "arguments": json.dumps(each["arguments"], ensure_ascii=False),
            },
        }
        for place, each in enumerate(calls)
    ]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all pieces of the replies to ``wanted`` have in common."""

    wanted: Wanted
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(
        self, results: Sequence[Result], replies: Sequence[Reply], words: Sequence[str]
    ) -> dict[str, Any]:
        """The reply in one piece; ``words`` are what was said while it was thought about."""
        choices = []
        for place, (result, reply) in enumerate(zip(results, replies, strict=True)):
            told = tell_search(result, self.wanted.seed + place)
            choice = {"index": place, "finish_reason": reply.finish, "logprobs": None, "ttc": told}
            if self.wanted.chat:
                message: dict[str, Any] = {"role": "assistant", "content": reply.content}
                if words[place]:
                    message["reasoning_content"] = words[place]
                if reply.calls:
                    message["content"] = reply.content or None
                    message["tool_calls"] = [
                        {key: each[key] for key in each if key != "index"}
                        for each in tell_calls(reply.calls)
                    ]
                choice["message"] = message
            else:
                choice["text"] = reply.content
            choices.append(choice)
        return self._wrap("", choices, usage=count_usage(results))

    def pieces(self, place: int, delta: Mapping[str, Any], *, begun: bool) -> list[dict[str, Any]]:
        """Parts of the choice ``place``, none for what of ``delta`` is empty."""
        said = {name: text for name, text in delta.items() if text}
        if not self.wanted.chat:
            text = said.get("content", "")
            return [self._piece(place, text=text)] if text else []
        deltas = [{name: text} for name, text in said.items()]
        if deltas and not begun:
            deltas.insert(0, {"role": "assistant", "content": ""})
        return [self._piece(place, delta=each) for each in deltas]

    def end(self, place: int, reply: Reply, result: Result) -> list[dict[str, Any]]:
        """The last parts of the choice ``place``: its calls, and how it ended."""
        pieces = []
        if reply.calls:
            pieces.append(self._piece(place, delta={"tool_calls": tell_calls(reply.calls)}))
        nothing: dict[str, Any] = {"delta": {}} if self.wanted.chat else {"text": ""}
        last = self._piece(place, **nothing)
        told = tell_search(result, self.wanted.seed + place)
        last["choices"][0] |= {"finish_reason": reply.finish, "ttc": told}
        return [*pieces, last]

    def _piece(self, place: int, **said: Any) -> dict[str, Any]:
        choice = {"index": place, "finish_reason": None, "logprobs": None, **said}
        return self._wrap(".chunk", [choice])

    def usage(self, results: Sequence[Result]) -> dict[str, Any]:
        """The last piece of a stream that ends with what was computed."""
        return self._wrap(".chunk", [], usage=count_usage(results))

    def _wrap(self, part: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        chat = self.wanted.chat
        return {
            "id": f"chatcmpl-{self.id}" if chat else f"cmpl-{self.id}",
            "object": f"chat.completion{part}" if chat else "text_completion",
            "created": self.created,
            "model": self.wanted.model,
            "choices": choices,
            **more,
        }


class LiveText:
    """Splits a plain reply that grows into its thought and its answer, up to a text to stop at.

    What may be the beginning of a mark is held back until that is known.

    Args:
        stops: texts that end the answer and are no part of it.
        thinks: the marks of a thought, with which the reply begins; None where it may begin with
            one as models commonly mark it.
    """

    def __init__(self, stops: Sequence[str], thinks: tuple[str, str] | None) -> None:
        self._stops = tuple(stops)
        self._opened = thinks is not None
        self._opening, self._closing = thinks or ("<think>", "</think>")
        self._part = "head"
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """What ``text`` adds to the thought, and to the answer."""
        self._held += text
        if self._part == "head":
            head = self._held.lstrip()
            if head != self._opening and self._opening.startswith(head):
                return "", ""
            marked = head.startswith(self._opening)
            self._held = head.removeprefix(self._opening) if marked else self._held
            self._part = "thought" if marked or self._opened else "answer"
        thought = ""
        if self._part == "thought":
            thought, closed, rest = self._held.partition(self._closing)
            if not closed:
                return self._take(self._held, (self._closing,)), ""
            self._held, self._part = rest, "behind"
        if self._part == "behind":  # blanks between thought and answer belong to neither
            self._held = self._held.lstrip()
            self._part = "answer" if self._held else "behind"
        if self._part != "answer":
            return thought, ""
        kept = cut_at(self._held, self._stops)
        if kept == self._held:
            return thought, self._take(kept, self._stops)
        self._part = "over"
        return thought, kept

    @property
    def rest(self) -> str:
        """What of the answer is held back."""
        return self._held if self._part == "answer" else ""

    def _take(self, text: str, marks: Sequence[str]) -> str:
        """``text`` but for what may begin one of ``marks``, which is held back."""
        ready = len(text) - find_held(text, marks)
        self._held = text[ready:]
        return text[:ready]


def find_held(text: str, marks: Sequence[str]) -> int:
    """How many characters at the end of ``text`` may begin one of ``marks``."""
    longest = max(map(len, marks), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(each.startswith(text[-size:]) for each in marks):
            return size
    return 0
