"""Verifiers on a real model: what only one shows. The scores of a 135M model mean nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ttc_cli.answers import Comparer
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.drawing import record_question
from ttc_cli.bench.solutions import SolutionSampler
from ttc_cli.bench.verifier_trials import try_planted, try_sampled
from ttc_cli.engines.llamacpp import Settings, load
from ttc_cli.engines.states import States
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerType, Problem, Sampling
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.confidence import STATISTICS, ConfidenceVerifier
from ttc_cli.verifiers.fitting import Example, fit_head
from ttc_cli.verifiers.generative import make_generative
from ttc_cli.verifiers.judge import JudgeVerifier
from ttc_cli.verifiers.planted import PLANTED
from ttc_cli.verifiers.probe import Probe, ProbeVerifier

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
    vectors = [np.array([(i + j) % 3 for j in range(states)], np.float32) for i in range(4)]
    examples = [
        Example(States(each, each, each, (), ()), str(i), bool(i % 2))
        for i, each in enumerate(vectors)
    ]
    heads = tuple(fit_head(examples, part=part).head for part in ("whole", "step"))
    probe = Probe("tiny", "0" * 64, states, "2026-01-01", heads)
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


def test_states_are_kept_of_the_solutions_that_a_pool_holds(engine) -> None:
    drawn = asyncio.run(
        record_question(
            engine,
            Chat(engine.info),
            GREETINGS[0].problem,
            id="hello",
            indices=range(4),
            sampling=Sampling(0.7),
            max_tokens=96,
            seed=0,
            states=True,
        )
    )
    known = [sample.states for sample in drawn.samples if sample.states is not None]
    assert known, "the model stated no answer at all"
    for states in known:
        assert len(states.steps) == len(states.tails) >= 1
        for each in (states.last, states.tail, states.whole, *states.steps, *states.tails):
            assert len(each) == engine.info.states
    assert len({tuple(states.tail) for states in known}) > 1
