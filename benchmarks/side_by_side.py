#!/usr/bin/env python3
r"""The same work by ttc and by its_hub talking to llama-server: wall time and tokens, in one run.

    pip install 'its_hub[lm]' && benchmarks/side_by_side.py --model M.gguf --questions 0:4

Self-consistency and beam search at N = 8 on the same GGUF, threads, prompt, temperature and limits.
its_hub asks for a process reward model: it is given an object that reads P(Yes) from the same
server with the very question that ttc's judge asks. its_hub's beam search starts from budget /
width candidates, keeps ``width`` of them after each step and grows each budget / width times: with
a width of 4 that is ttc's beam search with M = 2.

The server's own counters say what its side cost: tokens it read and tokens it generated. Ours are
the ledger's. Both keep what they have read: the server in its slots, ttc in its tree.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass, field
from typing import Any

from measure import GSM8K, Line, add_model, add_peers, median, parser, print_lines, require_quiet
from throughput import run_server

from ttc_cli.answers import Comparer, extract
from ttc_cli.bench import datasets
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import JUDGE_STEP_QUESTION, Chat, build_messages
from ttc_cli.types import Budget, Sampling
from ttc_cli.verifiers.judge import NO, YES

N = 8
KEPT = 4
STEPS = 8
"""its_hub does not see that a turn has ended: without ``\\boxed`` a path goes on for so many."""


@dataclass
class Side:
    """What one side came to, a value a question."""

    seconds: list[float] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    right: int = 0


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    add_peers(options)
    options.add_argument("--questions", default="0:4", help="part of GSM8K test, as 0:4")
    options.add_argument("--max-tokens", type=int, default=512)
    options.add_argument("--temperature", type=float, default=0.5)
    given = options.parse_args()
    require_quiet(given.force)
    questions = datasets.load(GSM8K, given.questions)
    found: dict[str, dict[str, Side]] = {
        work: {"ttc": Side(), "its_hub": Side()} for work in ("self-consistency", "beam")
    }
    # its_hub sends no limit with a step, so the server sets it; the window holds the longest path.
    flags = ["--top-k", "40", "--top-p", "0.95", "--min-p", "0", "--metrics"]
    flags += ["-n", str(given.max_tokens)]
    window = STEPS * given.max_tokens + 1024
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=N,
            answer=given.max_tokens,
            context=given.max_tokens + 512,
        ),
    )
    try:
        with run_server(given, N, window, flags) as url, Comparer() as comparer:
            for question in questions:
                for work, sides in found.items():
                    _time_ours(given, engine, comparer, work, question, sides["ttc"])
                    _time_theirs(given, url, comparer, work, question, sides["its_hub"])
    finally:
        engine.close()
    lines = []
    for work, sides in found.items():
        ours, theirs = sides["ttc"], sides["its_hub"]
        note = (
            f"{sum(ours.generated):,} tokens generated and {sum(ours.read):,} read against "
            f"{sum(theirs.generated):,} and {sum(theirs.read):,}; right {ours.right} against "
            f"{theirs.right} of {len(questions)}; median of the ratios "
            f"{median([a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]):.2f}"
        )
        lines.append(
            Line(work, sum(ours.seconds), sum(theirs.seconds), "s", 1.0, better="low", note=note)
        )
    print_lines(
        f"N = {N}, {len(questions)} questions of GSM8K: ttc against its_hub on llama-server",
        lines,
        {"model": given.model.name, "threads": given.threads, "T": given.temperature},
    )


def _time_ours(
    given: argparse.Namespace,
    engine: Engine,
    comparer: Comparer,
    work: str,
    question: datasets.LabelledQuestion,
    side: Side,
) -> None:
    started = time.perf_counter()
    result = asyncio.run(
        solve(
            question.problem,
            Stage(engine, Chat(engine.info, {}), sampling=Sampling(temperature=given.temperature)),
            SearchOptions(
                "beam" if work == "beam" else "majority",
                {"width": str(N // KEPT)} if work == "beam" else {},
                samples=N,
                budget=Budget(tokens_per_candidate=given.max_tokens),
            ),
            comparer=comparer,
        )
    )
    side.seconds.append(time.perf_counter() - started)
    usage = result.usage
    side.read.append(usage.generator.prompt_tokens + usage.verifier.prompt_tokens)
    side.generated.append(usage.generated_tokens)
    side.right += comparer.grade(result.answer, question.answer)


def _time_theirs(
    given: argparse.Namespace,
    url: str,
    comparer: Comparer,
    work: str,
    question: datasets.LabelledQuestion,
    side: Side,
) -> None:
    before = read_counters(url)
    started = time.perf_counter()
    text = asyncio.run(ask_its_hub(given, url, work, question, N, KEPT))
    side.seconds.append(time.perf_counter() - started)
    after = read_counters(url)
    side.read.append(after[0] - before[0])
    side.generated.append(after[1] - before[1])
    side.right += comparer.grade(extract(text, question.problem.answer_type), question.answer)


async def ask_its_hub(
    given: argparse.Namespace,
    url: str,
    work: str,
    question: datasets.LabelledQuestion,
    samples: int,
    kept: int,
) -> str:
    """The text that its_hub returns for ``question``, of ``samples`` candidates.

    ``work`` is ``beam``, which keeps ``kept`` of them after each step, or ``self-consistency``.
    """
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.algorithms.self_consistency import SelfConsistency
    from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
    from its_hub.core.lms.step_generation import StepGeneration

    warnings.simplefilter("ignore", DeprecationWarning)
    turns = build_messages(question.problem)
    system = next((turn.content for turn in turns if turn.role == "system"), None)
    user = turns[-1].content
    model = OpenAICompatibleLanguageModel(
        f"{url}/v1",
        "none",
        given.model.name,
        system_prompt=system,
        max_completion_tokens=given.max_tokens,
        temperature=given.temperature,
    )
    async with model:
        if work == "beam":
            steps = StepGeneration(
                max_steps=STEPS,
                step_token="\n\n",
                stop_token=r"\boxed",
                temperature=given.temperature,
            )
            search = BeamSearch(steps, _judge(url, system), beam_width=kept)
            reply = await search.ainfer(model, user, samples)
        else:
            vote = SelfConsistency(lambda text: _project(text, question))
            reply = await vote.ainfer(model, user, samples)
    return str(reply["content"])


def _project(text: str, question: datasets.LabelledQuestion) -> str:
    answer = extract(text, question.problem.answer_type)
    return answer.key if answer is not None else "none"


def _judge(url: str, system: str | None) -> Any:
    """A process reward model for its_hub: P(Yes) of the judge's question, from the same server."""
    from its_hub.api import AbstractProcessRewardModel

    class ServerJudge(AbstractProcessRewardModel):
        async def ascore(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
            asked = (asyncio.to_thread(self._one, str(prompt_or_messages), s) for s in steps)
            return list(await asyncio.gather(*asked))

        def score(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
            return asyncio.run(self.ascore(prompt_or_messages, steps))

        def _one(self, prompt: str, text: str) -> float:
            turns = [{"role": "system", "content": system}] if system else []
            turns += [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": text},
                {"role": "user", "content": JUDGE_STEP_QUESTION},
            ]
            body = {"messages": turns, "max_tokens": 1, "temperature": 0, "logprobs": True}
            reply = post(f"{url}/v1/chat/completions", {**body, "top_logprobs": 20})
            top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            shares = [
                sum(math.exp(each["logprob"]) for each in top if each["token"] in words)
                for words in (YES, NO)
            ]
            return shares[0] / sum(shares) if sum(shares) else 0.5

    return ServerJudge()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the server at ``url`` answers to ``body``, as JSON."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error}: {error.read()[:500]!r}") from error


def read_counters(url: str) -> tuple[int, int]:
    """Tokens that the server has read and generated since its start."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    names = ("prompt_tokens_total", "tokens_predicted_total")
    found = [re.search(rf"^llamacpp:{name} ([0-9.e+]+)", text, re.MULTILINE) for name in names]
    read, generated = (int(float(each[1])) if each else 0 for each in found)
    return read, generated


if __name__ == "__main__":
    main()
