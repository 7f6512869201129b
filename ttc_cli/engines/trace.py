"""What a candidate's draws show, on any engine: its confidence, and whether it repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ttc_cli.types import Confidence

Row = npt.NDArray[np.float32]

MARGIN = 14.0
"""Nats below the likeliest token beyond which none is looked at: odds under 1e-6."""
TOP = 20
WINDOW = 32
LOOP_STRIDE = 32
"""Tokens between two looks for repetition."""
BOTTOM = 0.1
"""DeepConf's bottom-10 % group confidence averages this share of the windows."""


@dataclass(slots=True)
class ConfidenceTrace:
    """Collects, token by token, what ``Confidence`` summarises at the end."""

    logprobs: list[float] = field(default_factory=list)
    groups: list[float] = field(default_factory=list)
    certainties: list[float] = field(default_factory=list)

    def add(self, tokens: npt.NDArray[np.int64], logits: Row, drawn: int) -> None:
        """Note one draw from the likely ``tokens`` with their ``logits``."""
        shifted = logits - logits.max()
        normaliser = float(np.log(np.exp(shifted).sum()))
        place = int(np.searchsorted(tokens, drawn))
        self.logprobs.append(float(shifted[place]) - normaliser)
        top = shifted if len(shifted) <= TOP else np.partition(shifted, -TOP)[-TOP:]
        # Tokens beyond the margin count with the margin's own log-probability: a lower bound.
        missing = TOP - len(top)
        total = float(top.sum()) - missing * MARGIN - TOP * normaliser
        self.groups.append(-total / TOP)

    def is_below(self, floor: float | None, window: int) -> bool:
        """Whether the mean token confidence of the last ``window`` draws is below ``floor``.

        False before there are so many draws, and without a floor.
        """
        if floor is None or len(self.groups) < window:
            return False
        return sum(self.groups[-window:]) / window < floor

    def summarise(self) -> Confidence | None:
        """The statistics over all draws noted, or None without any."""
        if not self.logprobs:
            return None
        logprobs, groups = np.array(self.logprobs), np.array(self.groups)
        window = min(WINDOW, len(groups))
        sliding = np.convolve(groups, np.full(window, 1 / window), mode="valid")
        tenth = max(1, round(len(sliding) * BOTTOM))
        lowest = sliding if tenth == len(sliding) else np.partition(sliding, tenth - 1)[:tenth]
        return Confidence(
            mean_logprob=float(logprobs.mean()),
            tail_logprob=float(logprobs[-WINDOW:].mean()),
            lowest_group=float(sliding.min()),
            tail_group=float(groups[-WINDOW:].mean()),
            mean_group=float(groups.mean()),
            bottom_group=float(lowest.mean()),
            certainty=float(np.mean(self.certainties)) if self.certainties else None,
        )


def repeats(tokens: Sequence[object], *, longest: int = 64, least: int = 64) -> bool:
    """Whether ``tokens`` ends in one phrase of up to ``longest`` tokens, said over and over.

    The repeated stretch must cover ``least`` tokens and three rounds, so that lists, tables and
    long sums, which repeat only in part, pass.
    """
    count = len(tokens)
    for period in range(1, longest + 1):
        span = max(least, 3 * period)
        if count < span + period:
            continue
        if tokens[-span:] == tokens[-span - period : -period]:
            return True
    return False
