"""Monte Carlo tree search over steps: PUCT chooses which partial solution is worth another step.

Selection by PUCT (Silver et al. 2017, AlphaGo Zero), the value of a new node by the process score
instead of a roll-out, as in TS-LLM (Feng et al. 2023, arXiv 2309.17179) and ReST-MCTS* (Zhang et
al. 2024, arXiv 2406.03816); the children of a node are steps that the model drew, so that their
prior is uniform (Hubert et al. 2021, arXiv 2104.06303); values are put on a scale from the lowest
to the highest seen in this tree (Schrittwieser et al. 2020, MuZero), so that the exploration
constant means the same for every verifier.

Several leaves are expanded at once, to fill the engine's batch: while they are chosen, a visit of
the lowest value is lent to each node on the way (virtual loss), which sends the next choice
elsewhere. A branch that has ended is not visited again, nor is what has only such below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ttc_cli.engines.base import Until
from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.types import Finish
from ttc_cli.verifiers.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class MctsKnobs:
    """How the tree is searched.

    Attributes:
        width: children of a node that is expanded.
        iterations: rounds of selection, expansion and backup; then the best leaves grow to their
            end, as many as are missing from N.
        exploration: c of PUCT; 1.25 in MuZero. Greater looks at more of the tree.
        aggregate: how process scores along a path become one value.
    """

    width: int = 4
    iterations: int = 24
    exploration: float = 1.25
    aggregate: Aggregate = "last"

    def __post_init__(self) -> None:
        if self.width < 1 or self.iterations < 1:
            raise ValueError("width and iterations are at least 1")
        if not 0 <= self.exploration < math.inf:
            raise ValueError("exploration is at least 0")


@dataclass(slots=True, eq=False)
class SearchNode:
    """A place in the tree. ``partial`` stands there until it goes on in the first child.

    ``total`` is the sum of the values of the ``visits`` that passed through.
    """

    parent: SearchNode | None = None
    partial: Partial | None = None
    children: list[SearchNode] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    chosen: bool = False

    @property
    def open(self) -> bool:
        """Whether something below can still be expanded and was not chosen already."""
        if self.children:
            return any(each.open for each in self.children)
        return not self.chosen and self.partial is not None and self.partial.finish is None

    def visit(self, value: float, times: int = 1) -> None:
        """Count a visit with ``value`` here and in all nodes above; -1 times takes it back."""
        node: SearchNode | None = self
        while node is not None:
            node.visits, node.total = node.visits + times, node.total + times * value
            node = node.parent


@dataclass(slots=True)
class Scale:
    """The range of the values seen."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        """Widen the range."""
        self.low, self.high = min(self.low, value), max(self.high, value)

    def place(self, value: float) -> float:
        """Where ``value`` lies in the range, 0 to 1; one half where it has no width."""
        spread = self.high - self.low
        return (value - self.low) / spread if spread > 0 else 0.5


async def mcts(context: SearchContext, knobs: MctsKnobs) -> SearchOutcome:
    """Search until ``samples`` (N) candidates have ended; the vote is weighted by their values.

    At most N branches grow at once, so that N / width leaves are expanded in one iteration.
    """
    tree = Tree(context, aggregate=knobs.aggregate)
    root, scale = SearchNode(), Scale()
    for wave in range(knobs.iterations):
        room = context.samples - _count_ended(tree)
        if room < 1 or tree.halted:
            break
        count = min(room, max(1, context.samples // knobs.width))
        leaves = _choose(root, scale, knobs, count)
        grown = _branch(tree, root, leaves, min(room, knobs.width * max(1, len(leaves))), wave)
        partials = [each for _, children in grown for each in children]
        context.begin_wave(wave, "mcts", len(partials), _explain(leaves, partials))
        await tree.advance(partials)
        for leaf, children in grown:
            _attach(tree, leaf, children, scale)
    await _finish(tree)
    return await tree.conclude(f"{_count_ended(tree)} of {context.samples} candidates ended")


def _branch(
    tree: Tree, root: SearchNode, leaves: list[SearchNode], total: int, wave: int
) -> list[tuple[SearchNode, list[Partial]]]:
    """``total`` children in all for ``leaves``; without leaves, new ones at the prompt.

    A leaf goes on as its own first child, so that nothing it wrote is read or drawn again.
    """
    if not leaves:
        return [(root, tree.plant(total, wave=wave))]
    each, extra = divmod(total, len(leaves))
    grown = []
    for place, leaf in enumerate(leaves):
        partial, leaf.partial = leaf.partial, None
        if partial is not None:
            twins = tree.fork(partial, each + (place < extra) - 1, wave=wave)
            grown.append((leaf, [partial, *twins]))
    return grown


def _explain(leaves: list[SearchNode], partials: list[Partial]) -> str:
    if not leaves:
        return f"{len(partials)} first steps"
    return f"{len(partials)} next steps, from {len(leaves)} of the leaves"


def _attach(tree: Tree, node: SearchNode, partials: list[Partial], scale: Scale) -> None:
    """Hang ``partials``, which have been scored, under ``node`` and back their values up."""
    node.chosen = False
    for partial in partials:
        child = SearchNode(node, partial)
        node.children.append(child)
        value = tree.value(partial)
        if partial.finish not in (None, Finish.STOP):
            value = 0.0 if math.isinf(scale.low) else scale.low
        elif value is not None:
            scale.add(value)
        if value is not None:
            child.visit(value)


def _choose(root: SearchNode, scale: Scale, knobs: MctsKnobs, count: int) -> list[SearchNode]:
    """Up to ``count`` leaves to expand, by PUCT; none where everything has ended."""
    chosen: list[SearchNode] = []
    worst = scale.low if scale.low <= scale.high else 0.0
    while len(chosen) < count and root.open:
        node = root
        while node.children:
            node = max(
                (each for each in node.children if each.open),
                key=lambda each: rate(each, scale, knobs.exploration),
            )
        node.chosen = True
        chosen.append(node)
        node.visit(worst)
    for leaf in chosen:
        leaf.visit(worst, -1)
    return chosen


def rate(node: SearchNode, scale: Scale, exploration: float) -> float:
    """PUCT: Q + c · P · √(visits of the parent) / (1 + visits), with P uniform, Q on ``scale``."""
    if node.parent is None:
        return 0.0
    mean = node.total / node.visits if node.visits else scale.low
    prior = 1.0 / len(node.parent.children)
    bonus = prior * math.sqrt(node.parent.visits) / (1 + node.visits)
    return scale.place(mean) + exploration * bonus


def _count_ended(tree: Tree) -> int:
    """How many have come to an end of their own."""
    return sum(each.finish not in (None, Finish.PRUNED) for each in tree.partials.values())


async def _finish(tree: Tree) -> None:
    """Let the best leaves grow to their end, as many as are missing from N."""
    room = tree.context.samples - _count_ended(tree)
    if tree.halted or room < 1:
        return
    ranked = sorted(tree.paused, key=lambda each: (-(tree.value(each) or 0.0), each.id))
    best = ranked[:room]
    tree.prune(ranked[room:], f"not among the best {len(best)} of {len(ranked)} leaves")
    await tree.advance(best, until=Until.END)


MCTS = StrategyEntry(
    "mcts",
    mcts,
    "tree search: PUCT chooses which partial solution goes on",
    knobs=MctsKnobs,
    verifies=True,
    steps=True,
)
