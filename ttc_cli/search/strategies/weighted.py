"""Weighted vote: best-of-N over answers instead of candidates (Li et al. 2022, arXiv 2206.02336).

Called best-of-N weighted by Snell et al. (arXiv 2408.03314), who prefer it to the arg-max.
"""

from __future__ import annotations

from ttc_cli.search.conclude import conclude_by_weight
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, sample_all, verify


async def weighted(context: SearchContext) -> Outcome:
    """``samples`` (N) independent candidates; the answer with the greatest sum of scores.

    A candidate that no verifier scored weighs as much as the average of the others.
    """
    pool = context.pool or Pool()
    await sample_all(context, pool)
    await verify(context, pool, [each.id for each in pool.answered])
    reason = pool.halted or f"{context.samples} candidates asked for"
    return await conclude_by_weight(context, pool, reason)
