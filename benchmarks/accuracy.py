#!/usr/bin/env python3
"""Accuracy, tokens and FLOPs of the fixed strategies and of ``auto``, from one recorded pool.

    benchmarks/accuracy.py POOL.jsonl --data tests/data/gsm8k/test_0_199.jsonl

Every line runs the real ``solve`` on ``engines/recorded.py``; ``auto`` is averaged over several
orders in which the recorded samples may come. With --live MODEL.gguf it also solves the first
--live-questions for real, with other seeds than the pool's, as a check on the simulation.
Tokens and FLOPs count everything: prompts, cancelled candidates and the judge.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets, pool, runner
from ttc_cli.bench.report import Outcome, markdown, summarise
from ttc_cli.engines import llamacpp
from ttc_cli.errors import TtcError
from ttc_cli.models import hardware
from ttc_cli.policy.table import SHIPPED
from ttc_cli.prompts import Chat

FIXED = ("majority", "weighted", "best-of-n")


def main() -> None:
    """Read the options and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pool", type=Path, help="made by record_pool.py")
    options.add_argument("--data", type=Path, required=True, help="labelled questions (JSONL)")
    options.add_argument("--questions", help="part of the data, as 0:60; default: all recorded")
    options.add_argument("--samples", type=int, default=16, help="N of the fixed strategies")
    options.add_argument("--levels", nargs="+", default=["quick", "normal", "deep"])
    options.add_argument("--trajectories", type=int, default=20, help="orders of the samples")
    options.add_argument("--parallel", type=int, default=16, help="branches that grow at once")
    options.add_argument("--rows", type=Path, help="write every outcome there, as JSONL")
    options.add_argument("--live", type=Path, metavar="MODEL", help="also solve with this GGUF")
    options.add_argument("--live-questions", type=int, default=20)
    options.add_argument("--live-seed", type=int, default=1_000_003)
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    given = options.parse_args()
    try:
        asyncio.run(_report(given))
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")


async def _report(given: argparse.Namespace) -> None:
    recorded = pool.read(given.pool)
    questions = [
        question
        for question in datasets.load(given.data, given.questions)
        if len(recorded.questions[question.id].samples if question.id in recorded.questions else ())
        >= given.samples
    ]
    if not questions:
        sys.exit(f"{given.pool} holds no question of {given.data} with {given.samples} samples.")
    header, count = recorded.header, given.samples
    print(
        f"\n{header.model}, {len(questions)} questions of {given.data.parent.name}/"
        f"{given.data.name}, T {header.sampling.temperature:g}, at most {header.max_tokens} tokens "
        f"a candidate, {header.build}. {_describe(recorded, questions, count)}\n"
    )
    found: dict[str, list[Outcome]] = {}
    with Comparer() as comparer:
        found["pass@1"] = runner.single(recorded, questions, comparer, count)
        for strategy in FIXED:
            found[f"{strategy}@{count}"] = await runner.simulate(
                recorded,
                questions,
                comparer,
                strategy=strategy,
                samples=count,
                parallel=given.parallel,
            )
        rows = [summarise(name, outcomes) for name, outcomes in found.items()]
        rows.append(summarise(f"oracle@{count}", found[f"majority@{count}"], oracle=True))
        for level in given.levels:
            cap = SHIPPED.row(level).cap
            name = f"auto, {level}" + (f" (at most {count})" if cap > count else "")
            print(f"{name} …", file=sys.stderr, flush=True)
            found[name] = await runner.simulate(
                recorded,
                questions,
                comparer,
                strategy="auto",
                level=level,
                samples=min(cap, count),
                trajectories=given.trajectories,
                parallel=given.parallel,
            )
            rows.append(summarise(name, found[name]))
        print(markdown(rows, seconds="seconds (at the pool's rate)"))
        print(
            f"`auto`: mean over {given.trajectories} orders of the samples. Seconds are tokens "
            "over the rate at which the pool was drawn, its batch always full: a live run takes "
            "longer."
        )
        if given.live:
            live = questions[: given.live_questions]
            found |= await _live(given, recorded, live, comparer)
    if given.rows:
        _write(given.rows, found)


async def _live(
    given: argparse.Namespace,
    recorded: pool.Pool,
    questions: list[datasets.Question],
    comparer: Comparer,
) -> dict[str, list[Outcome]]:
    header = recorded.header
    engine = llamacpp.load(
        given.live,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.parallel,
            answer=header.max_tokens,
            context=header.max_tokens + 1024,
        ),
    )
    found: dict[str, list[Outcome]] = {}
    names = {question.id for question in questions}

    def say(question: datasets.Question, outcome: Outcome) -> None:
        verdict = "right" if outcome.right else "wrong"
        print(
            f"{question.id}: {verdict}, {outcome.samples} samples, {outcome.tokens:,} tokens, "
            f"{outcome.seconds:.0f} s ({outcome.stop_reason})",
            file=sys.stderr,
            flush=True,
        )

    rows = []
    try:
        chat = Chat(engine.info, header.template_arguments)
        for level in given.levels:
            cap = min(SHIPPED.row(level).cap, given.samples)
            common = {"strategy": "auto", "level": level, "samples": cap}
            simulated = await runner.simulate(
                recorded,
                questions,
                comparer,
                trajectories=given.trajectories,
                parallel=given.parallel,
                **common,
            )
            live = await runner.put(
                questions,
                engine,
                chat,
                comparer,
                max_tokens=header.max_tokens,
                sampling=header.sampling,
                seed=given.live_seed,
                done=say,
                **common,
            )
            found[f"live {level}"] = live
            rows += [
                summarise(f"auto, {level}, simulated", simulated),
                summarise(f"auto, {level}, live", live),
            ]
    finally:
        engine.close()
    print(f"\nThe first {len(names)} of these questions, live against simulated:\n")
    print(markdown(rows, seconds="seconds (live: measured)"))
    return found


def _describe(recorded: pool.Pool, questions: list[datasets.Question], count: int) -> str:
    samples = [
        sample
        for question in questions
        for sample in recorded.questions[question.id].samples[:count]
    ]
    finished = sum(sample.recorded.finish == "stop" for sample in samples) / len(samples)
    answered = sum(sample.answer is not None for sample in samples) / len(samples)
    return f"{finished:.1%} of the samples finished, {answered:.1%} stated an answer."


def _write(path: Path, found: dict[str, list[Outcome]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for name, outcomes in found.items():
            for outcome in outcomes:
                file.write(json.dumps({"strategy": name, **asdict(outcome)}) + "\n")


if __name__ == "__main__":
    main()
