"""A whole run in retrospect: what each candidate wrote and when, the votes, the spending.

``look_back`` folds timed events. It keeps whole texts and times, which the live view does not;
all it knows of a candidate's state and scores comes from the same reducer, ``views.state``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ttc_cli import events
from ttc_cli.forms.passages import Passage, part_program
from ttc_cli.types import AnswerClass, Candidate, Estimate, Result, Score, Step
from ttc_cli.views import words
from ttc_cli.views.nodes import TreeNode, climb, group_by_step
from ttc_cli.views.state import Tail, ViewState, reduce

_LONGEST = 1e9
"""Seconds of a run at most: what is later was not written by a clock."""


class Part(NamedTuple):
    """A step of one candidate: its number from 1 along the whole path, and what was said of it."""

    number: int
    text: str
    value: float | None
    """The process score, joined over verifiers."""
    scores: tuple[Score, ...]


class Life(NamedTuple):
    """One candidate: its state, its own text, and when it lived (seconds of the run).

    ``steps`` leave out those it took over from its parent, and a program has none; ``thought`` is
    what it thought before it answered, and no part of them. ``level`` counts from 1 for those
    without a parent.
    """

    node: TreeNode
    level: int
    position: int
    """Its place among its siblings, from 1, of ``siblings``."""
    siblings: int
    children: int
    began: float
    ended: float
    stepped: tuple[float, ...]
    tokens: int
    thought: str
    steps: tuple[Part, ...]
    passages: tuple[Passage, ...]
    """A program and what came of it, in place of steps; of another form what came of it."""


class Vote(NamedTuple):
    """The vote as it stood from second ``at`` on, out of ``total`` candidates."""

    at: float
    classes: tuple[AnswerClass, ...]
    total: int


class Spending(NamedTuple):
    """Tokens that all models sampled, and their floating-point operations, at second ``at``."""

    at: float
    tokens: int
    flops: float


class Moment(NamedTuple):
    """Something that was decided, begun or warned of.

    ``kind`` is ``decision``, ``wave``, ``warning`` or ``end``.
    ``rounds`` are further rounds of the same search right after it.
    """

    at: float
    kind: str
    title: str
    text: str
    estimate: Estimate | None = None
    rounds: tuple[Moment, ...] = ()


@dataclass
class StageRecord:
    """What one model did, once all its events were added; only a cascade has several."""

    began: float
    ended: float = 0.0
    started: events.RunStarted | None = None
    state: ViewState = field(default_factory=ViewState)
    votes: list[Vote] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    result: Result | None = None
    _spent: list[Spending] = field(default_factory=list)
    _born: dict[int, float] = field(default_factory=dict)
    _died: dict[int, float] = field(default_factory=dict)
    _stepped: dict[int, list[tuple[float, Step]]] = field(default_factory=dict)
    _grown: dict[int, list[str]] = field(default_factory=dict)
    _candidates: dict[int, Candidate] = field(default_factory=dict)

    @property
    def winner(self) -> int | None:
        """The candidate whose answer was the best of this stage."""
        return self.result.winner if self.result is not None else self.state.best

    def passages(self, id_: int | None) -> tuple[Passage, ...]:
        """A candidate's program and what came of it; nothing without one."""
        return next((life.passages for life in self.lives if life.node.id == id_), ())

    def path(self, id_: int | None) -> list[Part]:
        """The steps that lead to the end of a candidate, those of its ancestors first."""
        lives = {life.node.id: life for life in self.lives}
        parts: list[Part] = []
        for node, upto in climb(self.state.nodes, id_):
            parts = [part for part in lives[node.id].steps if part.number <= upto] + parts
        return parts

    @cached_property
    def lives(self) -> list[Life]:
        """The candidates, in the order of the tree."""
        nodes = [node for _, node in sorted(self.state.nodes.items())]
        children: dict[int | None, list[TreeNode]] = {None: []}
        for node in nodes:
            parent = node.parent if node.parent in self.state.nodes else None
            children.setdefault(parent, []).append(node)
        lives: dict[int, Life] = {}
        waiting: list[tuple[TreeNode, int, int, int]] = []

        def await_turn(siblings: list[TreeNode], level: int) -> None:
            turns = [(node, level, n, len(siblings)) for n, node in enumerate(siblings, 1)]
            waiting.extend(reversed(turns))

        for roots in (children[None], *([node] for node in nodes)):  # a circle has no root
            await_turn(roots, 1)
            while waiting:
                node, level, position, siblings = waiting.pop()
                if node.id not in lives:
                    below = children.get(node.id, [])
                    lives[node.id] = self._tell(node, level, position, siblings, len(below))
                    await_turn(below, level + 1)
        return list(lives.values())

    @cached_property
    def spending(self) -> list[Spending]:
        """The spending as it turned out to be.

        Before the ledger first spoke, a token cost what it did then; and what was counted in
        between cannot exceed what the ledger says later.
        """
        first = next((each for each in self._spent if each.flops and each.tokens), None)
        settled: list[Spending] = []
        tokens, flops = math.inf, math.inf
        for at, counted, cost in reversed(self._spent):
            if first is not None and not cost:
                cost = counted * first.flops / first.tokens
            tokens, flops = min(tokens, counted), min(flops, cost)
            settled.append(Spending(at, int(tokens), flops))
        return settled[::-1]

    def add(self, now: float, event: events.Event) -> None:
        """Take in ``event``, which came at second ``now``."""
        self.ended = now
        self.state = reduce(self.state, event, now)
        match event:
            case events.RunStarted():
                self.started = event
            case events.CandidateStarted():
                self._born.setdefault(event.id, now)
            case events.Grew():
                for id_, text in event.texts.items():
                    self._grown.setdefault(id_, []).append(text)
                self._spend()
            case events.Stepped():
                step = Step(event.text, event.tokens)
                self._stepped.setdefault(event.id, []).append((now, step))
                self._grown.pop(event.id, None)
            case events.CandidateEnded():
                self._candidates[event.candidate.id] = event.candidate
                self._died[event.candidate.id] = now
            case events.Voted():
                if not self.votes or self.votes[-1][1:] != (event.classes, event.total):
                    self.votes.append(Vote(now, event.classes, event.total))
            case events.Spent():
                self._spend()
            case events.RunEnded():
                self.result = event.result
                for candidate in event.result.candidates:
                    # Scores that came after its end are told here alone.
                    self._candidates[candidate.id] = candidate
                self._spend()
                reason = event.result.stop_reason
                if not self.moments or self.moments[-1].text != reason:  # the decision to stop
                    self.moments.append(Moment(now, "end", "end", reason))
            case events.Decided():
                self.moments.append(
                    Moment(now, "decision", event.action, event.reason, event.estimate)
                )
            case events.WaveStarted():
                self._begin_wave(event)
            case events.Warned():
                self.moments.append(Moment(now, "warning", "warning", event.message))
            case _:
                pass

    def _spend(self) -> None:
        if self._spent and self._spent[-1].at == self.ended:
            self._spent.pop()
        self._spent.append(Spending(self.ended, self.state.tokens, self.state.flops))

    def _begin_wave(self, event: events.WaveStarted) -> None:
        last = self.moments[-1] if self.moments else None
        sampled = event.strategy == "sample"
        title = f"wave {event.wave + 1}" if sampled else event.strategy
        moment = Moment(
            self.ended, "wave", title, event.reason or words.plural(event.samples, "sample")
        )
        if last is not None and last.kind == "decision" and last.text == event.reason:
            self.moments[-1] = last._replace(title=title)
        elif last is not None and not sampled and (last.kind, last.title) == ("wave", title):
            self.moments[-1] = last._replace(rounds=(*last.rounds, moment))
        else:
            self.moments.append(moment)

    def _tell(
        self, node: TreeNode, level: int, position: int, siblings: int, children: int
    ) -> Life:
        stepped = self._stepped.get(node.id, ())
        steps = tuple(step for _, step in stepped)
        text, thought = "".join(self._grown.get(node.id, ())), 0
        tokens = self.state.tails.get(node.id, Tail()).tokens
        candidate = self._candidates.get(node.id)
        if candidate is not None:
            steps = candidate.steps[node.taken :]
            over = sum(len(step.text) for step in candidate.steps[: node.taken])
            text, thought = candidate.text[over:], max(0, candidate.thought - over)
            tokens = candidate.tokens
        elif text and steps:
            steps, text = (*steps, Step(text, 0)), ""
        ran = candidate.ran if candidate is not None else None
        passages = part_program("", ran)
        if node.program and not steps:
            passages, text = part_program(text[thought:], ran), text[:thought]
        thoughts, parts = _split(text, steps, thought)
        said = group_by_step(node.scores)
        values = dict(enumerate(node.path))
        return Life(
            node=node,
            level=level,
            position=position,
            siblings=siblings,
            children=children,
            began=self._born.get(node.id, self.began),
            ended=self._died.get(node.id, self.ended),
            stepped=tuple(at for at, _ in stepped),
            tokens=tokens,
            thought=thoughts,
            steps=tuple(
                Part(n + 1, each, values.get(n), tuple(said.get(n, ())))
                for n, each in enumerate(parts, node.taken)
            ),
            passages=tuple(passages),
        )


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run. ``result`` is None where it never ended; ``chosen`` is the stage that it is of."""

    stages: tuple[StageRecord, ...]
    result: Result | None
    chosen: int

    @property
    def question(self) -> str:
        """What was asked, whole."""
        started = self.stages[0].started
        return started.problem.text if started is not None else ""


def look_back(timed: Iterable[tuple[float, events.Event]]) -> RunRecord:
    """The run that these events, with the second each came at, tell of. Never raises."""
    stages: list[StageRecord] = []
    result: Result | None = None
    now = 0.0
    for at, event in timed:
        now = max(now, min(at, _LONGEST)) if math.isfinite(at) else now
        if isinstance(event, events.RunStarted) or not stages:
            stages.append(StageRecord(now, now))
        if isinstance(event, events.RunEnded):
            result = event.result
            if stages[-1].result is not None:
                continue  # the end of a cascade: what its stages said already, and the sum
        stages[-1].add(now, event)
    stages = stages or [StageRecord(0.0)]
    chosen = len(stages) - 1
    for n, stage in enumerate(stages):
        own = stage.result
        if result and own and (result.candidates, result.winner) == (own.candidates, own.winner):
            chosen = n
    return RunRecord(tuple(stages), result, chosen)


def _split(text: str, steps: tuple[Step, ...], thought: int) -> tuple[str, list[str]]:
    """What was thought, and the steps of the rest: those the search made, else paragraphs."""
    if not steps:
        return text[:thought].strip(), words.paragraphs(text[thought:])
    if not thought:
        return "", [step.text for step in steps]
    # A thought counts as the beginning of the first steps: these keep their numbers.
    parts, left = [], thought
    for step in steps:
        parts.append(step.text[left:] if left < len(step.text) else "")
        left = max(0, left - len(step.text))
    return "".join(step.text for step in steps)[:thought].strip(), parts
