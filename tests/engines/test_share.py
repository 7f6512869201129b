"""A share of an engine keeps its branches to itself; the contract suite holds it to the rest."""

import asyncio

from ttc_cli.engines.base import Grow, Span
from ttc_cli.engines.scripted import ScriptedEngine, babble
from ttc_cli.engines.share import EngineShare
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

PROMPT = (Span("What is it?"),)


def ask(session, count, max_tokens=200):
    branches = session.fork(session.root, count)
    return [
        Grow(branch, max_tokens, Sampling(), seed=n, label=n) for n, branch in enumerate(branches)
    ]


async def order(engine, count):
    """In which order ``count`` branches of one run end, and how many decode steps that took."""
    steps = []
    async with await engine.open(PROMPT, Ledger(Budget()), steps.append) as session:
        ended = [growth.label async for growth in session.grow(ask(session, count))]
    return ended, len(steps)


def test_a_run_on_a_share_does_not_wait_for_its_neighbours():
    alone = asyncio.run(order(EngineShare(ScriptedEngine(babble, parallel=4), 2), 5))

    async def together(share):
        whole = ScriptedEngine(babble, parallel=4)
        engines = [EngineShare(whole, 2) if share else whole for _ in range(2)]
        return await asyncio.gather(order(engines[0], 9), order(engines[1], 5))

    assert asyncio.run(together(share=True))[1] == alone
    assert asyncio.run(together(share=False))[1] != alone


def test_what_is_cancelled_before_it_begins_is_told_like_all_else():
    async def work():
        heard = []

        def then(growth):
            heard.append(growth.label)
            return ()

        engine = EngineShare(ScriptedEngine(babble, parallel=4), 2)
        async with await engine.open(PROMPT, Ledger(Budget())) as session:
            wanted = ask(session, 6)
            growths = []
            async for growth in session.grow(wanted, then):
                if not growths:
                    session.limit([wanted[5].branch], 1)
                    session.cancel([each.branch for each in wanted[2:5]])
                growths.append(growth)
        assert sorted(heard) == [growth.label for growth in sorted(growths, key=lambda g: g.label)]
        ends = {growth.label: growth for growth in growths}
        assert {ends[n].finish for n in (0, 1)} == {Finish.STOP}
        # One of those had begun in the place of the first that ended.
        assert {ends[n].finish for n in (2, 3, 4)} == {Finish.CANCELLED}
        assert [ends[n].tokens for n in (3, 4)] == [0, 0]
        assert (ends[5].finish, ends[5].tokens) == (Finish.LENGTH, 1)

    asyncio.run(work())
