"""What the tests of step-wise strategies share: a model that babbles, and a judge that is moody."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import fields

from ttc_cli import builtin
from ttc_cli.answers import Comparer
from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.events import EventStream
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.search.registry import find
from ttc_cli.types import AnswerType, Candidate, Problem, Result

QUESTION = Problem("How many apples has Tom?", AnswerType.NUMBER)
FREE = Problem("Write a poem about apples.", AnswerType.FREE)
STRATEGIES = ("auto", *builtin.STRATEGIES)
STEPWISE = [name for name in builtin.STRATEGIES if find(name).steps]

FOR_STAGE = {field.name for field in fields(Stage)}


def ramble(ask: Ask) -> str:
    """Some paragraphs and an answer that depend on the seed and all that was said before.

    Asked anew at each step, it comes to an end after four more of them on average.
    """
    key = hashlib.blake2b(f"{ask.seed}:{ask.text}".encode(), digest_size=8).digest()
    draw = random.Random(key)
    words = ("so", "we", "add", "the", "two", "and", "get", "seven", "apples", "minus", "one")
    steps = [" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(draw.randint(0, 3))]
    return "\n\n".join([*steps, f"The final answer is {draw.randint(1, 4)}."])


def moody(text: str) -> float:
    """A score that depends on the text alone, and on every character of it."""
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] / 255


def search(
    strategy: str,
    script=ramble,
    *,
    problem: Problem = QUESTION,
    yes=moody,
    parallel: int = 4,
    kv_cells: int | None = None,
    engine: ScriptedEngine | None = None,
    watch=None,
    **options,
) -> tuple[Result, list[object]]:
    """Solve with a scripted engine; the result and all events."""
    for_stage = {name: options.pop(name) for name in FOR_STAGE & options.keys()}
    surroundings = {name: options.pop(name) for name in ("ledger", "stopped") if name in options}
    engine = engine or ScriptedEngine(script, yes=yes, parallel=parallel, kv_cells=kv_cells)
    events, seen = EventStream(), []
    events.readers.append(seen.append)
    if watch is not None:
        events.readers.append(lambda event: watch(engine, event))
    with Comparer() as comparer:
        result = asyncio.run(
            solve(
                problem,
                Stage(engine, Chat(engine.info), **for_stage),
                SearchOptions(strategy, **options),
                comparer=comparer,
                events=events,
                **surroundings,
            )
        )
    return result, seen


def root_of(candidate: Candidate, result: Result) -> int:
    """The first candidate on the way to this one."""
    by_id = {each.id: each for each in result.candidates}
    while candidate.parent is not None:
        candidate = by_id[candidate.parent]
    return candidate.id
