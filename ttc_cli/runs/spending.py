"""What a run would have cost had it grown every sample of its budget: how savings are counted.

All samples, each as long as this run's own candidates were on average, at the FLOPs a token that
its generator took, and the prompt read once. Only candidates that ended by themselves or at their
own limit tell how long one is: those that were cancelled, pruned or cut off by a cap are shorter
for that reason alone. No verifier is counted: a vote over all samples needs none.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.types import Finish, Result

_WHOLE = (Finish.STOP, Finish.LENGTH, Finish.CONTEXT, Finish.LOOP)


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens sampled, and FLOPs of everything."""

    tokens: float
    flops: float


def estimate_full(result: Result, samples: int | None) -> Cost | None:
    """The cost of all ``samples``; None where it is not known how many, or how long one is."""
    whole = [each.tokens for each in result.candidates if each.finish in _WHOLE]
    if samples is None or not whole:
        return None
    tokens = samples * sum(whole) / len(whole)
    role = result.usage.generator
    processed = role.prompt_tokens + role.generated_tokens
    a_token = role.flops / processed if processed else 0.0
    return Cost(tokens, (role.prompt_tokens + tokens) * a_token)
