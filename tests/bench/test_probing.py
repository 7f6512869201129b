"""Probes fitted to pools, and what becomes of them in a calibration, a simulation and a run."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.bench.scripted_pools import SAMPLING, fill_pool
from ttc_cli.answers import Comparer
from ttc_cli.bench import calibration, drawing, pool, probing, runner, sureness
from ttc_cli.bench.belief import grade
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.runner import Pools
from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.policy.file import Policy, load_policy
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import PROGRAM, PROSE, AnswerType, Budget, Confidence, Problem
from ttc_cli.verifiers.probe import ProbeVerifier

QUESTIONS = [
    LabelledQuestion(f"q{n}", Problem(f"What is {n} + {n}?", AnswerType.NUMBER), str(2 * n))
    for n in range(12)
]
SAMPLES = 6


def is_right(text: str) -> bool:
    number = int(text.split("What is ")[1].split(" +")[0])
    return f"answer is {2 * number}" in text or f"print({2 * number})" in text


def say(ask: Ask) -> Reply | str:
    """Half of the solutions are right; how sure they were says nothing."""
    number = int(ask.text.split("What is ")[1].split(" +")[0])
    draw = random.Random(f"{number}:{ask.seed}")
    answer = 2 * number + (draw.random() < 0.5)
    nats = draw.uniform(3.0, 9.0)
    sure = Confidence(-0.1, -0.1, nats, nats, nats)
    if ask.text.endswith("```python\n"):
        return Reply(f"print({answer})\n```", confidence=sure)
    thought = "" if ask.text.endswith("Let us see.\n\n") else "Let us see.\n\n"
    return Reply(f"{thought}The final answer is {answer}.", confidence=sure)


def know(text: str) -> tuple[float, ...]:
    """A state that knows, dimly, whether what was said is right."""
    noise = random.Random(text)
    told = "answer is" in text or "print(" in text
    signal = (1.0 if is_right(text) else -1.0) if told else 0.0
    return (signal + noise.gauss(0, 0.5), *(noise.gauss(0, 1) for _ in range(5)))


def make_engine() -> ScriptedEngine:
    return ScriptedEngine(say, yes=lambda text: 0.5, parallel=8, state=know)


def fill(path: Path, *, form: str = PROSE, states: bool = True) -> pool.SamplePool:
    return fill_pool(path, make_engine(), QUESTIONS, SAMPLES, form, states=states)


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as made:
        yield made


@pytest.fixture(scope="module")
def pools(tmp_path_factory) -> Pools:
    folder = tmp_path_factory.mktemp("pools")
    return Pools(*(fill(folder / f"{form}.jsonl", form=form) for form in (PROSE, PROGRAM)))


@pytest.fixture(scope="module")
def fitted(pools, comparer):
    return probing.fit_probe(pools, QUESTIONS, comparer, "2026-01-31")


def test_each_form_has_a_head_for_the_whole_and_prose_one_for_steps(fitted) -> None:
    probe, held_out = fitted
    assert [(head.form, head.part) for head in probe.heads] == [
        (PROSE, "whole"),
        (PROSE, "step"),
        (PROGRAM, "whole"),
    ]
    assert (probe.model, probe.sha256, probe.width) == ("script", "0" * 64, 6)
    assert all(head.auc_within > 0.8 for head in probe.heads if head.part == "whole")
    assert {form for form, _, _ in held_out} == {PROSE, PROGRAM}
    assert len(held_out) == 2 * len(QUESTIONS) * SAMPLES


def test_states_that_are_missing_are_read_again_by_the_texts(tmp_path, pools) -> None:
    path = tmp_path / "pool.jsonl"
    before = fill(path, states=False)
    assert not any(each.states for q in before.questions.values() for each in q.samples)
    assert drawing.read_whole(path, QUESTIONS, SAMPLES) is not None
    assert drawing.read_whole(path, QUESTIONS, SAMPLES, states=True) is None
    after = fill(path)
    assert drawing.read_whole(path, QUESTIONS, SAMPLES, states=True) is not None
    for id, question in after.questions.items():
        drawn = pools.prose.questions[id]
        assert [each.text for each in question.samples] == [each.text for each in drawn.samples]
        for mine, its in zip(question.samples, drawn.samples, strict=True):
            for view in ("last", "tail", "whole"):
                read, pooled = getattr(mine.states, view), getattr(its.states, view)
                assert np.allclose(read, pooled, atol=2e-2)


def test_what_is_held_out_takes_the_place_of_states(pools, fitted, comparer) -> None:
    _, held_out = fitted
    rated = probing.rate_held_out(pools, held_out)
    stage = rated.make_stage(calibration.SHIPPED, 0, None)
    options = SearchOptions("best-of-n", samples=4, budget=Budget(tokens_per_candidate=80))
    result = asyncio.run(solve(QUESTIONS[3].problem, stage, options, comparer=comparer))
    told = {
        round(score.value, 3)
        for each in result.candidates
        for score in each.scores
        if score.verifier == "probe"
    }
    known = {
        round(float(1 / (1 + np.exp(-np.float32(value)))), 3)
        for (form, question, _), value in held_out.items()
        if (form, question) == (PROSE, "q3")
    }
    assert len(told) > 1
    assert told <= known
    assert result.usage.verifier.prompt_tokens == 0


def test_pools_without_states_fit_no_probe(tmp_path, comparer) -> None:
    bare = fill(tmp_path / "pool.jsonl", states=False)
    with pytest.raises(UsageError, match="no hidden states"):
        probing.fit_probe(Pools(bare), QUESTIONS, comparer, "2026-01-31")


def test_the_probe_tells_how_sure_a_candidate_is_where_its_confidence_does_not(
    pools, fitted, comparer
) -> None:
    _, held_out = fitted
    graded = grade(pools.prose, QUESTIONS, comparer, held_out)
    best, *others = sureness.fit_sureness(graded)
    assert "probe" in best.weights
    assert best.weights["probe"] > 0
    alone = {tuple(each.weights): each.auc_within for each in (best, *others)}
    assert alone["probe",] > 0.8
    assert 0.3 < alone["tail_group",] < 0.7
    # Without a probe there is nothing to weigh beside the tail of the confidence.
    assert set(sureness.choose_parts(grade(pools.prose, QUESTIONS, comparer))) <= {
        "tail_group",
        "tail_logprob",
        "lowest_group",
        "mean_group",
    }


def calibrate(pools: Pools, comparer: Comparer) -> Policy:
    return asyncio.run(
        calibration.calibrate(
            pools.prose,
            QUESTIONS,
            comparer,
            name="maths",
            data="sums",
            date="2026-01-31",
            runs=1,
            programs=pools.programs,
        )
    )


@pytest.mark.slow
def test_a_policy_carries_the_probe_and_a_vote_goes_by_it(pools, comparer, tmp_path) -> None:
    policy = calibrate(Pools(pools.prose), comparer)
    assert "probe" in policy.table.sure_by
    assert "probe" in {each.verifier for each in policy.reliability}
    policy.save(tmp_path / "maths.json")
    again = load_policy(tmp_path / "maths.json")
    assert again == policy
    normal = next(each for each in policy.expected if each.level == "normal")
    assert normal.accuracy > normal.before

    engine = make_engine()
    stage = Stage(
        engine,
        Chat(engine.info, {}),
        again.table,
        SAMPLING,
        probe=ProbeVerifier(again.probe, sha256="0" * 64, states=engine.info.states),
    )
    result = asyncio.run(solve(QUESTIONS[5].problem, stage, SearchOptions(), comparer=comparer))
    answered = [each for each in result.candidates if each.answer is not None]
    assert answered
    assert all("probe" in {score.verifier for score in each.scores} for each in answered)
    assert result.usage.verifier.prompt_tokens == 0

    blind = asyncio.run(
        calibration.calibrate(
            pools.prose,
            QUESTIONS,
            comparer,
            name="blind",
            data="sums",
            date="2026-01-31",
            runs=1,
            probe=False,
        )
    )
    assert blind.probe is None
    assert "probe" not in blind.table.sure_by

    raw = json.loads((tmp_path / "maths.json").read_text())
    raw["probe"]["heads"][0]["weights"] = [1.0]
    (tmp_path / "maths.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="of another width"):
        load_policy(tmp_path / "maths.json")


def know_of_prose(text: str) -> tuple[float, ...]:
    """As ``know``, and nothing of programs."""
    return know(text.replace("print(", "")) if "```python" in text else know(text)


def test_a_form_that_the_probe_cannot_tell_has_no_part_in_a_policy(pools, comparer, tmp_path):
    engine = ScriptedEngine(say, yes=lambda text: 0.5, parallel=8, state=know_of_prose)
    path = tmp_path / "program.jsonl"
    programs = fill_pool(path, engine, QUESTIONS, SAMPLES, PROGRAM, states=True)
    blind, _ = probing.fit_probe(Pools(pools.prose, programs), QUESTIONS, comparer, "2026-01-31")
    head = blind.find(PROGRAM, "whole")
    assert head.low is None or head.low <= 0.5
    for of_programs, told in ((programs, False), (pools.programs, True)):
        policy = calibrate(Pools(pools.prose, of_programs), comparer)
        assert policy.probe.find(PROSE, "whole") is not None
        assert (policy.probe.find(PROGRAM, "whole") is not None) == told


def test_a_probe_guides_a_search_over_steps_for_nothing(fitted, comparer) -> None:
    probe, _ = fitted
    engine = make_engine()
    verifier = ProbeVerifier(probe, sha256="0" * 64, states=engine.info.states)
    stage = Stage(engine, Chat(engine.info, {}), sampling=SAMPLING, probe=verifier)
    options = SearchOptions("beam", samples=4)
    result = asyncio.run(solve(QUESTIONS[5].problem, stage, options, comparer=comparer))
    steps = [
        score
        for each in result.candidates
        for score in each.scores
        if score.verifier == "probe" and score.step is not None
    ]
    assert {score.step for score in steps} == {0, 1}
    assert result.usage.verifier.prompt_tokens == 0
    assert asdict(result.usage)["verifier"]["flops"] == 0


def test_outcomes_on_pools_with_states_are_those_of_the_probe(pools, fitted, comparer) -> None:
    probe, _ = fitted
    drawn = Pools(pools.prose, None, probe)
    chosen = asyncio.run(
        runner.simulate(drawn, QUESTIONS, comparer, strategy="best-of-n", samples=SAMPLES)
    )
    blind = asyncio.run(
        runner.simulate(
            Pools(pools.prose), QUESTIONS, comparer, strategy="best-of-n", samples=SAMPLES
        )
    )
    assert sum(each.right for each in chosen) > sum(each.right for each in blind)
