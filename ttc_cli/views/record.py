"""A whole run looked back on: what each candidate wrote and when, the votes, the spending.

``look_back`` folds timed events. It keeps whole texts and times, which the live view does not;
all it knows of a candidate's state and scores comes from the same reducer, ``views.state``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ttc_cli import events
from ttc_cli.types import AnswerClass, Candidate, Estimate, Result, Score, Step
from ttc_cli.views import words
from ttc_cli.views.nodes import Node
from ttc_cli.views.state import ViewState, reduce

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

    ``steps`` leave out those it took over from its parent; ``thought`` is what it thought before
    it answered, and no part of them. ``level`` counts from 1 for those without a parent.
    """

    node: Node
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


@dataclass(frozen=True, slots=True)
class Stage:
    """What one model did; only a cascade has several. ``lives`` are in the order of the tree."""

    started: events.RunStarted | None
    began: float
    ended: float
    state: ViewState
    lives: tuple[Life, ...]
    votes: tuple[Vote, ...]
    spending: tuple[Spending, ...]
    moments: tuple[Moment, ...]
    result: Result | None

    @property
    def winner(self) -> int | None:
        """The candidate whose answer was the best of this stage."""
        return self.result.winner if self.result is not None else self.state.best

    def path(self, id_: int | None) -> list[Part]:
        """The steps that lead to the end of a candidate, those of its ancestors first."""
        by_id = {life.node.id: life for life in self.lives}
        parts: list[Part] = []
        upto = math.inf
        while id_ is not None and id_ in by_id and upto > 0:
            life = by_id.pop(id_)
            parts = [part for part in life.steps if part.number <= upto] + parts
            upto = min(upto, life.node.taken)
            id_ = life.node.parent
        return parts


@dataclass(frozen=True, slots=True)
class Record:
    """A run. ``result`` is None where it never ended; ``chosen`` is the stage that it is of."""

    stages: tuple[Stage, ...]
    result: Result | None
    chosen: int

    @property
    def question(self) -> str:
        """What was asked, whole."""
        started = self.stages[0].started
        return started.problem.text if started is not None else ""


def look_back(timed: Iterable[tuple[float, events.Event]]) -> Record:
    """The run that these events, with the second each came at, tell of. Never raises."""
    done: list[_Stage] = []
    result: Result | None = None
    now = 0.0
    for at, event in timed:
        now = max(now, min(at, _LONGEST)) if math.isfinite(at) else now
        if isinstance(event, events.RunStarted) or not done:
            done.append(_Stage(now))
        if isinstance(event, events.RunEnded):
            result = event.result
            if done[-1].result is not None:
                continue  # the end of a cascade: what its stages said already, and the sum
        done[-1].add(now, event)
    stages = tuple(stage.finish() for stage in done or [_Stage(0.0)])
    chosen = len(stages) - 1
    if result is not None:
        same = [n for n, s in enumerate(stages) if s.result and _is_of(result, s.result)]
        chosen = same[-1] if same else chosen
    return Record(stages, result, chosen)


def _is_of(whole: Result, stage: Result) -> bool:
    return whole.candidates == stage.candidates and whole.winner == stage.winner


