"""Machine output: the event stream and the result as JSON, version 1.

``docs/events.schema.json`` is the contract. Within a version keys are only added. Text is the
model's own, raw: JSON escapes it, and every character beyond ASCII is escaped too, so the lines
are harmless on a terminal. Numbers that JSON cannot say (NaN, infinity) become null.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, TextIO

from ttc_cli import events
from ttc_cli.types import (
    Answer,
    AnswerClass,
    Budget,
    Candidate,
    Confidence,
    Estimate,
    Result,
    RoleUsage,
    Score,
    Usage,
)

VERSION = 1
GREW_PER_SECOND = 8

Json = dict[str, Any]


def encode(event: events.Event) -> Json:
    """``event`` as the object of one line: ``v``, ``type``, and the keys of that type."""
    match event:
        case events.RunStarted():
            return _typed(
                "run_started",
                question=event.problem.text,
                answer_type=event.problem.answer_type.value,
                model=event.model,
                strategy=event.strategy,
                verifiers=list(event.verifiers),
                budget=_budget(event.budget),
                seed=event.seed,
                parallel=event.parallel,
            )
        case events.WaveStarted():
            return _typed(
                "wave_started",
                wave=event.wave,
                strategy=event.strategy,
                samples=event.samples,
                reason=event.reason,
            )
        case events.CandidateStarted():
            return _typed(
                "candidate_started",
                id=event.id,
                wave=event.wave,
                parent=event.parent,
                steps=event.steps,
            )
        case events.Grew():
            return _typed(
                "grew",
                texts={str(id_): text for id_, text in event.texts.items()},
                live=event.live,
                queued=event.queued,
                kv_used=event.kv_used,
                kv_cells=event.kv_cells,
            )
        case events.Stepped():
            return _typed(
                "stepped", id=event.id, step=event.step, text=event.text, tokens=event.tokens
            )
        case events.CandidateEnded():
            return _typed("candidate_ended", candidate=_candidate(event.candidate))
        case events.Scored():
            return _typed("scored", id=event.id, score=_score(event.score))
        case events.Pruned():
            return _typed("pruned", id=event.id, reason=event.reason, cancelled=event.cancelled)
        case events.Voted():
            return _typed("voted", classes=[_class(c) for c in event.classes], total=event.total)
        case events.Decided():
            return _typed(
                "decided",
                action=event.action,
                reason=event.reason,
                estimate=_estimate(event.estimate),
            )
        case events.Spent():
            return _typed("spent", usage=_usage(event.usage))
        case events.Warned():
            return _typed("warned", message=event.message)
        case events.RunEnded():
            return result_json(event.result)


def result_json(result: Result, **meta: Any) -> Json:
    """The object that ``--json`` prints, which is also the last line of ``--jsonl``.

    ``meta`` adds what a result does not know, above all ``question`` and ``seed``, and ``model``
    for one that was kept before results knew it; the schema names all keys that may appear.
    """
    known = {"model": result.model} if result.model else {}
    return _typed(
        "result",
        answer=result.answer.text if result.answer is not None else None,
        answer_type=result.answer.type.value if result.answer is not None else None,
        solution=result.solution,
        winner=result.winner,
        decided_by=result.decided_by,
        agreement=_number(result.agreement),
        confidence=_calibrated(result.estimate),
        score=_number(result.score),
        difficulty=result.estimate.difficulty if result.estimate is not None else None,
        estimate=_estimate(result.estimate),
        stop_reason=result.stop_reason,
        interrupted=result.interrupted,
        strategy=result.strategy,
        candidates=[_candidate(candidate) for candidate in result.candidates],
        classes=[_class(answer_class) for answer_class in result.classes],
        usage=_usage(result.usage),
        **{**meta, **known},
    )


def error_json(message: str, hint: str | None, exit_code: int) -> Json:
    """The last line instead of ``result`` when a run fails."""
    return _typed("error", message=message, hint=hint, exit_code=exit_code)


def to_line(value: Json) -> str:
    """``value`` as one line of ASCII, newline included."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"


