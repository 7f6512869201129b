"""Weighted vote: best-of-N over answers instead of candidates (Li et al. 2022, arXiv 2206.02336).

Called best-of-N weighted by Snell et al. (arXiv 2408.03314), who prefer it to the arg-max.
"""

from __future__ import annotations

from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool, sample_all, verify
from ttc_cli.search.vote import merit


async def weighted(context: SearchContext) -> Outcome:
    """``samples`` (N) independent candidates; the answer with the greatest sum of scores.

    A candidate that no verifier scored weighs as much as the average of the others.
    """
    pool = context.pool or Pool()
    await sample_all(context, pool)
    await verify(context, pool, [each.id for each in pool.answered])
    scores = [score for each in pool.answered if (score := merit(each)) is not None]
    average = sum(scores) / len(scores) if scores else 1.0

    classes = await count_pool(
        context,
        pool,
        lambda each: average if (score := merit(each)) is None else score,
    )
    reason = pool.halted or f"{context.samples} candidates asked for"
    return conclude_by_vote(context, pool, classes, reason)
