"""Draws on the samples of a pool that hold a wrong sum, as new pools have it from the start.

    python benchmarks/mend_pools.py POOL.jsonl … --model NAME [--threads N]

For pools drawn before candidates were mended: each sample that stated an answer and wrote a wrong
sum is read again up to it, the right number is put there, and the rest is drawn. What is charged
for it in a simulation is what it costs live, where the cache still holds what was read here: a
token for each digit, and one for the piece of a word before it. Stop it at any time; the same
command goes on.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

from ttc_cli.answers import detect
from ttc_cli.bench import datasets, pool
from ttc_cli.bench.pool import PoolQuestion
from ttc_cli.bench.recording import Listener, Pieces
from ttc_cli.commands import planning, thinking
from ttc_cli.engines.base import Engine, Grow, Session, Span
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.engines.recorded import RecordedMend, RecordedSample
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.search.sample import derive_seed, read_answer
from ttc_cli.types import AnswerType, Budget, Candidate, Problem
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.judge import JudgeVerifier
from ttc_cli.verifiers.sums import Slip, find_first


def find_written(sample: RecordedSample, slip: Slip) -> str:
    """The sample up to its slip, and the right number."""
    assert slip.place is not None
    return sample.text[: slip.place] + slip.correction


async def mend(
    engine: Engine, chat: Chat, problem: Problem, drawn: PoolQuestion, header: pool.PoolHeader
) -> PoolQuestion:
    """``drawn`` with the mends that it lacks."""
    if problem.answer_type is AnswerType.AUTO:
        problem = replace(problem, answer_type=detect(problem.text))
    todo: dict[int, tuple[str, int]] = {}
    for each in drawn.samples:
        slip = find_first(each.recorded.text) if each.answer is not None else None
        if slip is not None and slip.place is not None and each.recorded.mended is None:
            written = find_written(each.recorded, slip)
            todo[-1 - each.recorded.index] = (written, 1 + len(slip.correction))
    if not todo:
        return drawn
    ledger, pieces, judge = Ledger(Budget()), Pieces(), JudgeVerifier(chat)
    async with await engine.open(
        chat.render(build_messages(problem)), ledger, pieces.add
    ) as session:
        requests = [
            Grow(
                session.append(session.root, (Span(written),)),
                header.max_tokens,
                header.sampling,
                derive_seed(header.seed, drawn.id, "mend", -1 - label),
                label,
            )
            for label, (written, _) in todo.items()
        ]
        growths = [growth async for growth in session.grow(requests)]
        listener, leaves = Listener(session, ledger), []
        for each in growths:
            text = todo[each.label][0] + each.text
            answer = read_answer(text, each.finish, problem.answer_type)
            if answer is not None:
                candidate = Candidate(each.label, text, each.tokens, each.finish, answer)
                leaves.append(Leaf(candidate, each.branch))
        if leaves:
            await judge.score(cast(Session, listener), problem, leaves)
    found = {
        -1 - each.label: RecordedMend(
            *todo[each.label],
            RecordedSample(
                -1 - each.label,
                each.text,
                each.tokens,
                each.finish,
                pieces.of(each),
                each.confidence,
                listener.heard.get(each.branch.id, {}),
            ),
        )
        for each in growths
    }
    samples = tuple(
        replace(
            each,
            recorded=replace(
                each.recorded, mended=found.get(each.recorded.index, each.recorded.mended)
            ),
        )
        for each in drawn.samples
    )
    return replace(drawn, samples=samples, seconds=0.0)


async def mend_all(engine: Engine, chat: Chat, file: Path, data: str) -> None:
    """Mend every question of ``file``, each on the disk as soon as it is done."""
    known = pool.read(file)
    problems = {each.id: each.problem for each in datasets.find(data, None)}
    with pool.write(file, known.header) as writer:
        for id, drawn in known.questions.items():
            better = await mend(engine, chat, problems[id], drawn, known.header)
            if better is not drawn:
                writer.append(better)
                print(f"{file.name}: {id}", flush=True)


def main() -> None:
    """Read the command line and mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("data", help="the questions it was drawn for")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    chosen = planning.choose_model(options.model)
    assert chosen.path is not None
    settings = Settings(threads=options.threads, parallel=16, answer=512, context=2048)
    engine = thinking.open_engine(chosen.path, settings, options.model)
    try:
        chat = Chat(engine.info, chosen.entry.template_arguments)
        asyncio.run(mend_all(engine, chat, options.pool, options.data))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
