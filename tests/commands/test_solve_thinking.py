"""``ttc solve`` on a model that thinks: its flags, its settings and what they come to."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import CHATML, Ask, Reply, ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.main import main
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource, check_entry, load_registry
from ttc_cli.solving import choosing as planning
from ttc_cli.types import Budget, Finish

SWITCHED = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)


def ponder(ask: Ask) -> Reply:
    """Goes on thinking until its thought is closed, and then counts how often it had to wait."""
    turn = ask.text.rpartition("<|im_start|>assistant\n")[2]
    if "</think>" in turn:
        return Reply(f"The final answer is {turn.count('Wait')}.")
    return Reply("The final answer is 99. ", Finish.LENGTH)


def brief(ask: Ask) -> Reply:
    turn = ask.text.rpartition("<|im_start|>assistant\n")[2]
    if "</think>" in turn:
        return ponder(ask)
    return Reply(f"Hm.\n</think>\n\nThe final answer is {turn.count('Wait')}.")


@pytest.fixture
def solve(monkeypatch, capsys, tmp_path):
    for name in list(os.environ):
        if name.startswith(("TTC_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def run(*arguments, script=brief, template=CHATML, **entry):
        model = make_model()
        model = replace(model, entry=replace(model.entry, **entry))
        engine = ScriptedEngine(script)
        engine.info = replace(engine.info, chat_template=template)
        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: model)
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine", lambda path, settings, name: engine
        )
        code = main(["solve", "How many apples has Tom?", "--answer-type", "number", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def candidates(out: str) -> list[dict]:
    return json.loads(out)["candidates"]


def test_a_model_that_thinks_answers_behind_its_thought(solve):
    code, out, _ = solve("--strategy", "majority", "--samples", "3", "--json", thinks=True)
    assert code == 0
    result = json.loads(out)
    assert (result["answer"], result["solution"]) == ("0", "The final answer is 0.")
    for each in candidates(out):
        assert each["text"][: each["thought"]] == "Hm.\n</think>"


def test_thoughts_have_a_default_cap_and_a_flag(solve):
    for flags, cap in (((), 2048), (("--think-tokens", "30"), 30), (("--think-tokens", "0"), 0)):
        code, out, _ = solve("--strategy", "greedy", "--json", *flags, script=ponder, thinks=True)
        assert (code, json.loads(out)["answer"]) == (0, "0")
        (only,) = candidates(out)
        assert cap < only["tokens"] <= cap + 768
        assert "99" not in only["text"][only["thought"] :]


def test_wait_is_a_flag_a_variable_and_a_key(solve, monkeypatch, tmp_path):
    assert solve("--wait", "2", "-q", thinks=True)[:2] == (0, "2\n")
    (tmp_path / "ttc.toml").write_text("wait = 3\n")
    assert solve("-q", thinks=True)[:2] == (0, "3\n")
    monkeypatch.setenv("TTC_WAIT", "1")
    assert solve("-q", thinks=True)[:2] == (0, "1\n")


def test_a_model_that_can_think_does_when_it_is_asked_to(solve):
    entry = {
        "think": ("<think>", "</think>"),
        "template_arguments": {"enable_thinking": False},
        "template": SWITCHED,
    }
    plain = solve("--strategy", "greedy", "--json", **entry)
    asked = solve("--strategy", "greedy", "--json", "--think-tokens", "50", **entry)
    assert [candidates(out)[0]["thought"] for _, out, _ in (plain, asked)] == [0, 12]
    off = solve("--strategy", "greedy", "--json", "--think-tokens", "0", **entry)
    assert candidates(off[1])[0]["thought"] == 0


def test_a_model_that_does_not_think_refuses_the_flags_and_ignores_the_settings(solve, monkeypatch):
    for flag in (("--think-tokens", "9"), ("--wait", "1"), ("--think-keep", "0.9")):
        code, out, err = solve(*flag)
        assert (code, out) == (2, "")
        assert "not known to think" in err
    monkeypatch.setenv("TTC_THINK_TOKENS", "9")
    assert solve("-q", script=lambda ask: "The final answer is 4.")[:2] == (0, "4\n")


def test_a_share_of_nothing_is_refused(solve):
    code, _, err = solve("--think-keep", "0", thinks=True)
    assert code == 2
    assert "above 0" in err


def test_a_dry_run_makes_room_for_the_thought(solve):
    model = Model("script", Entry("script", "A script", (FileSource("x.gguf"),), thinks=True), None)
    for tokens, limit in ((None, 768 + 2048), (100, 868), (0, 768)):
        thinking = planning.choose_thinking(model, tokens=tokens)
        assert planning.make_room_to_think(Budget(), [thinking]).tokens_per_candidate == limit


def test_the_shipped_models_that_think_have_marks():
    entries = load_registry().entries
    marked = {name for name, entry in entries.items() if entry.think_marks}
    assert marked >= {"r1-distill-1.5b", "r1-distill-7b", "qwen3-1.7b", "qwen3-8b", "qwen3-14b"}
    assert entries["qwen2.5-coder-0.5b"].think_marks is None
    assert {name for name, entry in entries.items() if entry.thinks} == {
        "r1-distill-1.5b",
        "r1-distill-7b",
    }


def test_marks_of_a_users_entry_are_checked():
    table = {"sources": [{"type": "file", "path": str(Path("x.gguf"))}]}
    own = check_entry("mine", {**table, "think": ["[THINK]", "[/THINK]"]}, "models.toml")
    assert own.think_marks == ("[THINK]", "[/THINK]")
    assert check_entry("mine", {**table, "thinks": True}, "x").think_marks == (
        "<think>",
        "</think>",
    )
    for wrong in (["<think>"], ["<think>", " "], "<think>"):
        with pytest.raises(UsageError, match=r"models\.mine"):
            check_entry("mine", {**table, "think": wrong}, "models.toml")
