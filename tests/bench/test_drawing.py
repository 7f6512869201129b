import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ttc_cli.answers import Comparer
from ttc_cli.bench import drawing, pool, runner
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.drawing import describe, record_question
from ttc_cli.bench.pool import RecordedSample
from ttc_cli.bench.recorded import RecordedEngine
from ttc_cli.bench.report import Outcome, summarise
from ttc_cli.engines.base import Engine, EngineInfo, Grow, States
from ttc_cli.engines.scripted import Ask, Reply, Script, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.standing import FormTraits
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat, build_messages, hash_prompts
from ttc_cli.types import (
    PROGRAM,
    PROSE,
    AnswerType,
    Budget,
    Execution,
    Finish,
    Problem,
    Sampling,
)
from ttc_cli.verifiers.judge import JudgeVerifier

SAMPLING = Sampling(temperature=0.6)
QUESTIONS = [
    LabelledQuestion(
        f"q{number}", Problem(f"What is {number} + {number}?", AnswerType.NUMBER), str(answer)
    )
    for number, answer in ((1, 2), (2, 4), (3, 6))
]
SAMPLES = 6


def read_answer(sample: RecordedSample) -> str | None:
    answer = sample.read_answer(Problem("?", AnswerType.NUMBER))
    return answer.text if answer is not None else None


def say(ask: Ask) -> Reply | str:
    """1 + 1 is always right; 2 + 2 only twice of six; 3 + 3 is never answered."""
    if "What is 1 + 1" in ask.text:
        return f"{'Adding up. ' * (ask.sample + 1)}\n\nThe final answer is 2."
    if "What is 2 + 2" in ask.text:
        return f"Hm, well.\n\nThe final answer is {4 if ask.sample in (1, 4) else 5}."
    return Reply("and on and on ", Finish.LENGTH)


def likes(text: str) -> float:
    return 0.9 if "answer is 4" in text or "answer is 2" in text else 0.3


@pytest.fixture
def comparer() -> Iterator[Comparer]:
    with Comparer() as made:
        yield made


SLIPS = [LabelledQuestion("q4", Problem("What is 4 + 4?", AnswerType.NUMBER), "8")]


def add_wrongly(ask: Ask) -> Reply | str:
    """Every second sample adds up wrongly, and goes on rightly where it is corrected."""
    if ask.text.endswith("4 + 4 = 8"):
        return f", so.{' Yes.' * ask.sample}\n\nThe final answer is 8."
    sum = 9 if ask.sample % 2 == 0 else 8
    return f"{'Well. ' * (1 + ask.sample)}4 + 4 = {sum}, then.\n\nThe final answer is {sum}."


def record(
    path: Path,
    *,
    judge: bool = True,
    states: bool = False,
    script: Script = say,
    questions: list[LabelledQuestion] = QUESTIONS,
) -> pool.SamplePool:
    async def draw() -> None:
        engine = ScriptedEngine(script, yes=likes, parallel=4)
        chat = Chat(engine.info, {})
        header = describe(
            engine, chat, sha256="0" * 64, sampling=SAMPLING, max_tokens=80, seed=1, build="script"
        )
        with pool.write(path, header) as writer:

            async def one(question: LabelledQuestion) -> None:
                writer.append(
                    await record_question(
                        engine,
                        chat,
                        question.problem,
                        id=question.id,
                        indices=writer.missing(question.id, SAMPLES),
                        sampling=SAMPLING,
                        max_tokens=80,
                        seed=1,
                        judge=JudgeVerifier(chat) if judge else None,
                        states=states,
                    )
                )

            await asyncio.gather(*map(one, questions))

    asyncio.run(draw())
    return pool.read(path)


