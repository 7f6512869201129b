"""Shared by step-wise searches: their loop, their knobs, and which paths go on from a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ttc_cli.engines.base import Until
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.verifiers.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class BeamKnobs:
    """How a search branches.

    Attributes:
        width: M, how often what survives a step goes on; N keep N/M. 4 in the papers.
        depth: the most steps of a path (40 in search-and-learn); then it grows to its end.
        aggregate: how process scores along a path become one value.
    """

    width: int = 4
    depth: int = 40
    aggregate: Aggregate = "last"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError("width and depth are at least 1")


async def grow_by_steps(
    tree: Tree,
    name: str,
    live: list[Partial],
    depth: int,
    describe: Callable[[int], str],
    choose: Callable[[list[Partial], int], Awaitable[list[Partial]]],
    grow: Callable[[Sequence[Partial]], Awaitable[None]] | None = None,
) -> None:
    """Let ``live`` go on step by step, ``depth`` at most, and then to their end.

    ``grow`` (``tree.advance`` where it is None) writes a step; ``choose`` says which go on, told
    the number of the wave that begins. ``name`` is the strategy's, and ``describe`` words how many
    there are.
    """
    for wave in range(depth):
        if not live or tree.halted:
            return
        reason = f"step {wave + 1}: {describe(len(live))}"
        tree.context.begin_wave(wave, name, len(live), reason)
        await (grow or tree.advance)(live)
        live = await choose(live, wave + 1)
    if not tree.halted:
        await tree.advance(live, until=Until.END)


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
    times = [copies + (place < extra) for place in range(len(best))]
    return go_on(tree, zip(best, times, strict=True), wave)


def go_on(tree: Tree, times: Iterable[tuple[Partial, int]], wave: int) -> list[Partial]:
    """Each as often as ``times`` says, as itself and as forks of it."""
    grown = []
    for each, count in times:
        grown += [each, *tree.fork(each, count - 1, wave=wave)]
    return sorted(grown, key=lambda each: each.id)
