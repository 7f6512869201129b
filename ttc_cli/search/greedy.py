"""Greedy: one candidate, the likeliest token each time."""

from __future__ import annotations

from dataclasses import replace

from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, sample_wave
from ttc_cli.search.vote import vote


async def greedy(context: SearchContext) -> Outcome:
    """One candidate at temperature 0. ``samples`` and the other sampling settings are ignored."""
    pool = Pool()
    await sample_wave(context, pool, 1, sampling=replace(context.sampling, temperature=0.0))
    classes = vote(pool.answered, context.comparer)
    return conclude_by_vote(context, pool, classes, pool.halted or "one candidate asked for")
