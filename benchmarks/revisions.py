#!/usr/bin/env python3
"""How often revising helps: right answers revised into wrong ones, and wrong into right.

    benchmarks/revisions.py MODEL.gguf ROWS.jsonl --questions 0:30

Solves labelled questions with ``--strategy revise`` for real and grades every attempt. ROWS holds
one line a question; a run that was stopped goes on where it was, and a file of other settings is
refused. Unanswered attempts count as wrong. Intervals are Wilson's, 95 %: those of transitions
are over attempts, of which one question gives several, so that they are too narrow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import GSM8K

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.bench.statistics import wilson
from ttc_cli.engines import llamacpp
from ttc_cli.errors import TtcError
from ttc_cli.models import hardware
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Result, Sampling
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.checking.sandbox import find_sandbox
from ttc_cli.verifiers.registry import build


@dataclass(frozen=True)
class Attempt:
    """One attempt, graded. ``parent`` is the attempt it revises; ids are within the question."""

    id: int
    parent: int | None
    right: bool
    answered: bool
    tokens: int


@dataclass(frozen=True)
class Row:
    """One question: its attempts, and whether the answer chosen over all of them was right."""

    question: str
    right: bool
    attempts: tuple[Attempt, ...]
    tokens: int
    prompt_tokens: int
    flops: float
    seconds: float


def main() -> None:
    """Solve what is missing and print the tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path, help="a GGUF file")
    options.add_argument("rows", type=Path, help="where each question's outcome is written")
    options.add_argument("--data", type=Path, default=GSM8K, help="labelled questions (JSONL)")
    options.add_argument("--questions", default="0:30", help="part of the data, as 0:60")
    options.add_argument("--chains", type=int, default=4)
    options.add_argument("--attempts", type=int, default=4, help="attempts of a chain")
    options.add_argument("--window", type=int, default=4, help="attempts that stay in context")
    options.add_argument("--temperature", type=float, default=0.5)
    options.add_argument("--max-tokens", type=int, default=512, help="of an attempt")
    options.add_argument(
        "--verifier", action="append", default=[], help="judges attempts, as for ttc solve"
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    given = options.parse_args()
    settings = {
        "model": given.model.name,
        "data": given.data.name,
        **{
            name: getattr(given, name)
            for name in ("chains", "attempts", "window", "temperature", "max_tokens", "seed")
        },
        **({"verifiers": ", ".join(given.verifier)} if given.verifier else {}),
    }
    try:
        questions = datasets.load(given.data, given.questions)
        known = _read(given.rows, settings)
        missing = [each for each in questions if each.id not in known]
        if missing:
            known |= asyncio.run(_solve(given, missing))
        _print([known[each.id] for each in questions], settings)
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")


def _read(path: Path, settings: dict[str, Any]) -> dict[str, Row]:
    """The rows of an earlier run; a new file begins with its settings."""
    if not path.exists():
        path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
        return {}
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    if json.loads(first).get("settings") != settings:
        sys.exit(f"{path} was made with other settings: {first}")
    rows = {}
    for line in lines:
        try:
            raw = json.loads(line)
        except ValueError:  # cut off in the middle: solved again
            continue
        attempts = tuple(Attempt(**each) for each in raw.pop("attempts"))
        rows[raw["question"]] = Row(attempts=attempts, **raw)
    return rows


async def _solve(
    given: argparse.Namespace, questions: Sequence[datasets.LabelledQuestion]
) -> dict[str, Row]:
    room = given.max_tokens + 128
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.chains,
            answer=given.max_tokens,
            context=1024 + room * ((given.window or given.attempts) + 1),
        ),
    )
    rows = {}
    try:
        chat = Chat(engine.info, {})
        means = VerifierContext(chat, engine=engine, sandbox=find_sandbox())
        with Comparer() as comparer, given.rows.open("a", encoding="utf-8") as file:
            for question in questions:
                result = await solve(
                    question.problem,
                    Stage(
                        engine,
                        chat,
                        sampling=Sampling(temperature=given.temperature),
                        verifiers=build(given.verifier, means),
                    ),
                    SearchOptions(
                        "revise",
                        {"chains": str(given.chains), "window": str(given.window)},
                        samples=given.chains * given.attempts,
                        budget=Budget(tokens_per_candidate=given.max_tokens),
                        seed=given.seed,
                    ),
                    comparer=comparer,
                )
                row = _grade(question, result, comparer)
                file.write(json.dumps(asdict(row)) + "\n")
                file.flush()
                rows[row.question] = row
                marks = "".join("+" if each.right else "-" for each in row.attempts)
                print(f"{row.question}: {marks}, {row.seconds:.0f} s", file=sys.stderr, flush=True)
    finally:
        engine.close()
    return rows


