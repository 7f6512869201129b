"""How savings are counted: what a run would have cost with every sample of its budget.

All samples, each as long as this run's own candidates were on average, at the FLOPs a token that
its generator took, and the prompt read once. Only candidates that ended by themselves or at their
own limit tell how long one is: those that were cancelled, pruned or cut off by a cap are shorter
for that reason alone. No verifier is counted: a vote over all samples needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttc_cli.runs.run import Run, RunState
from ttc_cli.types import WHOLE, Result


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens sampled, and FLOPs of everything."""

    tokens: float
    flops: float


def estimate_full(result: Result) -> Cost | None:
    """The cost of all its samples; None where it is not known how many, or how long one is."""
    whole = [each.tokens for each in result.candidates if each.finish in WHOLE]
    if result.samples is None or not whole:
        return None
    tokens = result.samples * sum(whole) / len(whole)
    role = result.usage.generator
    processed = role.prompt_tokens + role.generated_tokens
    a_token = role.flops / processed if processed else 0.0
    return Cost(tokens, (role.prompt_tokens + tokens) * a_token)


@dataclass(slots=True)
class DifficultyBin:
    """Runs of one difficulty: what they took, and what all of their samples would have."""

    runs: int = 0
    tokens: int = 0
    flops: float = 0.0
    full_tokens: float = 0.0
    full_flops: float = 0.0


def sum_up(runs: Sequence[Run]) -> dict[int, DifficultyBin]:
    """What ``auto`` spent, by predicted difficulty from 1 to 5; empty bins are left out.

    Of runs that ended, and of resumed ones only the last, with what all of
    them together spent. Runs of a fixed strategy save nothing and are left out.
    """
    known = {run.id: run for run in runs}
    taken_up = {run.parent for run in runs if run.state is RunState.DONE}
    bins: dict[int, DifficultyBin] = {}
    for run in runs:
        if run.state is not RunState.DONE or run.strategy != "auto" or run.id in taken_up:
            continue
        if run.difficulty is None or run.full_tokens is None or run.full_flops is None:
            continue
        found = bins.setdefault(run.difficulty, DifficultyBin())
        found.runs += 1
        found.full_tokens += run.full_tokens
        found.full_flops += run.full_flops
        step: Run | None = run
        while step is not None:
            found.tokens += step.tokens
            found.flops += step.flops
            step = known.get(step.parent or "")
    return dict(sorted(bins.items()))
