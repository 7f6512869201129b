"""A crash of native code in mid-solve, for real: what the user sees then, and the next time."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ttc_cli import crash, paths
from ttc_cli.commands._checks import Grade, judge_crash

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CRASHING = textwrap.dedent(
    """
    import ctypes, os, signal, sys, threading
    sys.path.insert(0, {commands!r})
    import scripted_ttc
    from ttc_cli.solving import choosing as planning
    from ttc_cli.solving import loading
    from ttc_cli.engines.scripted import ScriptedEngine
    from ttc_cli.engines.scripted.slots import Slots
    from ttc_cli.main import main

    def crash():
        how = os.environ["CRASH"]
        if how == "read":
            ctypes.string_at(8)  # a null pointer with an offset
        elif how == "abort":
            # With the GIL: without, faulthandler reads frames that another thread is changing.
            ctypes.PyDLL(None).abort()
        else:
            signal.raise_signal(getattr(signal, how))

    step = Slots._step

    def crash_later(slots):
        if slots._steps == 3 and os.environ.get("CRASH"):
            thread = threading.Thread(target=crash)  # as the engine's own: not the main one
            thread.start()
            thread.join()
        step(slots)

    Slots._step = crash_later
    planning.choose_model = lambda name: scripted_ttc.make_model()
    loading.open_engine = lambda path, settings, name: ScriptedEngine(
        ["Two and two.\\n\\nThe final answer is 4."]
    )
    sys.exit(main())
    """
).format(commands=str(HERE / "commands"))

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def prepare() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``ttc solve`` on an engine that crashes at its fourth step."""

    def start(*arguments: str, how: str = "") -> subprocess.CompletedProcess[bytes]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TTC_", "PYTHONFAULT"))}
        home = {"TTC_HOME": str(tmp_path / "home"), "PYTHONPATH": str(HERE.parent)}
        return subprocess.run(
            [sys.executable, "-c", CRASHING, "solve", "What is 2+2?", *arguments],
            env={**kept, **home, "CRASH": how, "HF_HUB_OFFLINE": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            preexec_fn=prepare,
        )

    return start


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "home" / "cache" / "crashes").glob("*"))


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("read", signal.SIGSEGV),
        ("abort", signal.SIGABRT),
        ("SIGILL", signal.SIGILL),
    ],
)
def test_a_crash_is_told_at_once_and_noted(
    run: Run, tmp_path: Path, how: str, number: signal.Signals
) -> None:
    done = run(how=how)
    assert done.returncode == -number
    said = done.stderr.decode()
    assert "error: llama.cpp crashed" in said
    assert "--rebuild" in said
    (note,) = notes(tmp_path)
    assert str(note) in said
    assert "Fatal Python error" not in said
    written = note.read_text()
    assert written.startswith("Fatal Python error")
    assert "2+2" not in written


def test_the_next_run_tells_once_and_works(run: Run, tmp_path: Path) -> None:
    run(how="abort")
    told = run()
    assert (told.returncode, told.stdout) == (0, b"4\n")
    assert b"The last run crashed (Aborted" in told.stderr
    again = run()
    assert b"crashed" not in again.stderr
    assert [note.suffix for note in notes(tmp_path)] == [".told"]


@pytest.mark.parametrize("flags", [["--json"], ["--jsonl"], ["-q"]])
def test_what_was_printed_before_a_crash_is_whole_lines(run: Run, flags: list[str]) -> None:
    done = run(*flags, how="read")
    for line in done.stdout.splitlines(keepends=True):
        assert line.endswith(b"\n")
        json.loads(line)
    assert b"error: llama.cpp crashed" in done.stderr


def test_a_run_that_ends_well_leaves_nothing(run: Run, tmp_path: Path) -> None:
    assert run().returncode == 0
    assert notes(tmp_path) == []


def test_a_note_that_cannot_be_written_costs_no_answer(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").write_text("a file where a folder should be")
    done = run()
    assert (done.returncode, done.stdout) == (0, b"4\n")
    assert run(how="abort").returncode == -signal.SIGABRT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTC_HOME", str(tmp_path))
    folder = paths.crashes_dir()
    folder.mkdir(parents=True)
    return folder


def test_notes_of_killed_runs_go_and_those_of_living_ones_stay(home: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (home / f"{child.pid}.txt").write_bytes(b"")
    (home / f"{os.getpid()}.txt").write_bytes(b"")
    assert crash.find_crash() is None
    assert [path.stem for path in home.iterdir()] == [str(os.getpid())]


def test_only_the_last_few_notes_are_kept(home: Path) -> None:
    for number in range(9):
        note = home / f"{number}.txt"
        note.write_text("Fatal Python error: Aborted\n")
        os.utime(note, ns=(number, number))
    found = crash.find_crash()
    assert found == home / "8.txt"
    assert len(list(home.iterdir())) == 5


def test_doctor_tells_of_a_crash_and_of_nothing_else(home: Path) -> None:
    assert judge_crash(crash.find_crash()) is None
    (home / "1.txt").write_text("Fatal Python error: Segmentation fault\n\nThread 1\n")
    found = judge_crash(crash.find_crash())
    assert found is not None
    assert found.status is Grade.WARNING
    assert "Segmentation fault" in found.detail
    assert "--rebuild" in (found.fix or "")
