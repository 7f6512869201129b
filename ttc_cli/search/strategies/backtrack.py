"""Backtracking: a candidate is cut before its weakest step and redrawn from there.

Tyen et al. 2024, "LLMs cannot find reasoning errors, but can correct them given the error
location" (arXiv 2311.08516, § 4): a reward model says where the mistake is, the steps before it are
kept, and the rest is generated again. Here the place is the step with the lowest process score,
several candidates are worked on in one batch, and the kept prefix is not read again: every step
boundary keeps its KV as long as there is room. The answer is chosen over all attempts, because a
right one may be cut too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ttc_cli.engines.base import Until
from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.tree import Partial, Tree
from ttc_cli.types import Finish, Sampling
from ttc_cli.verifiers.aggregate import Aggregate, grade_steps


@dataclass(frozen=True, slots=True)
class BacktrackKnobs:
    """How often and where candidates are cut.

    Attributes:
        rounds: how often each candidate is cut: N / (rounds + 1) candidates are grown first, and
            each round adds as many.
        threshold: only a step with a process score below it is cut at; 1 always cuts.
        temperature: of what is redrawn (1 in the paper); 0 is the run's own.
        depth: the most steps of a path; then it grows to its end.
        aggregate: how process scores along a path become one value.
    """

    rounds: int = 1
    threshold: float = 1.0
    temperature: float = 0.0
    depth: int = 40
    aggregate: Aggregate = "min"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.depth < 1:
            raise ValueError("rounds and depth are at least 1")
        if not 0 <= self.threshold <= 1:
            raise ValueError("threshold is between 0 and 1")
        if self.temperature < 0:
            raise ValueError("temperature is at least 0")


async def backtrack(context: SearchContext, knobs: BacktrackKnobs) -> SearchOutcome:
    """``samples`` (N) candidates, first draws and redraws together; their values weigh the vote.

    Each round cuts the best attempt so far of each candidate; one whose weakest step reaches the
    threshold is left alone. The samples that this saves are not drawn.
    """
    tree = Tree(context, aggregate=knobs.aggregate, keep_boundaries=True)
    sampling = context.find_sampling(context.forms.first.name)
    if knobs.temperature > 0:
        sampling = replace(sampling, temperature=knobs.temperature)
    first = tree.plant(max(1, context.samples // (knobs.rounds + 1)))
    context.begin_wave(0, "backtrack", len(first), f"{len(first)} first attempts")
    await _grow_whole(tree, first, None, knobs.depth)
    chains = [[each] for each in first]
    left = context.samples - len(first)
    reason = f"{knobs.rounds + 1} attempts at each of {len(first)} asked for"
    for wave in range(1, knobs.rounds + 1):
        if tree.halted or left < 1:
            break
        if sampling.temperature == 0:
            reason = "at temperature 0 the same would be drawn again"
            break
        cuts = [(chain, *cut) for chain in chains if (cut := _find_cut(tree, chain, knobs))]
        cuts = cuts[: context.ledger.admit(min(left, len(cuts)))]
        if not cuts:
            reason = f"no step scored below {knobs.threshold:g} is left to cut at"
            break
        left -= len(cuts)
        places = ", ".join(f"{each.id} before its step {at + 1}" for _, each, at in cuts)
        context.begin_wave(wave, "backtrack", len(cuts), f"cut {places}")
        again = []
        for chain, partial, at in cuts:
            chain += tree.fork(partial, 1, at=at, wave=wave)
            again.append(chain[-1])
        await _grow_whole(tree, again, sampling, knobs.depth)
    return await tree.conclude(reason)


async def _grow_whole(
    tree: Tree, partials: Sequence[Partial], sampling: Sampling | None, depth: int
) -> None:
    """Grow ``partials`` to their end, scoring every step."""
    live = [each for each in partials if each.finish is None]
    while live and not tree.halted:
        deep = [each for each in live if len(each.steps) >= depth]
        await tree.grow(deep, sampling=sampling, until=Until.END)
        await tree.grow([each for each in live if each not in deep], sampling=sampling)
        await tree.score(live)
        live = [each for each in live if each.finish is None]


def _find_cut(
    tree: Tree, chain: Sequence[Partial], knobs: BacktrackKnobs
) -> tuple[Partial, int] | None:
    """The best attempt of ``chain`` and how many of its steps to keep; None if it is good enough.

    An attempt that stated an answer is better than one that did not, then the value decides, then
    the lower id.
    """
    answers = {each.id for each in tree.pool.answered}
    ended = [each for each in chain if each.finish in (Finish.STOP, Finish.LENGTH, Finish.LOOP)]
    best = min(
        ended,
        key=lambda each: (each.id not in answers, -(tree.value(each) or 0.0), each.id),
        default=None,
    )
    grades = grade_steps(best.scores) if best is not None else {}
    if best is None or not grades:
        return None
    weakest = min(grades, key=lambda step: (grades[step], step))
    return (best, weakest) if grades[weakest] < knobs.threshold else None


BACKTRACK = StrategyEntry(
    "backtrack",
    backtrack,
    "N candidates, half of them cut at their weakest step and redrawn",
    knobs=BacktrackKnobs,
    verifies=True,
    steps=True,
)
