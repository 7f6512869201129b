"""Search decided by the user's own check: grows candidates until one passes, and no further.

A check that passes ends the matter, whatever others answer: neither a vote nor a judge knows better
than the user's tests. So each candidate is checked as soon as it ends, and the first that passes
cancels the others (pass@k as a policy: Chen et al. 2021, arXiv 2107.03374). Those that failed learn
what the check printed, and try again beside new ones (``repairing``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from ttc_cli.events import Decided
from ttc_cli.search.conclude import conclude_by_verifier
from ttc_cli.search.context import SearchContext, SearchOutcome
from ttc_cli.search.repairing import Repairs
from ttc_cli.search.sample import Start, Wave, sample_wave, verify
from ttc_cli.types import CHECK, Candidate


async def grow_until_passed(context: SearchContext, size: int) -> SearchOutcome:
    """Grow waves of ``size`` candidates until one passes; at most ``context.samples``.

    Where none passes, the verifiers choose among those that were finished. Later waves are as
    large as the engine grows at once; up to half of each repairs what failed before, where the
    check said why.
    """
    pool = context.pool
    checks = tuple(each for each in context.verifiers if each.name == CHECK)
    checking = replace(context, verifiers=checks)
    repairs = Repairs(context)

    async def watch(wave: Wave, ended: Candidate) -> None:
        if ended.answer is None or wave.cancelled is not None:
            return
        if _says_nothing([each for each in pool.answered if each.id != ended.id]):
            return
        await verify(checking, [ended.id])
        if pool.leaves[ended.id].candidate.passed and wave.growing:
            reason = f"#{ended.id} passes the check: cancel {len(wave.growing)} still growing"
            context.events.emit(Decided("cancel", reason))
            wave.cancel(f"#{ended.id} passes the check")

    number = 0
    while True:
        count = min(size, context.samples - pool.started)
        repaired = repairs.begin(ceil(count / 2)) if number else []
        new = list(map(Start, context.session.fork(context.session.root, count - len(repaired))))
        reason = _word_wave(context, len(repaired), len(new))
        context.events.emit(Decided("wave", reason))
        context.begin_wave(number, "repair" if repaired else "sample", count, reason)
        starts = _take_turns(repaired, new)
        await sample_wave(
            context, count, wave=number, watch=watch, starts=starts, keep=repairs.may_repair
        )
        stop = _find_reason_to_stop(context)
        if stop is not None:
            break
        number, size = number + 1, max(size, context.parallel)
    if not any(each.passed for each in pool.candidates):
        await verify(context, [each.id for each in pool.answered])
    context.events.emit(Decided("stop", stop))
    return conclude_by_verifier(context, (), stop)


def _take_turns(repaired: Sequence[Start], new: Sequence[Start]) -> list[Start]:
    """Both in turn: where the budget cuts a wave short, a resumed run with more begins the same."""
    turns = itertools.zip_longest(repaired, new)
    return [start for each in turns for start in each if start is not None]


def _word_wave(context: SearchContext, repaired: int, new: int) -> str:
    """Why a wave is grown that repairs ``repaired`` and begins ``new`` ones."""
    pool = context.pool
    if not pool.started:
        return f"probe: {new} to see whether one passes the check"
    failed = sum(each.passed is False for each in pool.candidates)
    go = "1 goes" if repaired == 1 else f"{repaired} go"
    parts = [f"{go} on behind what it printed"] if repaired else []
    parts += [f"{new} more"] if new else []
    return f"{failed} of {pool.started} failed the check: {', '.join(parts)}"


def _says_nothing(answered: Sequence[Candidate]) -> bool:
    """Whether the check failed on all of ``answered``, as it will on others: it cannot start."""
    return bool(answered) and all(each.passed is None for each in answered)


def _find_reason_to_stop(context: SearchContext) -> str | None:
    pool = context.pool
    passed = [each.id for each in pool.candidates if each.passed]
    if passed:
        return f"#{passed[0]} passes the check: stop"
    if pool.halted is not None:
        return pool.halted
    if _says_nothing(pool.answered):
        return "the check says nothing"
    if pool.started >= context.samples:
        return f"all {context.samples} candidates of this budget are grown, and none passes"
    return None
