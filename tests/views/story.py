"""A run as a stream of timed events, the same at every call: what views are shown and tested on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from ttc_cli import events
from ttc_cli.types import (
    Answer,
    AnswerClass,
    AnswerType,
    Budget,
    Candidate,
    Confidence,
    Estimate,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Score,
    Usage,
)

QUESTION = (
    "A train leaves the station at 3 pm and travels at 60 miles an hour. A second train leaves "
    "the same station two hours later on the same track and travels at 90 miles an hour. "
    "How many hours after 3 pm does the second train catch up with the first?"
)
BUDGET = Budget("normal", max_tokens=8_192, max_seconds=60.0, max_samples=16)
STEPS = (
    "Let t be the hours after 3 pm. The first train has travelled 60 × t miles.\n\n",
    "The second train starts at 5 pm, so it has travelled 90 × (t − 2) miles.\n\n",
    "They meet when 60t = 90(t − 2), so 60t = 90t − 180 and 30t = 180.\n\n",
    "Therefore t = 6. The final answer is \\boxed{6}.",
)
WORDS = [word for step in STEPS for word in step.split(" ")]
Timed = tuple[float, events.Event]


def answer(text: str) -> Answer:
    return Answer(text, text, AnswerType.NUMBER)


def candidate(
    id_: int, text: str | None, *, finish: Finish = Finish.STOP, wave: int = 0, tokens: int = 96
) -> Candidate:
    return Candidate(
        id=id_,
        text="".join(STEPS) if text in (None, "6") else f"So it is {text}. \\boxed{{{text}}}",
        tokens=tokens,
        finish=finish,
        answer=answer(text) if text is not None else None,
        confidence=Confidence(-0.21 - id_ / 50, -0.1, 9.5, 14.0),
        wave=wave,
    )


def usage(tokens: int, seconds: float) -> Usage:
    flops = 2 * 1.54e9
    generator = RoleUsage(152, tokens, 152 * 7, tokens // 8, flops * (tokens + 152))
    return Usage(generator, RoleUsage(30, 0, 600, 1, flops * 30), seconds)


def classes(*votes: tuple[str, tuple[int, ...], float]) -> tuple[AnswerClass, ...]:
    return tuple(AnswerClass(answer(text), members, weight) for text, members, weight in votes)


def _grow(at: float, ids: range | list[int], first: int, last: int) -> Iterator[Timed]:
    for step in range(first, last):
        texts = {i: WORDS[(step + i) % len(WORDS)] + " " for i in ids}
        yield at, events.Grew(texts, len(texts), 0, 160 + step * len(texts), 4096)
        at += 0.1


def start() -> Iterator[Timed]:
    """Until the first wave grows."""
    yield (
        0.0,
        events.RunStarted(
            Problem(QUESTION, AnswerType.NUMBER),
            model="qwen2.5-coder-1.5b",
            strategy="auto",
            verifiers=("judge", "confidence"),
            budget=BUDGET,
            seed=7,
            parallel=8,
        ),
    )
    reason = "probe: 8 candidates to see how hard this is"
    yield 0.1, events.Decided("wave", reason)
    yield 0.1, events.WaveStarted(0, "sample", 8, reason)
    for i in range(8):
        yield 0.1, events.CandidateStarted(i, 0)


def middle() -> Iterator[Timed]:
    """The first wave has voted, the second grows."""
    yield from start()
    yield from _grow(0.2, range(8), 0, 60)
    ends = [(0, "6"), (1, "6"), (2, "4"), (3, "6"), (4, None), (5, "3.6"), (6, "6"), (7, "4")]
    for n, (id_, text) in enumerate(ends):
        finish = Finish.LOOP if text is None else Finish.STOP
        yield 6.2 + n / 10, events.CandidateEnded(candidate(id_, text, finish=finish, wave=0))
        if text is not None:
            value = {"6": 0.91, "4": 0.38, "3.6": 0.12}[text] - id_ / 100
            yield 6.2 + n / 10, events.Scored(id_, Score("judge", value))
    yield (
        7.0,
        events.Voted(classes(("6", (0, 1, 3, 6), 3.5), ("4", (2, 7), 0.7), ("3.6", (5,), 0.1)), 8),
    )
    yield 7.0, events.Spent(usage(700, 7.0))
    reason = "4 of 8 agree (4 to 2), estimate 0.81 < 0.90: 6 more"
    yield 7.0, events.Decided("wave", reason, Estimate(0.81, 0.5, 3))
    yield 7.1, events.WaveStarted(1, "sample", 6, reason)
    for i in range(8, 14):
        yield 7.1, events.CandidateStarted(i, 1)
    yield from _grow(7.2, range(8, 13), 0, 34)
    yield 10.6, events.Warned("the judge separates right from wrong poorly: its weight is 0.3")


def whole() -> Iterator[Timed]:
    """To the end: the second wave settles it."""
    yield from middle()
    for n, id_ in enumerate((8, 9)):
        yield 10.7 + n, events.CandidateEnded(candidate(id_, "6", wave=1))
        yield 10.7 + n, events.Scored(id_, Score("judge", 0.93 - n / 50))
    for id_ in range(10, 14):
        yield 11.8, events.Pruned(id_, "6 of 10 agree, estimate 0.94 ≥ 0.90", cancelled=True)
        ended = candidate(id_, None, finish=Finish.CANCELLED, wave=1, tokens=40)
        yield 11.8, events.CandidateEnded(ended)
    yield 11.9, events.Voted(final_classes(), 14)
    reason = "6 of 10 agree, estimate 0.94 ≥ 0.90: stop"
    yield 11.9, events.Decided("stop", reason, Estimate(0.94, 0.58, 3))
    yield 12.0, events.Spent(usage(1_084, 12.0))
    yield 12.0, events.RunEnded(result())


def final_classes() -> tuple[AnswerClass, ...]:
    return classes(("6", (0, 1, 3, 6, 8, 9), 5.3), ("4", (2, 7), 0.7), ("3.6", (5,), 0.1))


def result() -> Result:
    ends = [(0, "6"), (1, "6"), (2, "4"), (3, "6"), (4, None), (5, "3.6"), (6, "6"), (7, "4")]
    first = [
        candidate(i, text, wave=0, finish=Finish.LOOP if text is None else Finish.STOP)
        for i, text in ends
    ]
    second = [candidate(i, "6", wave=1).with_scores(Score("judge", 0.93)) for i in (8, 9)]
    gone = [candidate(i, None, finish=Finish.CANCELLED, wave=1, tokens=40) for i in range(10, 14)]
    return Result(
        answer=answer("6"),
        solution="".join(STEPS),
        winner=8,
        decided_by="vote",
        agreement=6 / 14,
        score=0.93,
        estimate=Estimate(0.94, 0.58, 3),
        stop_reason="6 of 10 agree, estimate 0.94 ≥ 0.90: stop",
        strategy="auto",
        candidates=(*first, *second, *gone),
        classes=final_classes(),
        usage=usage(1_084, 12.0),
    )


def branching() -> Iterator[Timed]:
    """A search over steps: branches of branches, most of them pruned."""
    yield from list(start())[:1]
    yield 0.1, events.WaveStarted(0, "beam", 4, "medium: search step by step")
    for i in range(4):
        yield 0.1, events.CandidateStarted(i, 0)
    parents = {4: 1, 5: 1, 6: 2, 7: 2, 8: 5, 9: 5, 10: 6, 11: 8, 12: 8, 13: 11}
    yield from _grow(0.2, range(4), 0, 12)
    for i in range(4):
        yield 1.5, events.Stepped(i, 0, STEPS[0], 12)
        yield 1.5, events.Scored(i, Score("judge", (0.31, 0.82, 0.74, 0.22)[i], step=0))
    for i in (0, 3):
        yield 1.6, events.Pruned(i, "step score among the lowest half")
    for id_, parent in parents.items():
        yield 1.7, events.CandidateStarted(id_, 1, parent)
    yield from _grow(1.8, [8, 9, 10, 12, 13], 4, 30)
    for id_ in (4, 7):
        yield 4.8, events.Pruned(id_, "step score among the lowest half")
    for id_ in (5, 6, 11):
        yield 4.8, events.Stepped(id_, 1, STEPS[1], 12)
    for id_, value in ((5, 0.88), (6, 0.61), (8, 0.9), (11, 0.93)):
        yield 4.8, events.Scored(id_, Score("judge", value, step=1))
    yield 4.9, events.Spent(usage(260, 4.9))


STORIES = {"start": start, "middle": middle, "whole": whole, "branching": branching}


def play(name: str, speed: float = 1.0) -> None:
    """Show a story in the live tree of this terminal: ``python tests/views/story.py whole``."""
    from ttc_cli.views.tree import LiveTree

    with LiveTree() as tree:
        last = 0.0
        for at, event in STORIES[name]():
            time.sleep(max(0.0, (at - last) / speed))
            last = at
            tree(event)


if __name__ == "__main__":
    play(*sys.argv[1:2] or ["whole"])
