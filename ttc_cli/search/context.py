"""What every strategy is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttc_cli.engines.base import Session
from ttc_cli.events import EventStream
from ttc_cli.ledger import Ledger
from ttc_cli.types import AnswerClass, Budget, Candidate, Estimate, Problem, Sampling
from ttc_cli.verifiers.base import Verifier

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer
    from ttc_cli.prompts import Chat
    from ttc_cli.search.sample import Pool


@dataclass(frozen=True, slots=True)
class SearchContext:
    """The world as a strategy sees it.

    ``problem.answer_type`` is resolved. ``samples`` is the N of a fixed strategy and the cap of an
    adaptive one; ``parallel`` is how many branches the engine grows at once. ``chat`` words what
    is said to the model after its turn; None where a search never does. ``pool`` holds the
    candidates of earlier waves, which a strategy adds to; None: it starts with none. ``overlaps``:
    scoring beside growing is faster than after it, as it is on two processors.
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
    chat: Chat | None = None
    pool: Pool | None = None
    overlaps: bool = False

    @property
    def budget(self) -> Budget:
        """The level and the hard caps."""
        return self.ledger.budget


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a strategy came to; ``run.solve`` makes a ``Result`` of it.

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


Strategy = Callable[[SearchContext], Awaitable[Outcome]]
