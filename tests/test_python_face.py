"""``import ttc_cli as ttc``: loading and asking from Python, on scripted engines."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

import ttc_cli as ttc
from ttc_cli.engines.scripted import ScriptedEngine, babble
from ttc_cli.errors import EngineError, ModelMissing, UsageError
from ttc_cli.events import RunEnded, RunStarted, Warned
from ttc_cli.main import main
from ttc_cli.models.files import Model
from ttc_cli.models.registry import Entry, FileSource

FOUR = "Two and two make four.\n\nThe final answer is 4."


class Engine(ScriptedEngine):
    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """What was opened; models are scripted, and called by any name that is no ``missing``."""
    engines: list[Engine] = []
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))

    def choose(name):
        source = FileSource("script.gguf")
        path = None if name == "missing" else Path(f"{name}.gguf")
        return Model(name or "script", Entry("script", "A script", (source,)), path)

    def open_engine(path, settings, name, planned=None):
        if name == "broken":
            raise EngineError("It broke.")
        if name == "heavy":
            time.sleep(0.3)
        script = {"slow": babble, "unsure": lambda ask: f"The final answer is {ask.sample}."}
        engine = Engine(script.get(name, [FOUR]), parallel=8, pause=0.01 * (name == "slow"))
        engine.info = replace(engine.info, model=name)
        engines.append(engine)
        return engine

    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", choose)
    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
    monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)
    return engines


def test_a_question_is_answered_and_the_engine_closed(opened):
    with ttc.load() as solver:
        result = solver.solve("What is 2+2?")
        assert str(result.answer) == "4"
        assert solver.info.model == "script"
        assert not opened[0].closed
    assert opened[0].closed
    solver.close()


def test_one_call_loads_answers_and_closes(opened):
    assert str(ttc.solve("What is 2+2?", budget="quick").answer) == "4"
    assert [each.closed for each in opened] == [True]


def test_it_says_what_the_command_says(opened, capsys):
    question, how = "Name a number.", {"strategy": "majority", "samples": 5, "seed": 3}
    with ttc.load("slow") as solver:
        own = solver.solve(question, max_tokens=400, **how)
    words = [f"--{name}={value}" for name, value in how.items()]
    main(["solve", "-q", "--json", "--max-tokens=400", *words, "-m", "slow", question])
    told = json.loads(capsys.readouterr().out)
    assert [each["text"] for each in told["candidates"]] == [each.text for each in own.candidates]
    assert told["answer"] == (None if own.answer is None else own.answer.text)


def test_a_form_is_asked_for_by_its_name(opened, monkeypatch):
    def say(ask):
        return "print(2 + 2)\n```" if ask.text.endswith("```python\n") else FOUR

    def open_engine(path, settings, name, planned=None):
        return Engine(say, parallel=8)

    monkeypatch.setattr("ttc_cli.solving.loading.open_engine", open_engine)
    with ttc.load() as solver:
        programs = solver.solve("What is 2+2?", form="program")
        prose = solver.solve("What is 2+2?")
        many = dict(solver.solve_many(["What is 2+2?"] * 2, form="program"))
    for result, form in ((programs, "program"), (prose, "prose"), (many[1], "program")):
        assert str(result.answer) == "4"
        assert {each.form for each in result.candidates} == {form}


@pytest.mark.parametrize(("how", "greedy"), [({}, False), ({"temperature": 0.0}, True)])
def test_a_temperature_that_is_set_is_that_of_programs_too(opened, monkeypatch, how, greedy):
    seeds = set()

    def say(ask):
        seeds.add(ask.seed)
        return "print(2 + 2)\n```"

    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine", lambda *_, **__: Engine(say, parallel=8)
    )
    ttc.solve("What is 2+2?", form="program", **how)
    assert (seeds == {0}) == greedy


def test_events_come_as_they_happen_and_the_result_last(opened):
    heard = []
    with ttc.load() as solver:
        events = list(solver.stream("What is 2+2?"))
        solver.solve("What is 2+2?", on_event=heard.append)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert list(map(type, heard)) == list(map(type, events))


def test_leaving_a_stream_ends_its_search(opened):
    with ttc.load("slow") as solver:
        events = solver.stream("What is 2+2?", samples=8, strategy="majority")
        next(events)
        events.close()
        assert "ttc" not in {each.name for each in threading.enumerate()}
        assert solver.solve("And 3+3?", samples=1, max_tokens=5).usage.generated_tokens <= 6
    del events
    gc.collect()


def test_a_solution_of_somebody_else_is_checked(opened):
    with ttc.load() as solver:
        scores = {each.verifier: each for each in solver.check("What is 2+2?", "2 + 2 = 5.")}
        assert set(scores) == {"judge", "arithmetic"}
        assert scores["arithmetic"].value == 0.0
        assert "4" in scores["arithmetic"].remark
        assert [each.verifier for each in solver.check("Who?", "She.")] == ["judge"]


def test_requests_that_come_at_any_time_share_one_engine(opened):
    async def work():
        async with await ttc.aload("slow") as solver:
            request = solver.ask("Name a number.", {"strategy": "majority", "samples": 2})
            first = asyncio.create_task(solver.answer(request, branches=2))
            await asyncio.sleep(0.05)
            second = await solver.answer(request, branches=2)
            return await first, second

    first, second = asyncio.run(work())
    texts = [[each.text for each in result.candidates] for result in (first, second)]
    assert texts[0] == texts[1]


def test_many_questions_are_answered_each_once(opened):
    questions = [f"What is {n}+{n}?" for n in range(9)]
    with ttc.load() as solver:
        found = dict(solver.solve_many(iter(questions), jobs=3, samples=2))
    assert sorted(found) == list(range(9))
    assert {str(each.answer) for each in found.values()} == {"4"}


def test_a_question_that_cannot_be_asked_costs_no_other(opened):
    questions = ["What is 2+2?", "too long " * 9000, "What is 3+3?"]
    with ttc.load() as solver:
        found = dict(solver.solve_many(questions, samples=1))
    assert isinstance(found.pop(1), ttc.TtcError)
    assert [str(found[place].answer) for place in (0, 2)] == ["4", "4"]


def test_what_the_questions_raise_is_raised(opened):
    def ask():
        yield "What is 2+2?"
        raise KeyError("no more")

    with ttc.load() as solver, pytest.raises(KeyError, match="no more"):
        list(solver.solve_many(ask(), samples=1))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"strategy": "beem"}, "beem"),
        ({"form": "porgram"}, "porgram"),
        ({"form": "program", "answer_type": "free"}, "cannot state"),
        ({"options": {"width": 3}}, "auto takes no options"),
        ({"strategy": "beam", "options": {"widht": 3}}, "widht"),
        ({"answer_type": "colour"}, "answer_type"),
        ({"budget": "huge"}, "budget"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_seconds": -1.0}, "max_seconds"),
        ({"temperature": -0.5}, "temperature"),
        ({"samples": 0}, "candidate"),
        ({"schema": "{"}, "schema"),
        ({"schema": "{}", "answer_type": "number"}, "JSON"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error_before_anything_grows(opened, how, said):
    with ttc.load() as solver, pytest.raises(UsageError, match=said):
        solver.solve("What is 2+2?", **how)


def test_a_misspelt_option_is_a_type_error(opened):
    with ttc.load() as solver, pytest.raises(TypeError, match="sampels"):
        solver.solve("What is 2+2?", sampels=3)
    with pytest.raises(TypeError, match="gpu"):
        ttc.load("script", gpu=3)
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("name", "how", "error"),
    [
        ("missing", {"download": False}, ModelMissing),
        ("broken", {}, EngineError),
        ("script", {"verifiers": ["nonesuch"]}, UsageError),
        ("script", {"cascade": ["script"]}, UsageError),
    ],
)
def test_what_cannot_be_loaded_raises_and_leaves_nothing_open(opened, name, how, error):
    with pytest.raises(error):
        ttc.load(name, **how)
    assert all(each.closed for each in opened)


def test_no_settings_file_and_no_variable_changes_what_is_asked(opened, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ttc.toml").write_text('strategy = "greedy"\n')
    monkeypatch.setenv("TTC_MAX_TOKENS", "1")
    with ttc.load() as solver:
        result = solver.solve("What is 2+2?")
    assert (result.strategy, str(result.answer)) == ("auto", "4")


def test_a_cascade_is_asked_from_its_first_model_each_time(opened):
    with ttc.load(cascade=["unsure", "script"]) as solver:
        for _ in range(2):
            result = solver.solve("What is 2+2?", strategy="majority", samples=4)
            assert (str(result.answer), result.model) == ("4", "script")
    assert [each.info.model for each in opened] == ["unsure", "script"] * 2
    assert all(each.closed for each in opened)


def test_many_questions_climb_a_cascade_each(opened):
    with ttc.load(cascade=["unsure", "script"]) as solver:
        many = solver.solve_many(["What is 2+2?"] * 3, jobs=2, strategy="majority", samples=4)
        found = dict(many)
    assert [(str(found[n].answer), found[n].model) for n in range(3)] == [("4", "script")] * 3
    assert all(each.closed for each in opened)


def test_a_cascade_whose_larger_model_fails_to_load_still_answers_the_next_question(opened):
    with ttc.load(cascade=["unsure", "broken"]) as solver:
        for _ in range(2):
            result = solver.solve("What is 2+2?", strategy="majority", samples=4)
            assert result.model == "unsure"
    assert [each.info.model for each in opened] == ["unsure"] * 2
    assert all(each.closed for each in opened)


def test_a_cascade_that_is_cancelled_while_it_loads_closes_what_comes_and_goes_on(opened):
    async def work():
        async with await ttc.aload(cascade=["unsure", "heavy"]) as solver:
            how = {"strategy": "majority", "samples": 4}
            task = asyncio.create_task(solver.asolve("What is 2+2?", **how))
            while not opened[0].closed:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await solver.asolve("What is 2+2?", **how)

    assert asyncio.run(work()).candidates
    assert [each.info.model for each in opened].count("unsure") == 2
    assert all(each.closed for each in opened)


def test_questions_to_a_cascade_take_turns(opened):
    async def work():
        async with await ttc.aload(cascade=["unsure", "script"]) as solver:
            how = {"strategy": "majority", "samples": 4}
            return await asyncio.gather(
                solver.asolve("What is 2+2?", **how), solver.asolve("What is 3+3?", **how)
            )

    assert {each.model for each in asyncio.run(work())} == {"script"}
    assert [each.info.model for each in opened] == ["unsure", "script"] * 2


def test_loading_that_is_cancelled_closes_what_comes(opened):
    async def work():
        task = asyncio.create_task(ttc.aload("heavy"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    deadline = time.monotonic() + 30
    while not (opened and opened[0].closed) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [each.closed for each in opened] == [True]


def test_models_are_obtained_in_the_callers_thread_or_beside_its_loop(opened, monkeypatch):
    threads = []

    def obtain(request, confirm):
        threads.append(threading.current_thread())
        return request

    monkeypatch.setattr("ttc_cli.solving.choosing.obtain", obtain)
    ttc.load().close()
    asyncio.run(ttc.aload()).close()
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_coroutines_do_the_same_and_two_run_beside_each_other(opened):
    async def work():
        async with await ttc.aload() as solver:
            first, second = await asyncio.gather(
                solver.asolve("What is 2+2?"), solver.asolve("What is 2 + 2?")
            )
            events = [event async for event in solver.astream("What is 2+2?")]
            many = [each async for each in solver.asolve_many(["What is 2+2?"] * 3)]
            return first, second, events[-1].result, *(result for _, result in many)

    assert {str(each.answer) for each in asyncio.run(work())} == {"4"}
    assert opened[0].closed


def test_blocking_methods_work_where_a_loop_runs_already(opened):
    async def notebook_cell():
        with ttc.load() as solver:
            return str(solver.solve("What is 2+2?").answer)

    assert asyncio.run(notebook_cell()) == "4"


def test_a_cancelled_search_leaves_the_engine_free(opened):
    async def work():
        async with await ttc.aload("slow") as solver:
            task = asyncio.create_task(solver.asolve("What is 2+2?", samples=8))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await solver.asolve("What is 2+2?", samples=1, max_tokens=5)

    assert asyncio.run(work()).candidates


def test_an_interruption_gives_the_best_so_far_and_holds_for_one_search(opened):
    with ttc.load("slow") as solver:
        timer = threading.Timer(0.3, solver.interrupt)
        timer.start()
        assert solver.solve("What is 2+2?", samples=8, strategy="majority").interrupted
        timer.join()
        assert not solver.solve("What is 2+2?", samples=1, max_tokens=5).interrupted


def test_what_may_surprise_is_a_warning(opened, monkeypatch):
    monkeypatch.setattr("ttc_cli.solving.verifier_models.warn_of", lambda _, warn: warn("odd"))
    with pytest.warns(UserWarning, match="odd") as warned:
        ttc.load().close()
    assert warned[0].filename == __file__


def test_questions_are_asked_one_by_one_where_a_verifier_has_a_model(opened, monkeypatch):
    from ttc_cli.solving.loading import Loaded

    monkeypatch.setattr(
        "ttc_cli.solving.loading.load_models", lambda *_: Loaded(Engine([FOUR]), {"o": Engine()})
    )
    heard = []
    with ttc.load() as solver:
        assert solver.count_jobs(4) == 1
        list(solver.solve_many(["What is 2+2?"] * 2, jobs=4, on_event=heard.append, samples=1))
    assert any(
        isinstance(each, Warned) and "one question at once" in each.message for each in heard
    )


def test_ctrl_c_ends_the_search_and_closes_the_engine(tmp_path):
    script = tmp_path / "work.py"
    commands = Path(__file__).parent / "commands"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(commands)!r})
import scripted_ttc
from ttc_cli.engines.scripted import ScriptedEngine, babble
from ttc_cli.models import files
from ttc_cli.solving import choosing, loading
choosing.choose_model = lambda name: scripted_ttc.make_model()
files.read_hash = lambda model: "a" * 64
loading.open_engine = lambda *_: ScriptedEngine(babble, pause=0.05, context=100_000)
ScriptedEngine.close = lambda self: print("closed", flush=True)
import ttc_cli as ttc
try:
    with ttc.load() as solver:
        print("loaded", flush=True)
        solver.solve("What is 2+2?", strategy="majority", samples=4)
except KeyboardInterrupt:
    print("interrupted")
""",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout.readline() == "loaded\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "closed\ninterrupted\n"


def test_the_face_is_what_it_says():
    for name in ttc.__all__:
        assert getattr(ttc, name) is not None
    assert set(ttc.__all__) <= set(dir(ttc))
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = ttc.nonesuch
    light = "import sys, ttc_cli; print('typer' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_python_and_the_command_line_have_one_vocabulary():
    from ttc_cli.commands import _solve_flags as flags

    groups = (flags.Thinking, flags.Caps, flags.Engine)
    names = {each.name for group in groups for each in fields(group)}
    own = {"options": "knobs", "verifiers": "verifier", "download": "yes"}
    words = {*ttc.Asking.__annotations__, *ttc.Loading.__annotations__}
    assert {own.get(word, word) for word in words} | {"model", "min_score"} == names
    for each in (ttc.Asking, ttc.Loading):
        assert set(re.findall(r"^        (\w+):", each.__doc__, re.MULTILINE)) == set(
            each.__annotations__
        )
