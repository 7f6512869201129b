import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ttc_cli.bench.pool import (
    RecordedMend,
    RecordedQuestion,
    RecordedSample,
    RecordedScore,
    Recording,
    row_key,
)
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.recorded import RecordedSession as Session
from ttc_cli.engines.base import EngineInfo, Grow, ScoreRow, Span, Until
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import prompt_key
from ttc_cli.types import Budget, Confidence, Finish, Sampling

SAMPLING = Sampling(temperature=0.3)
PROMPT = (Span("<|user|>", control=True), Span("2 + 2?"))
ASKED = (Span("Is it right?"),)
LABELS = (("Yes",), ("No",))
PARAMETERS = 1000


def recording(lengths: Sequence[int], finish: Finish = Finish.STOP) -> Recording:
    """Samples "0.0.0." … of as many two-character tokens as ``lengths`` says."""
    info = EngineInfo("llamacpp", "tiny", PARAMETERS, 4096, 4, None)
    key = row_key(ScoreRow(None, ASKED, LABELS))  # type: ignore[arg-type]
    samples = tuple(
        RecordedSample(
            index,
            f"{index}." * length,
            length,
            finish,
            (2,) * length,
            Confidence(-0.1, -0.2, 1.0, 2.0),
            {key: RecordedScore((0.25 * index, 0.1), 7)},
        )
        for index, length in enumerate(lengths)
    )
    question = RecordedQuestion(prompt_key(PROMPT), 10, samples)
    return Recording(info, SAMPLING, 100, {question.key: question})


def requests(session: Session, count: int, max_tokens: int = 100, seed: int = 1) -> list[Grow]:
    branches = session.fork(session.root, count)
    return [Grow(b, max_tokens, SAMPLING, seed + i, i) for i, b in enumerate(branches)]


async def whole(engine: RecordedEngine, count: int, ledger: Ledger | None = None, **of: int):
    async with await engine.open(PROMPT, ledger or Ledger(Budget())) as session:
        return [growth async for growth in session.grow(requests(session, count, **of))]


def test_every_sample_is_served_once_and_whole() -> None:
    grown = asyncio.run(whole(RecordedEngine(recording([3, 1, 5, 2, 4])), 5))
    assert sorted(growth.text for growth in grown) == sorted(
        f"{index}." * length for index, length in enumerate([3, 1, 5, 2, 4])
    )
    assert all(growth.finish is Finish.STOP and growth.confidence for growth in grown)


def test_growths_come_in_the_order_in_which_they_would_have_ended() -> None:
    one_slot_each = RecordedEngine(recording([3, 1, 5, 2]), parallel=4)
    assert [g.tokens for g in asyncio.run(whole(one_slot_each, 4))] == [1, 2, 3, 5]
    one_slot = RecordedEngine(recording([3, 1, 5, 2]), parallel=1)
    assert [g.label for g in asyncio.run(whole(one_slot, 4))] == [0, 1, 2, 3]


def test_the_trajectory_and_the_seeds_decide_which_sample_comes_first() -> None:
    def firsts(trajectories: range, seed: int) -> list[str]:
        return [
            asyncio.run(whole(RecordedEngine(recording([2] * 8), trajectory=t), 1, seed=seed))[
                0
            ].text
            for t in trajectories
        ]

    assert firsts(range(40), 1) == firsts(range(40), 1)
    assert firsts(range(40), 1) != firsts(range(40), 2)
    assert len(set(firsts(range(40), 1))) > 4


@pytest.mark.parametrize("jump", [True, False])
@pytest.mark.parametrize("budget", [Budget(), Budget(max_tokens=10**6)])
def test_charges_are_the_recorded_tokens_whether_jumped_or_stepped(
    budget: Budget, jump: bool
) -> None:
    ledger = Ledger(budget)
    engine = RecordedEngine(recording([3, 1, 5, 2]), parallel=2, jump=jump)
    asyncio.run(whole(engine, 4, ledger))
    usage = ledger.usage()
    assert usage.generator.prompt_tokens == 10
    assert usage.generator.generated_tokens == 11
    assert usage.flops == 2 * PARAMETERS * 21
    # Two slots, refilled: no schedule of these four takes more than 9 steps or fewer than 6.
    assert 1 + 6 <= usage.generator.decode_calls <= 1 + 9


