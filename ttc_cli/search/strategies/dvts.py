"""Diverse verifier tree search: independent subtrees, each of which keeps its best continuation.

Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models", and their
huggingface/search-and-learn. Beam search lets one early favourite take all places; here N is
split into N/M subtrees that never compete, which keeps answers diverse at a large N.

As there, a subtree is over once the best of its M continuations is one that ended. Unlike there,
what ended without being the best keeps its place as a candidate, and the rest of the subtree goes
on in the M − 1 others.
"""

from __future__ import annotations

from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.steps import BeamKnobs, grow_by_steps, select
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.texts import plural


async def dvts(context: SearchContext, knobs: BeamKnobs) -> SearchOutcome:
    """``samples`` (N) branches in N/M subtrees; the answer is the vote weighted by their values."""
    tree = Tree(context, aggregate=knobs.aggregate)
    subtrees = _deal(tree.plant(context.samples), knobs.width)
    asked = plural(len(subtrees), "subtree")

    async def choose(branches: list[Partial], wave: int) -> list[Partial]:
        nonlocal subtrees
        if tree.halted:
            return branches
        further = [_keep_best(tree, subtree, wave) for subtree in subtrees]
        subtrees = [subtree for subtree in further if subtree]
        return [each for subtree in subtrees for each in subtree]

    await grow_by_steps(
        tree,
        "dvts",
        [each for subtree in subtrees for each in subtree],
        knobs.depth,
        lambda count: f"{count} branches in {plural(len(subtrees), 'subtree')}",
        choose,
    )
    return await tree.conclude(f"{asked} asked for")


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


DVTS = StrategyEntry(
    "dvts",
    dvts,
    "N/M subtrees, in each the best of M continuations goes on",
    knobs=BeamKnobs,
    verifies=True,
    steps=True,
)
