"""Particle filtering over steps (Puri et al. 2025, arXiv 2502.01618).

N particles write a step each; then the N places are redrawn among them, each in proportion to
its weight. A particle that is drawn several times goes on as often, one that is not drawn is
pruned. Beam search always keeps the best by a process score that may be wrong; here a doubtful
particle keeps a chance that fits its score.

The weight of a particle is the softmax of the log-odds of its score r, that is r / (1 − r), as in
the authors' its_hub, here with a temperature. Unlike there, a particle that has ended keeps its
place as a candidate, and only those that go on are redrawn.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.sample import derive_seed
from ttc_cli.search.steps import go_on, grow_by_steps
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.verifiers.aggregate import Aggregate

CLIP = 1e-6
"""Scores are held this far from 0 and 1, where log-odds have no end."""

Resampling = Literal["systematic", "multinomial"]
"""How places are drawn: by one draw and equal distances from it, or one by one (the paper)."""


@dataclass(frozen=True, slots=True)
class ParticleKnobs:
    """How particles are weighed and redrawn.

    Attributes:
        resampling: ``systematic`` varies least; ``multinomial`` is the paper's.
        temperature: of the softmax; small keeps the best alone, large draws evenly. 1 in the
            paper.
        depth: the most steps of a path; then it grows to its end.
        aggregate: how process scores along a path become one value.
    """

    resampling: Resampling = "systematic"
    temperature: float = 1.0
    depth: int = 40
    aggregate: Aggregate = "last"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError("temperature is above 0")
        if self.depth < 1:
            raise ValueError("depth is at least 1")


async def particle(context: SearchContext, knobs: ParticleKnobs) -> SearchOutcome:
    """``samples`` (N) particles; the answer is the vote weighted by their values."""
    tree = Tree(context, aggregate=knobs.aggregate)

    async def choose(particles: list[Partial], wave: int) -> list[Partial]:
        if tree.halted:
            return particles
        paused = [each for each in particles if each.finish is None]
        weights = weigh([tree.value(each) for each in paused], knobs.temperature)
        draw = random.Random(derive_seed(context.seed, "resample", wave - 1))
        counts = resample(weights, len(paused), draw, knobs.resampling)
        drawn = [(each, count) for each, count in zip(paused, counts, strict=True) if count]
        lost = [each for each, count in zip(paused, counts, strict=True) if not count]
        tree.prune(lost, f"not drawn: {len(drawn)} of {len(paused)} particles go on")
        return go_on(tree, drawn, wave)

    particles = tree.plant(context.samples)
    tell = "{} particles".format
    await grow_by_steps(tree, "particle", particles, knobs.depth, tell, choose)
    return await tree.conclude(f"{context.samples} particles asked for")


def weigh(values: Sequence[float | None], temperature: float) -> list[float]:
    """Shares of 1: the softmax of each value's log-odds over ``temperature``.

    A value that is missing counts as the mean of the others' log-odds.
    """
    known = [_log_odds(value) for value in values if value is not None]
    mean = math.fsum(known) / len(known) if known else 0.0
    logs = [(mean if value is None else _log_odds(value)) / temperature for value in values]
    peak = max(logs, default=0.0)
    shares = [math.exp(each - peak) for each in logs]
    total = math.fsum(shares)
    return [each / total for each in shares]


def resample(
    weights: Sequence[float], count: int, draw: random.Random, how: Resampling
) -> list[int]:
    """How often each is drawn, ``count`` in all, in proportion to ``weights`` (which sum to 1).

    ``systematic``: places at equal distances after one draw, so that each is drawn its share of
    ``count`` rounded down or up (Carpenter et al. 1999). ``multinomial``: one by one.
    """
    counts = [0] * len(weights)
    if not weights:
        return counts
    if how == "multinomial":
        for place in draw.choices(range(len(weights)), weights, k=count):
            counts[place] += 1
        return counts
    first, reached, place = draw.random(), weights[0], 0
    for i in range(count):
        while (first + i) / count > reached and place < len(weights) - 1:
            place += 1
            reached += weights[place]
        counts[place] += 1
    return counts


def _log_odds(value: float) -> float:
    held = min(1.0 - CLIP, max(CLIP, value))
    return math.log(held / (1.0 - held))


PARTICLE = StrategyEntry(
    "particle",
    particle,
    "N particles, redrawn at each step in proportion to their scores",
    knobs=ParticleKnobs,
    verifies=True,
    steps=True,
)
