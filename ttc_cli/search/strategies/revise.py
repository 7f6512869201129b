"""Sequential revision: attempts that see those before (Snell et al. 2024, arXiv 2408.03314, § 6).

Chains grow side by side: each attempt of a chain, and what the verifiers make of it, stands in the
context of the next, whose request is appended to the attempt's own KV, so that nothing but the
request is read. The paper fine-tunes a model to revise; here an ordinary one is asked to, which
helps less and spoils more right answers: the answer is therefore chosen among *all* attempts, by
the sum of their scores, never "the last" (the paper's model still turns 38 % of right answers into
wrong ones). ``benchmarks/revisions.py`` counts what a model does.

*Mixed* lays the same N attempts out at a given ratio (ibid., fig. 7): N independent ones, one chain
of N, or anything between; the paper finds that easy questions do best all in sequence and hard ones
at some ratio between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from ttc_cli.engines.base import Branch, Prompt
from ttc_cli.errors import UsageError
from ttc_cli.events import Warned
from ttc_cli.prompts import request_revision
from ttc_cli.search.asking import ask_back
from ttc_cli.search.conclude import conclude_by_verifier, conclude_by_weight
from ttc_cli.search.context import SearchContext, SearchOutcome, StrategyEntry
from ttc_cli.search.sample import Start, count_pool, sample_wave, show_vote, verify
from ttc_cli.search.vote import find_remarks, merit
from ttc_cli.texts import plural
from ttc_cli.types import AnswerType, Finish


@dataclass(frozen=True, slots=True)
class ReviseKnobs:
    """How attempts are laid out.

    Attributes:
        chains: P, chains that grow side by side; 0 is a quarter of the samples.
        window: earlier attempts that stay in the context of the next (4 in the paper); 0 is all.
            Within it nothing is read again; beyond it the last ones are, each time.
        choose: how the answer is chosen over all attempts: ``vote`` by the sum of scores,
            ``verifier`` the best scored attempt.
    """

    chains: int = 0
    window: int = 4
    choose: Literal["vote", "verifier"] = "vote"

    def __post_init__(self) -> None:
        if self.chains < 0 or self.window < 0:
            raise ValueError("chains and window are not negative")


@dataclass(slots=True, eq=False)
class Chain:
    """Attempts in their order, by candidate id, and the request that followed each but the last."""

    attempts: list[int] = field(default_factory=list)
    requests: list[Prompt] = field(default_factory=list)


async def revise(context: SearchContext, knobs: ReviseKnobs) -> SearchOutcome:
    """``samples`` (N) attempts in all, in P chains of about N/P.

    An attempt whose context is full ends its chain, with a warning.
    """
    chains = knobs.chains or max(1, context.samples // 4)
    return await run_chains(context, chains, knobs.window, knobs.choose)


@dataclass(frozen=True, slots=True)
class MixedKnobs:
    """How the samples are split between sequence and parallel.

    Attributes:
        ratio: attempts in sequence over chains in parallel (the paper's axis): of 16 samples 1
            makes 4 chains of 4, 4 makes 2 of 8, 0.25 makes 8 of 2.
        window: earlier attempts that stay in the context of the next; 0 is all.
        choose: how the answer is chosen over all attempts, as in ``revise``.
    """

    ratio: float = 1.0
    window: int = 4
    choose: Literal["vote", "verifier"] = "vote"

    def __post_init__(self) -> None:
        if not 0 < self.ratio < math.inf:
            raise ValueError("ratio is above 0")
        if self.window < 0:
            raise ValueError("window is not negative")


async def mixed(context: SearchContext, knobs: MixedKnobs) -> SearchOutcome:
    """``samples`` (N) attempts in P chains of L, P · L ≈ N and L / P ≈ ``ratio``."""
    chains = split_samples(context.samples, knobs.ratio)
    return await run_chains(context, chains, knobs.window, knobs.choose)


def split_samples(samples: int, ratio: float) -> int:
    """P for ``samples`` attempts at ``ratio`` in sequence to one in parallel: √(N / ratio)."""
    return min(samples, max(1, round(math.sqrt(samples / ratio))))


async def run_chains(
    context: SearchContext, count: int, window: int, choose: Literal["vote", "verifier"]
) -> SearchOutcome:
    """Grow ``count`` chains to ``context.samples`` attempts in all, and choose among them.

    Raises:
        UsageError: the search was given no chat template to ask for a revision with.
    """
    if context.chat is None:
        raise UsageError("Revision needs the model's chat template, and there is none here.")
    pool, chains = context.pool, [Chain() for _ in range(min(count, context.samples))]
    live, round, end = chains, 0, pool.started + context.samples
    while live and pool.started < end and pool.halted is None:
        live = live[: end - pool.started]
        await _grow_round(context, live, window, round)
        live = [each for each in live if _goes_on(context, each, chains)]
        round += 1
    if pool.halted is not None:
        reason = pool.halted
    elif pool.started < end:
        reason = f"every chain filled its context, after {plural(round, 'attempt')} at most"
    else:
        reason = f"{plural(len(chains), 'chain')} of up to {plural(round, 'attempt')} asked for"
    if choose == "verifier" or context.problem.answer_type is AnswerType.FREE:
        return conclude_by_verifier(context, await count_pool(context), reason)
    return await conclude_by_weight(context, reason)


async def _grow_round(context: SearchContext, chains: list[Chain], window: int, round: int) -> None:
    """One more attempt of each chain, in one batch, scored when all have ended."""
    first = plural(len(chains), "first attempt")
    what = f"revision {round} in {plural(len(chains), 'chain')}" if round else first
    context.begin_wave(round, "revise", len(chains), what)
    pool = context.pool
    begin, before = pool.started, [chain.attempts[-1] for chain in chains if chain.attempts]
    starts = None
    if round:
        starts = [Start(_ask_again(context, chain, window), chain.attempts[-1]) for chain in chains]
    await sample_wave(context, len(chains), wave=round, starts=starts, keep=lambda ended: True)
    ended = range(begin, pool.started)
    for chain, id in zip(chains, ended, strict=False):
        chain.attempts.append(id)
    for id in before:  # they lent their KV to the next and are scored already
        context.free(id)
    await show_vote(context)
    await verify(
        context,
        [id for id in ended if id in pool.leaves and pool.leaves[id].candidate.answer is not None],
    )


def _goes_on(context: SearchContext, chain: Chain, chains: list[Chain]) -> bool:
    """Whether the chain can be revised once more; where its context is full, it says so."""
    leaf = context.pool.leaves.get(chain.attempts[-1]) if chain.attempts else None
    if leaf is None:
        return False
    if leaf.candidate.finish is Finish.CONTEXT:
        context.events.emit(
            Warned(
                f"Chain {chains.index(chain) + 1} ends with attempt {len(chain.attempts)}, which "
                "fills the context window: --context takes more, --option window=1 needs less."
            )
        )
        return False
    return True


def _ask_again(context: SearchContext, chain: Chain, window: int) -> Branch:
    """A branch on which the model is about to revise the last attempt of ``chain``."""
    assert context.chat is not None
    last = context.pool.leaves[chain.attempts[-1]].candidate
    numbers = tuple(each for each in last.scores if not each.remark.strip())
    request = request_revision(
        context.problem.answer_type,
        rating=merit(replace(last, scores=numbers)),
        cut_off=last.finish is not Finish.STOP,
        remarks=find_remarks(last),
    )
    chain.requests.append(context.chat.follow_up(request))
    shown = len(chain.attempts) if window == 0 else min(window, len(chain.attempts))
    seen = [context.pool.leaves[id] for id in chain.attempts[-shown:]]
    whole = shown == len(chain.attempts)
    return ask_back(context, seen, chain.requests[-shown:], whole=whole)


REVISE = StrategyEntry(
    "revise",
    revise,
    "chains of attempts, each seeing those before and what the verifiers made of them",
    knobs=ReviseKnobs,
    verifies=True,
    continues=True,
)
MIXED = StrategyEntry(
    "mixed",
    mixed,
    "as revise, attempts in sequence and in parallel at a given ratio",
    knobs=MixedKnobs,
    verifies=True,
    continues=True,
)