def test_a_pool_holds_what_the_engine_said(tmp_path: Path) -> None:
    drawn = record(tmp_path / "pool.jsonl").questions
    assert sorted(drawn) == ["q1", "q2", "q3"]
    for question in drawn.values():
        assert [sample.index for sample in question.samples] == list(range(SAMPLES))
        assert len({sample.seed for sample in question.samples}) == SAMPLES
        assert question.prompt_tokens > 0
        for sample in question.samples:
            assert len(sample.pieces) == sample.tokens
            assert sum(sample.pieces) == len(sample.text)
            assert 0 < len(sample.text_until(2)) < len(sample.text)
            if sample.finish is Finish.STOP:  # the last token ends the turn and spells nothing
                assert sample.text_until(sample.tokens - 1) == sample.text
    assert [read_answer(sample) for sample in drawn["q2"].samples] == ["5", "4", "5", "5", "4", "5"]
    assert [sample.judge for sample in drawn["q2"].samples] == pytest.approx(
        [0.3, 0.9, 0.3, 0.3, 0.9, 0.3]
    )
    lost = drawn["q3"].samples
    assert {(each.finish, read_answer(each), each.judge) for each in lost} == {
        (Finish.LENGTH, None, None)
    }


def test_every_strategy_runs_on_the_pool_as_it_would_live(
    tmp_path: Path, comparer: Comparer
) -> None:
    recorded = record(tmp_path / "pool.jsonl")

    def accuracy(strategy: str, oracle: bool = False, **options: int) -> float:
        outcomes = asyncio.run(
            runner.simulate(
                recorded, QUESTIONS, comparer, strategy=strategy, samples=SAMPLES, **options
            )
        )
        if oracle:
            outcomes = [replace(each, right=each.oracle) for each in outcomes]
        return summarise(strategy, outcomes).accuracy

    assert accuracy("majority") == pytest.approx(1 / 3)
    assert accuracy("majority", oracle=True) == pytest.approx(2 / 3)
    # The judge, whose probabilities were recorded, prefers the right answer.
    assert accuracy("best-of-n") == pytest.approx(2 / 3)
    assert 1 / 3 <= accuracy("auto", trajectories=5) <= 2 / 3
    alone = summarise("pass@1", runner.single(recorded, QUESTIONS, comparer, SAMPLES))
    assert alone.accuracy == pytest.approx((1 + 2 / 6 + 0) / 3)


def test_simulated_runs_cost_what_live_runs_cost(tmp_path: Path, comparer: Comparer) -> None:
    recorded = record(tmp_path / "pool.jsonl")

    async def both(strategy: str) -> tuple[list[int], list[int]]:
        simulated = await runner.simulate(
            recorded, QUESTIONS, comparer, strategy=strategy, samples=SAMPLES, parallel=4
        )
        engine = ScriptedEngine(say, yes=likes, parallel=4)
        live = await runner.solve_all(
            QUESTIONS,
            Stage(engine, Chat(engine.info, {}), sampling=SAMPLING),
            SearchOptions(strategy, samples=SAMPLES, budget=Budget(tokens_per_candidate=80)),
            comparer,
        )
        assert [outcome.flops for outcome in simulated] == [outcome.flops for outcome in live]
        return [o.tokens for o in simulated], [o.tokens for o in live]

    for strategy in ("majority", "best-of-n"):
        simulated, live = asyncio.run(both(strategy))
        assert simulated == live


def write_and_say(ask: Ask) -> str:
    """Programs for 1 + 1 work, those for 2 + 2 once they are mended, those for 3 + 3 never."""
    number = int(ask.text.split("What is ")[1].split(" +")[0])
    if not ask.text.endswith("```python\n"):
        said = 6 if number == 2 else 2 * number
        return f"Well, it is {number} twice.\n\nThe final answer is {said}."
    wrong = number == 3 or (number == 2 and "NameError" not in ask.text)
    return f"print({'apples' if wrong else 2 * number})\n```"


@pytest.fixture
def both_forms(tmp_path: Path) -> runner.Pools:
    drawn = [
        fill(tmp_path / f"{form}.jsonl", write_and_say, form, samples, temperature)
        for form, samples, temperature in ((PROSE, SAMPLES, 0.5), (PROGRAM, 4, 0.6))
    ]
    return runner.Pools(*drawn)


def fill(
    path: Path, script: Script, form: str, samples: int, temperature: float
) -> pool.SamplePool:
    engine = ScriptedEngine(script, yes=likes, parallel=4)
    chat = Chat(engine.info, {})
    header = describe(
        engine,
        chat,
        sha256="0" * 64,
        sampling=Sampling(temperature=temperature),
        max_tokens=80,
        seed=1,
        build="script",
        form=form,
    )
    return asyncio.run(drawing.fill(path, header, engine, chat, QUESTIONS, samples))


