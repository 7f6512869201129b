"""Every command, in a folder of somebody else's: nothing that lies there is imported or run."""

import shutil
import subprocess
import sys
from pathlib import Path

import example_world
import pytest
from traps import set_traps

from ttc_cli import __version__
from ttc_cli.main import command_line

SCRIPTED = Path(__file__).with_name("example_world.py")
MODEL = ("--model", "qwen2.5-coder-0.5b")
VERBS = tuple(command_line().list_commands(None))
ACTIONS = (
    ("--version",),
    ("doctor",),
    ("models", "list"),
    ("models", "verify"),
    ("verifiers", "list"),
    ("runs", "list"),
    ("policy", "list"),
    ("config", "list"),
    ("plugins",),
    ("solve", "--dry-run", "What is 2+2?"),
    ("solve", "What is 2+2?"),
)
"""Whose models are too small to run: what they start dies early, and cannot spring a trap."""
SCRIPTED_ACTIONS = (
    ("solve", "--check", "python3 test.py {file.py}", "Write median(numbers) in Python."),
    ("solve", "--batch", "questions.jsonl", "--output", "answers.jsonl"),
    ("bench", "questions.jsonl", "--out", "report", "--samples", "4", "--runs", "1"),
    ("calibrate", "questions.jsonl", "--samples", "4", "--runs", "1"),
    ("verifiers", "test", "judge", *MODEL),
    ("replay", "last"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A furnished home and a working folder that is full of traps, and on PATH by accident."""
    folder = tmp_path_factory.mktemp("hostile")
    example_world.furnish(folder, {})
    set_traps(folder / "work")
    (folder / "ttc.py").write_text("from ttc_cli.__main__ import run\nrun()\n")
    return folder


def run_all(world, commands):
    """Run all of ``commands`` in the hostile folder at once; what each said, and what sprang."""
    environment = example_world.environment(world, "http://127.0.0.1:9")
    environment |= {"PATH": f":{environment['PATH']}:.", "HF_HUB_OFFLINE": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=world / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    said = [each.communicate(timeout=120)[0] for each in running]
    sprung = sorted(each.name for each in (world / "sprung").iterdir())
    return [(each.returncode, words) for each, words in zip(running, said, strict=True)], sprung


@pytest.mark.slow
def test_commands_touch_nothing(world):
    commands = [*((verb, "--help") for verb in VERBS), *ACTIONS]
    done, sprung = run_all(world, [(str(world / "ttc.py"), *each) for each in commands])
    assert [code for code, _ in done[: len(VERBS)]] == [0] * len(VERBS), done
    assert not [told for _, told in done if "failed unexpectedly" in told or "Traceback" in told]
    assert sprung == []


@pytest.mark.slow
def test_commands_that_compute_touch_nothing(world):
    for action in SCRIPTED_ACTIONS:
        [(code, words)], sprung = run_all(world, [(str(SCRIPTED), *action)])
        assert (code, sprung) == (0, []), words


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [(), ("-P",)])
def test_python_m_touches_nothing_else(world, prefix):
    """``python -m ttc_cli`` means the folder's ``ttc_cli`` where there is one; no other module."""
    shutil.rmtree(world / "work" / "ttc_cli", ignore_errors=True)
    actions = [("--version",), ("doctor",), ("solve", "--help")]
    done, sprung = run_all(world, [(*prefix, "-m", "ttc_cli", *action) for action in actions])
    assert (done[0], sprung) == ((0, f"ttc {__version__}\n"), [])