def _grade(question: datasets.LabelledQuestion, result: Result, comparer: Comparer) -> Row:
    return Row(
        question.id,
        comparer.grade(result.answer, question.answer),
        tuple(
            Attempt(
                each.id,
                each.parent,
                comparer.grade(each.answer, question.answer),
                each.answer is not None,
                each.tokens,
            )
            for each in result.candidates
        ),
        result.usage.generated_tokens,
        result.usage.tokens - result.usage.generated_tokens,
        result.usage.flops,
        result.usage.seconds,
    )


def count_transitions(rows: Sequence[Row]) -> Counter[tuple[bool, bool]]:
    """How often an attempt that was (right, wrong) was revised into one that was."""
    counts: Counter[tuple[bool, bool]] = Counter()
    for row in rows:
        by_id = {each.id: each for each in row.attempts}
        for each in row.attempts:
            if each.parent is not None:
                counts[by_id[each.parent].right, each.right] += 1
    return counts


def find_rounds(row: Row) -> dict[int, int]:
    """The place of each attempt in its chain, by id, from 0."""
    place: dict[int, int] = {}
    for each in sorted(row.attempts, key=lambda each: each.id):
        place[each.id] = 0 if each.parent is None else place[each.parent] + 1
    return place


def _print(rows: Sequence[Row], settings: dict[str, Any]) -> None:
    named = ", ".join(f"{name} {value}" for name, value in settings.items())
    print(f"\n{len(rows)} questions: {named}\n")
    counts = count_transitions(rows)
    print("| an attempt that was | revised into right | into wrong | changed | 95 % interval |")
    print("|---|---:|---:|---:|---|")
    for was in (True, False):
        changed, total = counts[was, not was], counts[was, True] + counts[was, False]
        share = changed / total if total else 0.0
        print(
            f"| {'right' if was else 'wrong'} | {counts[was, True]} | {counts[was, False]} "
            f"| {share:.0%} | {_interval(share, total)} |"
        )
    print("\n| answer taken from | right | 95 % interval |\n|---|---:|---|")
    rounds: dict[int, list[bool]] = {}
    for row in rows:
        for id, place in find_rounds(row).items():
            rounds.setdefault(place, []).append(
                next(each.right for each in row.attempts if each.id == id)
            )
    for place, right in sorted(rounds.items()):
        share = sum(right) / len(right)
        name = "the first attempts" if place == 0 else f"revision {place}"
        print(f"| {name} | {share:.0%} of {len(right)} | {_interval(share, len(right))} |")
    for name, found in (
        ("all attempts, by the sum of scores", [row.right for row in rows]),
        ("any attempt (oracle)", [any(e.right for e in row.attempts) for row in rows]),
    ):
        share = sum(found) / len(found)
        print(f"| {name} | {share:.0%} of {len(rows)} | {_interval(share, len(rows))} |")
    count = len(rows)
    print(
        f"\nA question: {sum(row.tokens for row in rows) / count:,.0f} tokens sampled, "
        f"{sum(row.prompt_tokens for row in rows) / count:,.0f} read, "
        f"{sum(row.flops for row in rows) / count / 1e12:.2f} TFLOPs, "
        f"{sum(row.seconds for row in rows) / count:.0f} s; "
        f"{sum(e.answered for row in rows for e in row.attempts)} of "
        f"{sum(len(row.attempts) for row in rows)} attempts stated an answer."
    )


def _interval(share: float, count: int) -> str:
    low, high = wilson(share, count)
    return f"{low:.0%} – {high:.0%}"


if __name__ == "__main__":
    main()
