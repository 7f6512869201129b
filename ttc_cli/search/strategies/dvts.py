"""Diverse verifier tree search: independent subtrees, in each of which the best continuation lives.

Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models", and their
huggingface/search-and-learn. Beam search lets one early favourite take all places; here N is
split into N/M subtrees that never compete, which keeps answers diverse at a large N.

As there, a subtree is over once the best of its M continuations is one that ended. Unlike there,
what ended without being the best keeps its place as a candidate, and the rest of the subtree goes
on in the M − 1 others.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.engines.base import Until
from ttc_cli.events import WaveStarted
from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.strategies.beam import select
from ttc_cli.search.tree import Aggregate, Partial, Tree


@dataclass(frozen=True, slots=True)
class DvtsKnobs:
    """How diverse verifier tree search branches.

    Attributes:
        width: M, the continuations of which one survives; N branches make N/M subtrees.
        depth: the most steps of a path (40 in search-and-learn); then it grows to its end.
        aggregate: how process scores along a path become one value.
    """

    width: int = 4
    depth: int = 40
    aggregate: Aggregate = "last"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError("width and depth are at least 1")


async def dvts(context: SearchContext, knobs: DvtsKnobs = DvtsKnobs()) -> SearchOutcome:
    """``samples`` (N) branches in N/M subtrees; the answer is the vote weighted by their values."""
    tree = Tree(context, aggregate=knobs.aggregate)
    subtrees = _deal(tree.plant(context.samples), knobs.width)
    count = len(subtrees)
    for wave in range(knobs.depth):
        if not subtrees or tree.halted:
            break
        branches = [each for subtree in subtrees for each in subtree]
        reason = f"step {wave + 1}: {len(branches)} branches in {_tell(len(subtrees))}"
        context.events.emit(WaveStarted(wave, "dvts", len(branches), reason))
        await tree.advance(branches)
        if tree.halted:
            break
        further = [_keep_best(tree, subtree, wave + 1) for subtree in subtrees]
        subtrees = [subtree for subtree in further if subtree]
    if not tree.halted:
        branches = [each for subtree in subtrees for each in subtree]
        await tree.advance(branches, until=Until.END)
    return await tree.conclude(f"{_tell(count)} asked for")


def _deal(branches: list[Partial], width: int) -> list[list[Partial]]:
    """``branches`` in subtrees of ``width``; what does not fill one joins the first ones."""
    count = max(1, len(branches) // width)
    dealt = [branches[first::count] for first in range(count)]
    return [each for each in dealt if each]


def _keep_best(tree: Tree, subtree: list[Partial], wave: int) -> list[Partial]:
    """The branches that ``subtree`` goes on in; none when it is over."""
    values = {each.id: tree.value(each) or 0.0 for each in subtree}
    paused = [each for each in subtree if each.finish is None]
    answers = {each.id for each in tree.pool.answered}
    able = [each for each in subtree if each.finish is None or each.id in answers]
    best = min(able, key=lambda each: (-values[each.id], each.id), default=None)
    if best is not None and best.finish is not None:
        tree.prune(paused, f"candidate {best.id} of the same subtree ended better")
        return []
    return select(tree, paused, values, 1, wave)


def _tell(subtrees: int) -> str:
    return f"{subtrees} subtree{'s' * (subtrees != 1)}"


DVTS = StrategyEntry(
    "dvts",
    dvts,
    "N/M subtrees, in each the best of M continuations goes on",
    knobs=DvtsKnobs,
    verifies=True,
    steps=True,
)
