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
from ttc_cli.errors import UsageError, suggest
from ttc_cli.types import Confidence, Problem, Score
from ttc_cli.verifiers.base import Leaf, StatelessVerifier, VerifierEntry, to_scores, to_step_scores

Statistic = Literal["tail", "mean", "group", "bottom", "lowest", "tail-group", "self-certainty"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

_SCALE = 10.0
"""Nats at which a group confidence or self-certainty scores 1 − 1/e."""


@dataclass(frozen=True, slots=True)
class ConfidenceVerifier(StatelessVerifier):
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
        return to_scores(self.name, [self._rate(leaf.candidate.confidence) for leaf in leaves])

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The same statistic over the last step's own tokens."""
        paths = [leaf.candidate.steps for leaf in leaves]
        values = [self._rate(steps[-1].confidence) if steps else None for steps in paths]
        return to_step_scores(self.name, values, leaves)

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


def read_statistic(argument: str | None) -> Statistic:
    """The statistic that ``confidence=argument`` asks for.

    Raises:
        UsageError: it is unknown.
    """
    for statistic in STATISTICS:
        if statistic == (argument or "tail"):
            return statistic
    hint = suggest(argument or "", STATISTICS, f"Choose one of {', '.join(STATISTICS)}.")
    raise UsageError(f"There is no confidence called {argument!r}.", hint)


CONFIDENCE = VerifierEntry(
    "confidence",
    lambda context, argument: ConfidenceVerifier(read_statistic(argument)),
    "how sure the model was of its own tokens",
    "steps and whole",
    "nothing",
    "[STATISTIC]",
    reads="sampling",
    check=read_statistic,
)
