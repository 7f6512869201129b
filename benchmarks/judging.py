#!/usr/bin/env python3
"""What the judge adds: time to score every candidate over the time to grow them.

    benchmarks/judging.py --model M.gguf

N candidates of a question are grown, and then all are judged on their own KV; once a question,
the two in turn.
"""

from __future__ import annotations

import asyncio
import time

from measure import GSM8K, Line, add_model, median, parser, print_lines, require_quiet

from ttc_cli.bench import datasets
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine, Grow
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.types import Budget, Candidate, Problem, Sampling
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.judge import JudgeVerifier


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--max-tokens", type=int, default=512)
    options.add_argument("--temperature", type=float, default=0.7)
    given = options.parse_args()
    require_quiet(given.force)
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.samples,
            answer=given.max_tokens,
            context=given.max_tokens + 512,
        ),
    )
    sampling = Sampling(temperature=given.temperature)
    try:
        pairs = [
            asyncio.run(
                _measure(engine, question.problem, given.samples, given.max_tokens, sampling)
            )
            for question in datasets.load(GSM8K)[: given.rounds]
        ]
    finally:
        engine.close()
    print_lines(
        f"judging {given.samples} candidates against growing them",
        [
            Line(
                "seconds a question",
                median([judged for _, judged in pairs]),
                median([grown for grown, _ in pairs]),
                "s",
                0.10,
                better="low",
                note=f"median of the ratios {median([j / g for g, j in pairs]):.3f}",
            )
        ],
        {"model": given.model.name, "threads": given.threads, "questions": len(pairs)},
    )


async def _measure(
    engine: Engine, problem: Problem, samples: int, max_tokens: int, sampling: Sampling
) -> tuple[float, float]:
    """Seconds to grow, and seconds to judge."""
    chat = Chat(engine.info, {})
    prompt = chat.render(build_messages(problem))
    async with await engine.open(prompt, Ledger(Budget())) as session:
        branches = session.fork(session.root, samples)
        requests = [Grow(b, max_tokens, sampling, i, i) for i, b in enumerate(branches)]
        started = time.perf_counter()
        growths = [growth async for growth in session.grow(requests)]
        grown = time.perf_counter()
        leaves = [Leaf(Candidate(g.label, g.text, g.tokens, g.finish), g.branch) for g in growths]
        scores = await JudgeVerifier(chat).score(session, problem, leaves)
        judged = time.perf_counter()
    assert all(score is not None for score in scores)
    return grown - started, judged - grown


if __name__ == "__main__":
    main()
