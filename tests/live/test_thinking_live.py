"""Thinking and revising on a real model that was never trained to think.

Qwen2.5-Coder-0.5B is made to: the opening mark is appended to its prompt, and what it writes from
there on is a thought until it is closed. Needs the compiled engine and the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ttc_cli.answers import Comparer
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine, Grow, Growth, Then
from ttc_cli.ledger import Ledger
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import STOP_THINKING, Chat, build_messages
from ttc_cli.search.sessions.thinking import Thinking, ThinkingSession
from ttc_cli.types import AnswerType, Budget, Finish, Problem, Result, Sampling

pytestmark = pytest.mark.live

QUESTION = Problem("What is 17 + 25?", AnswerType.NUMBER)
GREEDY = Sampling(temperature=0.0)
SAMPLED = Sampling(temperature=0.5)


@pytest.fixture(scope="module")
def engine(starter_model: Path) -> Iterator[Engine]:
    loaded = llamacpp.load(
        starter_model, llamacpp.Settings(threads=1, parallel=4, context=1024, answer=256)
    )
    yield loaded
    loaded.close()


def think(engine: Engine, thinking: Thinking, strategy: str = "majority", **options: Any) -> Result:
    options.setdefault("samples", 2)
    options.setdefault("budget", Budget(tokens_per_candidate=160))
    with Comparer() as comparer:
        return asyncio.run(
            solve(
                QUESTION,
                Stage(engine, Chat(engine.info), sampling=SAMPLED, thinking=thinking),
                SearchOptions(strategy, **options),
                comparer=comparer,
            )
        )


def test_a_thought_is_closed_at_its_cap_and_answered(engine: Engine) -> None:
    result = think(engine, Thinking(tokens=24))
    for each in result.candidates:
        thought, rest = each.text[: each.thought], each.text[each.thought :]
        assert "</think>" in thought
        assert "</think>" not in rest
        assert each.answer is None or each.finish is Finish.STOP
    assert any(STOP_THINKING in each.text for each in result.candidates)
    assert result.answer is not None
    assert result.usage.generated_tokens == sum(each.tokens for each in result.candidates)


def drive(
    engine: Engine,
    thinking: Thinking,
    work: Callable[[ThinkingSession, Ledger], Awaitable[Any]],
) -> Any:
    async def main() -> Any:
        prompt = Chat(engine.info).render(build_messages(QUESTION))
        ledger = Ledger(Budget())
        async with await engine.open(prompt, ledger) as inner:
            return await work(ThinkingSession(inner, prompt, thinking), ledger)

    return asyncio.run(main())


def test_wait_cuts_the_mark_and_goes_on_in_the_same_kv(engine: Engine) -> None:
    """A word that the model is about to write serves as the mark that ends its thought."""

    async def look(session: ThinkingSession, ledger: Ledger) -> str:
        (branch,) = session.fork(session.root)
        (growth,) = [e async for e in session.grow([Grow(branch, 60, GREEDY, 0, 0)])]
        return growth.text.partition(STOP_THINKING)[0]

    said = drive(engine, Thinking(tokens=40), look)
    words = said.split()
    mark = max(words[len(words) // 2 :], key=len)

    async def work(session: ThinkingSession, ledger: Ledger) -> tuple[Growth, int]:
        before = ledger.usage().generator.prompt_tokens
        (branch,) = session.fork(session.root)
        (growth,) = [e async for e in session.grow([Grow(branch, 120, GREEDY, 0, 0)])]
        return growth, ledger.usage().generator.prompt_tokens - before

    plain, read = drive(engine, Thinking(closing=mark, tokens=60), work)
    assert mark in plain.text[: plain.thought]
    waited, reread = drive(engine, Thinking(closing=mark, tokens=60, waits=1), work)
    head = plain.text[: plain.text.index(mark)]
    assert waited.text.startswith(head)
    assert waited.text[len(head) :].lstrip("\n").startswith("Wait")
    # What is read beyond the opening mark: "Wait", the rest of a cut token, a closing sentence.
    assert reread <= read + 40


def test_an_unsure_thought_answers_early(engine: Engine) -> None:
    """The sum itself serves as the mark; after a warm-up only the very surest may reach it."""
    floors: list[float | None] = []
    ended: list[Finish] = []

    async def main() -> list[Growth]:
        prompt = Chat(engine.info).render(build_messages(QUESTION))
        async with await engine.open(prompt, Ledger(Budget())) as inner:
            session = ThinkingSession(inner, prompt, Thinking(closing="42", keep=0.01))
            grow = inner.grow

            def watched(requests: Sequence[Grow], then: Then | None = None) -> Any:
                def look(growth: Growth) -> Sequence[Grow]:
                    ended.append(growth.finish)
                    return then(growth) if then is not None else []

                floors.extend(each.floor for each in requests)
                return grow(requests, look)

            inner.grow = watched  # type: ignore[method-assign]
            found: list[Growth] = []
            for first, count in ((0, 8), (8, 4)):
                wanted = [
                    Grow(branch, 300, Sampling(temperature=0.8), first + i, first + i)
                    for i, branch in enumerate(session.fork(session.root, count))
                ]
                found += [growth async for growth in session.grow(wanted)]
                if count == 8:
                    assert Finish.UNSURE not in ended
            return found

    growths = asyncio.run(main())
    assert floors[:8] == [None] * 8
    assert all(floor is not None and floor > 0 for floor in floors[8:])
    assert Finish.UNSURE in ended
    assert all(each.thought for each in growths)


def test_a_revision_reads_its_request_alone(engine: Engine) -> None:
    with Comparer() as comparer:
        result = asyncio.run(
            solve(
                QUESTION,
                Stage(engine, Chat(engine.info), sampling=SAMPLED),
                SearchOptions("revise", {"chains": "1"}, 2, Budget(tokens_per_candidate=200)),
                comparer=comparer,
            )
        )
    first, second = result.candidates
    assert (first.parent, second.parent) == (None, first.id)
    assert result.answer is not None
    # Both prompts' templates and the request, some 150 tokens; the attempt itself is not read.
    assert result.usage.generator.prompt_tokens < 190
