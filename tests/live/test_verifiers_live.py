"""Verifiers on a real model: what only one shows. The scores of a 135M model mean nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ttc_cli.answers import Comparer
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.solutions import SolutionSampler
from ttc_cli.bench.verifier_trials import try_planted, try_sampled
from ttc_cli.engines.llamacpp import Settings, load
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerType, Problem, Sampling
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.confidence import STATISTICS, ConfidenceVerifier
from ttc_cli.verifiers.generative import make_generative
from ttc_cli.verifiers.judge import JudgeVerifier
from ttc_cli.verifiers.planted import PLANTED
from ttc_cli.verifiers.probe import Example, Probe, ProbeVerifier, fit_head

pytestmark = pytest.mark.live

GREETINGS = [
    LabelledQuestion(word, Problem(f"Say only one word: {word}.", AnswerType.FREE), word)
    for word in ("hello", "goodbye")
]
"""Free-form, because so small a model states no answer in a box."""


@pytest.fixture(scope="module")
def engine(tiny_model: Path):
    settings = Settings(threads=1, parallel=8, context=1536, answer=512, certainty=True)
    loaded = load(tiny_model, settings)
    yield loaded
    loaded.close()


def test_judge_critique_and_probe_score_planted_solutions(engine) -> None:
    chat = Chat(engine.info)
    states = engine.info.states
    examples = [
        Example(tuple(float((i + j) % 3) for j in range(states)), str(i), bool(i % 2))
        for i in range(4)
    ]
    head = fit_head(examples)
    probe = Probe("tiny", "0" * 64, states, "2026-01-01", head, head)
    critic = make_generative(VerifierContext(chat, engine=engine), None)
    verifiers = [JudgeVerifier(chat), ProbeVerifier(probe, sha256="0" * 64, states=states), critic]
    trials = asyncio.run(try_planted(engine, chat, verifiers, PLANTED[:2]))
    assert [(t.verifier, t.part, len(t.ratings)) for t in trials] == [
        (name, part, 4) for name in ("judge", "probe", "generative") for part in ("whole", "step")
    ]
    judge, _, probed, _, criticised, _ = trials
    values = [r.value for r in (*judge.ratings, *probed.ratings)]
    assert all(value is not None and 0 <= value <= 1 for value in values)
    assert len({r.value for r in probed.ratings}) == 4
    assert (judge.written, probed.written) == (0, 0)
    assert criticised.written > 0
    assert all(r.value is None or 0 <= r.value <= 1 for r in criticised.ratings)


def test_every_confidence_is_told_of_what_is_drawn(engine) -> None:
    with Comparer() as comparer:
        trials = asyncio.run(
            try_sampled(
                SolutionSampler(engine, Chat(engine.info), comparer, 4, Sampling(0.7), 96),
                [ConfidenceVerifier(statistic) for statistic in STATISTICS],
                GREETINGS,
            )
        )
    assert len(trials) == len(STATISTICS)
    assert all(t.failure is None and t.read == t.written == 0 for t in trials)
    assert trials[0].ratings, "the model stated no answer at all"
    for trial in trials:
        assert all(0 < r.value < 1 for r in trial.ratings)


def test_states_are_drawn_at_the_ends_of_solutions_and_steps(engine) -> None:
    with Comparer() as comparer:
        whole, steps = asyncio.run(
            SolutionSampler(
                engine, Chat(engine.info), comparer, 4, Sampling(0.7), 96
            ).draw_examples(GREETINGS)
        )
    assert whole, "the model stated no answer at all"
    assert {len(each.state) for each in (*whole, *steps)} == {engine.info.states}
    assert len({each.state for each in whole}) > 1
