"""Models with a running state: what forks, scores and searches must not notice of it.

On tiny models with random weights, of every architecture that ``tiny_models`` writes. Needs the
compiled engine.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
from near_ties import check_same, speak
from tiny_vocabulary import CONTROL, WORDS

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Branch, Grow, Growth, Prompt, ScoreRow, Session, Span
from ttc_cli.engines.llamacpp.engine import LlamaCppEngine
from ttc_cli.ledger import Ledger
from ttc_cli.models.gguf import read_header
from ttc_cli.models.layers import RECURRENT
from ttc_cli.types import Budget, Finish, Sampling

pytestmark = pytest.mark.live

GREEDY = Sampling(temperature=0.0)
STORY: Prompt = (
    Span("<|im_start|>user\n", control=True),
    Span("Write a very long story about a lighthouse. Never stop."),
    Span("<|im_end|>\n<|im_start|>assistant\n", control=True),
)
LABELS = ((" Yes",), (" No",))

Load = Callable[..., LlamaCppEngine]


@pytest.fixture(params=sorted(RECURRENT))
def load(request: pytest.FixtureRequest, tiny_models: Callable[[str], Path]) -> Iterator[Load]:
    """Loads the model of one architecture, its plan changed at will."""
    path, made = tiny_models(request.param), []

    def make(parallel: int = 4, context: int = 512, **changes: Any) -> LlamaCppEngine:
        settings = llamacpp.Settings(
            threads=1, parallel=parallel, context=context, answer=context // 2
        )
        planned = replace(llamacpp.plan(read_header(path), settings, 1 << 40), **changes)
        made.append(llamacpp.load(path, settings, planned=planned))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


async def grow(session: Session, branches: list[Branch], tokens: int) -> list[Growth]:
    wanted = [Grow(branch, tokens, GREEDY, 0, label) for label, branch in enumerate(branches)]
    ended = [growth async for growth in session.grow(wanted)]
    return sorted(ended, key=lambda growth: growth.label)


def begun(session: Session, words: tuple[str, ...]) -> list[Branch]:
    """A branch for each word, which begins with it."""
    return [session.append(session.root, (Span(f" {word}"),)) for word in words]


@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("sequences", [64, 8])
def test_branches_of_branches_say_what_each_says_alone(
    load: Load, sequences: int, unified: bool
) -> None:
    cells = {} if unified else {"cells": 512 * sequences}
    engine = load(sequences=sequences, unified=unified, **cells)
    words = WORDS[:6]

    async def work() -> None:
        async with await engine.open(STORY, Ledger(Budget())) as session:
            stems = begun(session, words)
            first = await grow(session, stems, 9)
            twigs = [twig for stem in stems for twig in session.fork(stem, 2)]
            second = await grow(session, twigs[::2], 7)
            later = await grow(session, twigs[1::2], 7)
            third = await grow(session, session.fork(twigs[0], 3) + stems[:1], 6)
        for word, one, two, same in zip(words, first, second, later, strict=True):
            prompt = (*STORY, Span(f" {word}"))
            pieces = await speak(engine, prompt, 22)
            await check_same(engine, prompt, pieces, one.text + two.text)
            await check_same(engine, prompt, pieces, one.text + same.text)
        prompt = (*STORY, Span(f" {words[0]}"))
        pieces = await speak(engine, prompt, 22)
        for each in third[:3]:
            await check_same(engine, prompt, pieces, first[0].text + second[0].text + each.text)
        await check_same(engine, prompt, pieces, first[0].text + third[3].text)

    run(work())


def test_scores_equal_those_read_anew(load: Load) -> None:
    question, size = (Span("\n\n the answer is so:"),), 6

    async def score(engine: LlamaCppEngine, text: str) -> tuple[float, ...]:
        async with await engine.open((*STORY, Span(text), *question), Ledger(Budget())) as session:
            (found,) = await session.score([ScoreRow(session.root, (), LABELS)])
            return found

    async def work() -> None:
        engine, ledger = load(), Ledger(Budget())
        async with await engine.open(STORY, ledger) as session:
            stems = begun(session, WORDS[:5])
            grown = await grow(session, stems, 12)
            found = await session.score([ScoreRow(stem, question, LABELS) for stem in stems])
            read = ledger.usage().verifier.prompt_tokens
            again = await session.score([ScoreRow(stem, question, LABELS) for stem in stems])
            # Of a branch the last token alone is read with the question: no more of it, never.
            assert ledger.usage().verifier.prompt_tokens == 2 * read == 10 * (size + 1)
            asked = [session.append(stem, question) for stem in stems]
            third = await session.score([ScoreRow(each, (), LABELS) for each in asked])
            known = await session.score([ScoreRow(each, (), LABELS) for each in asked])
            await grow(session, asked, 2)
        assert known == third
        for word, growth, *rows in zip(WORDS, grown, found, again, third, strict=False):
            anew = await score(engine, f" {word}{growth.text}")
            for row in rows:
                assert row == pytest.approx(anew, rel=0.02, abs=1e-6)

    run(work())


def test_who_waits_forks_where_the_other_stood(load: Load) -> None:
    """A trunk grows on while forks of it wait for a slot: they read one token each, not all."""

    async def work() -> None:
        engine, ledger = load(parallel=2), Ledger(Budget())
        async with await engine.open(STORY, ledger) as session:
            (trunk,) = session.fork(session.root)
            start = (await grow(session, [trunk], 30))[0]
            forks = session.fork(trunk, 4)
            before = ledger.usage().generator
            ended = await grow(session, [trunk, *forks], 8)
            after = ledger.usage().generator
        assert after.prompt_tokens - before.prompt_tokens <= len(forks) + 1
        pieces = await speak(engine, STORY, 38)
        for each in ended:
            await check_same(engine, STORY, pieces, start.text + each.text)

    run(work())


def test_what_is_cut_is_read_again_and_charged(load: Load) -> None:
    async def work() -> None:
        engine, ledger = load(), Ledger(Budget())
        async with await engine.open(STORY, ledger) as session:
            (branch,) = session.fork(session.root)
            (said,) = await grow(session, [branch], 30)
            place = said.text.rindex(" ", 0, 2 * len(said.text) // 3)
            shorter = session.cut(branch, said.text[place:])
            before = ledger.usage().generator.prompt_tokens
            (again,) = await grow(session, [shorter], 6)
            read = ledger.usage().generator.prompt_tokens - before
        assert 0 < read < 30
        pieces = await speak(engine, STORY, 36)
        await check_same(engine, STORY, pieces, said.text[:place] + again.text)

    run(work())


def test_a_decode_that_was_stopped_half_way_costs_only_time(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states have gone on by then, whatever the library says: nothing may be built on them."""
    engine = load()
    context = engine._context
    decode, calls = context.decode, []

    def stop(*batch: Any) -> int:
        calls.append(decode(*batch))
        return 2 if len(calls) in (3, 9) else calls[-1]

    async def work() -> None:
        pieces = await speak(engine, STORY, 20)
        monkeypatch.setattr(context, "decode", stop)
        async with await engine.open(STORY, Ledger(Budget())) as session:
            branches = session.fork(session.root, 3)
            ended = await grow(session, branches, 20)
        monkeypatch.undo()
        assert {growth.finish for growth in ended} == {Finish.LENGTH}
        for growth in ended:
            await check_same(engine, STORY, pieces, growth.text)

    run(work())


