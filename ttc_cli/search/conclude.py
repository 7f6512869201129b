"""From candidates to an outcome: by vote, by verifier score alone, or by likeness."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ttc_cli.events import Voted
from ttc_cli.search.context import SearchContext, SearchOutcome
from ttc_cli.search.likeness import choose_alike
from ttc_cli.search.sample import count_pool
from ttc_cli.search.vote import merit, represent
from ttc_cli.types import LIKENESS, AnswerClass, Candidate, Finish, Score


def conclude_by_vote(
    context: SearchContext, classes: Sequence[AnswerClass], stop_reason: str
) -> SearchOutcome:
    """The class of greatest weight wins; its best member speaks for it.

    A free-form question has no classes: the first candidate that ended by itself wins.
    """
    winner = represent(context.pool.answered) if context.pool.answered else None
    if classes:
        context.events.emit(Voted(tuple(classes), len(context.pool.leaves)))
        winner = represent([context.pool.leaves[id].candidate for id in classes[0].members])
    return _conclude(context, classes, winner, "vote", stop_reason)


async def conclude_by_weight(context: SearchContext, stop_reason: str) -> SearchOutcome:
    """The answer whose candidates' scores add up to the most wins (best-of-N weighted).

    A candidate that no verifier scored weighs as much as the average of the others; without any
    score the vote is unweighted.
    """
    scores = [score for each in context.pool.answered if (score := merit(each)) is not None]
    average = math.fsum(scores) / len(scores) if scores else 1.0

    def weigh(candidate: Candidate) -> float:
        score = merit(candidate)
        return average if score is None else score

    classes = await count_pool(context, weigh)
    return conclude_by_vote(context, classes, stop_reason)


def conclude_by_verifier(
    context: SearchContext, classes: Sequence[AnswerClass], stop_reason: str
) -> SearchOutcome:
    """The best scored candidate that stated an answer wins.

    Where nothing was scored (the budget ran out first, or the engine reads no logits), the vote
    decides, and in a free-form question the first candidate that ended by itself.
    """
    scored = [each for each in context.pool.answered if merit(each) is not None]
    if not scored and classes:
        return conclude_by_vote(context, classes, f"{stop_reason}; nothing was scored")
    winner = represent(scored or context.pool.answered) if context.pool.answered else None
    if classes:
        context.events.emit(Voted(tuple(classes), len(context.pool.leaves)))
    return _conclude(context, classes, winner, "verifier", stop_reason)


async def conclude_by_likeness(context: SearchContext, stop_reason: str) -> SearchOutcome:
    """Of the free texts that ended, the one most like the others and surest wins (ADR 23).

    Likeness is shown as a score of weight 0 of each: it compares the texts of one question, and
    says nothing about how good they are.
    """
    ended = context.pool.answered
    if len(ended) < 2:
        return _conclude(context, (), ended[0] if ended else None, LIKENESS, stop_reason)
    winner, likeness = await choose_alike(ended)
    for each, value in zip(ended, likeness, strict=True):
        context.add_score(each.id, Score(LIKENESS, value, weight=0.0))
    winner = context.pool.leaves[winner.id].candidate
    reason = f"{stop_reason}; #{winner.id} is most like the others and surest"
    return _conclude(context, (), winner, LIKENESS, reason)


def count_heard(candidates: Sequence[Candidate]) -> int:
    """How many candidates count for or against the leader."""
    return sum(map(is_heard, candidates))


def is_heard(candidate: Candidate) -> bool:
    """Whether it counts for or against the leader.

    Scattered and unfinished ones do; those that were cancelled or pruned before they stated an
    answer do not, because nobody knows what they would have said.
    """
    unfinished = candidate.finish in (Finish.CANCELLED, Finish.PRUNED)
    return candidate.answer is not None or not unfinished


def _conclude(
    context: SearchContext,
    classes: Sequence[AnswerClass],
    winner: Candidate | None,
    decided_by: str,
    stop_reason: str,
) -> SearchOutcome:
    pool = context.pool
    return SearchOutcome(
        candidates=pool.candidates,
        classes=tuple(classes),
        winner=winner,
        decided_by="single" if pool.started == 1 else decided_by,
        stop_reason=pool.halted if pool.interrupted and pool.halted else stop_reason,
        interrupted=pool.interrupted,
    )
