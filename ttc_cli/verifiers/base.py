"""What a verifier is: something that scores candidates, or their steps, in [0, 1]."""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol, TypeVar

from ttc_cli.engines.base import Branch, Engine, Prompt, Session
from ttc_cli.errors import PromptTooLong, UsageError
from ttc_cli.prompts import Chat
from ttc_cli.types import Candidate, Problem, Role, Score

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A candidate, whole or in part, and the branch its tokens lie on (None once dropped)."""

    candidate: Candidate
    branch: Branch | None


class Verifier(Protocol):
    """Scores candidates. Knows nothing of the search that grew them.

    ``session`` is the one that grew them. A verifier with a model of its own opens a session of
    its own when it is first asked about it, books on ``session.meter`` as ``Role.VERIFIER``, and
    closes it in ``leave``. One object may serve several questions at once: what it remembers, it
    remembers by session.
    """

    @property
    def name(self) -> str:
        """Its name in scores, events and on the command line."""

    @property
    def needs_branch(self) -> bool:
        """Whether it reads on from the candidate's branch, which must then be kept."""

    @property
    def grades_steps(self) -> bool:
        """Whether ``score_steps`` works: whether it can guide a step-wise search."""

    @property
    def reads_states(self) -> bool:
        """Whether it reads pooled hidden states alone, which cost nothing as a branch grows.

        Branches are then grown with ``Grow.pool``, and each candidate is scored as it ends.
        """

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """One score of the whole for each leaf, in their order; compute is booked by the engine.

        It may be ``Graded``, of a leaf that was grown in one go.
        None where it cannot tell, or where a cap or an interruption came first.

        Raises:
            UsageError: the engine's vocabulary or its abilities do not fit this verifier.
        """

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The process score of the last of ``candidate.steps`` of each leaf; else as ``score``.

        ``Score.step`` is that step's place on the path. Steps before it may have been scored
        already, for this leaf or for one that shares them: they are not paid for again.
        """

    async def leave(self, session: Session) -> None:
        """The question is over: forget it, and close what was opened for it."""


class StatelessVerifier:
    """For verifiers that remember nothing about a question."""

    reads_states = False

    async def leave(self, session: Session) -> None:
        """Nothing is held."""


class OpenedForQuestion(Protocol):
    """What a verifier keeps for one question."""

    @property
    def session(self) -> Session:
        """The verifier's own."""


T = TypeVar("T", bound=OpenedForQuestion)


class OpeningVerifier(Generic[T]):
    """For verifiers that read on ``engine``, in a session of their own for each question.

    ``opened`` is what they keep, by the session that grew the candidates.
    """

    needs_branch = False
    grades_steps = True
    reads_states = False

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self.opened: dict[Session, T] = {}

    async def open_own(
        self, session: Session, prompt: Prompt, engine: Engine | None = None
    ) -> Session:
        """A session on ``prompt``, of ``engine`` or its own, booked on the meter of ``session``.

        Raises:
            UsageError: the prompt is too long.
        """
        try:
            engine = engine or self.engine
            return await engine.open(prompt, session.meter, role=Role.VERIFIER)
        except PromptTooLong as error:
            message = f"The question is too long for {self.name}: {error.message}"
            raise UsageError(message) from error

    async def leave(self, session: Session) -> None:
        """Close what was opened for ``session``."""
        opened = self.opened.pop(session, None)
        if opened is not None:
            await opened.session.close()


class WholeVerifier(StatelessVerifier):
    """For verifiers that score whole candidates only, by their text, and remember nothing."""

    needs_branch = False
    grades_steps = False

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """No process scores."""
        return [None] * len(leaves)


