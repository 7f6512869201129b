"""The one stream of events that views, traces and logs read.

Every happening of a run is one small frozen value. Searches and policies emit; nothing reads
the stream to decide. ``Grew`` comes once per decode step from the engine's thread; all others
from the search. ``EventStream`` passes each on to its readers in order, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ttc_cli.types import (
    PROSE,
    AnswerClass,
    Budget,
    Candidate,
    Estimate,
    Problem,
    Result,
    Score,
    Usage,
)


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A search begins. ``parallel`` is how many branches can grow at once."""

    problem: Problem
    model: str
    strategy: str
    verifiers: tuple[str, ...]
    budget: Budget
    seed: int
    parallel: int


@dataclass(frozen=True, slots=True)
class WaveStarted:
    """A batch of work begins, and why."""

    wave: int
    strategy: str
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class CandidateStarted:
    """A candidate exists and waits or grows. ``parent`` is set for branches and revisions.

    ``steps`` is how many of its parent's steps it goes on from; 0 where it starts over.
    """

    id: int
    wave: int
    parent: int | None = None
    steps: int = 0
    form: str = PROSE


@dataclass(frozen=True, slots=True)
class Grew:
    """One decode step: the text each live candidate gained, by candidate id (often ``""``).

    ``live`` branches grow now, ``queued`` ones wait for a slot; ``kv_used`` of ``kv_cells``
    cells of the KV cache are taken.
    """

    texts: Mapping[int, str]
    live: int
    queued: int
    kv_used: int
    kv_cells: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """A candidate wrote its step number ``step`` (from 0 along its whole path) and pauses.

    Its process score, if any, follows as a ``Scored`` whose score has that ``step``.
    """

    id: int
    step: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class CandidateEnded:
    """A candidate stopped growing; ``candidate.finish`` says why."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Scored:
    """A verifier scored a candidate, or one step of it."""

    id: int
    score: Score


@dataclass(frozen=True, slots=True)
class Pruned:
    """The search dropped a candidate it had grown, and why (``cancelled`` if it was growing)."""

    id: int
    reason: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Voted:
    """The vote as it stands, greatest weight first. ``total`` counts all ended candidates."""

    classes: tuple[AnswerClass, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Decided:
    """The policy's decision in words: ``action`` is ``wave``, ``stop`` or ``cancel``."""

    action: str
    reason: str
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """The ledger after a change worth showing."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know that is not an error."""

    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The search is over."""

    result: Result


Event = (
    RunStarted
    | WaveStarted
    | CandidateStarted
    | Grew
    | Stepped
    | CandidateEnded
    | Scored
    | Pruned
    | Voted
    | Decided
    | Spent
    | Warned
    | RunEnded
)


@dataclass(slots=True)
class EventStream:
    """Hands each event to every reader, in order, from whichever thread emits it.

    Readers must return quickly and not raise.
    """

    readers: list[Callable[[Event], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def emit(self, event: Event) -> None:
        """Pass ``event`` on."""
        with self._lock:
            for reader in self.readers:
                reader(event)
