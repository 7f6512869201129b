"""What every engine owes a search that asks one question in several forms: roots beside a root."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from contract_engines import GREEDY, SAMPLED, STORY, SUM, Maker, spell
from near_ties import check_same, speak

from ttc_cli.engines.base import Grow, Growth, Span
from ttc_cli.errors import PromptTooLong, UsageError
from ttc_cli.events import Grew
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 120))


def test_each_prompt_is_read_and_charged_once(engine_factory: Maker) -> None:
    async def work() -> None:
        engine = engine_factory()
        alone, both = Ledger(Budget()), Ledger(Budget())
        for prompt in (SUM, STORY):
            async with await engine.open(prompt, alone):
                pass
        async with await engine.open(SUM, both) as session:
            root = await session.add_prompt(STORY)
            branches = [*session.fork(session.root, 2), *session.fork(root, 2)]
            wanted = [Grow(each, 8, SAMPLED, i, i) for i, each in enumerate(branches)]
            assert len([each async for each in session.grow(wanted)]) == 4
        read = alone.usage().generator.prompt_tokens
        assert both.usage().generator.prompt_tokens == read > 0

    run(work())


def test_what_grows_from_a_further_prompt_is_what_it_says_alone(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory()
        pieces = [await speak(engine, prompt, 16) for prompt in (SUM, STORY)]
        async with await engine.open(SUM, Ledger(Budget())) as session:
            root = await session.add_prompt(STORY)
            branches = [*session.fork(session.root), *session.fork(root)]
            wanted = [Grow(each, 16, GREEDY, 0, i) for i, each in enumerate(branches)]
            ended = {each.label: each async for each in session.grow(wanted)}
        for label, prompt in enumerate((SUM, STORY)):
            said = ended[label].text
            await check_same(engine, prompt, pieces[label], said, exact=free_factory.exact)

    run(work())


def test_both_prompts_grow_in_one_batch_and_share_its_slots(engine_factory: Maker) -> None:
    async def work() -> None:
        seen: list[Grew] = []
        async with await engine_factory(parallel=4).open(
            SUM, Ledger(Budget()), seen.append
        ) as session:
            root = await session.add_prompt(STORY)
            branches = [*session.fork(session.root, 3), *session.fork(root, 3)]
            wanted = [Grow(each, 8, SAMPLED, i, i) for i, each in enumerate(branches)]
            ended: list[Growth] = [each async for each in session.grow(wanted)]
        assert sorted(each.label for each in ended) == list(range(6))
        assert max(each.live for each in seen) == 4
        if engine_factory.name != "openai":  # whose pieces come one stream at a time
            assert any({0, 3} <= set(each.texts) for each in seen)

    run(work())


def test_a_cut_stays_behind_its_own_prompt(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(SUM, Ledger(Budget())) as session:
            root = await session.add_prompt(STORY)
            (branch,) = session.fork(root)
            with pytest.raises(UsageError, match="does not hold"):
                session.cut(session.append(branch, (Span("One two."),)), "lighthouse")
            assert session.cut(session.append(branch, (Span("One two."),)), " two.") is not root

    run(work())


def test_a_further_prompt_goes_with_its_session_and_can_be_dropped(engine_factory: Maker) -> None:
    async def work() -> None:
        engine = engine_factory()
        async with await engine.open(SUM, Ledger(Budget())) as session:
            root = await session.add_prompt(STORY)
            (kept,) = session.fork(root)
            session.drop([root])
            (growth,) = [each async for each in session.grow([Grow(kept, 4, SAMPLED, 0, 0)])]
            assert (growth.tokens, growth.finish) == (4, Finish.LENGTH)
        async with await engine.open(SUM, Ledger(Budget())) as session:
            assert session.fork(session.root)

    run(work())


def test_a_further_prompt_that_is_too_long_is_refused_and_costs_nothing(
    free_factory: Maker,
) -> None:
    async def work() -> None:
        if free_factory.name == "openai":
            pytest.skip("a server is sent a prompt with its first growth")
        ledger = Ledger(Budget())
        async with await free_factory(context=128).open(SUM, ledger) as session:
            before = ledger.usage()
            with pytest.raises(PromptTooLong):
                await session.add_prompt(spell("many words " * 400))
            assert ledger.usage().tokens == before.tokens
            (branch,) = session.fork(session.root)
            drawn = Sampling(temperature=0.8)
            assert [each async for each in session.grow([Grow(branch, 4, drawn, 0, 0)])]

    run(work())
