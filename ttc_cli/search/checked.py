"""Search decided by the user's own check: grows candidates until one passes, and no further.

A check that passes ends the matter, whatever others answer: neither a vote nor a judge knows better
than the user's tests. So each candidate is checked as soon as it ends, and the first that passes
cancels the others (pass@k as a policy: Chen et al. 2021, arXiv 2107.03374).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ttc_cli.events import Decided
from ttc_cli.search.conclude import conclude_by_verifier
from ttc_cli.search.context import SearchContext, SearchOutcome
from ttc_cli.search.sample import Wave, sample_wave, verify
from ttc_cli.types import CHECK, Candidate


async def grow_until_passed(context: SearchContext, size: int) -> SearchOutcome:
    """Grow waves of ``size`` candidates until one passes; at most ``context.samples``.

    Where none passes, the verifiers choose among those that were finished. Later waves are as
    large as the engine grows at once.
    """
    pool = context.pool
    checks = tuple(each for each in context.verifiers if each.name == CHECK)
    checking = replace(context, verifiers=checks)

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
        failed = sum(each.passed is False for each in pool.candidates)
        reason = f"{failed} of {pool.started} failed the check: {count} more"
        if not number:
            reason = f"probe: {count} to see whether one passes the check"
        context.events.emit(Decided("wave", reason))
        context.begin_wave(number, "sample", count, reason)
        await sample_wave(context, count, wave=number, watch=watch)
        stop = _find_reason_to_stop(context)
        if stop is not None:
            break
        number, size = number + 1, max(size, context.parallel)
    if not any(each.passed for each in pool.candidates):
        await verify(context, [each.id for each in pool.answered])
    context.events.emit(Decided("stop", stop))
    return conclude_by_verifier(context, (), stop)


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
