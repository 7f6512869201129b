"""A run that thinks for long does not keep others waiting, where the engine was told so."""

import asyncio
import time

import pytest
from near_ties import check_same, speak

from ttc_cli.engines.base import Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

pytest.importorskip("llama_cpp")

from ttc_cli.engines.llamacpp import Settings, load

pytestmark = pytest.mark.live

PROMPT = (Span("Once upon a time there was"),)
THOUGHT = 1.0


async def write(engine, *limits, thought=0.0):
    """The texts of a run by their limits, and when it ended; it thinks after each."""
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
            await asyncio.sleep(thought)
    return texts, time.monotonic()


def run(model, patience):
    """How long after a quick run one that thinks ended."""
    engine = load(model, Settings(parallel=4, context=512, answer=128, patience=patience))

    async def both():
        slow = asyncio.create_task(write(engine, 8, 24, thought=THOUGHT))
        await asyncio.sleep(0.05)
        (texts, slow_end), (more, quick_end) = await asyncio.gather(slow, write(engine, 16))
        pieces = await speak(engine, PROMPT, 24)
        for text in (texts | more).values():
            await check_same(engine, PROMPT, pieces, text)
        assert sorted(texts) == [8, 24]
        return slow_end - quick_end

    try:
        return asyncio.run(both())
    finally:
        engine.close()


def test_others_go_on_beside_a_run_that_thinks(tiny_model):
    # It thinks twice, and the quick run comes before or within the first thought.
    assert run(tiny_model, patience=0.02) > 1.5 * THOUGHT
    assert run(tiny_model, patience=None) < 1.5 * THOUGHT