def test_a_lower_limit_cuts_the_text_at_the_token() -> None:
    grown = asyncio.run(whole(RecordedEngine(recording([3, 9])), 2, max_tokens=4))
    assert [(g.tokens, g.finish, len(g.text)) for g in grown] == [
        (3, Finish.STOP, 6),
        (4, Finish.LENGTH, 8),
    ]
    assert grown[1].confidence is None


def test_a_cancelled_candidate_is_charged_what_it_had_grown() -> None:
    async def settle_after_the_first() -> tuple[list[tuple[int, Finish]], int]:
        ledger = Ledger(Budget())
        async with await RecordedEngine(recording([2, 50, 60])).open(PROMPT, ledger) as session:
            grows = requests(session, 3)
            ends = []
            async for growth in session.grow(grows):
                ends.append((growth.tokens, growth.finish))
                session.cancel(grow.branch for grow in grows)
        return ends, ledger.usage().generated_tokens

    ends, tokens = asyncio.run(settle_after_the_first())
    assert ends == [(2, Finish.STOP), (2, Finish.CANCELLED), (2, Finish.CANCELLED)]
    assert tokens == 6


def test_limits_are_lowered_while_candidates_grow() -> None:
    async def cut() -> list[tuple[int, Finish]]:
        async with await RecordedEngine(recording([5, 50, 60])).open(
            PROMPT, Ledger(Budget())
        ) as session:
            grows = requests(session, 3)
            ends = []
            async for growth in session.grow(grows):
                ends.append((growth.tokens, growth.finish))
                session.limit([grow.branch for grow in grows], 20)
                session.limit([grow.branch for grow in grows], 90)
        return ends

    assert asyncio.run(cut()) == [(5, Finish.STOP), (20, Finish.LENGTH), (20, Finish.LENGTH)]


def test_leaving_early_cancels_the_rest_and_frees_its_slots() -> None:
    async def leave() -> tuple[int, int]:
        ledger = Ledger(Budget())
        engine = RecordedEngine(recording([2, 50, 60, 3]), parallel=3)
        async with await engine.open(PROMPT, ledger) as session:
            async for _ in session.grow(requests(session, 3)):
                break
            before = ledger.usage().generated_tokens
            last = [growth async for growth in session.grow(requests(session, 1, seed=9))]
            return ledger.usage().generated_tokens - before, last[0].tokens

    charged, grown = asyncio.run(leave())
    assert charged == grown


def test_a_second_wave_may_start_while_the_first_grows() -> None:
    async def nest() -> list[int]:
        order = []
        engine = RecordedEngine(recording([2, 4, 6, 8]), parallel=4)
        async with await engine.open(PROMPT, Ledger(Budget())) as session:
            async for growth in session.grow(requests(session, 3)):
                order.append(growth.label)
                if len(order) == 1:
                    branch = session.fork(session.root)[0]
                    async for inner in session.grow([Grow(branch, 100, SAMPLING, 5, 99)]):
                        order.append(inner.label)
        return order

    order = asyncio.run(nest())
    assert order[1] == 99
    assert sorted(order) == [0, 1, 2, 99]


@pytest.mark.parametrize("jump", [True, False])
def test_a_cap_is_exceeded_by_less_than_one_step(jump: bool) -> None:
    ledger = Ledger(Budget(max_tokens=30))
    engine = RecordedEngine(recording([50] * 4), parallel=4, jump=jump)
    grown = asyncio.run(whole(engine, 4, ledger))
    assert 30 <= ledger.usage().generated_tokens < 34
    assert {growth.finish for growth in grown} == {Finish.BUDGET}


def test_interrupting_ends_everything_until_the_session_is_closed() -> None:
    async def interrupt() -> list[list[Finish]]:
        engine, ends = RecordedEngine(recording([3, 40, 50, 60])), []
        for _ in range(2):
            ends.append([])
            async with await engine.open(PROMPT, Ledger(Budget())) as session:
                async for growth in session.grow(requests(session, 3, max_tokens=3)):
                    ends[-1].append(growth.finish)
                    if len(ends) == 1:
                        engine.interrupt()
        return ends

    first, second = asyncio.run(interrupt())
    assert len(first) == len(second) == 3
    assert Finish.CANCELLED not in second


@pytest.mark.parametrize("jump", [True, False])
def test_grew_events_spell_the_texts(jump: bool) -> None:
    async def spell() -> None:
        spelled: dict[int, str] = {}

        def add(event) -> None:
            assert event.live == len(event.texts)
            for label, text in event.texts.items():
                spelled[label] = spelled.get(label, "") + text

        engine = RecordedEngine(recording([2, 5]), parallel=1, jump=jump)
        async with await engine.open(PROMPT, Ledger(Budget()), add) as session:
            texts = {g.label: g.text async for g in session.grow(requests(session, 2))}
        assert len(texts) == 2
        assert spelled == texts

    asyncio.run(spell())


