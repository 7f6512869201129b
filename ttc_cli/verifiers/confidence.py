"""Confidence: how sure the model was of its own tokens. Free: sampling read the logits already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ttc_cli.engines.base import Session
from ttc_cli.types import Confidence, Problem, Score
from ttc_cli.verifiers.base import Leaf

Statistic = Literal["tail", "lowest_group", "tail_group"]


@dataclass(frozen=True, slots=True)
class ConfidenceVerifier:
    """Scores a candidate by a statistic of the distributions it was drawn from.

    Each statistic is mapped into [0, 1] monotonically; only the ranking carries meaning.

    * ``tail``: exp(mean log-probability of the last 32 tokens), the geometric mean of their
      probabilities.
    * ``lowest_group`` and ``tail_group``: DeepConf's group confidence c ≥ 0 in nats (Fu et al.
      2025, arXiv 2508.15260), as 1 − exp(−c / 10): c = 0 gives 0, c = 10 gives 0.63. Groups are
      windows of 32 tokens, not DeepConf's 2,048: small models' traces are short.

    The mean over the whole trace is not offered: measured, its arg-max is worse than a majority
    vote, because fluent wrong solutions are common.
    """

    statistic: Statistic = "tail"
    name: str = "confidence"
    needs_branch: bool = False
    grades_steps: bool = True

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As ``Verifier.score``; None where the engine reads no logits."""
        return [
            None
            if leaf.candidate.confidence is None
            else Score(self.name, rate(leaf.candidate.confidence, self.statistic))
            for leaf in leaves
        ]

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The same statistic over the last step's own tokens."""
        return [
            Score(self.name, rate(last.confidence, self.statistic), len(leaf.candidate.steps) - 1)
            if leaf.candidate.steps and (last := leaf.candidate.steps[-1]).confidence is not None
            else None
            for leaf in leaves
        ]

    async def leave(self, session: Session) -> None:
        """Nothing is held."""


def rate(confidence: Confidence, statistic: Statistic = "tail") -> float:
    """The score in [0, 1] of ``confidence``, as ``ConfidenceVerifier`` says."""
    if statistic == "tail":
        value = math.exp(confidence.tail_logprob)
    else:
        groups = {"lowest_group": confidence.lowest_group, "tail_group": confidence.tail_group}
        value = 1.0 - math.exp(-groups[statistic] / 10.0)
    return min(1.0, max(0.0, value))
