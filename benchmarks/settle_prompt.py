#!/usr/bin/env python3
"""What prompt, temperature and length limit do to single samples, before any search is compared.

    benchmarks/settle_prompt.py --model M.gguf --data QUESTIONS.jsonl --questions 100:130

Draw on questions that no result is reported on. Every pair of place (the turn that carries the
instructions) and temperature is drawn once, at the greatest limit; what a lower limit would have
given is read off the same samples.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import deque
from pathlib import Path

from ttc_cli.answers import Comparer, detect
from ttc_cli.bench import datasets
from ttc_cli.bench.pool import PoolQuestion, PoolSample
from ttc_cli.bench.recording import record_question
from ttc_cli.bench.report import wilson
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.models import hardware
from ttc_cli.prompts import Chat, Place
from ttc_cli.search.sample import read_answer
from ttc_cli.types import Answer, AnswerType, Finish, Sampling


def main() -> None:
    """Read the options, draw and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", type=Path, required=True, help="a GGUF file")
    options.add_argument("--data", type=Path, required=True, help="labelled questions (JSONL)")
    options.add_argument("--questions", help="part of the data, as 100:130")
    options.add_argument("--samples", type=int, default=4)
    options.add_argument("--places", nargs="+", choices=("system", "user"), default=["system"])
    options.add_argument("--temperatures", nargs="+", type=float, default=[0.3, 0.7])
    options.add_argument("--limits", nargs="+", type=int, default=[384, 512, 768])
    options.add_argument("--parallel", type=int, default=32)
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    try:
        asyncio.run(_settle(given))
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")


async def _settle(given: argparse.Namespace) -> None:
    questions = datasets.load(given.data, given.questions)
    most = max(given.limits)
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads, parallel=given.parallel, answer=most, context=most + 1024
        ),
    )
    print(f"{given.model.name}, {len(questions)} questions × {given.samples} samples\n")
    print("| instructions in | T | limit | pass@1 | 95 % interval | finished | answered | tokens |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    try:
        with Comparer() as comparer:
            for place, temperature in itertools.product(given.places, given.temperatures):
                started = time.monotonic()
                drawn = await _draw(given, engine, questions, place, temperature, most)
                print(f"drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)
                for limit in sorted(given.limits):
                    print(_row(place, temperature, limit, questions, drawn, comparer), flush=True)
    finally:
        engine.close()


async def _draw(
    given: argparse.Namespace,
    engine: Engine,
    questions: list[datasets.Question],
    place: Place,
    temperature: float,
    limit: int,
) -> dict[str, PoolQuestion]:
    todo = deque(questions)
    found: dict[str, PoolQuestion] = {}
    chat = Chat(engine.info, {})

    async def work() -> None:
        while todo:
            question = todo.popleft()
            found[question.id] = await record_question(
                engine,
                chat,
                question.problem,
                id=question.id,
                indices=range(given.samples),
                sampling=Sampling(temperature=temperature),
                max_tokens=limit,
                seed=given.seed,
                place=place,
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, -(-2 * given.parallel // given.samples))):
            group.create_task(work())
    return found


def _row(
    place: Place,
    temperature: float,
    limit: int,
    questions: list[datasets.Question],
    drawn: dict[str, PoolQuestion],
    comparer: Comparer,
) -> str:
    right = finished = answered = tokens = count = 0
    for question in questions:
        problem = question.problem
        auto = problem.answer_type is AnswerType.AUTO
        kind = detect(problem.text) if auto else problem.answer_type
        for sample in drawn[question.id].samples:
            answer, finish = _cut(sample, limit, kind)
            count += 1
            right += comparer.grade(answer, question.answer)
            finished += finish is Finish.STOP
            answered += answer is not None
            tokens += min(limit, sample.recorded.tokens)
    low, high = wilson(right / count, len(questions))
    return (
        f"| {place} | {temperature:g} | {limit} | {right / count:.1%} | {low:.0%} – {high:.0%} "
        f"| {finished / count:.0%} | {answered / count:.0%} | {tokens / count:.0f} |"
    )


def _cut(sample: PoolSample, limit: int, kind: AnswerType) -> tuple[Answer | None, Finish]:
    """What the sample would have come to under ``limit``."""
    recorded = sample.recorded
    if recorded.tokens <= limit:
        return sample.answer, recorded.finish
    return read_answer(recorded.text_until(limit), Finish.LENGTH, kind), Finish.LENGTH


if __name__ == "__main__":
    main()