def test_recorded_scores_are_served_and_charged_to_the_verifier() -> None:
    async def judge() -> tuple[list[tuple[float, ...]], Ledger]:
        ledger = Ledger(Budget())
        async with await RecordedEngine(recording([2, 5])).open(PROMPT, ledger) as session:
            grown = [g async for g in session.grow(requests(session, 2))]
            return await session.score([ScoreRow(g.branch, ASKED, LABELS) for g in grown]), ledger

    scores, ledger = asyncio.run(judge())
    assert scores == [(0.0, 0.1), (0.25, 0.1)]
    verifier = ledger.usage().verifier
    assert (verifier.prompt_tokens, verifier.reused_tokens) == (14, 27)
    assert verifier.flops == 2 * PARAMETERS * 14


def test_a_candidate_goes_on_where_it_was_mended_and_nowhere_else() -> None:
    plain = recording([4]).questions[prompt_key(PROMPT)]
    (sample,) = plain.samples
    after = RecordedSample(0, "7.7.", 2, Finish.STOP, (2, 2), None, {})
    mended = replace(sample, mended=RecordedMend("0.0.5", 3, after))
    served = replace(recording([4]), questions={plain.key: replace(plain, samples=(mended,))})

    async def run() -> None:
        ledger = Ledger(Budget())
        async with await RecordedEngine(served).open(PROMPT, ledger) as session:
            (request,) = requests(session, 1)
            (whole,) = [growth async for growth in session.grow([request])]
            assert whole.text == "0.0.0.0."
            for mark in ("", "9"):
                with pytest.raises(UsageError, match="none can be cut"):
                    session.cut(request.branch, mark)
            cut = session.cut(request.branch, "0.0.")
            for text in ("6", "", "55"):
                with pytest.raises(UsageError, match="nothing can be added"):
                    session.append(cut, (Span(text),))
            begun = session.append(cut, (Span("5"),))
            before = ledger.usage()
            (growth,) = [g async for g in session.grow([Grow(begun, 100, SAMPLING, 3, 1)])]
            assert (growth.text, growth.tokens, growth.finish) == ("7.7.", 2, Finish.STOP)
            spent = ledger.usage()
            assert spent.generator.prompt_tokens - before.generator.prompt_tokens == 3
            assert spent.generator.generated_tokens - before.generator.generated_tokens == 2
            assert spent.flops - before.flops == 2 * PARAMETERS * 5
            with pytest.raises(UsageError, match="once"):
                session.grow([Grow(begun, 100, SAMPLING, 3, 1)])

    asyncio.run(run())


def test_what_was_not_recorded_is_refused() -> None:
    async def refuse() -> None:
        engine = RecordedEngine(recording([5, 5]))
        with pytest.raises(UsageError, match="no samples for this prompt"):
            await engine.open((Span("another question"),), Ledger(Budget()))
        async with await engine.open(PROMPT, Ledger(Budget())) as session:
            branch = session.fork(session.root)[0]
            for wrong, words in (
                (Grow(branch, 9, Sampling(temperature=1.0), 0, 0), "drawn with"),
                (Grow(branch, 101, SAMPLING, 0, 0), "at most 100 tokens"),
                (Grow(branch, 9, SAMPLING, 0, 0, Until.STEP), "not steps"),
                (Grow(session.root, 9, SAMPLING, 0, 0), "nothing else"),
            ):
                with pytest.raises(UsageError, match=words):
                    session.grow([wrong])
            grown = [g async for g in session.grow(requests(session, 2, max_tokens=3))]
            with pytest.raises(UsageError, match="all are taken"):
                session.grow(requests(session, 1))
            # The score of the whole candidate says nothing about one that was cut.
            assert await session.score([ScoreRow(grown[0].branch, ASKED, LABELS)]) == [()]
            with pytest.raises(EngineError, match="no recorded score"):
                await session.score([ScoreRow(grown[0].branch, (Span("Other?"),), LABELS)])

    asyncio.run(refuse())


def test_prompts_are_told_apart_by_what_the_model_reads() -> None:
    assert prompt_key((Span("a"), Span("b"))) == prompt_key((Span("ab"), Span("")))
    assert prompt_key((Span("ab"),)) != prompt_key((Span("ab", control=True),))
