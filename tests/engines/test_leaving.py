"""What a run leaves behind that ends in the middle: nothing, or what the next one can use."""

import asyncio
import contextlib

import pytest
from near_ties import check_same, speak

from ttc_cli.engines.base import EngineInfo, Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Sampling

pytest.importorskip("llama_cpp")

from ttc_cli.engines.llamacpp import Settings, load
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.decoder import Decoder
from ttc_cli.engines.llamacpp.jobs import Account, Scoring

PROMPT = (Span("Once upon a time there was"),)
LONG = (Span(" and then another thing happened" * 30),)
GREEDY = Sampling(temperature=0)


@contextlib.contextmanager
def opened(model, **settings):
    engine = load(model, Settings(parallel=4, context=1024, answer=256, **settings))
    try:
        yield engine
    finally:
        engine.close()


def count_seated(engine):
    return len(engine._runner.decoder.cache._seated)


class Books:
    """Stands in for a context that decodes nothing."""

    unified, recurrent, sequences, batch, outputs = True, False, 8, 64, 8

    def copy(self, source, target, length):
        pass

    def trim(self, sequence, length):
        pass

    def stop_when(self, true):
        pass


def test_a_run_that_ends_while_it_scores_gives_back_seats_that_nobody_else_knows():
    info = EngineInfo("fake", "fake", 1, 64, 4, None)
    decoder = Decoder(None, Books(), info, certainty=False)
    account = Account(Ledger(Budget()), None)
    root = Node([1, 2, 3], keep=True)
    decoder.accounts.append(account)
    decoder.scorings += [Scoring(account, root, [4, 5], [[6], [7]]) for _ in range(3)]
    assert len(decoder._assemble()) == 3  # the first on the prompt itself, the others on forks
    assert len(decoder.cache._seated) == 3
    decoder.forget(root)
    decoder.leave(account)
    assert decoder.cache._seated == {}


async def reply(engine, prompt):
    """What is said to ``prompt``, and how much of it was read, and re-used."""
    ledger = Ledger(Budget())
    async with await engine.open(prompt, ledger) as session:
        (branch,) = session.fork(session.root)
        async for growth in session.grow([Grow(branch, 12, GREEDY, 0, 0)]):
            text = growth.text
    usage = ledger.usage().generator
    return text, usage.prompt_tokens, usage.reused_tokens


@pytest.mark.live
def test_the_next_turn_of_a_conversation_reads_only_what_is_new(tiny_model):
    with opened(tiny_model, remembers=4) as engine:
        first, read, _ = asyncio.run(reply(engine, (*PROMPT, *LONG)))
        turn = (*PROMPT, *LONG, Span(first), Span(" The end of it was"))
        second, more, reused = asyncio.run(reply(engine, turn))
        assert more < 20 < read
        assert reused >= read
        assert count_seated(engine) <= 4
    with opened(tiny_model) as engine:
        _, all_read, _ = asyncio.run(reply(engine, turn))
        assert all_read > read
        assert count_seated(engine) == 0
        asyncio.run(compare(engine, turn, second))


async def compare(engine, prompt, said):
    await check_same(engine, prompt, await speak(engine, prompt, 12), said)
