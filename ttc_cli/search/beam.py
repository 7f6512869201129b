"""Beam search over steps, guided by process rewards (Snell et al. 2024, arXiv 2408.03314, § 5.2).

The form of huggingface/search-and-learn: N beams in all, of which the best N/M survive a step and
go on M times each.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.engines.base import Until
from ttc_cli.events import WaveStarted
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.tree import Aggregate, Partial, Tree


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


async def beam(context: SearchContext, knobs: BeamKnobs = BeamKnobs()) -> Outcome:
    """``samples`` (N) beams. What has ended keeps its place among the N and is not replaced.

    The answer is the one whose finished beams' values add up to the most; with no process score
    at all (a cap came first) the vote is unweighted.
    """
    tree = Tree(context, aggregate=knobs.aggregate)
    live = tree.plant(context.samples)
    done = 0
    for depth in range(knobs.depth):
        if not live or tree.halted:
            break
        reason = f"step {depth + 1} of {len(live)} beams"
        context.events.emit(WaveStarted(depth, "beam", len(live), reason))
        await tree.grow(live)
        paused = [each for each in live if each.finish is None]
        done += sum(each.finish is not None for each in live)
        await tree.score(live)
        if tree.halted:
            break
        live = _select(tree, paused, context.samples - done, knobs.width, depth + 1)
    if live and not tree.halted:
        await tree.grow(live, until=Until.END)
        await tree.score(live)
    return await tree.conclude(f"{context.samples} beams asked for")


def _select(tree: Tree, paused: list[Partial], room: int, width: int, wave: int) -> list[Partial]:
    """The best of ``paused``, each going on ``width`` times, ``room`` in all; others are pruned."""
    if not paused or room < 1:
        return paused
    keep = max(1, room // width)
    ranked = sorted(paused, key=lambda each: (-(tree.value(each) or 0.0), each.id))
    tree.prune(ranked[keep:], f"not among the best {keep} of {len(paused)}")
    best = ranked[:keep]
    copies, extra = divmod(room, len(best))
    grown = []
    for place, each in enumerate(best):
        count = copies + (place < extra)
        grown += [each, *tree.fork(each, count - 1, wave=wave)]
    return sorted(grown, key=lambda each: each.id)
