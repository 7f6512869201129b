"""``ttc solve --resume`` and ``--continue``: nothing that had ended is grown again."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import Reply, ScriptedEngine
from ttc_cli.main import main
from ttc_cli.runs.store import RunState, RunStore

CHILD = Path(__file__).parent / "scripted_ttc.py"
LOG = Path("home/data/runs.db")
TEXTS = [f"We count to {n}, one by one, slowly.\n\nThe final answer is {n % 3}." for n in range(12)]

pytestmark = pytest.mark.usefixtures("kept_runs")


@pytest.fixture
def asked():
    """The candidates that the engine was asked to grow, by id."""
    return []


@pytest.fixture
def ttc(monkeypatch, capsys, asked):
    """Run a command in this process; returns exit code, stdout and stderr."""

    def run(*arguments, texts=TEXTS, **options):
        def script(ask):
            asked.append(ask.sample)
            reply = texts[ask.sample % len(texts)]
            return reply if isinstance(reply, Reply) else Reply(reply)

        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: ScriptedEngine(script, **options),
        )
        asked.clear()
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return run


def start(*arguments, **scenario):
    """``ttc solve`` in a process of its own, which takes Ctrl-C where these tests ignore it."""
    environment = {**os.environ, "SCENARIO": json.dumps({"texts": TEXTS, **scenario})}
    return subprocess.Popen(
        [sys.executable, str(CHILD), "solve", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_after(child, events, runs=1):
    """Kill ``child`` once the newest of so many runs has so many events; False if it ended before.

    With SIGKILL, in mid-write as likely as not.
    """
    while child.poll() is None:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{LOG}?mode=ro", uri=True)) as log:
                begun, newest = log.execute("SELECT count(*), max(number) FROM runs").fetchone()
                (written,) = log.execute(
                    "SELECT count(*) FROM events WHERE run = ?", (newest,)
                ).fetchone()
        except sqlite3.OperationalError:  # not there yet
            begun = written = -1
        if begun == runs and written >= events:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.002)
    child.communicate()
    return False


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["majority", "auto", "best-of-n"])
def test_a_killed_run_can_be_shown_and_taken_up(ttc, asked, strategy):
    """Killed with SIGKILL at random points, again and again, until it gets to its end."""
    flags = ["What is 2+2?", "--strategy", strategy, "--samples", "12", "--seed", "3"]
    _, whole, _ = ttc("solve", *flags, "--no-save", "-q")
    draw, points = random.Random(strategy), []
    for _ in range(3):
        points.append(draw.randint(0, 25))
        assert kill_after(start(*flags, pause=0.005, parallel=3), points[-1]), points
        code, out, _ = ttc("runs", "show", "last", "--json")
        shown = json.loads(out)["run"]
        assert (code, shown["state"], shown["question"]) == (0, "killed", "What is 2+2?")
        ended = {each["id"]: each["text"] for each in shown["ended"]}
        assert all(TEXTS[id % 12] == text for id, text in ended.items())
        assert all(TEXTS[int(id) % 12].startswith(text) for id, text in shown["growing"].items())
        code, out, err = ttc("solve", "--resume", "last", "--json", parallel=3)
        assert code == 0, points
        assert not ended.keys() & set(asked), points
        result = json.loads(out)
        assert result["answer"] + "\n" == whole
        assert f"{len(ended)} of its candidates" in err
        texts = {each["id"]: each["text"] for each in result["candidates"]}
        assert ended.items() <= texts.items()
        code, out, _ = ttc("runs", "list", "--json", "-n", "1")
        (row,) = json.loads(out)["runs"]
        assert (row["state"], row["resumes"]) == ("done", shown["id"])
        LOG.unlink()


@pytest.mark.slow
def test_one_that_is_killed_again_and_again_gets_there(ttc, asked):
    flags = ["What is 2+2?", "--strategy", "majority", "--samples", "12"]
    _, whole, _ = ttc("solve", *flags, "--no-save", "-q")
    assert kill_after(start(*flags, pause=0.005, parallel=2), 30)
    for runs in (2, 3):
        assert kill_after(start("--resume", "last", pause=0.05, parallel=2), 45, runs)
    known = set()
    with RunStore.open(LOG, pytest.fail) as store:
        for run in store.newest():
            assert run.state is RunState.KILLED
            known |= {
                timed.event.candidate.id
                for timed in store.events(run.id)
                if type(timed.event).__name__ == "CandidateEnded"
            }
        first, last = store.newest()[-1], store.newest()[0]
        assert (store.newest()[1].parent, first.parent) == (first.id, None)
    assert known
    code, out, _ = ttc("solve", "--resume", last.id, "-q")
    assert (code, out) == (0, whole)
    assert not known & set(asked)


def test_what_is_re_used_costs_nothing_and_is_reported(ttc):
    flags = ["What is 2+2?", "--strategy", "majority", "--samples", "4"]
    _, whole, _ = ttc("solve", *flags, "--json", "--max-tokens", "30", parallel=1)
    first = json.loads(whole)
    assert "token cap" in first["stop_reason"]
    code, out, err = ttc("solve", "--resume", "last", "--json", "--max-tokens", "1000")
    second = json.loads(out)
    kept = [each for each in first["candidates"] if each["finish"] == "stop"]
    spared = sum(each["tokens"] for each in kept)
    assert code == 0
    assert f"{len(kept)} of its candidates, {spared} tokens, are re-used" in err
    assert second["usage"]["generator"]["reused_tokens"] >= spared
    total = sum(each["tokens"] for each in second["candidates"])
    assert second["usage"]["generated_tokens"] == total - spared


def test_a_cap_that_ended_a_run_holds_for_what_is_added(ttc):
    ttc("solve", "What is 2+2?", "--strategy", "majority", "--samples", "6", "--max-tokens", "30")
    for _ in range(3):  # each goes on for another 30 tokens, with no flag given anew
        code, out, _ = ttc("solve", "--resume", "last", "--json", parallel=1)
        assert code == 0
        assert json.loads(out)["usage"]["generated_tokens"] <= 31


def test_continue_goes_on_with_the_next_level(ttc, asked):
    ttc("solve", "What is 2+2?", "--budget", "quick", "--json")
    known = set(asked)
    assert known
    code, out, _ = ttc("solve", "-c", "--jsonl")
    started = json.loads(out.splitlines()[0])
    assert (code, started["budget"]["level"]) == (0, "normal")
    assert started["question"] == "What is 2+2?"
    code, out, _ = ttc("solve", "--continue", "--budget", "max", "--max-samples", "20", "--jsonl")
    started = json.loads(out.splitlines()[0])
    assert (started["budget"]["level"], started["budget"]["max_samples"]) == ("max", 20)


def test_continue_doubles_the_samples_that_held_a_run(ttc, asked):
    ttc("solve", "What is 2+2?", "--strategy", "majority", "--samples", "3")
    assert sorted(asked) == [0, 1, 2]
    _, out, _ = ttc("solve", "-c", "--json")
    assert sorted(asked) == [3, 4, 5]
    assert len(json.loads(out)["candidates"]) == 6
    ttc("solve", "-c", "--samples", "7", "-q")
    assert sorted(asked) == [6]


def test_there_is_no_level_above_max_and_nothing_behind_greedy(ttc):
    ttc("solve", "What is 2+2?", "--budget", "max", "--max-tokens", "40", "-q")
    code, out, err = ttc("solve", "-c", "-q")
    assert (code, out) == (2, "")
    assert "ttc solve --continue --max-samples" in err
    ttc("solve", "What is 2+2?", "--strategy", "greedy", "-q")
    code, out, err = ttc("solve", "-c", "-q")
    assert (code, out) == (2, "")
    assert "greedy" in err


@pytest.mark.slow
def test_a_search_over_steps_starts_anew_and_says_so(ttc, asked):
    flags = ["What is 2+2?", "--strategy", "beam", "--samples", "4"]
    assert kill_after(start(*flags, pause=0.005), 12)
    code, out, err = ttc("solve", "--resume", "last")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "starts again, with the same seed" in err
    assert 0 in asked


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["revise", "mixed"])
def test_revisions_are_taken_up(ttc, asked, strategy):
    flags = ["What is 2+2?", "--strategy", strategy, "--samples", "6"]
    _, whole, _ = ttc("solve", *flags, "--no-save", "--json")
    assert kill_after(start(*flags, pause=0.005), 25)
    _, shown, _ = ttc("runs", "show", "last", "--json")
    ended = {each["id"] for each in json.loads(shown)["run"]["ended"]}
    _, out, _ = ttc("solve", "--resume", "last", "--json")
    assert not ended & set(asked)
    told = ("answer", "solution", "stop_reason")
    first, second = json.loads(whole), json.loads(out)
    assert [second[key] for key in told] == [first[key] for key in told]


@pytest.mark.slow
def test_repairs_are_taken_up_with_what_the_check_printed(ttc, asked, tmp_path):
    """The check prints other words each time: a resumed run must go by those in the log."""
    check = tmp_path / "check.py"
    check.write_text("import os\nprint('no', os.urandom(8).hex())\nraise SystemExit(1)\n")
    texts = [f"```python\ndef f(x):\n    return {n}\n```" for n in range(12)]
    flags = ["Write f(x) in Python.", "--samples", "12", "--seed", "3", "--budget", "normal"]
    flags += ["--check", f"{sys.executable} {check} {{file.py}}"]
    _, whole, _ = ttc("solve", *flags, "--no-save", "--json", texts=texts, parallel=4)
    parents = [each["parent"] for each in json.loads(whole)["candidates"]]
    assert sum(each is not None for each in parents) >= 4
    for events in (30, 60):
        assert kill_after(start(*flags, pause=0.005, parallel=4, texts=texts), events)
        _, shown, _ = ttc("runs", "show", "last", "--json")
        ended = {each["id"]: each for each in json.loads(shown)["run"]["ended"]}
        _, out, _ = ttc("solve", "--resume", "last", "--json", texts=texts, parallel=4)
        assert not ended.keys() & set(asked), events
        again = json.loads(out)["candidates"]
        assert [each["parent"] for each in again] == parents
        for id, known in ended.items():
            assert again[id]["text"] == known["text"]
            if known["scores"]:
                assert again[id]["scores"][0]["remark"] == known["scores"][0]["remark"]
        LOG.unlink()


def test_a_run_that_ended_by_itself_is_not_taken_up_for_nothing(ttc):
    ttc("solve", "What is 2+2?", "--strategy", "majority", "--samples", "2", "-q")
    code, out, err = ttc("solve", "--resume", "last")
    assert (code, out) == (2, "")
    assert "ended by itself" in err
    assert "hint: ttc solve --resume " in err
    assert "--samples 4 goes on thinking" in err
    code, out, _ = ttc("solve", "--resume", "last", "--samples", "3", "--json")
    assert len(json.loads(out)["candidates"]) == 3


@pytest.mark.slow
def test_a_run_that_goes_on_is_left_alone(ttc):
    child = start("What is 2+2?", "--budget", "max", pause=0.05)
    try:
        while not ttc("runs", "list", "--json")[1].count('"running"'):
            assert child.poll() is None
        code, out, err = ttc("solve", "--resume", "last")
        assert (code, out) == (2, "")
        assert "still running" in err
        code, _, err = ttc("runs", "rm", "--all", "--yes")
        assert code == 0
        assert "it stays" in err
        assert json.loads(ttc("runs", "list", "--json")[1])["runs"]
    finally:
        child.kill()
        child.communicate()


@pytest.mark.slow
def test_interrupted_runs_say_how_to_go_on(ttc, monkeypatch):
    child = start(
        "What is 2+2?", "--strategy", "majority", "--samples", "12", pause=0.1, parallel=1
    )
    while child.poll() is None:
        rows = json.loads(ttc("runs", "list", "--json")[1])["runs"]
        if rows and rows[0]["candidates"]:
            child.send_signal(signal.SIGINT)
            break
    out, err = child.communicate()
    assert child.returncode == 130
    (hint,) = [line for line in err.decode().splitlines() if "--resume" in line]
    (row,) = json.loads(ttc("runs", "list", "--json")[1])["runs"]
    assert (row["state"], row["id"] in hint) == ("interrupted", True)
    code, out, _ = ttc("solve", "--resume", row["id"], "--json")
    assert (code, len(json.loads(out)["candidates"])) == (0, 12)


@pytest.mark.slow
def test_it_brings_its_own_flags_whatever_is_set_now(ttc, monkeypatch):
    kill_after(
        start("What is 2+2?", "--strategy", "majority", "--samples", "5", "--seed", "9",
              "--system", "Be brief.", "--answer-type", "text", pause=0.005),
        20,
    )  # fmt: skip
    Path("ttc.toml").write_text('strategy = "greedy"\nmax_tokens = 1\nview = "none"\n')
    _, out, err = ttc("solve", "--resume", "last", "--jsonl")
    started = json.loads(out.splitlines()[0])
    assert (started["strategy"], started["seed"], started["answer_type"]) == ("majority", 9, "text")
    assert started["budget"]["max_tokens"] is None
    assert "started:" not in err  # how it is shown is the affair of who looks
    _, out, _ = ttc("runs", "show", "last", "--json")
    assert "--system 'Be brief.'" in json.loads(out)["run"]["command"]


@pytest.mark.parametrize(
    "more",
    [["Another question?"], ["--strategy", "beam"], ["--seed", "1"], ["--model", "x"],
     ["--temperature", "0"], ["--form", "prose"], ["--check", "true"], ["--file", "x"],
     ["-c"], ["Q", "and", "more"]],
)  # fmt: skip
def test_other_flags_beside_resume_are_refused(ttc, more, asked):
    ttc("solve", "What is 2+2?", "-q")
    code, out, err = ttc("solve", "--resume", "last", *more)
    assert (code, out, asked) == (2, "", [])
    assert "hint: leave" in err


def test_a_model_that_changed_is_refused_with_the_command_to_start_anew(ttc, asked):
    Path("script.gguf").write_bytes(b"one model" * 100_000)
    ttc("solve", "What is 2+2?", "--max-tokens", "60", "--seed", "4", "-q")
    assert ttc("solve", "--resume", "last", "-q")[0] == 0
    content = bytearray(Path("script.gguf").read_bytes())
    content[len(content) // 2] ^= 1
    Path("script.gguf").write_bytes(content)
    code, out, err = ttc("solve", "--resume", "last", "-q")
    assert (code, out, asked) == (2, "", [])
    assert "The file of the model script changed" in err
    assert "ttc solve --seed 4 --max-tokens 60 --model script 'What is 2+2?'" in err


def test_one_of_another_version_is_taken_up_with_a_warning(ttc):
    ttc("solve", "What is 2+2?", "--max-tokens", "60", "-q")
    with sqlite3.connect(LOG) as log:
        (request,) = log.execute("SELECT request FROM runs").fetchone()
        log.execute(
            "UPDATE runs SET request = ?", (json.dumps({**json.loads(request), "version": "0"}),)
        )
    log.close()
    code, _, err = ttc("solve", "--resume", "last", "-q")
    assert code == 0
    assert "was made by ttc 0" in err


PROGRAMS = [f"total = {n} % 3\nprint(total)\n```" for n in range(12)]


def test_a_run_of_programs_goes_on_with_programs(ttc, asked):
    flags = ["What is 2+2?", "--form", "program", "--max-tokens", "40", "-q"]
    ttc("solve", *flags, texts=PROGRAMS, parallel=1)
    known = set(asked)
    _, out, _ = ttc("solve", "--resume", "last", "--max-tokens", "400", "--json", texts=PROGRAMS)
    found = json.loads(out)
    assert {each["form"] for each in found["candidates"]} == {"program"}
    assert {each["ran"]["output"] for each in found["candidates"] if each["ran"]} <= {
        "0\n", "1\n", "2\n"
    }  # fmt: skip
    assert len(set(asked)) > 0
    assert len(set(asked) & known) <= 1  # the one that the cap cut short
    _, out, _ = ttc("runs", "show", "last", "--json")
    assert "--form program" in json.loads(out)["run"]["command"]


def test_a_run_of_before_there_were_forms_goes_on_in_prose(ttc):
    ttc("solve", "What is 2+2?", "--max-tokens", "60", "-q")
    with sqlite3.connect(LOG) as log:
        request = json.loads(log.execute("SELECT request FROM runs").fetchone()[0])
        assert request["flags"].pop("form", "missing") is None
        log.execute("UPDATE runs SET request = ?", (json.dumps(request),))
    log.close()
    assert ttc("solve", "--resume", "last", "-q")[0] == 0
    _, out, _ = ttc("runs", "show", "last", "--json")
    assert "--form prose" in json.loads(out)["run"]["command"]


def test_one_that_held_a_key_is_not_taken_up(ttc, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    ttc("solve", "Is sk-test-0123456789 a key?", "--max-tokens", "60", "-q")
    code, out, err = ttc("solve", "--resume", "last")
    assert (code, out) == (2, "")
    assert "held a key" in err


def test_a_cascade_is_taken_up_model_by_model(ttc, asked, monkeypatch):
    unsure = [f"So.\n\nThe final answer is {n}." for n in range(9)]
    flags = ["solve", "--cascade", "small,large", "--strategy", "majority", "--samples", "4"]
    ttc(*flags, "What is 2+2?", "--json", texts=unsure)
    assert sorted(asked) == [0, 0, 1, 1, 2, 2, 3, 3]
    code, _, err = ttc("solve", "--resume", "last", "--samples", "5", "--json", texts=unsure)
    assert code == 0, err
    assert sorted(asked) == [4, 4]


def test_resuming_what_is_not_there_is_a_usage_error(ttc):
    code, out, err = ttc("solve", "--resume", "last")
    assert (code, out) == (2, "")
    assert "No run is kept yet" in err
    ttc("solve", "What is 2+2?", "-q")
    code, out, err = ttc("solve", "--resume", "zzzz")
    assert (code, out) == (2, "")
    assert "There is no run 'zzzz'" in err
