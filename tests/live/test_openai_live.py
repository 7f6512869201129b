"""The engine over real servers: llama-server says what the local engine says, a poor one is met."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import live_servers
import pytest
from near_ties import check_same, speak

from ttc_cli.engines import openai
from ttc_cli.engines.base import Branch, Engine, Grow, Growth, Prompt, ScoreRow, Span, Until
from ttc_cli.engines.openai import Settings
from ttc_cli.ledger import Ledger
from ttc_cli.main import main
from ttc_cli.types import Budget, Finish, Sampling

pytestmark = pytest.mark.live

GREEDY, WARM = Sampling(temperature=0.0), Sampling(temperature=0.8)
SUM: Prompt = (
    Span("<|im_start|>user\n", control=True),
    Span("Tom has 3 apples and buys 4 more. How many apples has Tom? <|im_end|>"),
    Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
)
JUDGE: Prompt = (
    Span("<|im_end|>\n<|im_start|>user\n", control=True),
    Span("Is this correct? Answer Yes or No."),
    Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
)
LABELS = (("Yes", " Yes", "yes"), ("No", " No", "no"))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, 240)

    return asyncio.run(bounded())


async def answer_and_judge(engine: Engine) -> tuple[Growth, tuple[float, ...]]:
    async with await engine.open(SUM, Ledger(Budget())) as session:
        (branch,) = session.fork(session.root)
        (growth,) = [each async for each in session.grow([Grow(branch, 16, GREEDY, 0, 0)])]
        (score,) = await session.score([ScoreRow(branch, JUDGE, LABELS)])
        return growth, score


def test_llama_server_says_and_scores_what_the_local_engine_does(
    llama_server: str, tiny_model: Path
) -> None:
    from ttc_cli.engines import llamacpp

    engine = openai.connect(Settings(llama_server))
    growth, score = run(answer_and_judge(engine))
    local = llamacpp.load(
        tiny_model, llamacpp.Settings(threads=1, parallel=2, context=256, answer=64)
    )
    try:
        expected, scored = run(answer_and_judge(local))
        # The user's control token differs: broken up there, plain characters here.
        run(check_same(local, SUM, run(speak(local, SUM, 16)), growth.text[:12]))
        assert engine.info.parameters == pytest.approx(local.info.parameters, rel=0.3)
        assert engine.info.chat_template == local.info.chat_template
        assert engine.info.control_tokens == local.info.control_tokens
    finally:
        local.close()
    assert growth.confidence is not None
    assert expected.confidence is not None
    assert growth.confidence.mean_logprob == pytest.approx(
        expected.confidence.mean_logprob, abs=0.2
    )
    assert score == pytest.approx(scored, abs=0.15)


def test_forks_and_cuts_go_on_from_where_they_stand(llama_server: str) -> None:
    engine = openai.connect(Settings(llama_server))
    story = (
        Span("<|im_start|>user\n", control=True),
        Span("Write a very long story about a lighthouse. Never stop."),
        Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
    )

    async def work() -> None:
        async with await engine.open(story, Ledger(Budget())) as session:

            async def say(tokens: int, *branches: Branch) -> list[str]:
                wanted = [Grow(each, tokens, GREEDY, 0, i) for i, each in enumerate(branches)]
                return [growth.text async for growth in session.grow(wanted)]

            whole, trunk = session.fork(session.root, 2)
            (expected,) = await say(30, whole)
            (start,) = await say(12, trunk)
            pieces = await speak(engine, story, 30)
            for rest in await say(18, *session.fork(trunk, 2)):
                await check_same(engine, story, pieces, start + rest)
            word = f" {expected.split()[5]}"  # a token begins with its blank
            shorter = session.cut(whole, word)
            (again,) = await say(8, shorter)
            await check_same(engine, story, pieces, expected[: expected.rindex(word)] + again)

    run(work())


def test_llama_server_is_found_able(llama_server: str) -> None:
    found = openai.connect(Settings(llama_server)).abilities
    assert (found.n, found.extras, found.streams, found.counts) == (True,) * 4
    assert not found.alone
    assert found.logprobs >= 20
    assert (found.served.slots, found.served.context) == (4, 256)


def test_a_tree_grows_on_llama_server(
    llama_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--server", llama_server, "--strategy", "beam", "--samples", "2", "-o", "width=2"]
    code = main(
        ["solve", "What is 2+2?", *arguments, "--max-tokens", "160", "--jsonl", "--view", "none"]
    )
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code in (0, 4)  # a model of this size may state no answer
    assert events[-1]["type"] == "result"
    assert 0 < events[-1]["usage"]["generator"]["generated_tokens"] <= 164
    assert events[-1]["usage"]["flops"] > 0


@pytest.fixture(scope="module")
def poor_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's own server: one request at a time, and ``n`` ignored without a word."""
    for package in (
        "uvicorn",
        "fastapi",
        "sse_starlette",
        "starlette_context",
        "pydantic_settings",
    ):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"there is no {package} here: ./install.sh --dev brings it")
    port = live_servers.free_port()
    log = tmp_path_factory.mktemp("poor-server") / "log.txt"
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(tiny_model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512", "--n_threads", "1"]
    with live_servers.running(command, port, log) as url:
        yield url


def test_the_limits_of_a_poor_server_are_found_and_kept_to(poor_server: str) -> None:
    engine = openai.connect(Settings(poor_server))
    found = engine.abilities
    assert not found.n
    assert found.alone
    assert engine.info.parallel == 1
    assert any("one at a time" in each for each in found.limits())
    ledger = Ledger(Budget())

    async def work() -> list[Growth]:
        async with await engine.open(SUM, ledger) as session:
            wanted = [Grow(b, 12, WARM, i, i) for i, b in enumerate(session.fork(session.root, 3))]
            return [growth async for growth in session.grow(wanted)]

    growths = run(work())
    assert {growth.finish for growth in growths} <= {Finish.LENGTH, Finish.STOP}
    assert len({growth.text for growth in growths}) == 3
    assert ledger.usage().generator.generated_tokens == sum(each.tokens for each in growths)


def test_steps_work_on_a_poor_server(poor_server: str) -> None:
    engine = openai.connect(Settings(poor_server))
    prompt = (
        Span("<|im_start|>user\n", control=True),
        Span("Write two short paragraphs about the sea."),
        Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
    )

    async def work() -> Growth:
        async with await engine.open(prompt, Ledger(Budget())) as session:
            (branch,) = session.fork(session.root)
            wanted = [Grow(branch, 200, GREEDY, 0, 0, Until.STEP)]
            (growth,) = [growth async for growth in session.grow(wanted)]
            return growth

    growth = run(work())
    assert growth.finish is Finish.STEP
    assert growth.text.endswith("\n\n")
