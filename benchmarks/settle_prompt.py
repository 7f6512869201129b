#!/usr/bin/env python3
"""What prompt, temperature and length limit do to single samples, before any search is compared.

    benchmarks/settle_prompt.py --model M.gguf --data QUESTIONS.jsonl --questions 800:816

Draw on questions that no result is reported on. Every pair of prompt and temperature is drawn
once, at the greatest limit; what a lower limit would have given is read off the same samples. With
``--keep FILE`` they are kept, and what is there already is not drawn again.

    system     ttc's own: the instructions in the system turn
    user       the same instructions behind the question
    qwen       the wording that Qwen's own evaluations use, behind the question
    example1   system, and one worked example, in few words, as a turn before
    example2   the same with two

and of programs (``program:`` before the name; MATH is asked by those of the second group):

    names      telling names, a step a line
    plain      one sentence
    pal        a function ``solution()``, as in PAL
    facts      each fact of the question as a comment, and below it what computes with it
    plan       names, behind a comment of one to three lines that says how to get there
    names+1    names, and one worked example as a turn before

    base       as names, the answer not said to be a number
    alone      base, the answer exactly as it should be stated, sympy where it helps
    exact      with sympy or fractions where the answer must be exact
    mplan      plan, the answer as it should be stated, sympy where it helps
    mplain     one sentence, fractions and roots exact by sympy
    only       the standard library alone
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench import datasets
from ttc_cli.bench.drawing import record_question
from ttc_cli.bench.statistics import wilson
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.forms.base import FormEntry, Written
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.forms.program import PROGRAM_FORM
from ttc_cli.forms.prose import PROSE_FORM
from ttc_cli.models import hardware
from ttc_cli.prompts import Chat, Message, build_messages
from ttc_cli.types import Answer, Execution, Finish, Problem, Sampling

EXAMPLES = (
    (
        "A baker fills 5 trays with 12 rolls each. He keeps 8 rolls and sells the others for $2 "
        "each. How many dollars does he take in?",
        "The 5 trays hold 5 * 12 = 60 rolls.\n\nHe sells 60 - 8 = 52 rolls.\n\nHe takes in "
        "52 * 2 = 104 dollars.\n\n\\boxed{104}",
    ),
    (
        "Lena is 4 years older than twice Tom's age. Together they are 40 years old. How old is "
        "Lena?",
        "Let Tom be t years old. Then Lena is 2t + 4 years old.\n\nTogether: t + 2t + 4 = 40, so "
        "3t = 36 and t = 12.\n\nLena is 2 * 12 + 4 = 28 years old.\n\n\\boxed{28}",
    ),
)


def _ask_in_one_turn(problem: Problem) -> list[Message]:
    instruction, question = build_messages(problem)
    return [Message("user", f"{question.content}\n\n{instruction.content}")]


def _ask_as_qwen(problem: Problem) -> list[Message]:
    instruction = r"Please reason step by step, and put your final answer within \boxed{}."
    return [Message("user", f"{problem.text}\n\n{instruction}")]


def _ask_with_examples(count: int) -> Callable[[Problem], list[Message]]:
    def ask(problem: Problem) -> list[Message]:
        system, question = build_messages(problem)
        shown = [
            message
            for asked, solved in EXAMPLES[:count]
            for message in (Message("user", asked), Message("assistant", solved))
        ]
        return [system, *shown, question]

    return ask


_WRITE = "You solve problems by writing short Python programs."
_NAMES = (
    "Give each number of the question a telling name, compute step by step, and end by printing"
)
_PLAN = "Begin with a comment of one to three lines that says what is asked and how to get it."
_NUMBER = "the final answer, a number only."
PROGRAMS = {
    "names": f"{_WRITE} {_NAMES} {_NUMBER}",
    "plain": f"Answer with a short Python program that prints {_NUMBER}",
    "pal": "Write a Python function solution() that works out the answer to the question, with a "
    "telling variable name for each quantity and one line for each step. End with "
    "print(solution()), which prints a number only.",
    "facts": f"{_WRITE} First write each fact of the question as a comment, and under it the line "
    f"that computes with it. End by printing {_NUMBER}",
    "plan": f"{_WRITE} {_PLAN} Then give each number of the question a telling name, compute step "
    f"by step, and end by printing {_NUMBER}",
    "names+1": f"{_WRITE} {_NAMES} {_NUMBER}",
    "base": f"{_WRITE} {_NAMES} the final answer.",
    "alone": f"{_WRITE} {_NAMES} the final answer alone, exactly as it should be stated. Use sympy "
    "where that helps.",
    "exact": f"{_WRITE} Compute step by step, and end by printing the final answer. Use sympy or "
    "fractions where the answer must be exact.",
    "mplan": f"{_WRITE} {_PLAN} Compute step by step, and end by printing the final answer alone, "
    "exactly as it should be stated. Use sympy where that helps.",
    "mplain": "Answer with a short Python program that prints the final answer and nothing else. "
    "Fractions and roots stay exact: use sympy for them.",
    "only": f"{_WRITE[:-1]} with the standard library alone (math, no sympy). Compute step by "
    "step, and end by printing the final answer, exactly as it should be stated.",
}
_WORKED = """\
```python
trays = 5
rolls_per_tray = 12
rolls = trays * rolls_per_tray
rolls_kept = 8
rolls_sold = rolls - rolls_kept
price = 2
money = rolls_sold * price
print(money)
```"""


def _ask_for_program(name: str) -> Callable[[Problem], list[Message]]:
    def ask(problem: Problem) -> list[Message]:
        shown = [Message("user", EXAMPLES[0][0]), Message("assistant", _WORKED)]
        worked = shown if name.endswith("+1") else []
        return [Message("system", PROGRAMS[name]), *worked, Message("user", problem.text)]

    return ask


PROMPTS: dict[str, Callable[[Problem], list[Message]]] = {
    "system": build_messages,
    "user": _ask_in_one_turn,
    "qwen": _ask_as_qwen,
    "example1": _ask_with_examples(1),
    "example2": _ask_with_examples(2),
    **{f"program:{name}": _ask_for_program(name) for name in PROGRAMS},
}


class Sample(NamedTuple):
    """A candidate that was drawn."""

    text: str
    tokens: int
    finish: Finish


class _Nothing:
    async def run(self, code: str) -> Execution:
        """Programs are run when they are measured, not when they are drawn."""
        return Execution("")


NOTHING = _Nothing()


def _find_form(prompt: str) -> FormEntry:
    """Programs that failed are not drawn on: only first attempts are compared."""
    if prompt.startswith("program:"):
        return replace(PROGRAM_FORM, retry=lambda candidate: None)
    return PROSE_FORM


def _read_kept(path: Path | None) -> dict[str, dict[str, list[Sample]]]:
    """Samples by prompt and temperature, and by question."""
    kept: dict[str, dict[str, list[Sample]]] = {}
    if path is not None and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            samples = [
                Sample(text, tokens, Finish(finish)) for text, tokens, finish in row["samples"]
            ]
            kept.setdefault(row["job"], {})[row["id"]] = samples
    return kept


def main() -> None:
    """Read the options, draw and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", type=Path, required=True, help="a GGUF file")
    options.add_argument("--data", type=Path, required=True, help="labelled questions (JSONL)")
    options.add_argument("--questions", help="part of the data, as 100:130")
    options.add_argument("--samples", type=int, default=4)
    options.add_argument("--prompts", nargs="+", choices=tuple(PROMPTS), default=["system"])
    options.add_argument("--temperatures", nargs="+", type=float, default=[0.3, 0.7])
    options.add_argument("--limits", nargs="+", type=int, default=[384, 512, 768])
    options.add_argument("--parallel", type=int, default=32)
    options.add_argument("--threads", type=int, default=hardware.count_cores())
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, metavar="FILE", help="keep the samples there (JSONL)")
    given = options.parse_args()
    try:
        asyncio.run(_settle(given))
    except TtcError as error:
        sys.exit(f"{error.message} {error.hint or ''}")


