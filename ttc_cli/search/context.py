"""What every strategy receives, and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ttc_cli.answers import Comparer
from ttc_cli.engines.base import Branch, Prompt, Session
from ttc_cli.events import CandidateEnded, EventStream, Scored, Spent, WaveStarted
from ttc_cli.forms.base import FormEntry, Interpreter, Reading, Written
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerClass, Budget, Candidate, Estimate, Problem, Sampling, Score
from ttc_cli.verifiers.base import Leaf, Verifier


@dataclass(slots=True)
class Pool:
    """The candidates of a run so far, in the order in which they ended.

    ``halted`` says in words why no more can be grown: a cap, an interruption, a failure. ``waves``
    is the number of the wave that would come next. ``failed`` are the verifiers
    that are not asked again.
    """

    leaves: dict[int, Leaf] = field(default_factory=dict)
    started: int = 0
    halted: str | None = None
    interrupted: bool = False
    waves: int = 0
    failed: set[str] = field(default_factory=set)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that ended, by id."""
        return tuple(self.leaves[id].candidate for id in sorted(self.leaves))

    @property
    def answered(self) -> tuple[Candidate, ...]:
        """Those that stated an answer: the only ones that can win."""
        return tuple(each for each in self.candidates if each.answer is not None)


@dataclass(slots=True)
class Forms:
    """The forms that candidates of a run may have, by name; ``session`` was opened on the first.

    ``prompts`` are those of the others; each is read when it is first wanted. ``interpreter`` runs
    what candidates wrote. ``samplings`` say how those of a form are drawn where not as the run's;
    ``limits`` how many of a form there are at most, where that is less than the run's N.
    """

    session: Session
    entries: Mapping[str, FormEntry]
    prompts: Mapping[str, Prompt]
    interpreter: Interpreter
    samplings: Mapping[str, Sampling] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    _roots: dict[str, Branch] = field(default_factory=dict)

    @property
    def first(self) -> FormEntry:
        """The form of candidates that nobody asks another of."""
        return next(iter(self.entries.values()))

    async def find_root(self, name: str) -> Branch:
        """Where candidates of form ``name`` begin.

        Raises:
            PromptTooLong, EngineError: as ``Session.add_prompt``.
        """
        if name == self.first.name:
            return self.session.root
        if name not in self._roots:
            self._roots[name] = await self.session.add_prompt(self.prompts[name])
        return self._roots[name]

    async def read(self, name: str, written: Written) -> Reading:
        """What a candidate of form ``name`` answers; may run its program."""
        return await self.entries[name].read(written, self.interpreter)


@dataclass(frozen=True, slots=True)
class SearchContext:
    """The world as a strategy sees it.

    ``problem.answer_type`` is resolved. ``samples`` is the N of a fixed strategy and the cap of an
    adaptive one; ``parallel`` is how many branches the engine grows at once. ``chat`` words what
    is said to the model after its turn; None where that cannot be. ``overlaps``: scoring
    beside growing is faster than after it, as it is on two processors. ``pool`` holds the
    candidates of the run, which a strategy adds to. ``forms`` are those they may have.
    """

    problem: Problem
    session: Session
    ledger: Ledger
    events: EventStream
    comparer: Comparer
    verifiers: tuple[Verifier, ...]
    sampling: Sampling
    seed: int
    samples: int
    parallel: int
    forms: Forms
    chat: Chat | None = None
    pool: Pool = field(default_factory=Pool)
    overlaps: bool = False

    @property
    def budget(self) -> Budget:
        """The level and the hard caps."""
        return self.ledger.budget

    @property
    def reads_branches(self) -> bool:
        """Whether a verifier reads on from branches of candidates that ended: they are kept."""
        return any(each.needs_branch and not each.reads_states for each in self.verifiers)

    @property
    def pools_states(self) -> bool:
        """Whether a verifier reads the hidden states of what is grown."""
        return any(each.reads_states for each in self.verifiers)

    def find_sampling(self, form: str) -> Sampling:
        """How candidates of ``form`` are drawn."""
        return self.forms.samplings.get(form, self.sampling)

    def begin_wave(self, number: int, strategy: str, samples: int, reason: str) -> None:
        """Show that a wave begins: its number, from 0, and the reason in words."""
        self.pool.waves = max(self.pool.waves, number + 1)
        self.events.emit(WaveStarted(number, strategy, samples, reason))

    def show_spent(self) -> None:
        """Emit what the run has spent so far."""
        self.events.emit(Spent(self.ledger.usage()))

    def add_score(self, id: int, score: Score) -> None:
        """Show a score of candidate ``id``, and give it to the candidate if it has ended."""
        leaf = self.pool.leaves.get(id)
        if leaf is not None:
            self.pool.leaves[id] = replace(leaf, candidate=leaf.candidate.with_scores(score))
        self.events.emit(Scored(id, score))

    def free(self, id: int) -> None:
        """Drop the branch of a candidate of the pool, if it was kept."""
        leaf = self.pool.leaves[id]
        if leaf.branch is not None:
            self.session.drop([leaf.branch])
            self.pool.leaves[id] = replace(leaf, branch=None)

    def book(self, candidate: Candidate, branch: Branch | None) -> None:
        """Add a candidate that ended to the pool, with its branch if that was kept; show it."""
        self.pool.leaves[candidate.id] = Leaf(candidate, branch)
        self.events.emit(CandidateEnded(candidate))
        self.show_spent()


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a strategy came to; ``policy.run.solve`` makes a ``Result`` of it.

    ``heard`` candidates speak for or against the winner and ``agreeing`` of them for it; None: all
    that ``count_heard`` counts, and all members of its class.
    """

    candidates: tuple[Candidate, ...]
    classes: tuple[AnswerClass, ...]
    winner: Candidate | None
    decided_by: str
    stop_reason: str
    estimate: Estimate | None = None
    interrupted: bool = False
    heard: int | None = None
    agreeing: int | None = None


Strategy = Callable[[SearchContext], Awaitable[SearchOutcome]]


@dataclass(frozen=True, slots=True)
class StrategyEntry:
    """A strategy, one line on it, and what it needs.

    ``knobs`` is a dataclass of its own settings, which ``run`` takes as the keyword ``knobs``; its
    ``__post_init__`` raises ``ValueError`` for values that make no sense. ``verifies``: it asks
    verifiers. ``votes``: it counts answers, so that it cannot serve a free-form question.
    ``steps``: it pauses candidates at step boundaries and grows on from there. ``continues``: it
    goes on after candidates that have ended.
    """

    name: str
    run: Callable[..., Awaitable[SearchOutcome]]
    summary: str
    knobs: type[Any] | None = None
    verifies: bool = False
    votes: bool = False
    steps: bool = False
    continues: bool = False
