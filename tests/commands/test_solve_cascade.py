"""``ttc solve --cascade`` end to end on scripted engines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.main import main

SCRIPTS = {
    "sure": lambda ask: "The final answer is 4.",
    "unsure": lambda ask: f"The final answer is {10 + ask.sample}.",
    "large": lambda ask: "The final answer is 5.",
}


pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def ttc(monkeypatch, capsys):
    opened: list[str] = []

    def choose(name):
        model = make_model()
        return replace(model, name=name, path=Path(f"{name}.gguf"))

    def open_engine(path, settings, name, planned=None):
        opened.append(name)
        return ScriptedEngine(SCRIPTS[name], parallel=4)

    monkeypatch.setattr("ttc_cli.commands.planning.choose_model", choose)
    monkeypatch.setattr("ttc_cli.commands.thinking.open_engine", open_engine)

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
    ("arguments", "word"),
    [
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