async def _settle(given: argparse.Namespace) -> None:
    questions = datasets.load(given.data, given.questions)
    most = max(given.limits)
    kept = _read_kept(given.keep)
    engine: Engine | None = None
    print(f"{given.model.name}, {len(questions)} questions × {given.samples} samples\n")
    head = ("prompt", "T", "limit", "pass@1", "95 % interval", "majority", "oracle", "finished")
    print("| " + " | ".join((*head, "answered", "tokens")) + " |")
    print("|---|" + "---:|" * (len(head) + 1))
    try:
        async with Interpreters() as interpreters:
            comparer = Comparer()
            pairs = list(itertools.product(given.prompts, given.temperatures))
            drawn = [kept.setdefault(_name_job(*pair), {}) for pair in pairs]
            missing = [
                (question, *pair)
                for pair, found in zip(pairs, drawn, strict=True)
                for question in questions
                if question.id not in found
            ]
            if missing:
                settings = llamacpp.Settings(
                    threads=given.threads,
                    parallel=given.parallel,
                    answer=most,
                    context=most + 1024,
                )
                engine = llamacpp.load(given.model, settings)
                started = time.monotonic()
                await _draw(given, engine, missing, most, kept)
                print(f"drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)
            for (prompt, temperature), found in zip(pairs, drawn, strict=True):
                for limit in sorted(given.limits):
                    cells = [prompt, f"{temperature:g}", str(limit)]
                    cells += await _measure(prompt, limit, questions, found, comparer, interpreters)
                    print("| " + " | ".join(cells) + " |", flush=True)
            comparer.close()
    finally:
        if engine is not None:
            engine.close()


def _name_job(prompt: str, temperature: float) -> str:
    return f"{prompt}@{temperature:g}"


async def _draw(
    given: argparse.Namespace,
    engine: Engine,
    missing: list[tuple[datasets.LabelledQuestion, str, float]],
    limit: int,
    kept: dict[str, dict[str, list[Sample]]],
) -> None:
    """Add to ``kept`` the samples of what is ``missing``, and write each down as it comes.

    All of it grows in one batch: between one prompt and the next no branch is idle.
    """
    todo = deque(missing)
    chat = Chat(engine.info, {})

    async def work() -> None:
        while todo:
            question, prompt, temperature = todo.popleft()
            found = await record_question(
                engine,
                chat,
                question.problem,
                id=question.id,
                indices=range(given.samples),
                sampling=Sampling(temperature=temperature),
                max_tokens=limit,
                seed=given.seed,
                messages=PROMPTS[prompt](question.problem),
                form=_find_form(prompt),
                interpreter=NOTHING,
            )
            job = _name_job(prompt, temperature)
            kept[job][question.id] = [
                Sample(each.text, each.tokens, each.finish) for each in found.samples
            ]
            if given.keep is not None:
                texts = [[each.text, each.tokens, each.finish] for each in kept[job][question.id]]
                row = {"job": job, "id": question.id, "samples": texts}
                with given.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, -(-2 * given.parallel // given.samples))):
            group.create_task(work())


async def _measure(
    prompt: str,
    limit: int,
    questions: list[datasets.LabelledQuestion],
    drawn: dict[str, list[Sample]],
    comparer: Comparer,
    interpreters: Interpreters,
) -> list[str]:
    """The cells of a row: what samples come to at ``limit`` tokens."""
    right = finished = answered = tokens = count = voted = found = 0
    form = _find_form(prompt)
    for question in questions:
        grown: list[Answer] = []
        before = right
        problem = resolve(question.problem)
        for sample in drawn[question.id]:
            finish = sample.finish if sample.tokens <= limit else Finish.LENGTH
            reading = await form.read(Written(problem, sample.text, finish), interpreters)
            count += 1
            right += comparer.grade(reading.answer, question.answer)
            finished += finish is Finish.STOP
            answered += reading.answer is not None
            tokens += min(limit, sample.tokens)
            grown += [reading.answer] if reading.answer is not None else []
        found += right > before
        classes = comparer.classify([(i, each, 1.0) for i, each in enumerate(grown)])
        voted += bool(classes) and comparer.grade(classes[0].answer, question.answer)
    low, high = wilson(right / count, len(questions))
    shares = [f"{voted / len(questions):.0%}", f"{found / len(questions):.0%}"]
    shares += [f"{finished / count:.0%}", f"{answered / count:.0%}"]
    pass_rate = [f"{right / count:.1%}", f"{low:.0%} – {high:.0%}"]
    return [*pass_rate, *shares, f"{tokens / count:.0f}"]


if __name__ == "__main__":
    main()
