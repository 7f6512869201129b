"""Parallel and sequential sampling at a given ratio (Snell et al. 2024, arXiv 2408.03314, fig. 7).

The same N attempts can be N independent ones, one chain of N, or anything between; the paper finds
that easy questions do best all in sequence and hard ones at some ratio between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.strategies.revise import run_chains


@dataclass(frozen=True, slots=True)
class MixedKnobs:
    """How the samples are split.

    Attributes:
        ratio: attempts in sequence over chains in parallel (the paper's axis): of 16 samples 1
            makes 4 chains of 4, 4 makes 2 of 8, 0.25 makes 8 of 2.
        window: earlier attempts that stay in the context of the next; 0 is all.
        choose: how the answer is chosen over all attempts, as in ``revise``.
    """

    ratio: float = 1.0
    window: int = 4
    choose: Literal["vote", "verifier"] = "vote"

    def __post_init__(self) -> None:
        if not 0 < self.ratio < math.inf:
            raise ValueError("ratio is above 0")
        if self.window < 0:
            raise ValueError("window is not negative")


async def mixed(context: SearchContext, knobs: MixedKnobs = MixedKnobs()) -> Outcome:
    """``samples`` (N) attempts in P chains of L, P · L ≈ N and L / P ≈ ``ratio``."""
    chains = split_samples(context.samples, knobs.ratio)
    return await run_chains(context, chains, knobs.window, knobs.choose)


def split_samples(samples: int, ratio: float) -> int:
    """P for ``samples`` attempts at ``ratio`` in sequence to one in parallel: √(N / ratio)."""
    return min(samples, max(1, round(math.sqrt(samples / ratio))))
