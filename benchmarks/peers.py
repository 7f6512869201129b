#!/usr/bin/env python3
r"""ttc's ``auto``, as users get it, beside other tools on the same model, questions and processor.

    pip install 'its_hub[lm]' bestofn
    benchmarks/peers.py --model M.gguf --questions 0:40 --keep peers.jsonl

its_hub votes among 8 and searches a beam of 4 (two kept), and bestofn votes among 16; both on
llama-server, which loads the same file with the same threads. bestofn's own backends need torch: it
gets texts that the server wrote to its own prompt, and extracts and votes itself. Every question
goes to each in turn, so that a machine that drifts drifts for all. Answers are graded by ttc.

Tokens are those read and generated: the server's counters, and the ledger of ttc. What is kept is
not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from measure import GSM8K, add_model, add_peers, parser, require_quiet
from side_by_side import STEPS, ask_its_hub, post, read_counters
from throughput import run_server

import ttc_cli as ttc
from ttc_cli.answers import Comparer, extract, read_answer, resolve
from ttc_cli.bench import datasets
from ttc_cli.bench.statistics import wilson
from ttc_cli.types import Answer

N, BEAM, KEPT, BESTOFN = 8, 4, 2, 16


@dataclass(frozen=True)
class Row:
    """What one tool came to on one question."""

    tool: str
    question: str
    right: bool
    read: int
    generated: int
    seconds: float


@dataclass(frozen=True)
class Surroundings:
    """What every tool runs on."""

    given: argparse.Namespace
    url: str
    solver: ttc.Solver
    comparer: Comparer


def main() -> None:
    """Run all and print the table."""
    options = parser(__doc__)
    add_model(options)
    add_peers(options)
    options.add_argument("--questions", default="0:40", help="part of GSM8K test, as 0:40")
    options.add_argument("--max-tokens", type=int, default=512)
    options.add_argument("--temperature", type=float, default=0.5)
    options.add_argument("--keep", type=Path, required=True, metavar="FILE")
    given = options.parse_args()
    questions = datasets.load(GSM8K, given.questions)
    rows = _read(given.keep)
    have = {(each.tool, each.question) for each in rows}
    todo = [
        (question, tool)
        for question in questions
        for tool in TOOLS
        if (tool, question.id) not in have
    ]
    if todo:
        require_quiet(given.force)
        _run(given, todo, rows)
    ids = {question.id for question in questions}
    print(f"\n{given.model.name}, GSM8K test {given.questions}, {given.threads} threads\n")
    print("| | right | 95 % | tokens generated | read | seconds a question |")
    print("|---|---:|---:|---:|---:|---:|")
    for tool in TOOLS:
        found = [each for each in rows if each.tool == tool and each.question in ids]
        right = sum(each.right for each in found) / len(found)
        low, high = wilson(right, len(found))
        means = [
            sum(values) / len(found)
            for values in zip(*((r.generated, r.read, r.seconds) for r in found), strict=True)
        ]
        cells = [f"{right:.1%}", f"{low:.0%} – {high:.0%}", f"{means[0]:,.0f}", f"{means[1]:,.0f}"]
        print(f"| {tool} | {' | '.join(cells)} | {means[2]:.1f} |")


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _run(
    given: argparse.Namespace,
    todo: Sequence[tuple[datasets.LabelledQuestion, str]],
    rows: list[Row],
) -> None:
    flags = ["--top-k", "40", "--top-p", "0.95", "--min-p", "0", "--metrics"]
    flags += ["-n", str(given.max_tokens)]
    window = STEPS * given.max_tokens + 1024
    with ExitStack() as stack:
        solver = stack.enter_context(ttc.load(str(given.model), threads=given.threads))
        url = stack.enter_context(run_server(given, BESTOFN, window, flags))
        comparer = stack.enter_context(Comparer())
        around = Surroundings(given, url, solver, comparer)
        for question, tool in todo:
            started, before = time.perf_counter(), read_counters(url)
            answer, read, generated = TOOLS[tool](around, question)
            seconds, after = time.perf_counter() - started, read_counters(url)
            if tool.startswith("ttc"):
                after, before = (read, generated), (0, 0)
            row = Row(
                tool,
                question.id,
                comparer.grade(answer, question.answer),
                after[0] - before[0],
                after[1] - before[1],
                round(seconds, 2),
            )
            rows.append(row)
            with given.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(f"{question.id} {tool}: {row.seconds} s", flush=True)


Told = tuple[Answer | None, int, int]
"""An answer, and tokens read and generated where the tool counts them itself."""

Tool = Callable[[Surroundings, datasets.LabelledQuestion], Told]


def _solve(level: Literal["quick", "normal"]) -> Tool:
    def run(around: Surroundings, question: datasets.LabelledQuestion) -> Told:
        result = around.solver.solve(question.problem, budget=level)
        usage = result.usage
        return result.answer, usage.tokens - usage.generated_tokens, usage.generated_tokens

    return run


def _ask(work: str, samples: int) -> Tool:
    def run(around: Surroundings, question: datasets.LabelledQuestion) -> Told:
        text = asyncio.run(ask_its_hub(around.given, around.url, work, question, samples, KEPT))
        return extract(text, resolve(question.problem).answer_type), 0, 0

    return run


def _vote(around: Surroundings, question: datasets.LabelledQuestion) -> Told:
    """Bestofn's prompt, extraction and majority, over what the server writes."""
    from bestofn.engine import DEFAULT_SUFFIX
    from bestofn.extract import get_extractor
    from bestofn.select import Sample, select

    body = {
        "messages": [{"role": "user", "content": question.problem.text + DEFAULT_SUFFIX}],
        "temperature": around.given.temperature,
        "max_tokens": around.given.max_tokens,
    }
    url = f"{around.url}/v1/chat/completions"
    with ThreadPoolExecutor(BESTOFN) as pool:
        replies = list(pool.map(lambda seed: post(url, {**body, "seed": seed}), range(BESTOFN)))
    boxed = get_extractor("boxed")
    texts = [str(each["choices"][0]["message"]["content"]) for each in replies]
    chosen = select([Sample(boxed(text), text) for text in texts], "majority")
    return read_answer(chosen, resolve(question.problem).answer_type), 0, 0


TOOLS: dict[str, Tool] = {
    "ttc auto:quick": _solve("quick"),
    "ttc auto": _solve("normal"),
    f"its_hub self-consistency at {N}": _ask("self-consistency", N),
    f"its_hub beam at {BEAM}": _ask("beam", BEAM),
    f"bestofn majority at {BESTOFN}": _vote,
}


if __name__ == "__main__":
    main()