class WrappedVerifier:
    """As ``verifier``, but for what a subclass makes of its scores in ``_pass_on``."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self.name = verifier.name
        self.needs_branch = verifier.needs_branch
        self.grades_steps = verifier.grades_steps
        self.reads_states = getattr(verifier, "reads_states", False)  # newer than other packages

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As the verifier."""
        return await self._pass_on(self.verifier.score(session, problem, leaves), len(leaves))

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As the verifier."""
        return await self._pass_on(self.verifier.score_steps(session, problem, leaves), len(leaves))

    async def leave(self, session: Session) -> None:
        """As the verifier."""
        await self.verifier.leave(session)

    async def _pass_on(
        self, scoring: Awaitable[list[Score | None]], count: int
    ) -> list[Score | None]:
        """The ``count`` scores that ``scoring`` comes to."""
        return await scoring


class WeightedVerifier(WrappedVerifier):
    """``verifier``, whose scores count ``weight`` times beside those of others.

    A weight of 0 only shows them: it guides nothing, and the whole alone is scored.
    """

    def __init__(self, verifier: Verifier, weight: float) -> None:
        super().__init__(verifier)
        self.weight = weight
        self.grades_steps = weight > 0 and verifier.grades_steps

    async def _pass_on(
        self, scoring: Awaitable[list[Score | None]], count: int
    ) -> list[Score | None]:
        return [each and replace(each, weight=self.weight) for each in await scoring]


CHECK_SECONDS = 10.0
"""Time limit of one ``--check``, unless the user sets another."""


@dataclass(frozen=True, slots=True)
class VerifierContext:
    """What verifiers are made from.

    ``chat`` speaks to the generator, ``engine`` is its own. ``load`` gives the engine of another
    model by its name; the generator's where it is the same file, so that nothing is loaded twice.
    ``fingerprint`` gives the sha256 of the generator's file. A ``--check`` may take
    ``check_seconds``, in ``sandbox`` (as ``find_sandbox`` says), ``parallel`` at once;
    ``stopped`` ends those under way when it is set.
    """

    chat: Chat
    load: Callable[[str], Engine] | None = None
    engine: Engine | None = None
    fingerprint: Callable[[], str] | None = None
    check_seconds: float = CHECK_SECONDS
    sandbox: str | None = None
    parallel: int = 1
    stopped: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class VerifierEntry:
    """A verifier as ``ttc verifiers list`` shows it.

    ``argument`` is what may stand after ``=``, in brackets where it may be left out; ``check``
    raises ``UsageError`` for one that is plainly wrong, before any model is loaded. ``reads``: the
    candidate's text, or how it was drawn (which a planted solution cannot show).
    """

    name: str
    make: Callable[[VerifierContext, str | None], Verifier]
    summary: str
    scores: str
    cost: str
    argument: str | None = None
    reads: Literal["text", "sampling"] = "text"
    check: Callable[[str | None], object] | None = None


def to_scores(
    name: str, values: Sequence[float | None], remarks: Sequence[str] | None = None
) -> list[Score | None]:
    """``values`` of whole candidates as scores of the verifier ``name``, with its ``remarks``."""
    said = remarks or [""] * len(values)
    return [
        None if value is None else Score(name, value, remark=remark)
        for value, remark in zip(values, said, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Graded(Score):
    """A score of the whole that also tells what ``steps`` are worth, in their order.

    For candidates that were grown in one go: what a verifier knows of their steps on the way to
    the whole is shown, and counts in no vote.
    """

    steps: tuple[float, ...] = ()

    def part(self) -> tuple[Score, ...]:
        """The score of each step, and last that of the whole."""
        whole = Score(self.verifier, self.value, None, self.weight, self.remark)
        places = enumerate(self.steps)
        return *(replace(whole, value=each, step=at, remark="") for at, each in places), whole


def to_step_scores(
    name: str,
    values: Sequence[float | None],
    leaves: Sequence[Leaf],
    remarks: Sequence[str] | None = None,
) -> list[Score | None]:
    """``values`` of the last step of each of ``leaves``, as ``to_scores``."""
    return [
        score and replace(score, step=len(leaf.candidate.steps) - 1)
        for leaf, score in zip(leaves, to_scores(name, values, remarks), strict=True)
    ]


def split_steps(candidate: Candidate) -> tuple[str, ...]:
    """The steps that it was grown in, or else what lies between its blank lines.

    Blanks around a step, blank steps and thoughts are left out.
    """
    parts = [step.text for step in candidate.steps] or [candidate.text]
    kept, thought = [], candidate.thought
    for part in parts:
        kept.append(part[thought:])
        thought = max(0, thought - len(part))
    if not candidate.steps:
        kept = _BLANK_LINE.split(kept[0])
    return tuple(text for part in kept if (text := part.strip()))


def share_of_first(row: Sequence[float]) -> float | None:
    """Softmax over two labels: P(first) / (P(first) + P(second)).

    None where the row was not read or holds neither.
    """
    total = sum(row)
    return row[0] / total if total > 0 else None
