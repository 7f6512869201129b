"""The recipes of CONTRIBUTING, followed to the letter: its files and its lines, where it says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import ttc_cli.search.strategies
import ttc_cli.verifiers
from ttc_cli import builtin
from ttc_cli.commands import _completion as completion
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.main import main
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["I do not know.", "Long and longer.\n\nThe final answer is 4.", "The final answer is 5."]


@pytest.fixture
def ttc(monkeypatch, tmp_path, capsys):
    """The command, on a scripted model that answers from its second candidate on."""
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = Model("script", Entry("script", "A script", (FileSource("s.gguf"),)), Path("s.gguf"))
    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: model)
    monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)
    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", lambda *_: ScriptedEngine(TEXTS))

    def run(*words):
        code = main(list(words))
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def follow(monkeypatch, tmp_path):
    """Follow the recipe that begins with ``title``: put its file into ``room``, run its line."""

    def follow_recipe(title, room, table):
        recipes = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Recipes")[1]
        recipe = recipes.split(f"**{title}**")[1]
        code, line = re.findall(r"^```python\n(.*?)^```", recipe, re.DOTALL | re.MULTILINE)[:2]
        (path,) = re.findall(r"``(ttc_cli/\S+\.py)``", code)
        assert Path(path).parent == Path(*room.__name__.split("."))
        assert not (ROOT / path).exists()
        (tmp_path / Path(path).name).write_text(code, encoding="utf-8")
        monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
        name = f"{room.__name__}.{Path(path).stem}"
        monkeypatch.delitem(sys.modules, name, raising=False)
        entries = getattr(builtin, table)
        before = dict(entries)
        exec(line, {table: entries})
        (added,) = entries.keys() - before.keys()
        return added

    yield follow_recipe
    for table in (builtin.STRATEGIES, builtin.VERIFIERS):
        for name in ("first", "brevity"):
            table.pop(name, None)


def test_a_strategy(ttc, follow):
    assert follow("A strategy", ttc_cli.search.strategies, "STRATEGIES") == "first"
    found = json.loads(ttc("solve", "--json", "-q", "--strategy", "first", "What is 2+2?"))
    assert (found["answer"], len(found["candidates"])) == ("4", 2)
    assert completion.complete_strategy("fir") == ["first"]


def test_a_verifier(ttc, follow):
    assert follow("A verifier", ttc_cli.verifiers, "VERIFIERS") == "brevity"
    words = ("--strategy", "best-of-n", "--verifier", "brevity", "--samples", "3")
    assert ttc("solve", "-q", *words, "What is 2+2?") == "5\n"
    assert "the shorter, the better" in ttc("verifiers", "list")
    assert completion.complete_verifier("brev") == ["brevity"]
