"""Confidence: how sure the model was of its own tokens. Free: sampling read the logits already.

All but self-certainty come from the few likeliest tokens that sampling looks at anyway;
self-certainty needs the whole row, and the engine notes it only where it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ttc_cli.engines.base import Session
from ttc_cli.errors import UsageError
from ttc_cli.types import Confidence, Problem, Score
from ttc_cli.verifiers.base import Leaf

Statistic = Literal["tail", "mean", "group", "bottom", "lowest", "tail-group", "self-certainty"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

_SCALE = 10.0
"""Nats at which a group confidence or self-certainty scores 1 − 1/e."""


@dataclass(frozen=True, slots=True)
class ConfidenceVerifier:
    """Scores a candidate by a statistic of the distributions it was drawn from.

    Each statistic is mapped into [0, 1] monotonically; only the ranking carries meaning.

    * ``tail`` (the default): exp(mean log-probability of the last 32 tokens), the geometric mean
      of their probabilities; ``mean``: the same over all tokens. As an arg-max ``mean`` has
      been measured worse than a majority vote: fluent wrong solutions are common.
    * DeepConf's group confidences c ≥ 0 in nats (Fu et al. 2025, arXiv 2508.15260), as
      1 − exp(−c / 10), so that c = 10 gives 0.63: ``group`` over all tokens, ``tail-group`` over
      the last 32, ``lowest`` the least confident window, ``bottom`` the mean of the least
      confident tenth of the windows. Windows have 32 tokens, not DeepConf's 2,048: small models'
      traces are short.
    * ``self-certainty``: −(1/nV) Σ log(V·p) (Kang et al. 2025, arXiv 2502.18581), as
      1 − exp(−c / 10) too.

    Raises ``UsageError`` when scoring by ``self-certainty`` on an engine that was not asked to
    note it.
    """

    statistic: Statistic = "tail"
    needs_branch: bool = False
    grades_steps: bool = True

    @property
    def name(self) -> str:
        """``confidence``, with its statistic unless that is the default."""
        return "confidence" if self.statistic == "tail" else f"confidence={self.statistic}"

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """As ``Verifier.score``; None where the engine reads no logits."""
        values = [self._rate(leaf.candidate.confidence) for leaf in leaves]
        return [None if value is None else Score(self.name, value) for value in values]

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The same statistic over the last step's own tokens."""
        found: list[Score | None] = []
        for steps in (leaf.candidate.steps for leaf in leaves):
            value = self._rate(steps[-1].confidence) if steps else None
            found.append(None if value is None else Score(self.name, value, len(steps) - 1))
        return found

    async def leave(self, session: Session) -> None:
        """Nothing is held."""

    def _rate(self, confidence: Confidence | None) -> float | None:
        if confidence is None:
            return None
        value = rate(confidence, self.statistic)
        if value is None:
            raise UsageError(
                f"This engine, or what it recorded, does not tell {self.name}.",
                "--verifier confidence",
            )
        return value


def rate(confidence: Confidence, statistic: Statistic = "tail") -> float | None:
    """The score in [0, 1] of ``confidence``, as ``ConfidenceVerifier`` says; None if unknown."""
    if statistic in ("tail", "mean"):
        logprob = confidence.tail_logprob if statistic == "tail" else confidence.mean_logprob
        return min(1.0, math.exp(logprob))
    nats = {
        "group": confidence.mean_group,
        "bottom": confidence.bottom_group,
        "lowest": confidence.lowest_group,
        "tail-group": confidence.tail_group,
        "self-certainty": confidence.certainty,
    }[statistic]
    return None if nats is None else max(0.0, 1.0 - math.exp(-nats / _SCALE))
