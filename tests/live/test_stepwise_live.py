"""Strategies on models too small to reason: what only a real KV cache, or running state, shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.search.trees import STEPWISE
from ttc_cli.answers import Comparer
from ttc_cli.builtin import STRATEGIES
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerType, Budget, Finish, Problem, Result
from ttc_cli.verifiers.base import Verifier
from ttc_cli.verifiers.confidence import ConfidenceVerifier

pytestmark = pytest.mark.live

QUESTION = Problem("Write a short letter to a friend about apples.", AnswerType.FREE)


HYBRIDS = ("qwen35", "lfm2", "granitehybrid")


@pytest.fixture(scope="module", params=("smollm2-135m", *HYBRIDS, "gemma4"))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "smollm2-135m":
        path: Path = request.getfixturevalue("tiny_model")
    else:
        path = request.getfixturevalue("tiny_models")(request.param)
    loaded = llamacpp.load(path, llamacpp.Settings(threads=1, parallel=4, context=512, answer=96))
    yield loaded
    loaded.close()


def search(
    engine: Engine,
    strategy: str,
    verifiers: tuple[Verifier, ...] = (),
    question: Problem = QUESTION,
    **options: Any,
) -> Result:
    options.setdefault("samples", 3)
    options.setdefault("budget", Budget(tokens_per_candidate=64, max_tokens=500))
    with Comparer() as comparer:
        return asyncio.run(
            solve(
                question,
                Stage(engine, Chat(engine.info), verifiers=verifiers),
                SearchOptions(strategy, **options),
                comparer=comparer,
            )
        )


@pytest.mark.parametrize("strategy", STEPWISE)
def test_every_token_is_on_a_candidate_and_every_candidate_is_whole(
    engine: Engine, strategy: str
) -> None:
    result = search(engine, strategy)
    drawn = result.usage.generator.generated_tokens
    assert 0 < drawn == sum(each.tokens for each in result.candidates)
    assert sum(each.finish is Finish.STOP for each in result.candidates) <= 3
    assert any(len(each.steps) > 1 for each in result.candidates)
    by_id = {each.id: each for each in result.candidates}
    for each in result.candidates:
        assert each.text == "".join(step.text for step in each.steps)
        if each.parent is not None and each.steps:
            shared = [a == b for a, b in zip(each.steps, by_id[each.parent].steps, strict=False)]
            own = sum(step.tokens for step in each.steps[shared.count(True) :])
            assert own <= each.tokens
    assert 0 < result.usage.verifier.prompt_tokens < 1.2 * result.usage.verifier.reused_tokens


def test_the_same_seed_grows_the_same_tree(engine: Engine) -> None:
    first, second = (search(engine, "beam", seed=7) for _ in range(2))
    assert first.candidates == second.candidates


def test_what_backtracking_keeps_is_not_read_again(engine: Engine) -> None:
    """Confidence reads no branch, so that only the boundaries hold the prefix in the cache."""
    prompt = search(engine, "greedy", budget=Budget(tokens_per_candidate=4))
    result = search(engine, "backtrack", samples=4, verifiers=(ConfidenceVerifier(),))
    cut = [each for each in result.candidates if each.parent is not None]
    assert cut
    kept = [sum(step.tokens for step in each.steps) - each.tokens for each in cut]
    read = result.usage.generator.prompt_tokens - prompt.usage.generator.prompt_tokens
    assert read <= len(cut)  # at most the pending token of each boundary
    assert result.usage.generator.reused_tokens >= sum(kept) - len(cut)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in STEPWISE])
def test_every_other_strategy_works_too(engine: Engine, strategy: str) -> None:
    question = Problem("Tom has 3 apples and buys 4 more. How many?", AnswerType.NUMBER)
    result = search(engine, strategy, question=question)
    drawn = result.usage.generator.generated_tokens
    assert 0 < drawn == sum(each.tokens for each in result.candidates)
