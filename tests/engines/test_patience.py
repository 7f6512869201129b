"""A run that thinks for long does not keep others waiting, where the engine was told so."""

import asyncio

import pytest
from near_ties import check_same, speak

from ttc_cli.engines.base import Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

pytest.importorskip("llama_cpp")

from ttc_cli.engines.llamacpp import Settings, load

pytestmark = pytest.mark.live

PROMPT = (Span("Once upon a time there was"),)
HANGS = 120.0
"""Seconds after which what does not end never will."""


class Thought:
    """What a run thinks about, from its first growth on, until it is told."""

    def __init__(self):
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    async def think(self):
        self.begun.set()
        await self.over.wait()


async def write(engine, *limits, thought=None):
    """The texts of a run by their limits; it thinks after each."""
    texts = {}
    async with await engine.open(PROMPT, Ledger(Budget())) as session:
        requests = [
            Grow(branch, limit, Sampling(temperature=0), 0, limit)
            for branch, limit in zip(session.fork(session.root, len(limits)), limits, strict=True)
        ]
        async for growth in session.grow(requests):
            assert growth.finish is Finish.LENGTH
            assert growth.tokens == growth.label
            texts[growth.label] = growth.text
            if thought is not None:
                await thought.think()
    return texts


async def write_beside(engine, *, waits):
    """A run beside one that thinks ends before that, or ``waits`` for it; all texts are right."""
    thought = Thought()
    async with asyncio.timeout(HANGS):
        slow = asyncio.create_task(write(engine, 8, 24, thought=thought))
        await thought.begun.wait()
        quick = asyncio.create_task(write(engine, 16))
        if waits:
            ended, _ = await asyncio.wait({quick}, timeout=0.5)
            assert not ended
        else:
            await quick
            assert not slow.done()
        thought.over.set()
        texts = {**await slow, **await quick}
        assert sorted(texts) == [8, 16, 24]
        pieces = await speak(engine, PROMPT, 24)
        for text in texts.values():
            await check_same(engine, PROMPT, pieces, text)


@pytest.mark.parametrize(("patience", "waits"), [(0.02, False), (None, True)])
def test_others_go_on_beside_a_run_that_thinks_only_where_that_is_wanted(
    tiny_model, patience, waits
):
    settings = Settings(parallel=4, context=512, answer=128, patience=patience)
    engine = load(tiny_model, settings)
    try:
        asyncio.run(write_beside(engine, waits=waits))
    finally:
        engine.close()
