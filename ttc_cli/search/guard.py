"""A strategy of another package, run so that its failure does not lose what was grown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ttc_cli.errors import TtcError
from ttc_cli.events import Warned
from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool


def guard(run: Callable[..., Awaitable[Outcome]], owner: str) -> Callable[..., Awaitable[Outcome]]:
    """``run`` with a vote over its pool in place of an error that is not ttc's.

    ``owner`` is what messages call it. Its own ``TtcError`` passes.

    Raises (when run):
        TtcError: it failed, or gave no outcome, before any candidate of ``context.pool`` answered.
    """

    async def run_guarded(context: SearchContext, **knobs: Any) -> Outcome:
        pool = context.pool or Pool()
        try:
            outcome = await run(replace(context, pool=pool), **knobs)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"it returned {type(outcome).__name__}, no Outcome")
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            message = f"{owner} failed: {type(error).__name__}: {error}"
            if not pool.answered:
                raise TtcError(message, "use another --strategy, or tell its author") from error
            context.events.emit(Warned(f"{message}; going by the vote of what it had grown."))
            classes = await count_pool(context, pool)
            return conclude_by_vote(context, pool, classes, "the strategy failed")
        return outcome

    return run_guarded
