"""A cascade: a small model first, a larger one only where the small one is not sure enough.

The small one's own estimate decides: calibrated, the probability that its answer is right; without
a calibration the pass rate, that is how many agree, which says less. Each model is asked as
``solve`` asks it; caps and usage count over all of them together.
Chen et al. 2023, FrugalGPT (arXiv 2305.05176), with the vote in place of a trained scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer
from ttc_cli.errors import TtcError
from ttc_cli.events import Decided, EventStream, RunEnded, Warned
from ttc_cli.ledger import Ledger
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import LoadStage, SearchOptions, Stage
from ttc_cli.types import Budget, Problem, Result, Usage

ENOUGH = {"quick": 0.6, "normal": 0.8, "deep": 0.9, "max": 0.97}
"""The estimate at which a model's answer stands, by budget. Chosen before measurement."""


async def solve_in_turn(
    problem: Problem,
    stages: Sequence[Stage | LoadStage],
    options: SearchOptions,
    *,
    comparer: Comparer,
    events: EventStream,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Ask the models of ``stages`` in turn until one is sure enough of its answer.

    With a single stage this is ``solve``.

    Args:
        problem: the question.
        stages: at least one, smallest first; each a model that is ready, or what loads it.
        options: how to search, the same for every model; the caps hold over all of them together.
        comparer: as for ``solve``.
        events: gets the events of each run in turn, between two of them why the next is asked,
            and after several once more ``RunEnded``, with what all of them spent.
        stopped: as for ``solve``.

    Returns:
        The result of the model that was surest, with what all of them spent. A model that cannot
        be loaded or fails costs a warning only, where one before it has an answer.

    Raises:
        TtcError: as ``solve``, from the first model.
    """
    budget = options.budget
    spent, started = Usage(), 0
    best: Result | None = None
    enough = ENOUGH.get(budget.level, ENOUGH["normal"])
    for place, each in enumerate(stages):
        try:
            stage = each if isinstance(each, Stage) else await each()
            if best is not None and stopped():
                break
            ledger = Ledger(_leave(budget, spent, started))
            result = await solve(
                problem,
                stage,
                options,
                comparer=comparer,
                events=events,
                ledger=ledger,
                stopped=stopped,
            )
        except TtcError as error:
            if best is None:
                raise
            events.emit(Warned(f"Going on with the smaller model's answer: {error.message}"))
            break
        spent, started = _add(spent, result.usage), started + ledger.samples
        if best is None or _believe(result) >= _believe(best):
            best = result
        if (
            place + 1 == len(stages)
            or result.interrupted
            or _is_spent(_leave(budget, spent, started))
        ):
            break
        believed = _believe(result)
        model = stage.engine.info.model
        if believed >= enough:
            events.emit(Decided("stop", f"{model} is sure enough: {believed:.2f} ≥ {enough:.2f}"))
            break
        reason = f"{model} is not sure enough: {believed:.2f} < {enough:.2f}: ask the next model"
        events.emit(Decided("wave", reason, result.estimate))
    assert best is not None
    if place == 0:
        return best
    result = replace(best, usage=spent, interrupted=best.interrupted or stopped())
    events.emit(RunEnded(result))
    return result


def _believe(result: Result) -> float:
    """How likely its answer is right, as far as it can tell; 0 without one."""
    if result.answer is None or result.estimate is None:
        return 0.0
    estimate = result.estimate
    return estimate.settled if estimate.calibrated else estimate.pass_rate


def _leave(budget: Budget, spent: Usage, started: int) -> Budget:
    """What is left of the caps, ``started`` candidates later."""
    used = {
        "max_tokens": spent.generated_tokens,
        "max_seconds": spent.seconds,
        "max_flops": spent.flops,
        "max_samples": started,
    }
    caps = {name: getattr(budget, name) for name in used}
    left = {name: max(0, cap - used[name]) for name, cap in caps.items() if cap is not None}
    return replace(budget, **left)


def _is_spent(budget: Budget) -> bool:
    return 0 in (budget.max_tokens, budget.max_seconds, budget.max_flops, budget.max_samples)


def _add(first: Usage, second: Usage) -> Usage:
    return Usage(
        first.generator + second.generator,
        first.verifier + second.verifier,
        first.seconds + second.seconds,
    )
