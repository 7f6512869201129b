"""What every engine that scores owes a verifier."""

from __future__ import annotations

import asyncio

import pytest
from contract_engines import GREEDY, SAMPLED, STORY, SUM, Maker

from ttc_cli.engines.base import Branch, Grow, ScoreRow, Session, Span
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish

SUFFIX = (
    Span("<|im_end|>\n<|im_start|>user\n", control=True),
    Span("Is this correct? Answer Yes or No."),
    Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
)
LABELS = (("Yes", " Yes", "yes"), ("No", " No", "no"))


def row(branch: Branch) -> ScoreRow:
    return ScoreRow(branch, SUFFIX, LABELS)


async def say(session: Session, branch: Branch, tokens: int) -> str:
    wanted = [Grow(branch, tokens, GREEDY, 0, 0)]
    return "".join([growth.text async for growth in session.grow(wanted)])


def test_scores_are_probabilities_of_the_whole_vocabulary(free_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await free_factory().open(SUM, ledger) as session:
            branches = session.fork(session.root, 3)
            wanted = [Grow(each, 30, SAMPLED, i, i) for i, each in enumerate(branches)]
            ended = [growth async for growth in session.grow(wanted)]
            before = ledger.usage()
            scores = await session.score([row(growth.branch) for growth in ended])
            after = ledger.usage()
        assert len(scores) == 3
        for yes, no in scores:
            assert 0 <= yes <= 1
            assert 0 <= no <= 1
            assert 0 < yes + no <= 1 + 1e-6
        assert after.generator == before.generator
        assert after.verifier.generated_tokens == 0
        size = after.verifier.prompt_tokens
        assert 3 * 5 <= size <= 3 * 60
        assert after.verifier.reused_tokens > 0

    asyncio.run(work())


def test_scoring_does_not_disturb_a_branch(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            plain, scored = session.fork(session.root, 2)
            expected = await say(session, plain, 10) + await say(session, plain, 10)
            start = await say(session, scored, 10)
            first = await session.score([row(scored)])
            assert first == await session.score([row(scored)])
            assert start + await say(session, scored, 10) == expected

    asyncio.run(work())


def test_a_search_may_score_while_others_still_grow(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            short, long = session.fork(session.root, 2)
            wanted = [Grow(short, 4, GREEDY, 0, 0), Grow(long, 20, GREEDY, 1, 1)]
            finishes = []
            async for growth in session.grow(wanted):
                finishes.append(growth.finish)
                if growth.label == 0:
                    assert len(await session.score([row(short)])) == 1
            assert finishes == [Finish.LENGTH] * 2

    asyncio.run(work())


def test_labels_that_are_no_token_are_refused(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(SUM, Ledger(Budget())) as session:
            labels = (("Yes",), ("no token of any vocabulary says this",))
            with pytest.raises(UsageError):
                await session.score([ScoreRow(session.root, SUFFIX, labels)])

    asyncio.run(work())


def test_nothing_is_read_after_the_cap(free_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget(max_tokens=5))
        async with await free_factory().open(STORY, ledger) as session:
            branch = session.fork(session.root)[0]
            await say(session, branch, 50)
            assert await session.score([row(branch)]) == [()]
            assert ledger.usage().verifier.prompt_tokens == 0

    asyncio.run(work())


def test_nothing_is_read_after_an_interrupt(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory()
        async with await engine.open(STORY, Ledger(Budget())) as session:
            branch = session.fork(session.root)[0]
            await say(session, branch, 5)
            engine.interrupt()
            assert await session.score([row(branch)]) == [()]

    asyncio.run(work())
