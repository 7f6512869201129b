"""Whether an unknown model writes programs: tested once, and only where it matters."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import pytest

import ttc_cli as ttc
from ttc_cli import paths
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.events import Decided, Warned
from ttc_cli.main import main
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource
from ttc_cli.types import AnswerType, Execution

QUESTION = "What is 2+2?"
FENCE = "```python\n"


def write(ask):
    """A model that writes programs."""
    if not ask.text.endswith(FENCE):
        return "Two and two.\n\nThe final answer is 4."
    if "Tom" in ask.text:
        return "apples = 3 + 4 * 5\nprint(apples)\n```"
    if "tank" in ask.text:
        return "left = 240 * 0.75\nprint(left * 2 / 3)\n```"
    return "print(2 + 2)\n```"


def explain(ask):
    """One that does not."""
    return write(ask) if not ask.text.endswith(FENCE) else "# Tom has 23 apples.\n```"


def halve(ask):
    """One that does half of the time."""
    return explain(ask) if "tank" in ask.text else write(ask)


class World:
    """Models of one scripted engine; ``asked`` are the questions of the test it was asked."""

    def __init__(self, path):
        self.script = write
        self.asked = []
        self.path = path
        self.marks = True
        self.opens = ""
        self.pause = 0.0

    def open(self, path, settings, name, planned=None):
        def say(ask):
            for word in ("Tom", "tank"):
                if word in ask.text:
                    self.asked.append(word)
            return self.script(ask)

        engine = ScriptedEngine(say, parallel=8, pause=self.pause)
        template = engine.info.chat_template + self.opens
        engine.info = replace(engine.info, marks=self.marks, chat_template=template)
        return engine

    def choose(self, name):
        source = FileSource("script.gguf")
        return Model("script", Entry("script", "A script", (source,)), self.path)


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "script.gguf"
    path.write_bytes(b"a model")
    world = World(path)
    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", world.choose)
    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", world.open)
    monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)
    return world


def ask(question=QUESTION, **how):
    """The forms of the candidates, and what was said of the test."""
    heard = []
    with ttc.load() as solver:
        result = solver.solve(question, heard.append, **how)
    said = [each.message for each in heard if isinstance(each, Warned)]
    return [each.form for each in result.candidates], said


def test_a_model_that_writes_programs_is_given_one_in_the_first_wave(world):
    forms, said = ask()
    assert sorted(world.asked) == ["Tom", "tank"]
    assert sorted(forms[:4]) == ["program", "prose", "prose", "prose"]
    assert len(said) == 1
    assert said[0].startswith("script was tested, once, for writing programs (")
    assert said[0].endswith("): it does, so auto draws one beside prose")


@pytest.mark.parametrize("script", [explain, halve])
def test_one_that_does_not_write_them_is_given_none(world, script):
    world.script = script
    forms, said = ask()
    assert sorted(world.asked) == ["Tom", "tank"]
    assert set(forms) == {"prose"}
    assert said[0].endswith("): auto draws none of them")


@pytest.mark.parametrize("script", [write, explain])
def test_the_outcome_is_kept_for_the_file_and_the_way_it_is_asked(world, script):
    world.script = script
    first, _ = ask()
    assert (ask(), len(world.asked)) == ((first, []), 2)
    world.path.write_bytes(b"another model")
    assert len(ask()[1]) == 1
    assert len(world.asked) == 4
    paths.coding_path().write_text("{damaged")
    assert ask()[0] == first


def test_many_questions_wait_for_one_test(world):
    heard = []
    with ttc.load() as solver:
        found = dict(solver.solve_many([QUESTION] * 5, 4, heard.append))
        more = solver.solve(QUESTION)
    assert sorted(world.asked) == ["Tom", "tank"]
    for result in (*found.values(), more):
        assert "program" in {each.form for each in result.candidates}
    assert len([each for each in heard if isinstance(each, Warned)]) == 1


def test_what_is_asked_in_the_test_costs_the_question_nothing(world):
    with ttc.load() as solver:
        tested = solver.solve(QUESTION)
        again = solver.solve(QUESTION)
    assert tested.usage.generated_tokens == again.usage.generated_tokens
    assert tested.usage.flops == again.usage.flops


@pytest.mark.parametrize(
    ("question", "how"),
    [
        (QUESTION, {"form": "prose"}),
        (QUESTION, {"form": "program"}),
        (QUESTION, {"strategy": "majority", "samples": 2}),
        (QUESTION, {"samples": 1}),
        (QUESTION, {"max_samples": 1}),
        (QUESTION, {"answer_type": "text"}),
        (QUESTION, {"answer_type": AnswerType.FREE}),
        ("Is 4 even, yes or no?", {}),
        ("Write a poem.", {}),
    ],
)
def test_it_is_not_tested_where_nothing_hangs_on_it(world, question, how):
    ask(question, **how)
    assert world.asked == []
    assert not paths.coding_path().exists()


def test_a_model_that_cannot_be_known_again_is_not_tested(world):
    world.path.unlink()
    forms, said = ask()
    assert (world.asked, said, set(forms)) == ([], [], {"prose"})


def test_an_engine_that_cannot_stop_at_a_fence_is_not_tested(world):
    world.marks = False
    assert set(ask()[0]) == {"prose"}
    assert world.asked == []


def test_a_model_that_thinks_is_not_tested(world):
    world.opens = "{% if add_generation_prompt %}<think>\n{% endif %}"
    world.script = lambda ask: "Four.</think>\n\nThe final answer is 4."
    assert set(ask()[0]) == {"prose"}
    assert world.asked == []


def test_one_that_has_a_policy_goes_by_that(world, monkeypatch):
    from ttc_cli.policy.table import SHIPPED

    fitted = replace(SHIPPED, name="mine")
    monkeypatch.setattr("ttc_cli.solving.solver.find_table", lambda request, chat, policy: fitted)
    assert set(ask()[0]) == {"prose"}
    assert world.asked == []


def test_where_nothing_runs_programs_it_is_tested_another_time(world, monkeypatch):
    async def run(self, code):
        return Execution("", "needs an interpreter, which is not there", "")

    with monkeypatch.context() as patched:
        patched.setattr("ttc_cli.forms.interpreters.Interpreters.run", run)
        assert set(ask()[0]) == {"prose"}
    assert not paths.coding_path().exists()
    assert "program" in ask()[0]


def test_an_interruption_of_the_test_ends_the_question_too(world):
    world.script = lambda ask: "x = 1\n" * 500
    world.pause = 0.05
    with ttc.load() as solver:
        timer = threading.Timer(0.5, solver.interrupt)
        timer.start()
        result = solver.solve(QUESTION)
        timer.join()
    assert result.interrupted
    assert result.usage.generated_tokens < 10
    assert not paths.coding_path().exists()


def test_a_test_that_is_cancelled_leaves_the_engine_free(world):
    world.pause = 0.05

    async def work():
        async with await ttc.aload() as solver:
            task = asyncio.create_task(solver.asolve(QUESTION))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await solver.asolve(QUESTION, form="prose", samples=1)

    assert asyncio.run(work()).candidates


def test_the_outcome_decides_what_a_dry_run_says(world, capsys, monkeypatch):
    chat = None

    def keep(request, thinking=None):
        assert chat is not None
        return chat

    def find(request, own, policy):
        nonlocal chat
        chat = own
        from ttc_cli.policy.table import SHIPPED

        return SHIPPED

    with monkeypatch.context() as patched:
        patched.setattr("ttc_cli.solving.solver.find_table", find)
        ask(form="prose")
    monkeypatch.setattr("ttc_cli.solving.dry_run.read_chat", keep)
    monkeypatch.setattr("ttc_cli.solving.dry_run._plan_memory", lambda request: None)
    monkeypatch.setattr("ttc_cli.solving.dry_run._count_weights", lambda path: 1.0)

    def plan(*flags):
        assert main(["solve", QUESTION, "--dry-run", *flags]) == 0
        return capsys.readouterr().out

    assert "form       prose, and programs if a short test, once, shows" in plan()
    assert json.loads(plan("--json"))["untested_forms"] == ["program"]
    assert "form       prose\n" in plan("--form", "prose")
    assert world.asked == []
    ask()
    assert "form       prose and program, first 1 program and 3 in prose\n" in plan()
    told = json.loads(plan("--json"))
    assert (told["forms"], told["mix"]) == (["prose", "program"], {"program": 1, "prose": 3})
    assert told["policy"] == "shipped defaults, with programs"


def test_a_step_of_the_test_is_no_event_of_the_question(world):
    heard = []
    with ttc.load() as solver:
        solver.solve(QUESTION, heard.append)
    decided = [each.reason for each in heard if isinstance(each, Decided)]
    assert decided[0].startswith("probe: 4")
    assert type(heard[0]).__name__ == "RunStarted"
