"""The judge: the generator itself is asked whether its candidate is right.

The question goes onto a fork of the candidate's own KV, so that nothing but the question is read
(some 30 tokens a candidate), and the answer is one row of logits: score = P(yes) / (P(yes) +
P(no)), each summed over case and leading space. GenRM's direct format (Zhang et al. 2024,
arXiv 2408.15240) without training.

Small models say yes to nearly everything (measured: mean 0.87 to 0.95 at 1.5B, AUC 0.61): only the
ranking of the scores carries meaning until a calibration has tested it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ttc_cli.engines.base import Prompt, ScoreRow, Session
from ttc_cli.prompts import JUDGE_QUESTION, JUDGE_STEP_QUESTION, Chat
from ttc_cli.types import Problem, Score
from ttc_cli.verifiers.base import (
    Leaf,
    StatelessVerifier,
    VerifierEntry,
    share_of_first,
    to_scores,
    to_step_scores,
)

YES = ("Yes", " Yes", "yes", " yes")
NO = ("No", " No", "no", " no")


class JudgeVerifier(StatelessVerifier):
    """Scores candidates by the generator's own yes or no."""

    name = "judge"
    needs_branch = True
    grades_steps = True

    def __init__(self, chat: Chat) -> None:
        self._suffix = chat.follow_up(JUDGE_QUESTION)
        self._step_suffix = chat.follow_up(JUDGE_STEP_QUESTION)

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As ``Verifier.score``; one batch for all leaves, None for one whose branch is gone."""
        return to_scores(self.name, await self._ask(session, leaves, self._suffix))

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """Whether all is right so far, asked in the middle of the model's turn."""
        found = await self._ask(session, leaves, self._step_suffix)
        return to_step_scores(self.name, found, leaves)

    async def _ask(
        self, session: Session, leaves: Sequence[Leaf], suffix: Prompt
    ) -> list[float | None]:
        asked = [leaf for leaf in leaves if leaf.branch is not None]
        rows = [
            ScoreRow(leaf.branch, suffix, (YES, NO)) for leaf in asked if leaf.branch is not None
        ]
        read = await session.score(rows) if rows else []
        found = {
            leaf.candidate.id: share
            for leaf, row in zip(asked, read, strict=True)
            if (share := share_of_first(row)) is not None
        }
        return [found.get(leaf.candidate.id) for leaf in leaves]


JUDGE = VerifierEntry(
    "judge",
    lambda context, argument: JudgeVerifier(context.chat),
    "the generator says yes or no",
    "steps and whole",
    "some 30 tokens a score",
)