class JsonLines:
    """A reader of the event stream that writes each event as a line of JSON to ``stream``.

    ``Grew`` comes at every decode step; its texts are joined and written at most
    ``GREW_PER_SECOND`` times a second. When a candidate steps or ends, text of it that is still
    held back is dropped: ``stepped`` carries the whole step, ``candidate_ended`` the whole text.
    When the reader of ``stream`` goes away, ``on_broken`` is called once, for the search to be
    ended; nothing is raised.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        on_broken: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        **meta: Any,
    ) -> None:
        """``meta`` is added to the result line, see ``result_json``."""
        self._stream = stream
        self._on_broken = on_broken
        self._clock = clock
        self._meta = dict(meta)
        self._held: dict[int, str] = {}
        self._held_event: events.Grew | None = None
        self._grew_at = -math.inf
        self.broken = False

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
                known = {"question": event.problem.text, "model": event.model, "seed": event.seed}
                self._meta = {**known, **self._meta}
            case events.RunEnded():
                self._write(result_json(event.result, **self._meta))
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
        if self.broken:
            return
        try:
            self._stream.write(to_line(value))
            self._stream.flush()
        except (OSError, ValueError):
            self.broken = True
            if self._on_broken is not None:
                self._on_broken()


def _typed(name: str, **keys: Any) -> Json:
    return {"v": VERSION, "type": name, **keys}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _calibrated(estimate: Estimate | None) -> float | None:
    if estimate is None or not estimate.calibrated:
        return None
    return _number(estimate.settled)


def _answer(answer: Answer | None) -> Json | None:
    if answer is None:
        return None
    return {"text": answer.text, "key": answer.key, "type": answer.type.value}


def _candidate(candidate: Candidate) -> Json:
    return {
        "id": candidate.id,
        "text": candidate.text,
        "tokens": candidate.tokens,
        "finish": candidate.finish.value,
        "answer": _answer(candidate.answer),
        "confidence": _confidence(candidate.confidence),
        "scores": [_score(score) for score in candidate.scores],
        "wave": candidate.wave,
        "parent": candidate.parent,
        "steps": [
            {
                "text": step.text,
                "tokens": step.tokens,
                "confidence": _confidence(step.confidence),
            }
            for step in candidate.steps
        ],
        "thought": candidate.thought,
    }


def _confidence(confidence: Confidence | None) -> Json | None:
    if confidence is None:
        return None
    return {
        "mean_logprob": _number(confidence.mean_logprob),
        "tail_logprob": _number(confidence.tail_logprob),
        "lowest_group": _number(confidence.lowest_group),
        "tail_group": _number(confidence.tail_group),
        "mean_group": _number(confidence.mean_group),
        "bottom_group": _number(confidence.bottom_group),
        "certainty": _number(confidence.certainty),
    }


def _score(score: Score) -> Json:
    return {
        "verifier": score.verifier,
        "value": _number(score.value),
        "step": score.step,
        "weight": _number(score.weight),
    }


def _class(answer_class: AnswerClass) -> Json:
    return {
        "answer": _answer(answer_class.answer),
        "members": list(answer_class.members),
        "votes": answer_class.votes,
        "weight": _number(answer_class.weight),
    }


def _estimate(estimate: Estimate | None) -> Json | None:
    if estimate is None:
        return None
    return {
        "settled": _number(estimate.settled),
        "pass_rate": _number(estimate.pass_rate),
        "difficulty": estimate.difficulty,
        "calibrated": estimate.calibrated,
    }


def _budget(budget: Budget) -> Json:
    return {
        "level": budget.level,
        "max_tokens": budget.max_tokens,
        "max_seconds": _number(budget.max_seconds),
        "max_flops": _number(budget.max_flops),
        "max_samples": budget.max_samples,
        "tokens_per_candidate": budget.tokens_per_candidate,
    }


def _usage(usage: Usage) -> Json:
    return {
        "tokens": usage.tokens,
        "generated_tokens": usage.generated_tokens,
        "flops": _number(usage.flops),
        "seconds": _number(usage.seconds),
        "generator": _role(usage.generator),
        "verifier": _role(usage.verifier),
    }


def _role(role: RoleUsage) -> Json:
    return {
        "prompt_tokens": role.prompt_tokens,
        "generated_tokens": role.generated_tokens,
        "reused_tokens": role.reused_tokens,
        "decode_calls": role.decode_calls,
        "flops": _number(role.flops),
    }
