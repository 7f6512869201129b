"""Puts labelled questions to strategies: on a recorded pool, or live."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ttc_cli.answers import resolve
from ttc_cli.bench.datasets import Question
from ttc_cli.bench.pool import Pool, PoolQuestion
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.report import Outcome
from ttc_cli.engines.base import Engine
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Sampling
from ttc_cli.verifiers.base import Verifier

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer


async def put(
    questions: Iterable[Question],
    engine: Engine,
    chat: Chat,
    comparer: Comparer,
    *,
    strategy: str = "auto",
    level: str = "normal",
    samples: int | None = None,
    max_tokens: int = 768,
    sampling: Sampling | None = None,
    verifiers: Sequence[Verifier] = (),
    seed: int = 0,
    table: Table = SHIPPED,
    run: int = 0,
    flight: int = 1,
    done: Callable[[Question, Outcome], None] | None = None,
) -> list[Outcome]:
    """Solve each question and grade it.

    Args:
        questions: labelled ones.
        engine: live or recorded.
        chat: the engine's chat template.
        comparer: decides which answers mean the same, the label's included.
        strategy: ``auto`` or a fixed one.
        level: the budget's name.
        samples: as in ``solve``.
        max_tokens: the limit of a candidate.
        sampling: how tokens are drawn.
        verifiers: what guides the strategy; none are its own.
        seed: of every run.
        table: the policy.
        run: what the outcomes are numbered with.
        flight: questions at once. Above 1 they share the engine, and each one's seconds are
            longer than if it were alone.
        done: called after each question.

    Returns:
        In the order of ``questions``.

    Raises:
        TtcError: as ``solve``; outcomes that ``done`` has seen stay valid.
    """
    stage = Stage(engine, chat, table, sampling or Sampling(), tuple(verifiers))
    budget = Budget(level=level, tokens_per_candidate=max_tokens)
    options = SearchOptions(strategy, samples=samples, budget=budget, seed=seed)
    places = list(enumerate(questions))
    outcomes: dict[int, Outcome] = {}
    todo = deque(places)

    async def work() -> None:
        while todo:
            place, question = todo.popleft()
            outcomes[place] = await answer(question)
            if done is not None:
                done(question, outcomes[place])

    async def answer(question: Question) -> Outcome:
        result = await solve(question.problem, stage, options, comparer=comparer)
        return Outcome(
            question.id,
            comparer.grade(result.answer, question.answer),
            any(comparer.grade(each.answer, question.answer) for each in result.candidates),
            len(result.candidates),
            result.usage.tokens,
            result.usage.flops,
            result.usage.seconds,
            result.stop_reason,
            result.answer.text if result.answer is not None else None,
            run,
        )

    await asyncio.gather(*(work() for _ in range(max(1, min(flight, len(places))))))
    return [outcomes[place] for place, _ in places]


async def simulate(
    pool: Pool,
    questions: Sequence[Question],
    comparer: Comparer,
    *,
    strategy: str,
    level: str = "normal",
    samples: int,
    trajectories: int = 1,
    parallel: int | None = None,
    table: Table = SHIPPED,
) -> list[Outcome]:
    """As ``put``, on ``pool``: each question once a trajectory, another order of samples each.

    Seconds are estimated: tokens over the pool's own rate, which had its batch always full, so
    that a live run of one question takes longer. None where the pool was not timed.
    """
    header, recording = pool.header, pool.recording()
    rate = pool.tokens_a_second()
    outcomes: list[Outcome] = []
    chat: Chat | None = None
    for trajectory in range(trajectories):
        engine = RecordedEngine(recording, trajectory=trajectory, parallel=parallel, jump=True)
        chat = chat or Chat(engine.info, header.template_arguments)
        found = await put(
            questions,
            engine,
            chat,
            comparer,
            strategy=strategy,
            level=level,
            samples=samples,
            max_tokens=header.max_tokens,
            sampling=header.sampling,
            seed=trajectory,
            table=table,
            run=trajectory,
        )
        outcomes += [_with_seconds(outcome, rate) for outcome in found]
    return outcomes


def single(
    pool: Pool, questions: Sequence[Question], comparer: Comparer, samples: int
) -> list[Outcome]:
    """One outcome a recorded sample, as if it were the only one: their mean is pass@1."""
    rate, flops = pool.tokens_a_second(), 2.0 * pool.header.parameters
    outcomes = []
    for question in questions:
        drawn: PoolQuestion = pool.questions[question.id]
        answer_type = resolve(question.problem).answer_type
        for number, sample in enumerate(drawn.samples[:samples]):
            answer = sample.read_answer(answer_type)
            right = comparer.grade(answer, question.answer)
            tokens = drawn.prompt_tokens + sample.recorded.tokens
            stated = answer.text if answer is not None else None
            outcome = Outcome(
                question.id, right, right, 1, tokens, flops * tokens, answer=stated, run=number
            )
            outcomes.append(_with_seconds(outcome, rate))
    return outcomes


def _with_seconds(outcome: Outcome, rate: float | None) -> Outcome:
    return replace(outcome, seconds=outcome.tokens / rate if rate else None)
