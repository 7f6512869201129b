from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Candidate, Finish, Problem, Score, Step
from ttc_cli.verifiers.base import Leaf, VerifierContext
from ttc_cli.verifiers.probe import (
    Head,
    Probe,
    ProbeVerifier,
    View,
    load_probe,
    make_probe,
)

HEAD = Head(
    form="prose",
    part="whole",
    view=View.TAIL,
    objective="ridge",
    penalty=0.1,
    weights=(1.0, 0.0, 0.0, 0.0),
    bias=0.0,
    samples=8,
    questions=4,
    right=0.5,
    folds=4,
    auc=0.8,
    auc_within=None,
    low=None,
    high=None,
)
PROBE = Probe("script", "f" * 64, 4, "2026-01-01", (HEAD,))


def test_a_probe_is_saved_and_loaded(tmp_path) -> None:
    path = tmp_path / "deep" / "probe.json"
    PROBE.save(path)
    assert load_probe(path) == PROBE
    assert [each.name for each in path.parent.iterdir()] == ["probe.json"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw | {"format": "other"},
        lambda raw: raw | {"v": 1},
        lambda raw: raw | {"width": 5},
        lambda raw: raw | {"extra": 1},
        lambda raw: raw | {"heads": []},
        lambda raw: {key: raw[key] for key in raw if key != "sha256"},
        lambda raw: raw | {"heads": [raw["heads"][0] | {"weights": [1, 2, 3, float("nan")]}]},
        lambda raw: raw | {"heads": [raw["heads"][0] | {"view": "tail+whole"}]},
        lambda raw: raw | {"heads": [raw["heads"][0] | {"view": "layer 5"}]},
        lambda raw: raw | {"heads": [raw["heads"][0] | {"bias": float("inf")}]},
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
    stepwise = replace(PROBE, heads=(replace(HEAD, part="step"),))
    found, grades_steps, _ = score(stepwise, "score_steps")
    assert [each and each.step for each in found] == [None, 0, 0]
    assert grades_steps


def test_nothing_is_read_for_what_cannot_be_rated() -> None:
    for part, method in (("step", "score"), ("whole", "score_steps")):
        found, _, usage = score(replace(PROBE, heads=(replace(HEAD, part=part),)), method)
        assert found == [None, None, None]
        assert usage.verifier.prompt_tokens == 0
    found, _, usage = score(replace(PROBE, heads=(replace(HEAD, form="program"),)), "score")
    assert (found, usage.verifier.prompt_tokens) == ([None, None, None], 0)


def test_a_cap_leaves_no_score() -> None:
    assert score(PROBE, "score", Budget(max_flops=1))[0] == [None, None, None]