def test_one_seat_more_than_grow_is_enough(load: Load) -> None:
    async def work() -> None:
        engine = load(parallel=3, sequences=4)
        async with await engine.open(STORY, Ledger(Budget())) as session:
            stems = begun(session, WORDS[:7])
            grown = await grow(session, stems, 10)
            rows = [ScoreRow(stem, (Span(" so"),), LABELS) for stem in stems]
            assert all(await session.score(rows))
            more = await grow(session, stems, 10)
        for word, one, two in zip(WORDS, grown, more, strict=False):
            prompt = (*STORY, Span(f" {word}"))
            await check_same(engine, prompt, await speak(engine, prompt, 20), one.text + two.text)

    run(work())


# --- the library by itself ------------------------------------------------------------------------


@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("batch", [512, 16, 5])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_sequences_beside_each_other_compute_what_one_alone_does(
    tiny_models: Callable[[str], Path], architecture: str, batch: int, unified: bool
) -> None:
    """Forks, ends and pieces of any length in any batch: each row is that of its tokens alone."""
    from ttc_cli.engines.llamacpp import native

    model = native.NativeModel(tiny_models(architecture))
    most, dice = 12, random.Random(batch)
    context = native.Context(
        model, cells=256 * most, sequences=most, threads=1, batch=batch, unified=unified
    )
    alone = native.Context(model, cells=256, sequences=1, threads=1)
    held: dict[int, list[int]] = {0: []}
    for _ in range(40):
        free = [each for each in range(most) if each not in held]
        read = [each for each in held if held[each]]
        what = dice.random()
        if what < 0.3 and free and read:
            source = dice.choice(read)
            context.copy(source, free[0], len(held[source]))
            held[free[0]] = list(held[source])
        elif what < 0.4 and len(read) > 3:
            ended = dice.choice(read)
            context.trim(ended, 0)
            del held[ended]
        elif free:
            held[dice.choice(free)] = []
        fed: list[tuple[int, int, int]] = []
        rows: dict[int, int] = {}
        for each in dice.sample([each for each in held if len(held[each]) < 150], k=len(held) // 2):
            count = min(dice.choice([1, 1, 1, 2, 7, 20]), batch - len(fed))
            new = [dice.randrange(90) for _ in range(count)]
            fed += [(token, len(held[each]) + i, each) for i, token in enumerate(new)]
            held[each] += new
            if new:
                rows[each] = len(fed) - 1
        if not fed:
            continue
        tokens, places, sequences = (list(column) for column in zip(*fed, strict=True))
        assert context.decode(tokens, places, sequences, list(rows.values())) == 0
        block = context.logits(len(rows)).copy()
        for row, each in enumerate(rows):
            if dice.random() < 0.3:
                path = held[each]
                alone.trim(0, 0)
                alone.decode(path, list(range(len(path))), [0] * len(path), [len(path) - 1])
                wanted = alone.logits(1)[0]
                said = slice(0, model.n_vocab - len(CONTROL))
                assert np.abs(block[row] - wanted)[said].max() < 0.05 * wanted[said].std()
    context.close()
    alone.close()
    model.close()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_memory_is_planned_as_it_is_used(
    tiny_models: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    kv_type: str,
) -> None:
    from ttc_cli.engines.llamacpp import native

    lines: list[str] = []
    monkeypatch.setattr(native.log, "debug", lambda _form, line: lines.append(line))
    path = tiny_models(architecture)
    settings = llamacpp.Settings(threads=1, parallel=4, context=512, kv_type=kv_type)
    planned = llamacpp.plan(read_header(path), settings, 1 << 40)
    llamacpp.load(path, settings, planned=planned).close()
    said = "\n".join(lines)
    taken = sum(map(float, re.findall(r"(?:KV|RS) buffer size = +([0-9.]+) MiB", said)))
    assert taken * (1 << 20) == pytest.approx(planned.kv, rel=0.01)
    (working,) = re.findall(r"CPU compute buffer size is +([0-9.]+) MiB", said)
    assert float(working) * (1 << 20) < planned.compute
