"""Beam search over steps, guided by process rewards (Snell et al. 2024, arXiv 2408.03314, § 5.2).

The form of huggingface/search-and-learn: N beams in all, of which the best N/M survive a step and
go on M times each. Unlike there, what has ended keeps its place among the N and is not replaced,
so that no more than N candidates are ever finished.
"""

from __future__ import annotations

from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.steps import BeamKnobs, grow_by_steps, keep_best
from ttc_cli.search.tree import Partial, Tree


async def beam(context: SearchContext, knobs: BeamKnobs) -> SearchOutcome:
    """``samples`` (N) beams; the answer is the one whose finished beams' values add up to the most.

    With no process score at all (a cap came first) the vote is unweighted.
    """
    tree = Tree(context, aggregate=knobs.aggregate)

    async def choose(beams: list[Partial], wave: int) -> list[Partial]:
        paused = [each for each in beams if each.finish is None]
        values = {each.id: tree.value(each) or 0.0 for each in paused}
        return keep_best(tree, paused, values, knobs.width, wave)

    beams = tree.plant(context.samples)
    await grow_by_steps(tree, "beam", beams, knobs.depth, lambda n: f"{n} beams", choose)
    return await tree.conclude(f"{context.samples} beams asked for")


BEAM = StrategyEntry(
    "beam",
    beam,
    "N beams, step by step, the best N/M each forked into M",
    knobs=BeamKnobs,
    verifies=True,
    steps=True,
)
