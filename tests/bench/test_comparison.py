"""What a bench simulates with a policy that was fitted to one kind of answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.bench.scripted_pools import fill_pool
from ttc_cli.answers import Comparer
from ttc_cli.bench import contenders
from ttc_cli.bench.comparison import Bench
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.report import Outcome
from ttc_cli.bench.runner import Pools
from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.policy.estimate import FEATURES, Belief
from ttc_cli.policy.table import SHIPPED, BudgetRow, Table
from ttc_cli.types import AnswerType, Problem

NUMBERS = [
    LabelledQuestion(f"n{n}", Problem(f"What is {n} + {n}?", AnswerType.NUMBER), str(2 * n))
    for n in range(3)
]
WORDS = [
    LabelledQuestion(f"w{n}", Problem(f"Is {n} a number?", AnswerType.BOOLEAN), "yes")
    for n in range(3)
]
ONE = BudgetRow(probe=1, cap=1, threshold=0.5, price=0.0, free=1)


def say(ask: Ask) -> str:
    return "The final answer is yes." if "a number?" in ask.text else "The final answer is 4."


def bench(
    path: Path, table: Table, questions: list[LabelledQuestion], rivals: list[str]
) -> dict[str, list[Outcome]]:
    pool = fill_pool(path, ScriptedEngine(say, parallel=8), NUMBERS + WORDS, 8)
    with Comparer() as comparer:
        body = Bench(Pools(pool), questions, contenders.parse(rivals, 8), comparer, 8, 1, table)
        return asyncio.run(body.compare({}, lambda name: None)).found


def test_a_policy_prices_nothing_but_the_kinds_of_answers_it_was_fitted_to(tmp_path) -> None:
    flat = (0.0,) * len(FEATURES)
    belief = Belief(flat, 0.0, flat, (1.0,) * len(FEATURES), (AnswerType.NUMBER,))
    table = replace(SHIPPED, rows=dict.fromkeys(SHIPPED.rows, ONE), belief=belief)
    mixed = [NUMBERS[0], WORDS[0], NUMBERS[1], WORDS[1], WORDS[2], NUMBERS[2]]
    found = bench(tmp_path / "pool.jsonl", table, mixed, ["auto:normal"])["auto:normal"]
    assert [each.question for each in found] == [each.id for each in mixed]
    own = bench(tmp_path / "pool.jsonl", SHIPPED, WORDS, ["auto:normal"])["auto:normal"]
    by_id = {each.question: each for each in found}
    assert all(by_id[each.id].samples == 1 for each in NUMBERS)
    assert [by_id[each.question] for each in own] == own
    assert all(each.samples > 1 for each in own)
