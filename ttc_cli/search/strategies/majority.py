"""Majority vote, also called self-consistency (Wang et al. 2022, arXiv 2203.11171)."""

from __future__ import annotations

from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool, sample_all


async def majority(context: SearchContext) -> Outcome:
    """``samples`` (N) independent candidates; the answer most of them state.

    Always grows all N: it is the baseline that ``auto`` is measured against. Verifiers are not
    asked.
    """
    pool = context.pool or Pool()
    await sample_all(context, pool)
    classes = await count_pool(context, pool)
    reason = pool.halted or f"{context.samples} candidates asked for"
    return conclude_by_vote(context, pool, classes, reason)
