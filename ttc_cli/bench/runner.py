"""Puts labelled questions to strategies: on a recorded pool, or live."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.pool import SamplePool
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.report import Outcome
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget


async def solve_all(
    questions: Sequence[LabelledQuestion],
    stage: Stage,
    options: SearchOptions,
    comparer: Comparer,
    *,
    run: int = 0,
    flight: int = 1,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Solve each question and grade it; the outcomes, in the order of ``questions``.

    ``flight`` questions at once share the engine, and each takes longer than it would alone.
    ``run`` is the number that the outcomes get; ``done`` is called with each as it comes.

    Raises:
        TtcError: as ``solve``; outcomes that ``done`` has seen stay valid.
    """
    outcomes: dict[str, Outcome] = {}
    todo = deque(questions)

    async def work() -> None:
        while todo:
            question = todo.popleft()
            result = await solve(question.problem, stage, options, comparer=comparer)
            outcome = outcomes[question.id] = Outcome(
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
            done(outcome)

    await asyncio.gather(*(work() for _ in range(min(flight, len(questions)))))
    return [outcomes[question.id] for question in questions]


async def simulate(
    pool: SamplePool,
    questions: Sequence[LabelledQuestion],
    comparer: Comparer,
    *,
    strategy: str,
    level: str = "normal",
    samples: int,
    trajectories: int = 1,
    parallel: int | None = None,
    table: Table = SHIPPED,
) -> list[Outcome]:
    """As ``solve_all``, on ``pool``: each question once a trajectory, in another order of samples.

    Seconds are estimated: tokens over the pool's own rate, which had its batch always full, so
    that a live run of one question takes longer. None where the pool was not timed.
    """
    header, recording = pool.header, pool.recording()
    budget = Budget(level=level, tokens_per_candidate=header.max_tokens)
    chat = Chat(recording.info, header.template_arguments)
    outcomes: list[Outcome] = []
    for trajectory in range(trajectories):
        engine = RecordedEngine(recording, trajectory=trajectory, parallel=parallel, jump=True)
        outcomes += await solve_all(
            questions,
            Stage(engine, chat, table, header.sampling),
            SearchOptions(strategy, samples=samples, budget=budget, seed=trajectory),
            comparer,
            run=trajectory,
        )
    return _estimate_seconds(outcomes, pool)


def single(
    pool: SamplePool, questions: Sequence[LabelledQuestion], comparer: Comparer, samples: int
) -> list[Outcome]:
    """One outcome a recorded sample, as if it were the only one: their mean is pass@1."""
    flops = 2.0 * pool.header.parameters
    outcomes = []
    for question in questions:
        drawn = pool.questions[question.id]
        problem = resolve(question.problem)
        for number, sample in enumerate(drawn.samples[:samples]):
            answer = sample.read_answer(problem)
            right = comparer.grade(answer, question.answer)
            tokens = drawn.prompt_tokens + sample.tokens
            stated = answer.text if answer is not None else None
            outcomes.append(
                Outcome(
                    question.id, right, right, 1, tokens, flops * tokens, answer=stated, run=number
                )
            )
    return _estimate_seconds(outcomes, pool)


def _estimate_seconds(outcomes: list[Outcome], pool: SamplePool) -> list[Outcome]:
    rate = pool.tokens_a_second()
    return [replace(each, seconds=each.tokens / rate if rate else None) for each in outcomes]
