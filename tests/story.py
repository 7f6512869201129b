"""A run as a stream of timed events, the same at every call: what views are shown and tested on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from ttc_cli import events
from ttc_cli.types import (
    PROGRAM,
    PROSE,
    Answer,
    AnswerClass,
    AnswerType,
    Budget,
    Candidate,
    Confidence,
    Estimate,
    Execution,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Score,
    Step,
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
        agreeing=6,
        heard=10,
        score=0.93,
        estimate=Estimate(0.94, 0.58, 3),
        stop_reason="6 of 10 agree, estimate 0.94 ≥ 0.90: stop",
        strategy="auto",
        candidates=(*first, *second, *gone),
        classes=final_classes(),
        usage=usage(1_084, 12.0),
    )


BEAM_STEPS = (
    (STEPS[0], "Let d be the distance. Both trains travel d miles in the end.\n\n"),
    (STEPS[1], "The second train is 2 hours late, so it has travelled 90 × t + 180 miles.\n\n"),
    (STEPS[2], "We add the speeds, 60 + 90 = 150 miles an hour.\n\n"),
    (STEPS[3], "So t = 180 / 150 = 1.2. The final answer is \\boxed{1.2}."),
)


class _Search:
    """What a beam search of four beams, two of which survive a step, says of itself."""

    def __init__(self) -> None:
        self.at = 0.1
        self.steps: dict[int, tuple[Step, ...]] = {}
        self.scores: dict[int, tuple[Score, ...]] = {}
        self.parents: dict[int, tuple[int, int]] = {}
        self.waves: dict[int, int] = {}
        self.wave = 0
        self.spent = 0

    def start(self, id_: int, parent: int | None = None) -> Iterator[Timed]:
        taken = len(self.steps[parent]) if parent is not None else 0
        self.steps[id_] = self.steps[parent][:taken] if parent is not None else ()
        self.scores[id_] = self.scores[parent][: 2 * taken] if parent is not None else ()
        self.waves[id_] = self.wave
        if parent is not None:
            self.parents[id_] = (parent, taken)
        yield self.at, events.CandidateStarted(id_, self.wave, parent, taken)

    def announce(self, beams: int) -> Iterator[Timed]:
        reason = f"step {self.wave + 1}: {beams} beams"
        yield self.at, events.WaveStarted(self.wave, "beam", beams, reason)

    def grow(self, ids: list[int], wrong: set[int], part: float = 1.0) -> Iterator[Timed]:
        """A step of each, token by token, or its first ``part``."""
        written = {i: BEAM_STEPS[len(self.steps[i])][i in wrong].split(" ") for i in ids}
        longest = max(map(len, written.values()))
        for n in range(round(part * longest)):
            texts = {
                i: words[n] + (" " if n + 1 < len(words) else "")
                for i, words in written.items()
                if n < len(words)
            }
            self.spent += len(texts)
            yield self.at, events.Grew(texts, len(texts), 0, 160 + self.spent, 4096)
            self.at += 0.1

    def step(self, id_: int, *values: float, wrong: bool = False) -> Iterator[Timed]:
        """It paused, and was scored by the judge and by its confidence."""
        at = len(self.steps[id_])
        text = BEAM_STEPS[at][wrong]
        tokens = len(text.split(" "))
        self.steps[id_] += (Step(text, tokens),)
        if at < 3:
            yield self.at, events.Stepped(id_, at, text, tokens)
        for name, value in zip(("judge", "confidence"), values, strict=False):
            score = Score(name, value, at, 1.0 if name == "judge" else 0.5)
            self.scores[id_] += (score,)
            yield self.at, events.Scored(id_, score)

    def end(self, id_: int, finish: Finish, text: str | None = None) -> Iterator[Timed]:
        parent, taken = self.parents.get(id_, (None, 0))
        steps = self.steps[id_]
        ended = Candidate(
            id_,
            "".join(step.text for step in steps),
            sum(step.tokens for step in steps[taken:]),
            finish,
            answer(text) if text is not None else None,
            Confidence(-0.21, -0.1, 9.5, 14.0),
            self.scores[id_],
            self.waves[id_],
            parent,
            steps,
        )
        yield self.at, events.CandidateEnded(ended)

    def prune(self, *ids: int, of: int = 4) -> Iterator[Timed]:
        for id_ in ids:
            yield self.at, events.Pruned(id_, f"not among the best 2 of {of}")
            yield from self.end(id_, Finish.PRUNED)


def branching() -> Iterator[Timed]:
    """A search over steps in its fourth round: one beam has ended, three write their last step."""
    yield from _search(_Search())


def searched() -> Iterator[Timed]:
    """The same to its end."""
    search = _Search()
    ended: dict[int, Candidate] = {}
    for at, event in _search(search):
        if isinstance(event, events.CandidateEnded):
            ended[event.candidate.id] = event.candidate
        yield at, event
    for id_, text in ((1, "6"), (4, "1.2"), (8, "6")):
        yield from search.step(id_, 0.9 if text == "6" else 0.4, 0.8, wrong=text != "6")
        for at, event in search.end(id_, Finish.STOP, text):
            ended[event.candidate.id] = event.candidate
            yield at, event
    shares = classes(("6", (1, 6, 8), 2.6), ("1.2", (4,), 0.5))
    yield search.at, events.Voted(shares, len(ended))
    yield (
        search.at,
        events.RunEnded(
            Result(
                answer=answer("6"),
                solution=ended[1].text,
                winner=1,
                decided_by="vote",
                agreeing=3,
                heard=4,
                score=0.87,
                estimate=Estimate(0.91, 0.7, 2),
                stop_reason="4 beams asked for",
                strategy="beam",
                candidates=tuple(ended[id_] for id_ in sorted(ended)),
                classes=shares,
                usage=usage(search.spent, search.at),
            )
        ),
    )


def _search(search: _Search) -> Iterator[Timed]:
    problem = Problem(QUESTION, AnswerType.NUMBER)
    names = ("judge", "confidence")
    yield 0.0, events.RunStarted(problem, "qwen2.5-coder-1.5b", "beam", names, BUDGET, 7, 8)
    for i in range(4):
        yield from search.start(i)
    rounds = (
        # who grows, who is wrong, the judge's and the confidence's word, who is pruned, who forks
        ((0, 1, 2, 3), {0, 3}, (0.31, 0.82, 0.74, 0.22), (0.6, 0.9, 0.7, 0.5), (0, 3), (1, 2)),
        ((1, 2, 4, 5), {5}, (0.88, 0.51, 0.84, 0.33), (0.9, 0.8, 0.8, 0.6), (2, 5), (1, 4)),
        ((1, 4, 6, 7), {7}, (0.93, 0.79, 0.9, 0.12), (0.8, 0.7, 0.9, 0.5), (7,), (4,)),
    )
    new = 4
    for grown, wrong, judged, sure, pruned, forked in rounds:
        yield from search.announce(len(grown))
        yield from search.grow(list(grown), wrong)
        for id_, value, confidence in zip(grown, judged, sure, strict=True):
            if id_ != 6:
                yield from search.step(id_, value, confidence, wrong=id_ in wrong)
        if 6 in grown:  # it says two steps in one and ends
            text = STEPS[2].rstrip() + " " + STEPS[3]
            search.steps[6] += (Step(text, 30),)
            search.scores[6] += (Score("judge", 0.9, 2),)
            yield from search.end(6, Finish.STOP, "6")
            yield search.at, events.Scored(6, Score("judge", 0.9, 2))
        yield search.at, events.Spent(usage(search.spent, search.at))
        yield from search.prune(*pruned, of=len(grown))
        search.wave += 1
        for parent in forked:
            yield from search.start(new, parent)
            new += 1
    yield from search.announce(3)
    yield from search.grow([1, 4, 8], {4}, 0.6)


MEETING = (
    "speed_first = 60\nspeed_second = 90\nhead_start = 2\n\n"
    "# They meet when both have come as far.\n"
    "hours = speed_second * head_start / (speed_second - speed_first)\n"
    "print(int(hours))\n```"
)
FAILED = MEETING.replace("/ (speed_second", "/ (speed_2nd")
ERROR = "NameError: name 'speed_2nd' is not defined"


def program(id_: int, text: str, printed: str = "", error: str = "", **fields: Any) -> Candidate:
    """A candidate that wrote the program ``text`` (its closing fence included), which was run."""
    ran = Execution(f"{printed}\n" if printed else "", error, "monty")
    said = answer(printed) if printed else None
    sure = Confidence(-0.11, -0.1, 9.5, 14.0)
    return Candidate(
        id_, text, 88, Finish.STOP, said, sure, form=PROGRAM, ran=ran, **{"wave": 0, **fields}
    )


def mixed() -> Iterator[Timed]:
    """Programs beside prose: one failed and is mended, two more of each form are under way."""
    ended = [program(0, MEETING, "6"), candidate(1, "6"), program(2, FAILED, error=ERROR)]
    problem = Problem(QUESTION, AnswerType.NUMBER)
    yield 0.0, events.RunStarted(problem, "qwen2.5-coder-1.5b", "auto", (), BUDGET, 7, 8)
    reason = "probe: 3 candidates to see how hard this is; 2 programs and 1 in prose"
    yield 0.1, events.Decided("wave", reason)
    yield 0.1, events.WaveStarted(0, "sample", 3, reason)
    for each in ended:
        yield 0.1, events.CandidateStarted(each.id, 0, form=each.form)
    for each in ended:
        yield 3.0, events.CandidateEnded(each)
    yield 3.0, events.Voted(classes(("6", (0, 1), 2.0)), 3)
    yield 3.0, events.Spent(usage(280, 3.0))
    yield 3.1, events.WaveStarted(1, "mend", 1, "1 program failed: on behind what came of it")
    yield 3.1, events.CandidateStarted(3, 1, 2, form=PROGRAM)
    mended = f"{FAILED}\n\n```output\n{ERROR}\n```\n\n```python\n{MEETING}"
    yield 4.0, events.CandidateEnded(program(3, mended, "6", wave=1, parent=2))
    yield 4.1, events.WaveStarted(2, "sample", 4, "2 programs and 2 in prose more")
    for i in range(4, 8):
        yield 4.1, events.CandidateStarted(i, 2, form=PROGRAM if i < 6 else PROSE)
    lines = [word for line in MEETING.split("\n") for word in f"{line}\n".split(" ")]
    at = 4.2
    for step in range(18):
        texts = {i: lines[step] + " " * (lines[step][-1:] != "\n") for i in (4, 5)}
        yield at, events.Grew(texts | {6: WORDS[step] + " "}, 3, 1, 300 + 3 * step, 4096)
        at += 0.1


def agreed() -> Iterator[Timed]:
    """The same to its end, as the program and the prose agree."""
    ended: dict[int, Candidate] = {}
    for at, event in mixed():
        if isinstance(event, events.CandidateEnded):
            ended[event.candidate.id] = event.candidate
        yield at, event
    for i in range(4, 8):
        form = PROGRAM if i < 6 else PROSE
        ended[i] = Candidate(i, "", 0, Finish.CANCELLED, wave=2, form=form)
        yield 7.0, events.Pruned(i, "3 of 3 agree, program and prose", cancelled=True)
        yield 7.0, events.CandidateEnded(ended[i])
    votes = classes(("6", (0, 1, 3), 3.0))
    yield 7.0, events.Voted(votes, 8)
    reason = "3 of 3 agree, program and prose: stop"
    yield 7.0, events.Decided("stop", reason, Estimate(0.98, 0.9, 1))
    yield (
        7.1,
        events.RunEnded(
            Result(
                answer=answer("6"),
                solution=f"```python\n{MEETING}\n\n```output\n6\n```",
                winner=0,
                decided_by="vote",
                agreeing=3,
                heard=3,
                score=None,
                estimate=Estimate(0.98, 0.9, 1),
                stop_reason=reason,
                strategy="auto",
                candidates=tuple(ended[i] for i in sorted(ended)),
                classes=votes,
                usage=usage(400, 7.1),
            )
        ),
    )


STORIES = {
    "start": start,
    "middle": middle,
    "whole": whole,
    "branching": branching,
    "searched": searched,
    "mixed": mixed,
    "agreed": agreed,
}


def play(name: str, speed: float = 1.0) -> None:
    """Show a story in the live tree of this terminal: ``python tests/story.py whole``."""
    from ttc_cli.views.tree import LiveTree

    with LiveTree() as tree:
        last = 0.0
        for at, event in STORIES[name]():
            time.sleep(max(0.0, (at - last) / speed))
            last = at
            tree(event)


if __name__ == "__main__":
    play(*sys.argv[1:2] or ["whole"])
