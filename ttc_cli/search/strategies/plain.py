"""The strategies of whole candidates, drawn independently in one wave: they differ in who decides.

*Greedy* takes the likeliest token each time. *Majority* is self-consistency (Wang et al. 2022,
arXiv 2203.11171). *Best-of-N* is the verifier's arg-max (Cobbe et al. 2021, arXiv 2110.14168): as
good as its verifier, and with a small judge often worse than the vote. *Weighted* is best-of-N over
answers instead of candidates (Li et al. 2022, arXiv 2206.02336; "best-of-N weighted" in Snell et
al. 2024, arXiv 2408.03314, who prefer it to the arg-max).
"""

from __future__ import annotations

from dataclasses import replace

from ttc_cli.search.conclude import conclude_by_verifier, conclude_by_vote, conclude_by_weight
from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.sample import count_pool, sample_all, sample_wave, verify


async def greedy(context: SearchContext) -> SearchOutcome:
    """One candidate at temperature 0. ``samples`` and the other sampling settings are ignored."""
    await sample_wave(context, 1, sampling=replace(context.sampling, temperature=0.0))
    classes = await count_pool(context)
    return conclude_by_vote(context, classes, context.pool.halted or "one candidate asked for")


async def majority(context: SearchContext) -> SearchOutcome:
    """``samples`` (N) independent candidates; the most frequent answer."""
    reason = await _sample(context)
    return conclude_by_vote(context, await count_pool(context), reason)


async def best_of_n(context: SearchContext) -> SearchOutcome:
    """``samples`` (N) independent candidates; the one the verifiers score highest on average."""
    reason = await _sample(context, scored=True)
    return conclude_by_verifier(context, await count_pool(context), reason)


async def weighted(context: SearchContext) -> SearchOutcome:
    """``samples`` (N) independent candidates; the answer with the greatest sum of scores.

    A candidate that no verifier scored weighs as much as the average of the others.
    """
    reason = await _sample(context, scored=True)
    return await conclude_by_weight(context, reason)


async def _sample(context: SearchContext, *, scored: bool = False) -> str:
    """Draw all candidates, and return why no more are drawn."""
    await sample_all(context)
    if scored:
        await verify(context, [each.id for each in context.pool.answered])
    return context.pool.halted or f"{context.samples} candidates asked for"


GREEDY = StrategyEntry("greedy", greedy, "one candidate, the likeliest token each time")
MAJORITY = StrategyEntry("majority", majority, "N candidates, the most frequent answer", votes=True)
BEST_OF_N = StrategyEntry(
    "best-of-n", best_of_n, "N candidates, the best scored one", verifies=True
)
WEIGHTED = StrategyEntry(
    "weighted",
    weighted,
    "N candidates, the answer with the greatest sum of scores",
    verifies=True,
    votes=True,
)
