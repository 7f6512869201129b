"""Greedy: one candidate, the likeliest token each time."""

from __future__ import annotations

from dataclasses import replace

from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool, sample_wave


async def greedy(context: SearchContext) -> Outcome:
    """One candidate at temperature 0. ``samples`` and the other sampling settings are ignored."""
    pool = context.pool or Pool()
    await sample_wave(context, pool, 1, sampling=replace(context.sampling, temperature=0.0))
    classes = await count_pool(context, pool)
    return conclude_by_vote(context, pool, classes, pool.halted or "one candidate asked for")