class Idle:
    """An interpreter that must not be needed."""

    async def run(self, code: str) -> Execution:
        raise AssertionError(code)


MIXED = replace(
    SHIPPED,
    rows={name: replace(row, probe=3, mix={PROGRAM: 2}) for name, row in SHIPPED.rows.items()},
    forms={PROGRAM: FormTraits(cost=0.4, further=0.5, accord=0.5)},
)


@pytest.mark.parametrize("level", ["quick", "normal", "deep"])
def test_auto_on_pools_of_both_forms_is_auto_on_the_engine_that_drew_them(
    both_forms: runner.Pools, comparer: Comparer, level: str, monkeypatch
) -> None:
    async def run_live() -> list[Outcome]:
        engine = ScriptedEngine(write_and_say, yes=likes, parallel=4)
        return await runner.solve_all(
            QUESTIONS,
            Stage(engine, Chat(engine.info, {}), MIXED, Sampling(temperature=0.5)),
            SearchOptions(
                "auto",
                samples=8,
                budget=Budget(level, tokens_per_candidate=80),
                limits={PROSE: SAMPLES, PROGRAM: 4},
            ),
            comparer,
        )

    live = asyncio.run(run_live())
    monkeypatch.setattr("ttc_cli.forms.monty.Monty.run", Idle().run)  # nothing runs twice
    simulated = asyncio.run(
        runner.simulate(
            both_forms,
            QUESTIONS,
            comparer,
            strategy="auto",
            level=level,
            samples=8,
            parallel=4,
            table=MIXED,
        )
    )
    assert [replace(each, seconds=None) for each in live] == [
        replace(each, seconds=None) for each in simulated
    ]
    assert simulated[0].answer == "2"
    for each in both_forms.programs.questions["q2"].samples:
        assert each.mended.sample.text == "print(4)\n```"


def test_a_fixed_strategy_votes_on_programs_alone(
    both_forms: runner.Pools, comparer: Comparer
) -> None:
    def vote(form: str, samples: int) -> list[Outcome]:
        return asyncio.run(
            runner.simulate(
                both_forms,
                QUESTIONS,
                comparer,
                strategy="majority",
                samples=samples,
                form=form,
            )
        )

    programs, prose = vote(PROGRAM, 4), vote("auto", SAMPLES)
    assert [each.right for each in programs] == [True, False, False]
    assert [each.right for each in prose] == [True, False, True]
    assert programs[0].tokens < prose[0].tokens
    pools = both_forms.by_form
    for outcome in programs:  # its own prompt, and no other
        drawn = pools[PROGRAM].questions[outcome.question]
        assert outcome.tokens == drawn.prompt_tokens + sum(s.tokens for s in drawn.samples)


def test_a_policy_with_forms_runs_on_prose_alone_where_that_was_drawn(
    both_forms: runner.Pools, comparer: Comparer
) -> None:
    def run(table: Table) -> list[Outcome]:
        return asyncio.run(
            runner.simulate(
                both_forms.prose, QUESTIONS, comparer, strategy="auto", samples=4, table=table
            )
        )

    assert run(MIXED) == run(MIXED.without_forms())


def test_pools_of_two_models_are_not_joined(both_forms: runner.Pools) -> None:
    programs = both_forms.programs
    other = replace(programs, header=replace(programs.header, sha256="1" * 64))
    with pytest.raises(UsageError, match="different models"):
        runner.Pools(both_forms.prose, other)


def test_auto_spends_less_where_samples_agree(tmp_path: Path, comparer: Comparer) -> None:
    recorded = record(tmp_path / "pool.jsonl")
    outcomes = asyncio.run(
        runner.simulate(
            recorded, QUESTIONS, comparer, strategy="auto", samples=SAMPLES, trajectories=4
        )
    )
    samples = {
        name: [o.samples for o in outcomes if o.question == name] for name in ("q1", "q2", "q3")
    }
    assert max(samples["q1"]) < SAMPLES
    assert sum(samples["q3"]) > sum(samples["q1"])


