"""What every engine that scores owes a verifier."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from contract_engines import GREEDY, SAMPLED, STORY, SUM, Maker

from ttc_cli.engines.base import Branch, Grow, Growth, ScoreRow, Session, Span, Until
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Role

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


def test_scoring_step_by_step_costs_each_step_once(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory(context=512)
        steps = [
            (Span(f"\n\nStep {i}: the light turns once more over the water."),) for i in range(6)
        ]
        ledger, whole = Ledger(Budget()), Ledger(Budget())
        async with await engine.open(STORY, ledger, role=Role.VERIFIER) as session:
            branch, scores = session.root, []
            for step in steps:
                branch = session.append(branch, step)
                scores += await session.score([ScoreRow(branch, (), LABELS)])
            first = ledger.usage()
            assert await session.score([ScoreRow(branch, (), LABELS)]) == [
                pytest.approx(scores[-1], abs=2e-3)
            ]
        assert first.generator.prompt_tokens == 0
        async with await engine.open(STORY, whole, role=Role.VERIFIER) as session:
            once = session.append(session.root, tuple(span for step in steps for span in step))
            (last,) = await session.score([ScoreRow(once, (), LABELS)])
        assert last == pytest.approx(scores[-1], abs=2e-3)
        assert first.verifier.prompt_tokens == pytest.approx(
            whole.usage().verifier.prompt_tokens, abs=len(steps)
        )

    asyncio.run(work())


def test_a_fork_of_a_scored_path_reads_only_its_own(free_factory: Maker) -> None:
    async def work() -> None:
        ledger = Ledger(Budget())
        async with await free_factory().open(STORY, ledger, role=Role.VERIFIER) as session:
            trunk = session.append(session.root, (Span("\n\nThe light turns once more." * 4),))
            await session.score([ScoreRow(trunk, (), LABELS)])
            before = ledger.usage().verifier.prompt_tokens
            twigs = [session.append(trunk, (Span(word),)) for word in (" Yes.", " No.")]
            found = await session.score([ScoreRow(twig, (), LABELS) for twig in twigs])
            assert len(found) == 2
            assert ledger.usage().verifier.prompt_tokens - before <= 8

    asyncio.run(work())


def test_hidden_states_tell_branches_apart_and_disturb_none(free_factory: Maker) -> None:
    async def work() -> None:
        engine, ledger = free_factory(), Ledger(Budget())
        async with await engine.open(STORY, ledger) as session:
            plain, read, twin = session.fork(session.root, 3)
            expected = await say(session, plain, 10) + await say(session, plain, 10)
            start = await say(session, read, 10)
            before, most = ledger.usage().generator, 12
            if not free_factory.cuts:  # of a prompt that was read to its end there is none before
                most += before.prompt_tokens
            first, root = await session.read_states([read, session.root])
            assert ledger.usage().generator == before
            assert len(first.last) == len(root.last) == engine.info.states > 0
            assert list(first.last) != list(root.last)
            assert ledger.usage().verifier.prompt_tokens <= most
            await say(session, twin, 10)
            (same,) = await session.read_states([twin])
            assert same.last == pytest.approx(first.last, abs=0.2)
            assert start + await say(session, read, 10) == expected

    asyncio.run(work())


def test_states_pooled_while_growing_are_those_read_again(free_factory: Maker) -> None:
    """However a branch grows: in one go, step by step, forked from another, beside what is read."""

    async def work() -> None:
        engine, ledger = free_factory(), Ledger(Budget())
        async with await engine.open(STORY, ledger) as session:
            whole, halting, plain = session.fork(session.root, 3)

            async def grow(branch: Branch, tokens: int, until: Until, pool: bool = True) -> Growth:
                asked = Grow(branch, tokens, GREEDY, 1, 0, until, pool=pool)
                (growth,) = [each async for each in session.grow([asked])]
                return growth

            at_once = await grow(whole, 90, Until.END)
            left, text = at_once.tokens, ""
            while left > 0:
                part = await grow(halting, left, Until.STEP)
                text, left = text + part.text, left - part.tokens
                await session.score([ScoreRow(halting, (Span("Is that so?"),), LABELS)])
                (halting,) = session.fork(halting)
                if part.finish is not Finish.STEP:
                    break
            await grow(plain, at_once.tokens, Until.END, pool=False)
            assert text == at_once.text
            before = ledger.usage().verifier.prompt_tokens
            pooled = await session.read_states([whole, halting])
            if free_factory.cuts:  # else nothing is pooled, and both were read now
                assert ledger.usage().verifier.prompt_tokens == before
            (again,) = await session.read_states([plain])
            assert ledger.usage().verifier.prompt_tokens > before
            for states in pooled:
                assert len(states.steps) == len(states.tails) >= 1
                # What was drawn last has no state yet; what is read again includes it.
                for view in ("whole", "tail"):
                    likeness = np.corrcoef(getattr(states, view), getattr(again, view))[0, 1]
                    assert likeness > 0.98
            one, other = pooled
            assert len(one.steps) == len(other.steps)
            for mine, its in zip(one.steps, other.steps, strict=True):
                assert mine == pytest.approx(its, abs=0.2)

    asyncio.run(work())


def test_hidden_states_are_not_read_after_the_cap(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget(max_tokens=5))) as session:
            branch = session.fork(session.root)[0]
            await say(session, branch, 50)
            assert await session.read_states([branch]) == [None]

    asyncio.run(work())


def test_a_session_that_is_served_leaves_others_of_its_run_to_go_on(free_factory: Maker) -> None:
    async def work() -> list[int]:
        engine = free_factory()
        ledger = Ledger(Budget())  # one meter: one run
        async with (
            await engine.open(SUM, ledger) as first,
            await engine.open(STORY, ledger) as second,
        ):

            async def score(session: Session, times: int) -> int:
                for _ in range(times):
                    (found,) = await session.score([row(session.root)])
                    assert found
                (branch,) = session.fork(session.root)
                return len(
                    [each async for each in session.grow([Grow(branch, 5 * times, SAMPLED, 1, 0)])]
                )

            return await asyncio.gather(score(first, 1), score(second, 3))

    assert asyncio.run(asyncio.wait_for(work(), 60)) == [1, 1]


TEXTS = ((Span("\n\nFirst, the light turns."),), (Span("\n\nThen it turns once more."),))


def likelihood(branch: Branch, since: Branch) -> ScoreRow:
    return ScoreRow(branch, (), (), since)


def test_a_token_is_as_likely_as_its_label(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(SUM, Ledger(Budget())) as session:
            longer = session.append(session.root, (Span("Yes"),))
            ((log,),) = await session.score([likelihood(longer, session.root)])
            ((label, _),) = await session.score([ScoreRow(session.root, (), (("Yes",), ("No",)))])
            assert math.exp(log) == pytest.approx(label, rel=0.05)

    asyncio.run(work())


def test_a_text_is_as_likely_as_its_parts_one_after_the_other(free_factory: Maker) -> None:
    async def work() -> None:
        engine = free_factory(context=512)
        parts, whole = Ledger(Budget()), Ledger(Budget())
        async with await engine.open(STORY, whole, role=Role.VERIFIER) as session:
            opened = whole.usage().verifier.prompt_tokens
            once = session.append(session.append(session.root, TEXTS[0]), TEXTS[1])
            ((expected,),) = await session.score([likelihood(once, session.root)])
        async with await engine.open(STORY, parts, role=Role.VERIFIER) as session:
            first = session.append(session.root, TEXTS[0])
            ((one,),) = await session.score([likelihood(first, session.root)])
            twins = [session.append(first, TEXTS[1]) for _ in range(2)]
            other, same = await session.score([likelihood(twin, first) for twin in twins])
            assert await session.score([likelihood(first, first)]) == [(0.0,)]
            wanted = [Grow(twins[0], 3, GREEDY, 0, 0)]
            assert len([growth async for growth in session.grow(wanted)]) == 1
        assert one < 0
        assert same == pytest.approx(other, abs=0.1)
        assert one + other[0] == pytest.approx(expected, abs=0.3)
        if free_factory.cuts:  # a token at each seam is read once more
            read = whole.usage().verifier.prompt_tokens
            assert parts.usage().verifier.prompt_tokens <= opened + 2 * (read - opened) + 8

    asyncio.run(work())


def test_no_likelihood_is_read_after_the_cap(free_factory: Maker) -> None:
    async def work() -> None:
        async with await free_factory().open(STORY, Ledger(Budget(max_tokens=5))) as session:
            longer = session.append(session.root, TEXTS[0])
            await say(session, session.fork(session.root)[0], 50)
            assert await session.score([likelihood(longer, session.root)]) == [()]

    asyncio.run(work())
