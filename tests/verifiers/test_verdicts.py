from __future__ import annotations

import pytest

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.prompts import Chat
from ttc_cli.verifiers.base import VerifierContext, WeightedVerifier
from ttc_cli.verifiers.registry import build
from ttc_cli.verifiers.verdicts import (
    Verdict,
    find_refused,
    read_verdicts,
    silence,
    write_verdicts,
)

BAD = Verdict("judge", "tiny", False, 0.5, 0.4, 0.6, 24, "planted", "2026-01-01")
GOOD = Verdict("confidence", "tiny", True, 0.8, 0.6, 0.9, 24, "sampled", "2026-01-01")


def test_verdicts_are_kept_by_model_and_verifier(tmp_path) -> None:
    path = tmp_path / "deep" / "verifiers.json"
    assert read_verdicts(path) == {}
    kept = {("a", "judge"): BAD, ("a", "confidence"): GOOD, ("b", "confidence"): GOOD}
    write_verdicts(path, kept)
    assert read_verdicts(path) == kept
    assert list(find_refused(path, "a")) == ["judge"]
    assert "0.50, 0.40 to 0.60 on 24 planted questions" in find_refused(path, "a")["judge"]
    assert find_refused(path, "b") == {}
    assert [each.name for each in path.parent.iterdir()] == ["verifiers.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"v": 2}', '{"v": 1, "models": {"a": {"b": {}}}}'])
def test_a_damaged_file_says_how_to_be_rid_of_it(tmp_path, text) -> None:
    path = tmp_path / "verifiers.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_verdicts(path)
    assert caught.value.hint == "ttc verifiers forget --all"


def test_a_refused_verifier_is_heard_without_weight_and_guides_nothing() -> None:
    chat = Chat(ScriptedEngine().info)
    asked = build(["judge:3", "confidence"], VerifierContext(chat))
    silenced = silence(asked, {"judge": "why"})
    assert [each.name for each in silenced] == ["judge", "confidence"]
    assert isinstance(silenced[0], WeightedVerifier)
    assert (silenced[0].weight, silenced[0].grades_steps) == (0.0, False)
    assert silenced[1] is asked[1]
