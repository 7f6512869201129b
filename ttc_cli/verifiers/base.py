"""What a verifier is: something that scores ended candidates in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ttc_cli.engines.base import Branch, Session
from ttc_cli.types import Candidate, Problem, Score


@dataclass(frozen=True, slots=True)
class Leaf:
    """A candidate that ended, and the branch its tokens lie on (None once it was dropped)."""

    candidate: Candidate
    branch: Branch | None


class Verifier(Protocol):
    """Scores candidates. Knows nothing of the search that grew them."""

    @property
    def name(self) -> str:
        """Its name in scores, events and on the command line."""

    @property
    def needs_branch(self) -> bool:
        """Whether it reads on from the candidate's branch, which must then be kept."""

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """One score of the whole for each leaf, in their order; compute is booked by the engine.

        None where it has nothing to go by, or where a cap or an interruption came first.

        Raises:
            UsageError: the engine's vocabulary or its abilities do not fit this verifier.
        """
