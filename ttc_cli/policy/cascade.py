"""A cascade: a small model first, a larger one only where the small one will not get there.

Whether it will is the small one's own estimate: calibrated, the probability that its answer is
right; without a calibration the pass rate, that is how many agree, which says less. Each model is
asked as ``solve`` asks it; the caps hold over all of them together, and so does the count of what
was spent.
Chen et al. 2023, FrugalGPT (arXiv 2305.05176), with the vote in place of a trained scorer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.events import Decided, EventStream, RunEnded, Warned
from ttc_cli.ledger import Ledger
from ttc_cli.policy.run import solve
from ttc_cli.policy.table import Table
from ttc_cli.prompts import Chat
from ttc_cli.search.sessions.thinking import Thinking
from ttc_cli.types import Budget, Candidate, Problem, Result, Sampling, Usage

ENOUGH = {"quick": 0.6, "normal": 0.8, "deep": 0.9, "max": 0.97}
"""The estimate at which a model's answer stands, by budget. Chosen before measurement."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A model that is loaded and ready, and what it goes by; the rest as ``solve`` takes it.

    ``known`` are its candidates of an earlier run.
    """

    engine: Engine
    chat: Chat
    table: Table
    sampling: Sampling
    thinking: Thinking | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[int, Candidate] = field(default_factory=dict)


Climb = Callable[[], Awaitable[Stage]]
"""Loads a stage. Called only when it is its turn; the one before is not needed any more."""


async def solve_in_turn(
    problem: Problem,
    stages: Sequence[Climb],
    *,
    budget: Budget,
    events: EventStream,
    stopped: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Result:
    """Ask the models of ``stages`` in turn until one is sure enough of its answer.

    Args:
        problem: the question.
        stages: at least one, smallest first.
        budget: its caps hold over all models together.
        events: gets the events of each run in turn, between two of them why the next is asked,
            and after several once more ``RunEnded``, with what all of them spent.
        stopped: as for ``solve``.
        options: further arguments of ``solve``, the same for every model.

    Returns:
        The result of whoever was surest, with what all of them spent. A model that could not be
        loaded or failed is warned of, where one before it has an answer.

    Raises:
        TtcError: as ``solve``, from the first model.
    """
    spent, started = Usage(), 0
    best: Result | None = None
    enough = ENOUGH.get(budget.level, ENOUGH["normal"])
    for place, climb in enumerate(stages):
        try:
            stage = await climb()
            if best is not None and stopped():
                break
            ledger = Ledger(_leave(budget, spent, started))
            result = await solve(
                problem,
                stage.engine,
                chat=stage.chat,
                table=stage.table,
                sampling=stage.sampling,
                thinking=stage.thinking,
                refused=stage.refused,
                known=stage.known,
                ledger=ledger,
                events=events,
                stopped=stopped,
                **options,
            )
        except TtcError as error:
            if best is None:
                raise
            events.emit(Warned(f"Going on with the smaller model's answer: {error.message}"))
            break
        spent, started = _add(spent, result.usage), started + ledger.samples
        if best is None or _believe(result) >= _believe(best):
            best = result
        if place + 1 == len(stages) or result.interrupted or _is_spent(budget, spent, started):
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

    def left(cap: float | None, used: float) -> float | None:
        return None if cap is None else max(0.0, cap - used)

    def left_whole(cap: int | None, used: int) -> int | None:
        return None if cap is None else max(0, cap - used)

    return replace(
        budget,
        max_tokens=left_whole(budget.max_tokens, spent.generated_tokens),
        max_seconds=left(budget.max_seconds, spent.seconds),
        max_flops=left(budget.max_flops, spent.flops),
        max_samples=left_whole(budget.max_samples, started),
    )


def _is_spent(budget: Budget, spent: Usage, started: int) -> bool:
    left = _leave(budget, spent, started)
    return 0 in (left.max_tokens, left.max_seconds, left.max_flops, left.max_samples)


def _add(first: Usage, second: Usage) -> Usage:
    return Usage(
        first.generator + second.generator,
        first.verifier + second.verifier,
        first.seconds + second.seconds,
    )
