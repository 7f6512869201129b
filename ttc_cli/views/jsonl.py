"""Machine output: the event stream and the result as JSON, version 1.

``docs/events.schema.json`` is the contract. Within a version keys are only added. Text is the
model's own, raw: JSON escapes it, and every character beyond ASCII is escaped too, so the lines
are harmless on a terminal. Numbers that JSON cannot say (NaN, infinity) become null.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TextIO

from ttc_cli import events
from ttc_cli.types import AnswerClass, Result, Usage

VERSION = 1
GREW_PER_SECOND = 8

Json = dict[str, Any]


def encode(event: events.Event) -> Json:
    """``event`` as the object of one line: ``v``, ``type``, and the keys of that type."""
    match event:
        case events.RunEnded():
            return result_json(event.result)
        case events.RunStarted():
            keys = {
                "question": event.problem.text,
                "answer_type": event.problem.answer_type.value,
                **_to_json(event),
            }
            del keys["problem"]
        case _:
            keys = _to_json(event)
    name = re.sub(r"\B(?=[A-Z])", "_", type(event).__name__).lower()
    return {"v": VERSION, "type": name, **keys}


def result_json(result: Result, **meta: Any) -> Json:
    """The object that ``--json`` prints, which is also the last line of ``--jsonl``.

    ``meta`` adds what a result does not know, above all ``question`` and ``seed``, and ``model``
    for one that was kept before results knew it; the schema names all keys that may appear.
    """
    answer, estimate = result.answer, result.estimate
    known = {"model": result.model} if result.model else {}
    return {
        "v": VERSION,
        "type": "result",
        "answer": answer.text if answer is not None else None,
        "answer_type": answer.type.value if answer is not None else None,
        "solution": result.solution,
        "winner": result.winner,
        "decided_by": result.decided_by,
        "agreement": result.agreement,
        "confidence": _to_json(estimate.settled) if estimate and estimate.calibrated else None,
        "score": _to_json(result.score),
        "difficulty": estimate.difficulty if estimate is not None else None,
        "estimate": _to_json(estimate),
        "stop_reason": result.stop_reason,
        "interrupted": result.interrupted,
        "strategy": result.strategy,
        "candidates": _to_json(result.candidates),
        "classes": _to_json(result.classes),
        "usage": _to_json(result.usage),
        **{**meta, **known},
    }


def error_json(message: str, hint: str | None, exit_code: int) -> Json:
    """The last line instead of ``result`` when a run fails."""
    return {
        "v": VERSION,
        "type": "error",
        "message": message,
        "hint": hint,
        "exit_code": exit_code,
    }


def to_line(value: Json) -> str:
    """``value`` as one line of ASCII, newline included."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"


class JsonLines:
    """A reader of the event stream that writes each event as a line of JSON to ``stream``.

    ``Grew`` comes at every decode step; its texts are joined and written at most
    ``GREW_PER_SECOND`` times a second. When a candidate steps or ends, text of it that is still
    held back is dropped: ``stepped`` carries the whole step, ``candidate_ended`` the whole text.
    When the reader of ``stream`` goes away, or the disk is full, ``on_broken`` is called once, for
    the search to be ended, and the error kept as ``failure``; nothing is raised.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        on_broken: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._on_broken = on_broken
        self._clock = clock
        self._known: Json = {}
        self._held: dict[int, str] = {}
        self._held_event: events.Grew | None = None
        self._grew_at = -math.inf
        self.failure: OSError | ValueError | None = None

    def __call__(self, event: events.Event) -> None:
        """Write ``event``, or hold it back."""
        match event:
            case events.Grew():
                for id_, text in event.texts.items():
                    self._held[id_] = self._held.get(id_, "") + text
                self._held_event = event
                self._write_grew()
                return
            case events.CandidateEnded():
                self._write_grew()
                self._held.pop(event.candidate.id, None)
            case events.Stepped():
                self._write_grew()
                self._held.pop(event.id, None)
            case events.RunStarted():
                self._known = self._known or {
                    "question": event.problem.text,
                    "model": event.model,
                    "seed": event.seed,
                }
            case events.RunEnded():
                self._write(result_json(event.result, **self._known))
                return
            case _:
                self._write_grew()
        self._write(encode(event))

    def _write_grew(self) -> None:
        last, now = self._held_event, self._clock()
        if last is None or now - self._grew_at < 1 / GREW_PER_SECOND:
            return
        texts = {id_: text for id_, text in self._held.items() if text}
        self._held, self._held_event, self._grew_at = {}, None, now
        if texts:
            self._write(
                encode(events.Grew(texts, last.live, last.queued, last.kv_used, last.kv_cells))
            )

    def _write(self, value: Json) -> None:
        if self.failure is not None:
            return
        try:
            self._stream.write(to_line(value))
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failure = error
            if self._on_broken is not None:
                self._on_broken()


def _to_json(value: Any) -> Any:
    """``value`` in what JSON can say: the fields of a dataclass, and what it derives from them."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Enum():
            return value.value
        case Mapping():
            return {str(key): _to_json(each) for key, each in value.items()}
        case tuple():
            return [_to_json(each) for each in value]
        case AnswerClass():
            names: tuple[str, ...] = ("answer", "members", "votes", "weight")
        case Usage():
            names = ("tokens", "generated_tokens", "flops", "seconds", "generator", "verifier")
        case _ if is_dataclass(value):
            names = tuple(field.name for field in fields(value))
        case _:
            return value
    return {name: _to_json(getattr(value, name)) for name in names}
