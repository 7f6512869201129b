"""What a solver owns beside its models: what runs the programs that they write."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import ttc_cli as ttc
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import UsageError
from ttc_cli.events import Warned
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource

QUESTION = "What is 2+2?"


@pytest.fixture
def says(monkeypatch, tmp_path):
    """What the model writes: the texts of its candidates in turn."""
    texts = ["total = 2 + 2\nprint(total)\n```"]
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))

    def choose(name):
        return Model("script", Entry("script", "A script", (FileSource("x.gguf"),)), Path("x.gguf"))

    def open_engine(path, settings, name, planned=None):
        return ScriptedEngine(lambda ask: texts[ask.sample % len(texts)], parallel=8)

    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", choose)
    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
    monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)
    return texts


def list_children() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


def test_interpreters_are_begun_when_wanted_and_end_with_the_solver(says):
    before = list_children()
    with ttc.load() as solver:
        solver.solve(QUESTION, form="prose", samples=1)
        assert list_children() <= before
        assert str(solver.solve(QUESTION, form="program", samples=1).answer) == "4"
        begun = list_children() - before
        assert begun
        says[0] = "print(5)\n```"
        assert str(solver.solve(QUESTION, form="program", samples=1).answer) == "5"
        assert begun <= list_children()
    assert list_children() <= before


def test_none_is_left_where_a_question_is_cancelled_while_its_program_runs(says):
    says[0] = "while True:\n    pass\n```"
    before = list_children()

    async def work():
        async with await ttc.aload() as solver:
            task = asyncio.create_task(solver.asolve(QUESTION, form="program", samples=1))
            while list_children() <= before:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert list_children() <= before


def test_leaving_a_stream_leaves_none_either(says):
    says[0] = "while True:\n    pass\n```"
    before = list_children()
    with ttc.load() as solver:
        events = solver.stream(QUESTION, form="program", samples=2)
        next(events)
        events.close()
    assert list_children() <= before


def test_the_same_program_is_run_once_for_all_questions(says, monkeypatch):
    ran = []
    own = Interpreters._run

    async def run(self, code):
        ran.append(code)
        return await own(self, code)

    monkeypatch.setattr(Interpreters, "_run", run)
    with ttc.load() as solver:
        found = dict(solver.solve_many([QUESTION] * 5, form="program", samples=3))
    assert {str(result.answer) for result in found.values()} == {"4"}
    assert len(ran) == 1


def test_that_no_interpreter_is_there_is_said_once(says, monkeypatch):
    monkeypatch.setattr("ttc_cli.forms.sandboxed.explain_lack", lambda: "there is no bubblewrap")
    says[:] = ["import sympy\nprint(sympy.Integer(4))\n```", "import numpy\nprint(4)\n```"]
    heard = []
    with ttc.load() as solver:
        list(solver.solve_many([QUESTION] * 4, 2, heard.append, form="program", samples=2))
        solver.solve(QUESTION, heard.append, form="program", samples=2)
    said = [each.message for each in heard if isinstance(each, Warned)]
    assert len([each for each in said if "there is no bubblewrap" in each]) == 1


def test_an_engine_that_cannot_stop_at_a_fence_is_refused_programs(says, monkeypatch):
    def open_engine(path, settings, name, planned=None):
        engine = ScriptedEngine(says, parallel=8)
        engine.info = replace(engine.info, marks=False)
        return engine

    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
    with ttc.load() as solver:
        with pytest.raises(UsageError, match="cannot stop at a text, as a program must"):
            solver.solve(QUESTION, form="program")
        assert solver.solve(QUESTION, samples=1).candidates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_the_command_leaves_no_child_however_it_is_ended(tmp_path, number, code):
    script = Path(__file__).parents[1] / "commands" / "scripted_ttc.py"
    scenario = {"texts": ["while True:\n    pass\n```"], "parallel": 2}
    environment = {**os.environ, "SCENARIO": json.dumps(scenario), "TTC_HOME": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, str(script), "solve", QUESTION, "--form", "program"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    begun: list[psutil.Process] = []
    while not begun and child.poll() is None:
        time.sleep(0.02)
        begun = psutil.Process(child.pid).children(recursive=True)
    assert begun
    time.sleep(0.3)
    begun = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == code
    _, alive = psutil.wait_procs(begun, timeout=10)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
