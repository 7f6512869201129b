"""Lookahead search: beam search that values a step by where it leads.

Snell et al. 2024, arXiv 2408.03314, § 5.2 and 5.3: each beam writes up to k further steps greedily
(at temperature 0), and the process score at the end of this roll-out is the value of the beam. At
an equal budget it loses to plain beam search more often than it wins, because roll-outs cost k
times as much: it is offered, not preferred.

Unlike there, a roll-out in which the model ended its turn is not thrown away: it takes the place
of its beam among the N, as a finished candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.steps import BeamKnobs, grow_by_steps, keep_best
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.types import Finish


@dataclass(frozen=True, slots=True)
class LookaheadKnobs(BeamKnobs):
    """How a lookahead search branches and how far it looks.

    Attributes:
        lookahead: k, the steps of a roll-out; 0 is beam search. 1 and 3 in the paper.
        width: as for beam search, and ``depth`` too.
        aggregate: how process scores along a path, its roll-out included, become one value.
    """

    lookahead: int = 1

    def __post_init__(self) -> None:
        BeamKnobs.__post_init__(self)
        if self.lookahead < 0:
            raise ValueError("lookahead is at least 0")


async def lookahead(context: SearchContext, knobs: LookaheadKnobs) -> SearchOutcome:
    """``samples`` (N) beams; the answer is the one whose finished beams' values add up to the most.

    Roll-outs are forks of their beams and appear as candidates of their own, pruned when they have
    been looked at. Where only one beam is left to go on, nothing is to be chosen and none is made.
    """
    tree = Tree(context, aggregate=knobs.aggregate)

    async def choose(beams: list[Partial], wave: int) -> list[Partial]:
        paused = [each for each in beams if each.finish is None]
        looking = knobs.lookahead > 0 and len(paused) > 1
        # With ``last`` only the score at the end of the roll-out counts.
        spare = looking and knobs.aggregate == "last"
        await tree.score([each for each in beams if each.finish is not None or not spare])
        if looking:
            values = await _look_ahead(tree, paused, knobs)
        else:
            values = {each.id: tree.value(each) or 0.0 for each in paused}
        return keep_best(tree, paused, values, knobs.width, wave)

    beams, tell = tree.plant(context.samples), lambda n: f"{n} beams"
    await grow_by_steps(tree, "lookahead", beams, knobs.depth, tell, choose, tree.grow)
    return await tree.conclude(f"{context.samples} beams asked for")


async def _look_ahead(
    tree: Tree, beams: Sequence[Partial], knobs: LookaheadKnobs
) -> dict[int, float]:
    """The values, by id, of those ``beams`` whose roll-out did not come to an end by itself."""
    greedy = replace(tree.context.sampling, temperature=0.0)
    ahead = {each.id: tree.fork(each, 1)[0] for each in beams}
    rollouts = list(ahead.values())
    for step in range(knobs.lookahead):
        if tree.halted:
            break
        await tree.grow([each for each in rollouts if each.finish is None], sampling=greedy)
        if knobs.aggregate != "last" or step == knobs.lookahead - 1:
            await tree.score(rollouts)
    # A roll-out that was cut or went in circles has no score: its beam is worth what it is itself.
    done = {id for id, each in ahead.items() if each.finish is Finish.STOP}
    blind = [each for each in beams if len(ahead[each.id].scores) == len(each.scores)]
    blind = [each for each in blind if each.id not in done]
    await tree.score(blind)
    values = {}
    for each in beams:
        rollout = ahead[each.id]
        if each.id in done:
            tree.prune([each], f"its look-ahead came to the end as candidate {rollout.id}")
            continue
        values[each.id] = tree.value(each if each in blind else rollout) or 0.0
        tree.prune([rollout], f"looked ahead of candidate {each.id}")
    return values


LOOKAHEAD = StrategyEntry(
    "lookahead",
    lookahead,
    "beam, each step valued by a greedy roll-out of k steps",
    knobs=LookaheadKnobs,
    verifies=True,
    steps=True,
)
