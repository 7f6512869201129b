#!/usr/bin/env python3
"""What prompt, temperature and length limit do to single samples, before any search is compared.

    benchmarks/settle_prompt.py --model M.gguf --data QUESTIONS.jsonl --questions 800:816

Draw on questions that no result is reported on. Every pair of prompt and temperature is drawn
once, at the greatest limit; what a lower limit would have given is read off the same samples.

    system     ttc's own: the instructions in the system turn
    user       the same instructions behind the question
    qwen       the wording that Qwen's own evaluations use, behind the question
    example1   system, and one worked example, in few words, as a turn before
    example2   the same with two
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench import datasets
from ttc_cli.bench.drawing import record_question
from ttc_cli.bench.pool import RecordedQuestion, RecordedSample
from ttc_cli.bench.statistics import wilson
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.errors import TtcError
from ttc_cli.models import hardware
from ttc_cli.prompts import Chat, Message, build_messages
from ttc_cli.types import Answer, Finish, Problem, Sampling

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


PROMPTS: dict[str, Callable[[Problem], list[Message]]] = {
    "system": build_messages,
    "user": _ask_in_one_turn,
    "qwen": _ask_as_qwen,
    "example1": _ask_with_examples(1),
    "example2": _ask_with_examples(2),
}


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
    head = ("prompt", "T", "limit", "pass@1", "95 % interval", "majority", "oracle", "finished")
    print("| " + " | ".join((*head, "answered", "tokens")) + " |")
    print("|---|" + "---:|" * (len(head) + 1))
    try:
        with Comparer() as comparer:
            for prompt, temperature in itertools.product(given.prompts, given.temperatures):
                started = time.monotonic()
                drawn = await _draw(given, engine, questions, prompt, temperature, most)
                print(f"drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)
                for limit in sorted(given.limits):
                    print(_row(prompt, temperature, limit, questions, drawn, comparer), flush=True)
    finally:
        engine.close()


async def _draw(
    given: argparse.Namespace,
    engine: Engine,
    questions: list[datasets.LabelledQuestion],
    prompt: str,
    temperature: float,
    limit: int,
) -> dict[str, RecordedQuestion]:
    todo = deque(questions)
    found: dict[str, RecordedQuestion] = {}
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
                messages=PROMPTS[prompt](question.problem),
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, -(-2 * given.parallel // given.samples))):
            group.create_task(work())
    return found


def _row(
    prompt: str,
    temperature: float,
    limit: int,
    questions: list[datasets.LabelledQuestion],
    drawn: dict[str, RecordedQuestion],
    comparer: Comparer,
) -> str:
    right = finished = answered = tokens = count = voted = found = 0
    for question in questions:
        grown: list[Answer] = []
        before = right
        problem = resolve(question.problem)
        for sample in drawn[question.id].samples:
            answer, finish = _cut(sample, limit, problem)
            count += 1
            right += comparer.grade(answer, question.answer)
            finished += finish is Finish.STOP
            answered += answer is not None
            tokens += min(limit, sample.tokens)
            grown += [answer] if answer is not None else []
        found += right > before
        classes = comparer.classify([(i, each, 1.0) for i, each in enumerate(grown)])
        voted += bool(classes) and comparer.grade(classes[0].answer, question.answer)
    low, high = wilson(right / count, len(questions))
    shares = [f"{voted / len(questions):.0%}", f"{found / len(questions):.0%}"]
    shares += [f"{finished / count:.0%}", f"{answered / count:.0%}"]
    cells = [prompt, f"{temperature:g}", str(limit), f"{right / count:.1%}"]
    cells += [f"{low:.0%} – {high:.0%}", *shares, f"{tokens / count:.0f}"]
    return "| " + " | ".join(cells) + " |"


def _cut(sample: RecordedSample, limit: int, problem: Problem) -> tuple[Answer | None, Finish]:
    """What the sample would have come to under ``limit``."""
    if sample.tokens <= limit:
        return sample.read_answer(problem), sample.finish
    return None, Finish.LENGTH


if __name__ == "__main__":
    main()
