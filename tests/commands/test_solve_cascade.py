"""``ttc solve --cascade`` end to end on scripted engines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import Ask, Reply, ScriptedEngine
from ttc_cli.main import main
from ttc_cli.types import Finish


def muse(ask: Ask) -> str | Reply:
    """Thinks on and on until its thought is closed."""
    if "</think>" in ask.text.rpartition("assistant\n")[2]:
        return "The final answer is 6."
    return Reply("Hm, hm. ", Finish.LENGTH)


SCRIPTS = {
    "sure": lambda ask: "The final answer is 4.",
    "unsure": lambda ask: f"The final answer is {10 + ask.sample}.",
    "large": lambda ask: "The final answer is 5.",
    "silent": lambda ask: "I do not know.",
    "musing": muse,
}


pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def ttc(monkeypatch, capsys):
    opened: list[str] = []

    def choose(name):
        model = make_model()
        entry = replace(model.entry, thinks=name == "musing")
        return replace(model, name=name, entry=entry, path=Path(f"{name}.gguf"))

    def open_engine(path, settings, name, planned=None):
        opened.append(name)
        engine = ScriptedEngine(SCRIPTS[name], parallel=4)
        engine.info = replace(engine.info, model=name)
        return engine

    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", choose)
    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)

    def run(*arguments: str) -> tuple[int, str, str, list[str]]:
        opened.clear()
        code = main(["solve", *arguments, "What is 2+2?"])
        out, err = capsys.readouterr()
        return code, out, err, list(opened)

    return run


def test_the_larger_model_is_loaded_only_when_it_is_asked(ttc) -> None:
    code, out, _, opened = ttc("--cascade", "sure,large")
    assert (code, out, opened) == (0, "4\n", ["sure"])
    code, out, err, opened = ttc("--cascade", "unsure,large", "--explain")
    assert (code, out, opened) == (0, "5\n", ["unsure", "large"])
    assert "ask the next model" in err


def test_json_counts_both(ttc) -> None:
    _, out, _, _ = ttc("--cascade", "unsure,large", "--json")
    both = json.loads(out)
    _, out, _, _ = ttc("--cascade", "sure,large", "--json")
    one = json.loads(out)
    assert both["answer"] == "5"
    assert both["usage"]["flops"] > one["usage"]["flops"]


def test_jsonl_ends_with_the_result_of_all(ttc) -> None:
    _, out, _, _ = ttc("--cascade", "unsure,large", "--jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    results = [line for line in lines if line["type"] == "result"]
    assert lines[-1] == results[-1]
    assert results[-1]["answer"] == "5"
    assert results[-1]["usage"]["flops"] > results[0]["usage"]["flops"]


@pytest.mark.parametrize(
    ("names", "model"), [("unsure,large", "large"), ("unsure,silent", "unsure"), ("sure,x", "sure")]
)
def test_the_result_names_the_model_that_answered(ttc, names, model) -> None:
    _, out, _, _ = ttc("--cascade", names, "--json")
    assert json.loads(out)["model"] == model
    _, out, _, opened = ttc("--cascade", names, "--jsonl")
    results = [each for each in map(json.loads, out.splitlines()) if each["type"] == "result"]
    assert [each["model"] for each in results] == [*opened, *([model] if opened[1:] else [])]


@pytest.mark.parametrize(("cap", "asked"), [("6", [4, 2]), ("4", [4]), ("3", [3]), ("9", [4, 4])])
def test_the_cap_on_samples_holds_over_both(ttc, cap, asked) -> None:
    flags = ("--strategy", "majority", "--samples", "4", "--max-samples", cap)
    _, out, _, opened = ttc("--cascade", "unsure,large", *flags, "--jsonl")
    events = [json.loads(line) for line in out.splitlines()]
    started = [each["samples"] for each in events if each["type"] == "wave_started"]
    assert started == asked
    assert len([each for each in events if each["type"] == "candidate_started"]) == sum(asked)
    assert len(opened) == len(asked)


@pytest.mark.parametrize("names", ["unsure,musing", "musing,large"])
def test_think_tokens_hold_for_each_model_that_thinks(ttc, names) -> None:
    flags = ("--strategy", "majority", "--samples", "2", "--think-tokens", "20", "--jsonl")
    code, out, err, _ = ttc("--cascade", names, *flags)
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    ended = [each["candidate"] for each in events if each["type"] == "candidate_ended"]
    thoughts = [each for each in ended if each["answer"]["text"] == "6"]
    assert len(thoughts) == 2
    assert all(each["thought"] > 0 and each["tokens"] < 40 for each in thoughts)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--cascade", "sure,large", "--think-tokens", "20"), "not known to think"),
        (("--cascade", "sure"), "two or more"),
        (("--cascade", "sure,sure"), "two or more"),
        (("--cascade", "sure,large", "--model", "sure"), "contradict"),
        (("--cascade", "sure,large", "--verifier", "judge"), "contradict"),
    ],
)
def test_wrong_usage_is_told(ttc, arguments, word) -> None:
    code, _, err, opened = ttc(*arguments)
    assert code == 2
    assert word in err
    assert opened == []
