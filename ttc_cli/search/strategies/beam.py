"""Beam search over steps, guided by process rewards (Snell et al. 2024, arXiv 2408.03314, § 5.2).

The form of huggingface/search-and-learn: N beams in all, of which the best N/M survive a step and
go on M times each. Unlike there, what has ended keeps its place among the N and is not replaced,
so that no more than N candidates are ever finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.verifiers.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class BeamKnobs:
    """How a beam search branches.

    Attributes:
        width: M, how often a surviving beam goes on; N beams keep N/M. 4 in the paper.
        depth: the most steps of a path (40 in search-and-learn); then it grows to its end.
        aggregate: how process scores along a path become one value.
    """

    width: int = 4
    depth: int = 40
    aggregate: Aggregate = "last"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError("width and depth are at least 1")


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
    await tree.grow_by_steps("beam", beams, knobs.depth, lambda n: f"{n} beams", choose)
    return await tree.conclude(f"{context.samples} beams asked for")


def keep_best(
    tree: Tree, paused: list[Partial], values: Mapping[int, float], width: int, wave: int
) -> list[Partial]:
    """The best of ``paused`` that have a value, one in ``width``, and forks of them.

    All of ``paused`` where the search is over.
    """
    if tree.halted:
        return paused
    paused = [each for each in paused if each.finish is None and each.id in values]
    return select(tree, paused, values, max(1, len(paused) // width), wave)


def select(
    tree: Tree, paused: Sequence[Partial], values: Mapping[int, float], keep: int, wave: int
) -> list[Partial]:
    """The ``keep`` best of ``paused`` and forks of them, as many as these were; others are pruned.

    Where the places do not divide evenly, the better ones go on once more often. Of equals the
    one with the lower id is the better.
    """
    ranked = sorted(paused, key=lambda each: (-values[each.id], each.id))
    best = ranked[:keep]
    tree.prune(ranked[keep:], f"not among the best {keep} of {len(paused)}")
    copies, extra = divmod(len(paused), max(1, len(best)))
    grown = []
    for place, each in enumerate(best):
        grown += [each, *tree.fork(each, copies + (place < extra) - 1, wave=wave)]
    return sorted(grown, key=lambda each: each.id)


BEAM = StrategyEntry(
    "beam",
    beam,
    "N beams, step by step, the best N/M each forked into M",
    knobs=BeamKnobs,
    verifies=True,
    steps=True,
)
