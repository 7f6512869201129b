"""The arithmetic verifier: recomputes the sums that a candidate writes out.

Small models slip in plain arithmetic (``105 - 40 - 20 = 55``), and a slip is seldom followed by a
right answer. Cobbe et al. 2021 (arXiv 2110.14168) gave the model a calculator while it wrote; here
what it wrote is read afterwards, which costs no tokens and works with any engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttc_cli.engines.base import Session
from ttc_cli.types import ARITHMETIC, Problem, Score
from ttc_cli.verifiers.arithmetic.sums import check_sums
from ttc_cli.verifiers.base import Leaf, StatelessVerifier, VerifierEntry

_SLIPS = 3
"""Wrong sums that a remark tells, the first ones: later ones often follow from them."""
_CHARACTERS = 200
"""Of one of them."""


@dataclass(frozen=True, slots=True)
class ArithmeticVerifier(StatelessVerifier):
    """1 where every sum that can be checked is right, 0 where one is not, with the wrong ones.

    No score where there is nothing to check: a solution without sums is neither better nor worse.
    """

    name: str = ARITHMETIC
    needs_branch: bool = False
    grades_steps: bool = True

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As ``Verifier.score``; costs no tokens."""
        return [self._score(leaf.candidate.text[leaf.candidate.thought :], None) for leaf in leaves]

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The sums of the last step alone; a step without any is taken for right."""
        found: list[Score | None] = []
        for steps in (leaf.candidate.steps for leaf in leaves):
            found.append(
                self._score(steps[-1].text, len(steps) - 1) or Score(self.name, 1.0, len(steps) - 1)
                if steps
                else None
            )
        return found

    def _score(self, text: str, step: int | None) -> Score | None:
        sums = check_sums(text)
        if not sums:
            return None
        wrong = dict.fromkeys(str(slip) for slip in sums if slip is not None)
        remark = "\n".join(each[:_CHARACTERS] for each in list(wrong)[:_SLIPS])
        return Score(self.name, 0.0 if wrong else 1.0, step, remark=remark)


ARITHMETIC_CHECK = VerifierEntry(
    ARITHMETIC,
    lambda context, argument: ArithmeticVerifier(),
    "works out the sums that a candidate wrote",
    "steps and whole",
    "nothing",
)
