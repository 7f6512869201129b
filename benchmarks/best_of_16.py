#!/usr/bin/env python3
"""Wall time of best-of-N on one question: ``solve`` against the high-level class called N times.

    benchmarks/best_of_16.py --model M.gguf

Ours reads the prompt, grows, judges and votes; theirs only generates, from a prompt that it keeps
in its cache between calls. Loading is left out on both sides. Lengths differ between the two,
being drawn: the ratio of times is the target's, the ratio a token is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable

from measure import GSM8K, Line, add_model, interleave, median, parser, print_lines, require_quiet

from ttc_cli.answers import Comparer
from ttc_cli.bench import datasets
from ttc_cli.engines import llamacpp
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.types import Budget, Problem, Sampling


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--max-tokens", type=int, default=512)
    options.add_argument("--temperature", type=float, default=0.7)
    options.add_argument("--question", type=int, default=0, help="number in GSM8K test")
    given = options.parse_args()
    require_quiet(given.force)
    problem = datasets.load(GSM8K)[given.question].problem
    sampling = Sampling(temperature=given.temperature)
    tokens: dict[str, list[int]] = {"ttc": [], "peer": []}
    sides: dict[str, Callable[[], float]] = {}

    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=given.samples,
            answer=given.max_tokens,
            context=given.max_tokens + 512,
        ),
    )
    chat = Chat(engine.info, {})

    def ours() -> float:
        with Comparer() as comparer:
            started = time.perf_counter()
            result = asyncio.run(
                solve(
                    problem,
                    Stage(engine, chat, sampling=sampling),
                    SearchOptions(
                        "best-of-n",
                        samples=given.samples,
                        budget=Budget(tokens_per_candidate=given.max_tokens),
                        seed=len(tokens["ttc"]),
                    ),
                    comparer=comparer,
                )
            )
            seconds = time.perf_counter() - started
        tokens["ttc"].append(result.usage.generator.generated_tokens)
        return seconds

    sides["ttc"] = ours
    sides["peer"] = _high_level(given, chat, problem, sampling, tokens["peer"])
    try:
        found = interleave(sides, given.rounds)
    finally:
        engine.close()
    rates = {
        name: median([count / s for count, s in zip(tokens[name], found[name], strict=True)])
        for name in found
    }
    seconds = {name: median(values) for name, values in found.items()}
    print_lines(
        f"best of {given.samples} on one question, wall time",
        [
            # Speed is what should be high: theirs over ours in seconds.
            Line(
                f"questions an hour, best of {given.samples}",
                3600 / seconds["ttc"],
                3600 / seconds["peer"],
                "/h",
                5.0,
                note=f"{seconds['ttc']:.1f} s against {seconds['peer']:.1f} s",
            ),
            Line("the same in tokens a second", rates["ttc"], rates["peer"], "tok/s", 5.0),
        ],
        {
            "model": given.model.name,
            "threads": given.threads,
            "tokens": json.dumps(tokens),
            "rounds": given.rounds,
        },
    )


def _high_level(
    given: argparse.Namespace,
    chat: Chat,
    problem: Problem,
    sampling: Sampling,
    tokens: list[int],
) -> Callable[[], float]:
    from llama_cpp import Llama

    model = Llama(
        str(given.model),
        n_ctx=given.max_tokens + 512,
        n_threads=given.threads,
        n_threads_batch=given.threads,
        verbose=False,
    )
    messages = [
        {"role": message.role, "content": message.content} for message in build_messages(problem)
    ]

    def theirs() -> float:
        count, started = 0, time.perf_counter()
        for seed in range(given.samples):
            reply = model.create_chat_completion(
                messages,
                max_tokens=given.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=0.0,
                repeat_penalty=1.0,
                seed=1000 * len(tokens) + seed,
            )
            count += reply["usage"]["completion_tokens"]
        seconds = time.perf_counter() - started
        tokens.append(count)
        return seconds

    return theirs


if __name__ == "__main__":
    main()