def test_candidates_with_a_wrong_sum_are_drawn_on_and_served_so(
    tmp_path: Path, comparer: Comparer
) -> None:
    recorded = record(tmp_path / "pool.jsonl", script=add_wrongly, questions=SLIPS)
    for each in recorded.questions["q4"].samples:
        mended = each.mended
        assert (mended is not None) == (read_answer(each) == "9")
        if mended is not None:
            assert mended.written.endswith("4 + 4 = 8")
            assert mended.sample.text.endswith("The final answer is 8.")
            assert mended.sample.scores
            assert len(mended.sample.pieces) == mended.sample.tokens
            assert 0 < mended.read < 4
    # Samples are served in another order than live, so that single runs differ in length.
    outcomes = asyncio.run(
        runner.simulate(recorded, SLIPS, comparer, strategy="auto", samples=SAMPLES, trajectories=6)
    )
    assert all(outcome.right for outcome in outcomes)
    blind = replace(SHIPPED, mend=False, slip=1.0)
    alone = asyncio.run(
        runner.simulate(
            recorded,
            SLIPS,
            comparer,
            strategy="auto",
            samples=SAMPLES,
            trajectories=6,
            table=blind,
        )
    )
    assert sum(outcome.right for outcome in alone) < len(alone)


def test_hidden_states_are_kept_and_served_again(tmp_path: Path) -> None:
    recorded = record(tmp_path / "pool.jsonl", states=True)
    engine = RecordedEngine(recorded.recording())
    live = ScriptedEngine(say, yes=likes, parallel=4)
    assert engine.info.states == live.info.states > 0
    prompt = Chat(live.info, {}).render(build_messages(QUESTIONS[0].problem))
    ledger = Ledger(Budget())

    async def read(opened: Engine, meter: Ledger, limit: int) -> list[States | None]:
        async with await opened.open(prompt, meter) as session:
            [branch] = session.fork(session.root)
            wanted = [Grow(branch, limit, SAMPLING, 7, 0, pool=True)]
            growths = [g async for g in session.grow(wanted)]
            assert len(growths) == 1
            return await session.read_states([session.root, branch])

    at_prompt, at_end = asyncio.run(read(engine, ledger, 80))
    # Half precision keeps three digits.
    assert at_prompt.last == pytest.approx(recorded.questions["q1"].states.last)
    expected = asyncio.run(read(live, Ledger(Budget()), 80))
    assert at_prompt.last == pytest.approx(expected[0].last, rel=2e-3, abs=2e-3)
    kept = [sample.states for sample in recorded.questions["q1"].samples]
    assert any(at_end is each for each in kept)
    # The prompt's was read; the candidate's came with it.
    assert ledger.usage().verifier.prompt_tokens == 1
    again = pool.read(tmp_path / "pool.jsonl").questions["q1"].samples
    for mine, its in zip(kept, [sample.states for sample in again], strict=True):
        assert len(mine.steps) == len(its.steps) == len(its.tails) > 1
        for view in ("last", "tail", "whole", "steps", "tails"):
            assert np.allclose(getattr(mine, view), getattr(its, view), rtol=2e-3, atol=2e-3)
    # What was recorded of the whole says nothing of a part.
    assert asyncio.run(read(engine, Ledger(Budget()), 2))[1] is None
    # A candidate without an answer has none.
    assert {sample.states for sample in recorded.questions["q3"].samples} == {None}


def test_a_pool_without_states_gives_none(tmp_path: Path) -> None:
    recorded = record(tmp_path / "pool.jsonl")
    engine = RecordedEngine(recorded.recording())
    assert engine.info.states == 0

    async def read() -> None:
        chat = Chat(engine.info, {})
        prompt = chat.render(build_messages(QUESTIONS[0].problem))
        async with await engine.open(prompt, Ledger(Budget())) as session:
            await session.read_states([session.root])

    with pytest.raises(UsageError, match="no hidden state"):
        asyncio.run(read())


def test_the_format_of_prompts_is_told_apart() -> None:
    def info(template: str) -> EngineInfo:
        return EngineInfo("x", "x", 1, 1, 1, template)

    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert hash_prompts(Chat(info(plain), {})) == hash_prompts(Chat(info(plain), {}))
    assert hash_prompts(Chat(info(plain), {})) != hash_prompts(Chat(info(plain + "!"), {}))
