"""Best-of-N: the verifier's arg-max (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from ttc_cli.search.conclude import conclude_by_verifier
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool, sample_all, verify


async def best_of_n(context: SearchContext) -> Outcome:
    """``samples`` (N) independent candidates; the one the verifiers score highest on average.

    As good as its verifier: with a small judge it often loses to the vote.
    """
    pool = context.pool or Pool()
    await sample_all(context, pool)
    await verify(context, pool, [each.id for each in pool.answered])
    classes = await count_pool(context, pool)
    reason = pool.halted or f"{context.samples} candidates asked for"
    return conclude_by_verifier(context, pool, classes, reason)
