"""How far a difference on a sample of questions generalises: intervals and paired tests.

Questions are the independent draws; several runs of one question are averaged before they get
here. Resampling is over questions, both sides together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float64]

DRAWS = 4000
"""Bootstrap samples: the percentiles of two runs then agree to a tenth of the interval."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion in [0, 1] (Wilson 1927).

    ``count`` is the number of independent observations.
    """
    if count == 0:
        return 0.0, 1.0
    z = 1.959964  # the normal quantile
    square = z * z / count
    centre = share + square / 2
    spread = z * math.sqrt(max(0.0, share * (1 - share)) / count + square / (4 * count))
    return (
        max(0.0, (centre - spread) / (1 + square)),
        min(1.0, (centre + spread) / (1 + square)),
    )


@dataclass(frozen=True, slots=True)
class McNemar:
    """Questions that ``first`` alone and ``second`` alone got right; ``p`` is two-sided, exact."""

    first: int
    second: int
    p: float


def compare_pairs(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact test of two strategies on the same questions (McNemar 1947).

    Under the hypothesis that both are as good, each question that only one of them gets right is
    a fair coin: p is the binomial's two tails.
    """
    alone = sum(a and not b for a, b in zip(first, second, strict=True))
    other = sum(b and not a for a, b in zip(first, second, strict=True))
    total = alone + other
    tail = sum(math.comb(total, k) for k in range(min(alone, other) + 1)) / 2**total
    return McNemar(alone, other, min(1.0, 2 * tail))


def draw_weights(count: int, draws: int = DRAWS, seed: int = 0) -> Matrix:
    """``draws`` rows of weights of ``count`` questions drawn with replacement; each sums to 1."""
    import numpy as np

    counts = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=draws)
    return counts / count


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of ``values``, one a question (Efron 1979).

    For a paired difference give the differences.
    """
    import numpy as np

    if not len(values):
        return -math.inf, math.inf
    means = draw_weights(len(values), seed=seed) @ np.asarray(values, dtype=np.float64)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
