#!/usr/bin/env python3
r"""Draw N samples of each labelled question once, into a pool that every comparison then uses.

    benchmarks/record_pool.py --model M.gguf --data tests/data/gsm8k/test_0_199.jsonl \
        --questions 0:60 --samples 16 --judge --out build/pools/M.jsonl

Stop it at any time: each finished question is on the disk, and the same command goes on with the
next. More --samples later adds to what is there. Several questions are in flight, so that the
batch stays full while one question's last candidates end.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import time
from collections import deque
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from ttc_cli.bench import datasets, pool
from ttc_cli.bench.recording import describe, record_question
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.models import hardware
from ttc_cli.prompts import Chat
from ttc_cli.types import Sampling
from ttc_cli.verifiers.judge import JudgeVerifier


def main() -> None:
    """Read the options and record."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", type=Path, required=True, help="a GGUF file")
    options.add_argument("--data", type=Path, required=True, help="labelled questions (JSONL)")
    options.add_argument("--out", type=Path, required=True, help="the pool file")
    options.add_argument("--questions", help="part of the data, as 0:60")
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--temperature", type=float, default=Sampling().temperature)
    options.add_argument("--top-p", type=float, default=Sampling().top_p)
    options.add_argument("--top-k", type=int, default=Sampling().top_k)
    options.add_argument("--max-tokens", type=int, default=768, help="limit of a candidate")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--judge", action="store_true", help="score with the model as judge too")
    options.add_argument("--parallel", type=int, default=32, help="branches that grow at once")
    options.add_argument("--flight", type=int, help="questions at once (default: two batches full)")
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    options.add_argument("--split-kv", action="store_true", help="one KV buffer a branch")
    given = options.parse_args()
    try:
        asyncio.run(_record(given))
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


async def _record(given: argparse.Namespace) -> None:
    questions = datasets.load(given.data, given.questions)
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.parallel,
            answer=given.max_tokens,
            context=given.max_tokens + 1024,
            kv_unified=not given.split_kv,
        ),
    )
    try:
        chat = Chat(engine.info, {})
        header = describe(
            engine,
            chat,
            sha256=_sha256(given.model),
            sampling=Sampling(given.temperature, given.top_p, given.top_k),
            max_tokens=given.max_tokens,
            seed=given.seed,
            build=f"llama-cpp-python {version('llama-cpp-python')}",
            settings={"threads": given.threads, "kv_unified": not given.split_kv},
        )
        with pool.write(given.out, header) as writer:
            await _draw(given, engine, chat, questions, writer)
    finally:
        engine.close()


async def _draw(
    given: argparse.Namespace,
    engine: Engine,
    chat: Chat,
    questions: list[datasets.Question],
    writer: pool.PoolWriter,
) -> None:
    todo = deque(
        (question, missing)
        for question in questions
        if (missing := writer.missing(question.id, given.samples))
    )
    total, done, tokens = len(todo), 0, 0
    started = written = time.monotonic()
    print(f"{len(questions) - total} questions are there, {total} to draw", file=sys.stderr)

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
                sampling=writer.pool.header.sampling,
                max_tokens=given.max_tokens,
                seed=given.seed,
                judge=JudgeVerifier(chat) if given.judge else None,
            )
            now = time.monotonic()
            writer.append(replace(drawn, seconds=now - written))
            written, done = now, done + 1
            tokens += sum(sample.recorded.tokens for sample in drawn.samples)
            answered = sum(sample.answer is not None for sample in drawn.samples)
            elapsed = now - started
            print(
                f"{done}/{total}  {answered}/{len(missing)} answered  "
                f"{tokens / elapsed:.0f} tok/s  "
                f"{elapsed / 60:.1f} min, {elapsed / done * (total - done) / 60:.0f} min to go",
                file=sys.stderr,
                flush=True,
            )

    flight = given.flight or max(1, -(-2 * given.parallel // given.samples))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(flight, total)):
            group.create_task(work())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
