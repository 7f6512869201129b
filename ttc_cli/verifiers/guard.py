"""A verifier of another package, so that its failure costs no more than its scores."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.engines.base import Session
from ttc_cli.errors import TtcError, UsageError
from ttc_cli.types import Problem, Score
from ttc_cli.verifiers.base import Leaf, Verifier


@dataclass(frozen=True, slots=True)
class GuardedVerifier:
    """``verifier`` of ``owner``. What it raises, or scores that are none, become ``UsageError``.

    Searches warn of that and go on without it.
    """

    verifier: Verifier
    owner: str
    name: str
    needs_branch: bool
    grades_steps: bool

    @staticmethod
    def wrap(verifier: Verifier, owner: str) -> GuardedVerifier:
        """Read its properties once.

        Raises:
            AttributeError: it lacks one.
        """
        return GuardedVerifier(
            verifier, owner, verifier.name, verifier.needs_branch, verifier.grades_steps
        )

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As the verifier."""
        return await self._check(self.verifier.score(session, problem, leaves), len(leaves))

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As the verifier."""
        return await self._check(self.verifier.score_steps(session, problem, leaves), len(leaves))

    async def leave(self, session: Session) -> None:
        """As the verifier; that it cannot clean up is no reason to lose the answer."""
        with contextlib.suppress(Exception):
            await self.verifier.leave(session)

    async def _check(
        self, scoring: Awaitable[list[Score | None]], count: int
    ) -> list[Score | None]:
        try:
            scores = list(await scoring)
            if len(scores) != count:
                raise ValueError(f"{len(scores)} scores for {count} candidates")
            for each in scores:
                if each is not None and not 0.0 <= each.value <= 1.0:
                    raise ValueError(f"a score of {each.value}, not in [0, 1]")
            # Scores are told apart by this name.
            return [each and replace(each, verifier=self.name) for each in scores]
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            raise UsageError(f"{self.owner} failed: {type(error).__name__}: {error}") from error
