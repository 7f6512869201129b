"""Draws a pool: several questions in flight, each on the disk as soon as it has ended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ttc_cli.bench.datasets import Question
from ttc_cli.bench.pool import PoolWriter
from ttc_cli.bench.recording import record_question
from ttc_cli.engines.base import Engine
from ttc_cli.verifiers.base import Verifier

if TYPE_CHECKING:
    from ttc_cli.prompts import Chat


async def draw(
    engine: Engine,
    chat: Chat,
    questions: Sequence[Question],
    writer: PoolWriter,
    *,
    samples: int,
    judge: Verifier | None = None,
    flight: int | None = None,
    states: bool = False,
    told: Callable[[int, int, int, float], None] = lambda done, total, tokens, seconds: None,
) -> None:
    """Draw what ``writer``'s pool lacks of ``samples`` samples of each of ``questions``.

    Args:
        engine: the model; its batch is shared by the questions in flight.
        chat: its chat template.
        questions: labelled ones.
        writer: an open pool; sampling, limit and seed are its header's.
        samples: of each question.
        judge: scores every candidate that stated an answer, or None.
        flight: questions at once; None is as many as fill the batch twice, so that it stays full
            while a question's last candidates end.
        states: also read hidden states, as ``record_question`` does.
        told: called before the first and after each question with those that are done and all
            that are to be drawn, the tokens drawn, and the seconds since the beginning.

    Raises:
        PromptTooLong, EngineError: as ``Engine.open`` and ``Session.grow``. What was written stays.
    """
    header = writer.pool.header
    todo = deque(
        (question, missing)
        for question in questions
        if (missing := writer.missing(question.id, samples))
    )
    total, done, tokens = len(todo), 0, 0
    started = written = time.monotonic()
    told(0, total, 0, 0.0)

    async def work() -> None:
        nonlocal done, tokens, written
        while todo:
            question, missing = todo.popleft()
            drawn = await record_question(
                engine,
                chat,
                question.problem,
                id=question.id,
                indices=missing,
                sampling=header.sampling,
                max_tokens=header.max_tokens,
                seed=header.seed,
                judge=judge,
                states=states,
            )
            now = time.monotonic()
            writer.append(replace(drawn, seconds=now - written))
            written, done = now, done + 1
            tokens += sum(sample.recorded.tokens for sample in drawn.samples)
            told(done, total, tokens, now - started)

    flight = flight or max(1, -(-2 * engine.info.parallel // samples))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(flight, total)):
            group.create_task(work())
