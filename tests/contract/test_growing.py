"""What every engine owes a search that grows branches."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from contract_engines import GREEDY, SAMPLED, STORY, SUM, Maker, make_recorded, spell
from near_ties import check_same, speak

from ttc_cli.engines.base import Branch, Engine, Grow, Growth, Prompt, Session, Span, Until
from ttc_cli.errors import EngineError, PromptTooLong, UsageError
from ttc_cli.events import Grew
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Role, Sampling


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, 120)

    return asyncio.run(bounded())


def requests(
    branches: list[Branch],
    tokens: int,
    sampling: Sampling = SAMPLED,
    seed: int = 0,
    until: Until = Until.END,
) -> list[Grow]:
    return [Grow(branch, tokens, sampling, seed + i, i, until) for i, branch in enumerate(branches)]


async def grow(session: Session, wanted: list[Grow]) -> list[Growth]:
    return [growth async for growth in session.grow(wanted)]


async def sample(
    engine: Engine,
    prompt: Prompt,
    count: int,
    tokens: int,
    sampling: Sampling = SAMPLED,
    seed: int = 0,
    ledger: Ledger | None = None,
    events: list[Grew] | None = None,
) -> list[Growth]:
    observe = None if events is None else events.append
    async with await engine.open(prompt, ledger or Ledger(Budget()), observe) as session:
        branches = session.fork(session.root, count)
        return await grow(session, requests(branches, tokens, sampling, seed))


def texts(growths: list[Growth]) -> list[str]:
    return [growth.text for growth in sorted(growths, key=lambda growth: growth.label)]


def test_the_prompt_is_read_and_charged_once(engine_factory: Maker) -> None:
    engine = engine_factory()
    one, many = Ledger(Budget()), Ledger(Budget())
    run(sample(engine, SUM, 1, 8, ledger=one))
    run(sample(engine, SUM, 8, 8, ledger=many))
    assert one.usage().generator.prompt_tokens == many.usage().generator.prompt_tokens > 0


def test_growths_name_their_request_and_what_they_cost(engine_factory: Maker) -> None:
    ledger = Ledger(Budget())
    engine = engine_factory()
    growths = run(sample(engine, SUM, 3, 8, ledger=ledger))
    assert sorted(growth.label for growth in growths) == [0, 1, 2]
    assert all(growth.text and 1 <= growth.tokens <= 8 for growth in growths)
    usage = ledger.usage().generator
    assert usage.generated_tokens == sum(growth.tokens for growth in growths)
    processed = usage.prompt_tokens + usage.generated_tokens
    assert usage.flops == pytest.approx(2 * engine.info.parameters * processed, rel=0.25)


def test_the_same_seeds_give_the_same_texts_and_others_differ(engine_factory: Maker) -> None:
    engine = engine_factory()
    first = run(sample(engine, SUM, 4, 24))
    again = run(sample(engine, SUM, 4, 24))
    other = run(sample(engine, SUM, 4, 24, seed=1000))
    assert first[0].branch is not again[0].branch
    assert texts(first) == texts(again)
    assert texts(first) != texts(other)
    assert len(set(texts(first))) > 1


def test_growths_are_yielded_in_a_fixed_order(engine_factory: Maker) -> None:
    engine = engine_factory()
    orders = [[each.label for each in run(sample(engine, SUM, 9, 40))] for _ in range(2)]
    assert orders[0] == orders[1]


def test_a_fork_goes_on_from_where_its_parent_stands(free_factory: Maker) -> None:
    async def work() -> None:
        ledger, engine = Ledger(Budget()), free_factory()
        pieces = await speak(engine, STORY, 20)
        async with await engine.open(STORY, ledger) as session:
            (trunk,) = session.fork(session.root)
            start = (await grow(session, requests([trunk], 8, GREEDY)))[0]
            read = ledger.usage().generator.prompt_tokens
            forks = session.fork(trunk, 2)
            rest = await grow(session, requests(forks, 12, GREEDY))
            assert ledger.usage().generator.prompt_tokens == read
        for each in rest:
            assert start.tokens + each.tokens == 20
            await check_same(
                engine, STORY, pieces, start.text + each.text, exact=free_factory.exact
            )

    run(work())


def test_a_branch_that_grows_twice_at_once_is_refused_and_nothing_is_left(
    engine_factory: Maker,
) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await engine_factory().open(SUM, ledger) as session:
            first, twice = session.fork(session.root, 2)
            with pytest.raises(UsageError, match="once at a time"):
                await grow(session, requests([first, twice, twice], 8))
            assert ledger.usage().generator.generated_tokens == 0
            grown = await grow(session, requests([first, twice], 8))
            assert sorted(each.label for each in grown) == [0, 1]

    run(work())


@pytest.mark.parametrize("tokens", [1, 2, 11])
def test_the_token_limit_is_met_exactly(engine_factory: Maker, tokens: int) -> None:
    for growth in run(sample(engine_factory(), STORY, 3, tokens)):
        assert (growth.tokens, growth.finish) == (tokens, Finish.LENGTH)


def test_a_limit_can_be_lowered_while_branches_grow(engine_factory: Maker) -> None:
    async def work() -> None:
        async with await engine_factory().open(STORY, Ledger(Budget())) as session:
            short, cut, free = session.fork(session.root, 3)
            wanted = [
                Grow(short, 5, SAMPLED, 1, 0),
                Grow(cut, 200, SAMPLED, 2, 1),
                Grow(free, 40, SAMPLED, 3, 2),
            ]
            ended: dict[int, Growth] = {}
            async for growth in session.grow(wanted):
                ended[growth.label] = growth
                if growth.label == 0:
                    session.limit([cut], 12)
                    session.limit([free], 1000)
            assert [(ended[i].tokens, ended[i].finish) for i in (1, 2)] == [
                (12, Finish.LENGTH),
                (40, Finish.LENGTH),
            ]

    run(work())


def test_cancelled_branches_are_charged_for_what_they_grew(engine_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await engine_factory(parallel=4).open(STORY, ledger) as session:
            branches = session.fork(session.root, 8)
            wanted = requests(branches, 200)
            wanted[0] = Grow(branches[0], 6, SAMPLED, 0, 0)
            ended = []
            async for growth in session.grow(wanted):
                ended.append(growth)
                if growth.label == 0:
                    session.cancel(branches)
            assert sorted(each.label for each in ended) == list(range(8))
            stopped = [each for each in ended if each.label]
            assert {each.finish for each in stopped} == {Finish.CANCELLED}
            assert all(each.tokens < 200 for each in stopped)
            # A server's requests do not grow in step: any of them may be a little behind.
            assert max(each.tokens for each in stopped) >= (
                1 if engine_factory.name == "openai" else 5
            )
            total = sum(each.tokens for each in ended)
            assert ledger.usage().generator.generated_tokens == total

    run(work())


def test_dropping_frees_cells(free_factory: Maker) -> None:
    async def work() -> None:
        seen: list[Grew] = []
        engine = free_factory()
        async with await engine.open(STORY, Ledger(Budget()), seen.append) as session:
            first = session.fork(session.root, 3)
            await grow(session, requests(first, 40))
            full = seen[-1].kv_used
            session.drop(first)
            await grow(session, requests(session.fork(session.root), 2))
            assert seen[-1].kv_used <= full - 3 * 30

    run(work())


def test_slots_are_refilled_until_every_request_has_ended(engine_factory: Maker) -> None:
    seen: list[Grew] = []
    growths = run(sample(engine_factory(parallel=4), SUM, 13, 16, events=seen))
    assert sorted(each.label for each in growths) == list(range(13))
    assert max(each.live for each in seen) == 4
    assert max(each.queued for each in seen) == 9


def test_what_was_shown_is_what_was_grown(engine_factory: Maker) -> None:
    seen: list[Grew] = []
    growths = run(sample(engine_factory(), SUM, 5, 24, events=seen))
    shown = ["".join(each.texts.get(i, "") for each in seen).removesuffix("�") for i in range(5)]
    for text, growth in zip(shown, sorted(growths, key=lambda each: each.label), strict=True):
        assert growth.text.startswith(text)
        assert len(growth.text) - len(text) <= 8


def test_growing_by_steps_says_what_growing_to_the_end_says(free_factory: Maker) -> None:
    async def work() -> None:
        prompt = spell("Name three colours, each in a paragraph of its own, then stop.")
        async with await free_factory().open(prompt, Ledger(Budget())) as session:
            whole, stepped = session.fork(session.root, 2)
            expected = (await grow(session, requests([whole], 90, GREEDY)))[0]
            said, left = "", 90
            while True:
                wanted = requests([stepped], left, GREEDY, until=Until.STEP)
                step = (await grow(session, wanted))[0]
                said, left = said + step.text, left - step.tokens
                if step.finish is not Finish.STEP or not left:
                    break
                assert "\n" in step.text
            assert said == expected.text
            assert 90 - left == expected.tokens

    run(work())


@pytest.mark.parametrize("parallel", [4, 12])
def test_a_full_cache_loses_no_branch_and_changes_no_text(
    free_factory: Maker, parallel: int
) -> None:
    engine = free_factory()
    small = free_factory(context=256, kv_cells=256, parallel=parallel)
    growths = run(sample(small, STORY, 12, 40, GREEDY))
    assert sorted(each.label for each in growths) == list(range(12))
    assert {(each.finish, each.tokens) for each in growths} == {(Finish.LENGTH, 40)}

    async def check() -> None:
        pieces = await speak(engine, STORY, 40)
        for text in set(texts(growths)):
            await check_same(engine, STORY, pieces, text, exact=free_factory.exact)

    run(check())


def test_a_dropped_branch_cannot_be_used(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(SUM, Ledger(Budget())) as session:
            branch = session.fork(session.root)[0]
            session.drop([branch])
            session.drop([branch])
            with pytest.raises(EngineError, match="dropped"):
                session.fork(branch)
        with pytest.raises(EngineError, match="closed"):
            session.fork(session.root)

    run(work())


def test_a_prompt_beyond_the_context_is_refused(free_factory: Maker) -> None:
    engine = free_factory(context=256)
    with pytest.raises(PromptTooLong):
        run(sample(engine, spell("apple " * 600), 1, 8))
    assert len(run(sample(engine, SUM, 1, 8))) == 1


def test_a_branch_that_fills_the_context_says_so(free_factory: Maker) -> None:
    engine = free_factory(context=256, parallel=1)
    growth = run(sample(engine, STORY, 1, 400, GREEDY))[0]
    assert growth.finish in (Finish.CONTEXT, Finish.LOOP)
    assert growth.tokens < 256


def test_an_interrupt_ends_everything_at_once(engine_factory: Maker) -> None:
    engine = engine_factory()

    def stop(event: Grew) -> None:
        engine.interrupt()

    async def work() -> None:
        async with await engine.open(STORY, Ledger(Budget()), stop) as session:
            growths = await grow(session, requests(session.fork(session.root, 6), 200))
            assert [each.finish for each in growths] == [Finish.CANCELLED] * 6
            assert all(each.tokens <= 3 for each in growths)
            later = await grow(session, requests(session.fork(session.root), 200))
            assert [each.finish for each in later] == [Finish.CANCELLED]

    run(work())
    assert {each.finish for each in run(sample(engine, STORY, 2, 5))} == {Finish.LENGTH}


def test_a_cap_is_overrun_by_at_most_one_decode_step(engine_factory: Maker) -> None:
    ledger = Ledger(Budget(max_tokens=30))
    growths = run(sample(engine_factory(parallel=4), STORY, 6, 200, ledger=ledger))
    assert [each.finish for each in growths] == [Finish.BUDGET] * 6
    assert 30 <= ledger.usage().generated_tokens <= 30 + 3


def test_nothing_grows_after_the_cap(engine_factory: Maker) -> None:
    ledger = Ledger(Budget(max_tokens=0))
    growths = run(sample(engine_factory(), STORY, 2, 50, ledger=ledger))
    assert [(each.finish, each.tokens) for each in growths] == [(Finish.BUDGET, 0)] * 2


def test_sessions_beside_each_other_say_what_they_say_alone(free_factory: Maker) -> None:
    engine = free_factory(parallel=4)
    prompts = [SUM, STORY, spell("What is the capital of France?")]

    async def work() -> None:
        alone = [await speak(engine, each, 20) for each in prompts]
        beside = await asyncio.gather(*(sample(engine, each, 1, 20, GREEDY) for each in prompts))
        for prompt, pieces, (growth,) in zip(prompts, alone, beside, strict=True):
            await check_same(engine, prompt, pieces, growth.text, exact=free_factory.exact)

    run(work())


def test_only_a_near_tie_excuses_another_text(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory()
        pieces = await speak(engine, STORY, 8)
        with pytest.raises(AssertionError):
            await check_same(
                engine, STORY, pieces, "".join(pieces[:4]) + " Yes Yes", exact=free_factory.exact
            )

    run(work())


def test_each_session_pays_for_its_own(engine_factory: Maker) -> None:
    engine = engine_factory()
    alone, first, second = (Ledger(Budget()) for _ in range(3))
    run(sample(engine, SUM, 2, 8, ledger=alone))

    async def work() -> None:
        await asyncio.gather(
            sample(engine, SUM, 2, 8, ledger=first),
            sample(engine, STORY, 3, 20, ledger=second),
        )

    run(work())
    assert first.usage().tokens == alone.usage().tokens
    assert second.usage().generated_tokens == 60


def test_closing_twice_is_no_error(engine_factory: Maker) -> None:
    async def work() -> None:
        engine = engine_factory()
        session = await engine.open(SUM, Ledger(Budget()))
        await grow(session, requests(session.fork(session.root, 2), 4))
        await session.close()
        await session.close()
        engine.close()
        engine.close()

    run(work())


def test_leaving_the_iterator_cancels_what_still_grows(engine_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await engine_factory().open(STORY, ledger) as session:
            branches = session.fork(session.root, 6)
            wanted = requests(branches, 200)
            wanted[0] = Grow(branches[0], 4, SAMPLED, 0, 0)
            growing = session.grow(wanted)
            assert (await anext(growing)).label == 0
            await growing.aclose()  # type: ignore[attr-defined]
            spent = ledger.usage().generated_tokens
            later = await grow(session, [Grow(*_fresh(session), 10, SAMPLED, 9, 9)])
            assert [each.tokens for each in later] == [10]
            assert ledger.usage().generated_tokens == spent + 10

    run(work())


def _fresh(session: Session) -> tuple[Branch]:
    return (session.fork(session.root)[0],)


def test_a_search_may_grow_more_while_it_looks_at_a_growth(engine_factory: Maker) -> None:
    async def work() -> None:
        async with await engine_factory(parallel=2).open(SUM, Ledger(Budget())) as session:
            labels = []
            async for growth in session.grow(requests(session.fork(session.root, 4), 12)):
                labels.append(growth.label)
                if growth.label == 0:
                    inner = [Grow(*_fresh(session), 12, SAMPLED, 77, 77)]
                    labels += [each.label async for each in session.grow(inner)]
            assert sorted(labels) == [0, 1, 2, 3, 77]

    run(work())


def test_a_search_that_is_abandoned_leaves_the_engine_usable(engine_factory: Maker) -> None:
    engine = engine_factory()
    grown = asyncio.Event()

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def tell(event: Grew) -> None:
            loop.call_soon_threadsafe(grown.set)

        async def search() -> None:
            async with await engine.open(STORY, Ledger(Budget()), tell) as session:
                await grow(session, requests(session.fork(session.root, 6), 200))

        task = asyncio.create_task(search())
        await grown.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await sample(engine, SUM, 2, 8)) == 2

    run(work())


def test_what_is_appended_is_read_like_a_prompt(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory()
        ledger, whole = Ledger(Budget()), Ledger(Budget())
        first, rest = STORY[:2], STORY[2:]
        pieces = await speak(engine, STORY, 16)
        async with await engine.open(first, ledger) as session:
            longer = session.append(session.root, rest)
            assert session.meter is ledger
            assert ledger.usage().generator.generated_tokens == 0
            (said,) = await grow(session, requests([longer], 12, GREEDY))
            (more,) = await grow(session, requests(session.fork(longer), 4, GREEDY))
        async with await engine.open(STORY, whole) as session:
            await grow(session, requests(session.fork(session.root), 12, GREEDY))
        await check_same(engine, STORY, pieces, said.text + more.text, exact=free_factory.exact)
        read = ledger.usage().generator.prompt_tokens
        assert read == pytest.approx(whole.usage().generator.prompt_tokens, abs=1)

    run(work())


def test_the_branch_that_is_appended_to_stays_as_it_is(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            plain, other = session.fork(session.root, 2)
            expected = await grow(session, requests([plain], 20, GREEDY))
            start = await grow(session, requests([other], 8, GREEDY))
            added = session.append(other, (Span("\n\nBut wait: "),))
            await grow(session, requests([added], 6, GREEDY))
            rest = await grow(session, requests([other], 12, GREEDY))
            assert start[0].text + rest[0].text == expected[0].text

    run(work())


def test_growing_stops_at_a_mark_and_goes_on_behind_it(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            plain, marked = session.fork(session.root, 2)
            expected = (await grow(session, requests([plain], 40, GREEDY)))[0].text
            mark = expected[len(expected) // 2 :][:6]
            marks = ("never said at all", mark)
            (stopped,) = await grow(session, [Grow(marked, 40, GREEDY, 0, 0, marks=marks)])
            assert stopped.finish is Finish.MARK
            assert mark in stopped.text
            assert len(stopped.text) < len(expected)
            assert stopped.text.index(mark) + len(mark) + 12 > len(stopped.text)
            rest = await grow(session, requests([marked], 40 - stopped.tokens, GREEDY))
            assert stopped.text + rest[0].text == expected

    run(work())


def test_a_verifier_that_grows_pays_as_one(free_factory: Maker) -> None:
    async def work() -> None:
        ledger, engine = Ledger(Budget()), free_factory()
        async with (
            await engine.open(STORY, ledger) as search,
            await engine.open(SUM, ledger, role=Role.VERIFIER) as critic,
        ):
            before = ledger.usage()
            assert before.verifier.prompt_tokens > 0
            # The search's own session is idle meanwhile; one run never waits for itself.
            await grow(critic, requests(critic.fork(critic.root), 10))
            after = ledger.usage()
            assert after.generator == before.generator
            assert after.verifier.generated_tokens == 10
            await grow(search, requests(search.fork(search.root), 3))
            assert ledger.usage().generator.generated_tokens == 3

    run(work())


def test_what_goes_on_joins_the_batch(engine_factory: Maker) -> None:
    """``then`` adds requests to the iteration under way, and sees each growth exactly once."""

    async def work() -> None:
        engine = engine_factory(parallel=4)
        async with await engine.open(SUM, Ledger(Budget())) as session:
            seen: list[int] = []

            def then(growth: Growth) -> list[Grow]:
                seen.append(growth.label)
                if growth.label >= 4:
                    return []
                return [Grow(*_fresh(session), 6, SAMPLED, 50 + growth.label, growth.label + 10)]

            first = requests(session.fork(session.root, 4), 6)
            ended = [each.label async for each in session.grow(first, then)]
            assert ended == seen
            assert sorted(ended) == [0, 1, 2, 3, 10, 11, 12, 13]
            assert ended.index(10) > ended.index(0)

    run(work())


def test_a_branch_that_goes_on_says_what_it_says_in_one_go(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            whole, parts = session.fork(session.root, 2)
            expected = (await grow(session, requests([whole], 30, GREEDY)))[0].text
            left = [10, 10]

            def then(growth: Growth) -> list[Grow]:
                return [Grow(growth.branch, left.pop(), GREEDY, 0, 0)] if left else []

            first = requests([parts], 10, GREEDY)
            said = [each.text async for each in session.grow(first, then)]
            assert (len(said), "".join(said)) == (3, expected)

    run(work())


def test_a_branch_can_be_cut_before_a_mark_and_goes_on_from_there(free_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await free_factory().open(STORY, ledger) as session:
            plain, marked = session.fork(session.root, 2)
            expected = (await grow(session, requests([plain], 40, GREEDY)))[0].text
            place = expected.rindex(" ", 0, 2 * len(expected) // 3)  # where a token begins
            mark = expected[place : place + 5]
            stopped = (await grow(session, [Grow(marked, 40, GREEDY, 0, 0, marks=(mark,))]))[0]
            before = stopped.text[: stopped.text.rindex(mark)]
            read = ledger.usage().generator.prompt_tokens
            shorter = session.cut(marked, mark)
            (again,) = await grow(session, requests([shorter], 8, GREEDY))
            assert expected.startswith(before + again.text)
            again_read = 2 if free_factory.cuts else stopped.tokens
            assert ledger.usage().generator.prompt_tokens <= read + again_read
            (rest,) = await grow(session, requests([marked], 6, GREEDY))
            assert expected.startswith(stopped.text + rest.text)
            with pytest.raises(UsageError):
                session.cut(marked, "never said at all")

    run(work())


def test_a_cut_in_the_middle_of_a_token_keeps_what_stood_before_it(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget())) as session:
            (plain,) = session.fork(session.root)
            said = (await grow(session, requests([plain], 30, GREEDY)))[0].text
            word = max(said.split(), key=len)
            shorter = session.cut(plain, word[1:])
            again = session.append(shorter, (Span(word[1:] + said.rpartition(word)[2]),))
            twice = [session.cut(again, word[1:]), session.cut(session.fork(plain)[0], word[1:])]
            both = [session.append(each, (Span("\n\nSo"),)) for each in twice]
            first, second = await grow(session, requests(both, 8, GREEDY))
            assert sorted((first.label, second.label)) == [0, 1]
            assert first.text == second.text

    run(work())


def test_a_recorded_candidate_is_not_cut() -> None:
    async def work() -> None:
        engine = Maker("recorded", make_recorded)()
        async with await engine.open(SUM, Ledger(Budget())) as session:
            with pytest.raises(UsageError):
                session.cut(session.root, "apples")

    run(work())
