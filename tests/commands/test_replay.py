"""``ttc replay`` and the page of a run, on a log that holds two."""

import os
import signal
import subprocess
import sys

import pytest
import story
from test_cli_pty import Terminal

from ttc_cli import paths
from ttc_cli.main import main
from ttc_cli.runs.recorder import Recorder
from ttc_cli.runs.store import RunStore

pytestmark = pytest.mark.usefixtures("bare_home")


def keep(name):
    """Put a story into the log; returns its id."""
    store = RunStore.open(paths.runs_path(), pytest.fail)
    id = store.begin(
        question=story.QUESTION,
        model="qwen2.5-coder-1.5b",
        strategy="auto",
        level="normal",
        request={"question": story.QUESTION, "words": [], "flags": {"seed": 7}},
    )
    now = [0.0]
    recorder = Recorder(store, id, clock=lambda: now[0])
    for now[0], event in story.STORIES[name]():
        recorder(event)
    recorder.close(None)
    assert recorder.failure is None
    return id


@pytest.fixture
def kept(bare_home):
    return [keep("whole"), keep("searched")]


@pytest.fixture
def terminal(kept):
    made = []

    def open_terminal(*arguments, **options):
        options = {"rows": 30, "columns": 100} | options
        program = ("-m", "ttc_cli")
        made.append(Terminal(arguments, {}, program=program, command="replay", **options))
        return made[-1]

    yield open_terminal
    for each in made:
        each.close()


def test_without_a_terminal_there_are_lines_and_the_answer(kept, capsys):
    assert main(["replay", "last", "--speed", "0"]) == 0
    out, err = capsys.readouterr()
    assert out == "6\n"
    assert "started: qwen2.5-coder-1.5b · beam" in err
    assert "best #1: They meet when 60t" in err
    assert err.splitlines()[-1].startswith("beam · difficulty 2 of 5 · 3 of 4 candidates agree")


def test_a_run_is_found_by_how_its_id_begins(kept, capsys):
    assert main(["replay", kept[0][:5], "--speed", "0", "--explain", "--solution"]) == 0
    out, err = capsys.readouterr()
    assert out == "".join(story.STEPS) + "\n"
    assert "1. wave: probe: 8 candidates" in err


def test_a_run_with_programs_is_replayed_as_it_was(bare_home, capsys):
    keep("agreed")
    assert main(["replay", "last", "--speed", "0", "--solution"]) == 0
    out, err = capsys.readouterr()
    assert out == f"```python\n{story.MEETING}\n\n```output\n6\n```\n"
    assert "#0: 6 (88 tokens), program, mean log-prob -0.11" in err
    assert f"#2: failed (88 tokens), program: {story.ERROR}" in err
    assert "3 of 3 agree, program and prose" in err.splitlines()[-1]


def test_a_kept_run_with_programs_is_shown_with_what_they_printed(bare_home, capsys):
    keep("agreed")
    assert main(["runs", "show", "last", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert f"  #2: failed (88 tokens), program: {story.ERROR}" in out
    assert f"#0\n```python\n{story.MEETING}\n\n```output\n6\n```\n\n#1\n" in out
    assert f"{story.FAILED}\n\n```error\n{story.ERROR}\n```\n\n#3\n" in out


@pytest.mark.slow
def test_programs_are_told_from_prose_in_the_tree(bare_home, terminal):
    keep("agreed")
    child = terminal("last", "--speed", "0")
    assert child.finish() == 0
    assert ">>> print(int(hours))  → 6" in child.shown
    assert f"✗ failed     >>> {story.ERROR}" in child.shown


@pytest.mark.slow
def test_at_speed_0_the_last_frame_is_the_only_one_and_stays(terminal):
    child = terminal("last", "--speed", "0")
    assert child.finish() == 0
    assert "★ 6" in child.shown
    assert "leads" in child.shown
    assert "3 of 4 candidates agree" in child.shown
    assert b"step 1: 4 beams" not in child.bytes  # what the first round said
    assert not child.screen.cursor.hidden


@pytest.mark.slow
def test_it_grows_as_it_did(terminal):
    child = terminal("last", "--speed", "4")
    child.wait_for("step 2: 4 beams")
    child.wait_for("step 3: 4 beams")
    child.wait_for("growing")
    child.wait_for("Ctrl-C leaves")
    assert child.finish() == 0
    assert "★ 6" in child.shown


@pytest.mark.slow
def test_step_by_step_a_key_goes_on(terminal):
    child = terminal("last", "--step")
    for beams in ("step 1: 4", "step 2: 4", "step 3: 4", "step 4: 3"):
        child.wait_for(f"{beams} beams")
        assert child.child.poll() is None
        child.type("\r" if "1" in beams else "x")
    assert child.finish() == 0
    assert "any key goes on" in child.bytes.decode()
    assert "\nxx" not in child.shown


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--step",), ("--speed", "0.05")])
def test_ctrl_c_leaves_the_terminal_as_it_was(terminal, how):
    child = terminal("last", *how)
    child.wait_for("step 1: 4 beams")
    child.child.send_signal(signal.SIGINT)
    assert child.finish() == 130
    assert not child.screen.cursor.hidden
    assert b"Traceback" not in child.bytes


@pytest.mark.slow
def test_step_needs_a_keyboard(kept):
    done = subprocess.run(
        [sys.executable, "-m", "ttc_cli", "replay", "last", "--step"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ.copy(),
    )
    assert done.returncode == 2
    assert "stdin is not a terminal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["zz"], "There is no run"), (["last", "--speed", "inf"], "not a speed")],
)
def test_what_cannot_be_shown_is_an_error(kept, capsys, arguments, word):
    assert main(["replay", *arguments]) == 2
    assert word in capsys.readouterr().err


def test_a_run_that_was_killed_has_no_answer(bare_home, capsys):
    keep("branching")
    assert main(["replay", "last", "--speed", "0"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 1: 4 beams" in err
    assert "did not end" in err


def test_a_run_is_exported_as_a_page(kept, capsys, tmp_path):
    assert main(["runs", "export", kept[1], "--html", str(tmp_path / "run.html")]) == 0
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "They meet when 60t = 90(t − 2)" in page
    assert kept[1] in page
    assert capsys.readouterr().out == ""
    assert main(["runs", "export", kept[1], "--html", str(tmp_path / "run.html")]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["runs", "export", kept[1], "--html"]) == 0
    assert capsys.readouterr().out == page
    assert main(["runs", "export", kept[1], "--html", "--jsonl"]) == 2
    assert main(["runs", "export", kept[1], "--html", str(tmp_path / "no" / "run.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
