from __future__ import annotations

import asyncio
import json
import random

import numpy as np
import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Candidate, Finish, Problem, Score, Step
from ttc_cli.verifiers.base import Leaf, VerifierContext
from ttc_cli.verifiers.probe import (
    Example,
    Head,
    Probe,
    ProbeVerifier,
    fit_head,
    load_probe,
    make_probe,
)


def draw_examples(signal: float, questions: int = 20, each: int = 4, width: int = 12):
    """States in which one direction tells right from wrong by ``signal``, among much else."""
    draw = random.Random(5)
    made = []
    for q in range(questions):
        theme = [draw.gauss(0, 2) for _ in range(width)]
        for i in range(each):
            right = i % 2 == 0
            state = [t + draw.gauss(0, 1) for t in theme[:-1]]
            state.append(draw.gauss(signal if right else -signal, 1))
            made.append(Example(tuple(state), str(q), right))
    return made


def test_a_fit_finds_what_is_there_and_scores_states_it_never_saw() -> None:
    head = fit_head(draw_examples(1.5))
    assert head.auc > 0.85
    assert head.auc_within > 0.85
    assert (head.samples, head.questions, head.right) == (80, 20, 0.5)
    assert max(range(12), key=lambda i: abs(head.weights[i])) == 11
    assert head.rate((0.0,) * 11 + (3.0,)) > 0.6 > 0.4 > head.rate((0.0,) * 11 + (-3.0,))


def test_a_fit_to_noise_is_measured_as_noise() -> None:
    """In-sample it would look perfect: there are more numbers in a state than examples."""
    head = fit_head(draw_examples(0.0, questions=15, each=2, width=60))
    assert 0.25 < head.auc < 0.75


def test_a_question_is_never_scored_by_a_probe_that_saw_it() -> None:
    """Labels that are the question's alone can be learnt by heart, and must not be."""
    draw = random.Random(2)
    made = []
    for q in range(16):
        theme = tuple(draw.gauss(0, 3) for _ in range(30))
        label = q % 2 == 0
        made += [Example(tuple(t + draw.gauss(0, 0.1) for t in theme), str(q), label)] * 3
    head = fit_head(made)
    assert head.auc < 0.85
    assert head.auc_within is None


def test_the_fit_is_the_penalised_optimum() -> None:
    """The gradient of Σ log-loss + λ/2 ‖w‖², in standardised states, is zero there."""
    made = draw_examples(0.7)
    head = fit_head(made, penalties=(10.0,))
    x = np.array([example.state for example in made])
    y = np.array([float(example.right) for example in made])
    scale = x.std(axis=0)
    p = np.array([head.rate(state) for state in x])
    gradient = ((x - x.mean(axis=0)) / scale).T @ (p - y) + 10.0 * np.array(head.weights) * scale
    assert np.abs(gradient).max() < 1e-4
    assert abs((p - y).sum()) < 1e-4


@pytest.mark.parametrize("right", [True, False])
def test_too_little_is_refused(right) -> None:
    with pytest.raises(UsageError, match="right and wrong ones"):
        fit_head([Example((1.0,), str(i), right) for i in range(6)])
    with pytest.raises(UsageError, match="of two questions"):
        fit_head([Example((1.0,), "a", True), Example((0.0,), "a", False)])


HEAD = Head((1.0, 0.0, 0.0, 0.0), 0.0, 10.0, 8, 4, 0.5, 0.8, None)
PROBE = Probe("script", "f" * 64, 4, "2026-01-01", HEAD, None)


def test_a_probe_is_saved_and_loaded(tmp_path) -> None:
    path = tmp_path / "deep" / "probe.json"
    PROBE.save(path)
    assert load_probe(path) == PROBE
    assert [each.name for each in path.parent.iterdir()] == ["probe.json"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw | {"format": "other"},
        lambda raw: raw | {"v": 2},
        lambda raw: raw | {"width": 5},
        lambda raw: raw | {"extra": 1},
        lambda raw: raw | {"whole": None},
        lambda raw: {key: raw[key] for key in raw if key != "sha256"},
        lambda raw: raw | {"whole": raw["whole"] | {"weights": [1, 2, 3, float("nan")]}},
        lambda raw: [],
    ],
)
def test_a_damaged_probe_is_refused(tmp_path, spoil) -> None:
    path = tmp_path / "probe.json"
    PROBE.save(path)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match="damaged"):
        load_probe(path)
    path.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="damaged"):
        load_probe(path)


def test_a_missing_probe_is_told_how_to_be_made(tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        load_probe(tmp_path / "none.json")
    assert "ttc verifiers fit" in caught.value.hint
    with pytest.raises(UsageError, match="needs the probe's file"):
        make_probe(of_model("f" * 64, 4), None)


def of_model(sha256: str, states: int) -> VerifierContext:
    engine = ScriptedEngine(["x"], state=lambda text: (0.0,) * states)
    return VerifierContext(Chat(engine.info), engine=engine, fingerprint=lambda: sha256)


def test_a_probe_of_another_model_is_refused(tmp_path) -> None:
    path = tmp_path / "probe.json"
    PROBE.save(path)
    assert make_probe(of_model("f" * 64, 4), str(path)).name == "probe"
    for sha256, states in (("0" * 64, 4), ("f" * 64, 8)):
        with pytest.raises(UsageError, match="another one"):
            make_probe(of_model(sha256, states), str(path))
    with pytest.raises(UsageError, match="no hidden states"):
        make_probe(of_model("f" * 64, 0), str(path))


def score(probe: Probe, method: str, budget: Budget | None = None):
    def state(text: str) -> tuple[float, ...]:
        return (2.0 if text.endswith("right") else -2.0, 0.0, 0.0, 0.0)

    async def work():
        ledger = Ledger(budget or Budget())
        engine = ScriptedEngine(["x"], state=state)
        async with await engine.open((Span("?"),), ledger) as session:
            texts = ("right", "wrong")
            branches = [session.append(session.root, (Span(text),)) for text in texts]
            leaves = [
                Leaf(Candidate(i, text, 1, Finish.STOP, steps=(Step(text, 1),)), branch)
                for i, (text, branch) in enumerate(zip(texts, branches, strict=True))
            ]
            gone = Leaf(Candidate(9, "gone", 1, Finish.STOP), None)
            verifier = ProbeVerifier(probe, sha256="f" * 64, states=4)
            found = await getattr(verifier, method)(session, Problem("?"), [gone, *leaves])
            return found, verifier.grades_steps, ledger.usage()

    return asyncio.run(work())


def test_candidates_are_scored_by_their_tail() -> None:
    found, grades_steps, usage = score(PROBE, "score")
    high = pytest.approx(0.8808, abs=1e-4)
    assert found == [None, Score("probe", high), Score("probe", pytest.approx(0.1192, abs=1e-4))]
    assert not grades_steps
    assert usage.verifier.generated_tokens == 0
    assert usage.verifier.prompt_tokens > 0


def test_steps_are_scored_only_by_a_probe_fitted_for_them() -> None:
    assert score(PROBE, "score_steps")[0] == [None, None, None]
    stepwise = Probe("script", "f" * 64, 4, "2026-01-01", None, HEAD)
    found, grades_steps, _ = score(stepwise, "score_steps")
    assert [each and each.step for each in found] == [None, 0, 0]
    assert grades_steps


def test_a_cap_leaves_no_score() -> None:
    assert score(PROBE, "score", Budget(max_flops=1))[0] == [None, None, None]
