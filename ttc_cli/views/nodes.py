"""What a view knows about a candidate: its place, its steps, and their scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from ttc_cli.types import PROGRAM, PROSE, Answer, Confidence, Execution, Finish, Score, Step

STEP_CHARS = 400
"""Characters of a step's beginning that are kept."""


class Status(StrEnum):
    """Where a candidate stands."""

    QUEUED = "queued"
    GROWING = "growing"
    PAUSED = "paused"
    FINISHED = "finished"
    UNFINISHED = "unfinished"
    CANCELLED = "cancelled"
    PRUNED = "pruned"

    @property
    def word(self) -> str:
        """As people read it."""
        return "waiting" if self is Status.QUEUED else self.value


LIVE = (Status.GROWING, Status.PAUSED, Status.QUEUED)
"""Those that may still go on."""
SIGNS = {
    Status.QUEUED: "·",
    Status.GROWING: "▸",
    Status.PAUSED: "‖",
    Status.PRUNED: "×",
    Status.CANCELLED: "×",
}
"""They tell a status apart without colour; those that finished are told apart by their answer."""


class Written(NamedTuple):
    """A step that was written: the beginning of its text, its own tokens, whether it is thought."""

    text: str
    tokens: int
    thought: bool = False


class PathStep(NamedTuple):
    """A step of a path: its number from 1, what was written, and its process score."""

    number: int
    step: Written
    value: float | None


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One candidate in the tree. ``reason`` says why it was dropped, in the search's words.

    ``steps`` are those it wrote itself, after the first ``taken`` of its parent's. Everything
    about scores counts the whole path: a fork inherits what its parent had.
    """

    id: int
    wave: int = 0
    parent: int | None = None
    status: Status = Status.QUEUED
    reason: str = ""
    finish: Finish | None = None
    answer: Answer | None = None
    confidence: Confidence | None = None
    ahead: bool = False
    """Grown only to tell what its parent is worth."""
    sample: bool = True
    """Counts as a sample of the budget: a fork of one that has not ended replaces another."""
    taken: int = 0
    steps: tuple[Written, ...] = ()
    scores: tuple[Score, ...] = ()
    value: float | None = None
    """The number that stands for it: its score of the whole, else of its newest scored step."""
    path: tuple[float | None, ...] = ()
    """Process scores by step, joined over verifiers; None where a step has none."""
    newest: tuple[Score, ...] = ()
    """What each verifier said last: of the whole, else of the newest scored step."""
    form: str = PROSE
    ran: Execution | None = None
    """What its program came to: the last line that it printed, or its error, in part."""

    @property
    def failed(self) -> bool:
        """Whether its program was run and ended with an error."""
        return self.ran is not None and bool(self.ran.error)

    @property
    def program(self) -> bool:
        """Whether it is a program."""
        return self.form == PROGRAM

    @property
    def dropped(self) -> bool:
        """Whether the search gave it up."""
        return self.status in (Status.CANCELLED, Status.PRUNED)

    @property
    def depth(self) -> int:
        """Steps of its whole path; 0 where it grows in one go."""
        return self.taken + len(self.steps)

    @property
    def judged(self) -> bool:
        """Whether anything was said of it."""
        return self.value is not None or bool(self.newest)

    @property
    def stepwise(self) -> bool:
        """Whether its steps are known one by one."""
        return bool(self.steps or self.taken or self.path)


def write(steps: Iterable[Step], thought: int = 0) -> tuple[Written, ...]:
    """What is kept of ``steps``; the first ``thought`` characters of them are thinking."""
    out = []
    for step in steps:
        out.append(Written(step.text[:STEP_CHARS], step.tokens, 0 < len(step.text) <= thought))
        thought -= len(step.text)
    return tuple(out)


def cut_ran(ran: Execution | None) -> Execution | None:
    """What a row can show of ``ran``: the last line of what was printed, and of the error."""
    if ran is None:
        return None
    printed, error = (_find_last_line(text) for text in (ran.output, ran.error))
    return replace(ran, output=printed, error=error or ran.error[:1])


def _find_last_line(text: str) -> str:
    *_, last = ["", *text[-4 * STEP_CHARS :].rstrip().splitlines()]
    return last[:STEP_CHARS]


def hear(node: TreeNode, scores: Iterable[Score]) -> TreeNode:
    """``node`` with further scores; a verifier that scores the same again replaces its score."""
    known = {(score.verifier, score.step): score for score in (*node.scores, *scores)}
    by_step = group_by_step(known.values())
    whole = by_step.pop(None, [])
    numbered = {step: found for step, found in by_step.items() if step is not None}
    last = max(numbered, default=-1)
    # A step's number is whatever was said: a wrong one must not make a path of a million steps.
    path = tuple(join(numbered.get(i, ())) for i in range(min(last + 1, 1_000)))
    newest = whole or numbered.get(last, [])
    value = join(whole)
    if value is None:
        value = next((each for each in reversed(path) if each is not None), None)
    return replace(node, scores=tuple(known.values()), value=value, path=path, newest=tuple(newest))


def group_by_step(scores: Iterable[Score]) -> dict[int | None, list[Score]]:
    """Scores by the step that they are of; None is the whole."""
    groups: dict[int | None, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.step, []).append(score)
    return groups


def join(scores: Sequence[Score]) -> float | None:
    """One number of what several verifiers said of the same: their mean by weight, as in a vote.

    None where none of them counts.
    """
    heard = [s for s in scores if s.weight > 0 and math.isfinite(s.value)]
    total = sum(s.weight for s in heard)
    value = sum(s.value * s.weight for s in heard) / total if total > 0 else math.nan
    return value if math.isfinite(value) else None


def inherit(node: TreeNode, parent: TreeNode, taken: int) -> TreeNode:
    """``node`` as a fork that goes on from the first ``taken`` steps of ``parent``.

    Forks that go on belong to a later wave than their parent; one of the same wave looks ahead.
    """
    scores = [s for s in parent.scores if s.step is not None and s.step < taken]
    live = parent.status in LIVE
    ahead = live and node.wave == parent.wave
    node = hear(replace(node, taken=taken, ahead=ahead, sample=not live), scores)
    if node.value is None and live:
        node = replace(node, value=parent.value)  # as a look-ahead told it
    return node


def find_ancestors(nodes: Mapping[int, TreeNode], id_: int | None) -> Iterator[TreeNode]:
    """The candidate ``id_`` and those it came from, nearest first; each once, even in a circle."""
    seen: set[int] = set()
    while id_ is not None and id_ in nodes and id_ not in seen:
        seen.add(id_)
        yield nodes[id_]
        id_ = nodes[id_].parent


def climb(nodes: Mapping[int, TreeNode], id_: int | None) -> Iterator[tuple[TreeNode, float]]:
    """The candidates whose steps make up the path of ``id_``, itself first.

    With each comes how many of the path's steps, counted from its beginning, are its own and its
    ancestors'.
    """
    upto = math.inf
    for node in find_ancestors(nodes, id_):
        if upto:
            yield node, upto
        upto = min(upto, node.taken)


def trace(nodes: Mapping[int, TreeNode], id_: int) -> list[PathStep]:
    """The steps of the path that ends in ``id_``, those it took over from others first."""
    marks: list[PathStep] = []
    for node, upto in climb(nodes, id_):
        values = nodes[id_].path
        own = [
            PathStep(at + 1, step, values[at] if at < len(values) else None)
            for at, step in enumerate(node.steps, node.taken)
            if at < upto
        ]
        marks = own + marks
    return marks