@dataclass(slots=True)
class _Stage:
    """Collects the events of one model's run."""

    began: float
    now: float = 0.0
    started: events.RunStarted | None = None
    state: ViewState = field(default_factory=ViewState)
    born: dict[int, float] = field(default_factory=dict)
    died: dict[int, float] = field(default_factory=dict)
    stepped: dict[int, list[tuple[float, Step]]] = field(default_factory=dict)
    grown: dict[int, list[str]] = field(default_factory=dict)
    candidates: dict[int, Candidate] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)
    spending: list[Spending] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    result: Result | None = None

    def add(self, now: float, event: events.Event) -> None:
        self.now = now
        self.state = reduce(self.state, event, now)
        match event:
            case events.RunStarted():
                self.started = event
            case events.CandidateStarted():
                self.born.setdefault(event.id, now)
            case events.Grew():
                for id_, text in event.texts.items():
                    self.grown.setdefault(id_, []).append(text)
                self._spend()
            case events.Stepped():
                step = Step(event.text, event.tokens)
                self.stepped.setdefault(event.id, []).append((now, step))
                self.grown.pop(event.id, None)
            case events.CandidateEnded():
                self.candidates[event.candidate.id] = event.candidate
                self.died[event.candidate.id] = now
            case events.Voted():
                if not self.votes or self.votes[-1][1:] != (event.classes, event.total):
                    self.votes.append(Vote(now, event.classes, event.total))
            case events.Spent():
                self._spend()
            case events.RunEnded():
                self.result = event.result
                for candidate in event.result.candidates:
                    # Scores that came after its end are told here alone.
                    self.candidates[candidate.id] = candidate
                self._spend()
                self._tell(Moment(now, "end", "end", event.result.stop_reason))
            case events.Decided():
                self._tell(Moment(now, "decision", event.action, event.reason, event.estimate))
            case events.WaveStarted():
                self._begin_wave(event)
            case events.Warned():
                self._tell(Moment(now, "warning", "warning", event.message))
            case _:
                pass

    def _spend(self) -> None:
        spent = Spending(self.now, self.state.tokens, self.state.flops)
        if self.spending and self.spending[-1].at == self.now:
            self.spending.pop()
        self.spending.append(spent)

    def _settle(self) -> list[Spending]:
        """The spending as it turned out to be.

        Before the ledger first spoke, a token cost what it did then; and what was counted in
        between is no more than what the ledger says later.
        """
        first = next((each for each in self.spending if each.flops and each.tokens), None)
        settled: list[Spending] = []
        tokens, flops = math.inf, math.inf
        for at, counted, cost in reversed(self.spending):
            if first is not None and not cost:
                cost = counted * first.flops / first.tokens
            tokens, flops = min(tokens, counted), min(flops, cost)
            settled.append(Spending(at, int(tokens), flops))
        return settled[::-1]

    def _tell(self, moment: Moment) -> None:
        last = self.moments[-1] if self.moments else None
        if last is not None and moment.kind == "end" and last.text == moment.text:
            return  # the decision to stop said so
        self.moments.append(moment)

    def _begin_wave(self, event: events.WaveStarted) -> None:
        last = self.moments[-1] if self.moments else None
        sampled = event.strategy == "sample"
        title = f"wave {event.wave + 1}" if sampled else event.strategy
        text = event.reason or words.plural(event.samples, "sample")
        if last is not None and last.kind == "decision" and last.text == event.reason:
            self.moments[-1] = last._replace(title=title)
            return
        moment = Moment(self.now, "wave", title, text)
        if last is not None and not sampled and (last.kind, last.title) == ("wave", title):
            self.moments[-1] = last._replace(rounds=(*last.rounds, moment))
        else:
            self.moments.append(moment)

    def finish(self) -> Stage:
        return Stage(
            self.started,
            self.began,
            self.now,
            self.state,
            tuple(self._live(*place) for place in _walk(self.state)),
            tuple(self.votes),
            tuple(self._settle()),
            tuple(self.moments),
            self.result,
        )

    def _live(self, node: Node, level: int, position: int, siblings: int, children: int) -> Life:
        steps = tuple(step for _, step in self.stepped.get(node.id, ()))
        text, thought = "".join(self.grown.get(node.id, ())), 0
        tokens = self.state.tails[node.id].tokens if node.id in self.state.tails else 0
        candidate = self.candidates.get(node.id)
        if candidate is not None:
            steps = candidate.steps[node.taken :]
            over = sum(len(step.text) for step in candidate.steps[: node.taken])
            text, thought = candidate.text[over:], max(0, candidate.thought - over)
            tokens = candidate.tokens
        elif text and steps:
            steps, text = (*steps, Step(text, 0)), ""
        thoughts, parts = _split(text, steps, thought)
        said: dict[int | None, list[Score]] = {}
        for score in node.scores:
            said.setdefault(score.step, []).append(score)
        path = node.path
        return Life(
            node,
            level,
            position,
            siblings,
            children,
            self.born.get(node.id, self.began),
            self.died.get(node.id, self.now),
            tuple(at for at, _ in self.stepped.get(node.id, ())),
            tokens,
            thoughts,
            tuple(
                Part(n + 1, each, path[n] if n < len(path) else None, tuple(said.get(n, ())))
                for n, each in enumerate(parts, node.taken)
            ),
        )


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


def _walk(state: ViewState) -> list[tuple[Node, int, int, int, int]]:
    """Every node as the tree shows it: level, place among siblings, their number, children."""
    children: dict[int | None, list[Node]] = {None: []}
    for id_ in sorted(state.nodes):
        node = state.nodes[id_]
        parent = node.parent if node.parent in state.nodes else None
        children.setdefault(parent, []).append(node)
    out: dict[int, tuple[Node, int, int, int, int]] = {}

    def place(siblings: list[Node], level: int) -> None:
        waiting = [(node, level, n, len(siblings)) for n, node in enumerate(siblings, 1)][::-1]
        while waiting:
            entry = waiting.pop()
            id_ = entry[0].id
            if id_ in out:
                continue
            below = children.get(id_, [])
            out[id_] = (*entry, len(below))
            waiting += [(node, entry[1] + 1, n, len(below)) for n, node in enumerate(below, 1)][
                ::-1
            ]

    place(children[None], 1)
    for id_ in sorted(state.nodes):  # what hangs in a circle has no root
        place([state.nodes[id_]], 1)
    return list(out.values())
