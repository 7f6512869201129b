"""What the contract suite does not say of the scripted engine: its scripts and its books."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ttc_cli.engines.base import Grow, Growth, ScoreRow, Span, Until
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine, babble, pieces
from ttc_cli.events import Grew
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Confidence, Finish, Sampling

PROMPT = (Span("How many?"),)
WARM, COLD = Sampling(temperature=1.0), Sampling(temperature=0.0)


def sample(
    engine: ScriptedEngine,
    count: int = 1,
    *,
    sampling: Sampling = WARM,
    tokens: int = 100,
    ledger: Ledger | None = None,
    seen: list[Grew] | None = None,
    until: Until = Until.END,
) -> list[Growth]:
    async def work() -> list[Growth]:
        observe = None if seen is None else seen.append
        async with await engine.open(PROMPT, ledger or Ledger(Budget()), observe) as session:
            wanted = [
                Grow(branch, tokens, sampling, 100 + i, i, until)
                for i, branch in enumerate(session.fork(session.root, count))
            ]
            return [growth async for growth in session.grow(wanted)]

    return sorted(asyncio.run(work()), key=lambda growth: growth.label)


def test_candidates_say_the_texts_in_turn() -> None:
    said = [each.text for each in sample(ScriptedEngine(["One.", "Two."]), 3)]
    assert said == ["One.", "Two.", "One."]


def test_a_function_is_asked_with_text_seed_and_sample() -> None:
    asked: list[Ask] = []

    def script(ask: Ask) -> str:
        asked.append(ask)
        return "Four."

    sample(ScriptedEngine(script), 2)
    sample(ScriptedEngine(script), sampling=COLD)
    assert asked == [
        Ask("How many?", 100, 0),
        Ask("How many?", 101, 1),
        Ask("How many?", 0, 0),
    ]


def test_a_reply_chooses_its_finish_and_confidence() -> None:
    sure = Confidence(-0.1, -0.1, 9.0, 9.0)
    replies = [Reply("Four.", confidence=sure), Reply("Hm hm", Finish.LOOP), "Five."]
    growths = sample(ScriptedEngine([*replies, Reply("On ", Finish.LENGTH)]), 4)
    assert [each.finish for each in growths] == [
        Finish.STOP,
        Finish.LOOP,
        Finish.STOP,
        Finish.LENGTH,
    ]
    assert growths[0].confidence == sure
    assert growths[2].confidence is None
    assert growths[3].tokens == 100


def test_the_token_that_ends_the_turn_counts() -> None:
    ledger = Ledger(Budget())
    growth = sample(ScriptedEngine(["Four apples."]), ledger=ledger)[0]
    assert growth.tokens == len(pieces("Four apples.")) + 1 == 3
    assert ledger.usage().generator.generated_tokens == 3
    assert ledger.usage().generator.decode_calls == 1 + 3
    assert ledger.usage().generator.flops == 2e6 * (len(pieces("How many?")) + 3)


@pytest.mark.parametrize("text", ["", "a", "  two  words\n\n\nand\tmore\n", "unbreakablewords"])
def test_pieces_lose_nothing(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_babble_depends_on_text_and_seed_alone() -> None:
    assert babble(Ask("a", 1, 0)) == babble(Ask("a", 1, 5))
    assert len({babble(Ask(text, seed, 0)) for text in "ab" for seed in range(3)}) == 6
    assert "The final answer is" in babble(Ask("a", 1, 0))


def test_steps_end_at_blank_lines() -> None:
    growth = sample(ScriptedEngine(["One.\n\nTwo.\n\nThree."]), until=Until.STEP)[0]
    assert (growth.text, growth.finish) == ("One.\n\n", Finish.STEP)


def test_branches_are_evicted_and_read_again_when_the_cache_is_full() -> None:
    script = [Reply(f"Word{i} ", Finish.LENGTH) for i in range(6)]
    wide, narrow = Ledger(Budget()), Ledger(Budget())
    expected = sample(ScriptedEngine(script, parallel=6), 6, tokens=40, ledger=wide)
    seen: list[Grew] = []
    small = ScriptedEngine(script, parallel=6, kv_cells=100)
    assert [each.text for each in sample(small, 6, tokens=40, ledger=narrow, seen=seen)] == [
        each.text for each in expected
    ]
    assert max(each.kv_used for each in seen) <= 100
    assert narrow.usage().generator.prompt_tokens > wide.usage().generator.prompt_tokens
    assert narrow.usage().generator.generated_tokens == wide.usage().generator.generated_tokens


def test_scoring_an_evicted_branch_reads_it_again() -> None:
    engine = ScriptedEngine(
        [Reply("On and on ", Finish.LENGTH)], yes=lambda text: float("Yes?" in text), kv_cells=60
    )
    ledger = Ledger(Budget())

    async def work() -> Sequence[tuple[float, ...]]:
        async with await engine.open(PROMPT, ledger) as session:
            first, second = session.fork(session.root, 2)
            for label, branch in enumerate((first, second)):
                wanted = [Grow(branch, 40, WARM, label, label)]
                assert [growth.tokens async for growth in session.grow(wanted)] == [40]
            return await session.score([ScoreRow(first, (Span("Yes?"),), (("Yes",), ("No",)))])

    assert asyncio.run(work()) == [(1.0, 0.0)]
    assert ledger.usage().verifier.prompt_tokens >= 40
