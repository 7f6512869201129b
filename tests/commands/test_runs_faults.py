"""What goes wrong with the log of runs costs no answer: it is said, and what can be kept is."""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.errors import EngineError
from ttc_cli.main import main

CHILD = Path(__file__).parent / "scripted_ttc.py"
DATA = Path("home/data")
LOG = DATA / "runs.db"
FOUR = "Two and two make four.\n\nThe final answer is 4."
HOLD = """
import sqlite3, sys
log = sqlite3.connect(sys.argv[1], isolation_level=None)
log.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
log.execute("BEGIN EXCLUSIVE")
log.execute("DELETE FROM notes WHERE name = ''")
print("held", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.usefixtures("kept_runs")


@pytest.fixture
def ttc(monkeypatch, capsys):
    """Run a command in this process; returns exit code, stdout and stderr."""

    def run(*arguments, script=lambda ask: FOUR):
        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: ScriptedEngine(script),
        )
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return run


def start(*arguments, texts=(FOUR,), **options):
    scenario = json.dumps({"texts": list(texts), **options.pop("scenario", {})})
    return subprocess.Popen(
        [sys.executable, str(CHILD), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SCENARIO": scenario},
        **options,
    )


@contextlib.contextmanager
def held(mode="EXCLUSIVE"):
    """Another process holds the database for itself; in mode ``NORMAL`` others may read it."""
    command = [sys.executable, "-c", HOLD, str(LOG), mode]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout.readline() == "held\n"
        try:
            yield
        finally:
            child.stdin.close()


@contextlib.contextmanager
def read_only(folder):
    """Nothing can be written in ``folder``, not even by root."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    files = {each.name: each.read_bytes() for each in folder.iterdir()}
    with small_disk(folder, "1m"):
        for name, content in files.items():
            (folder / name).write_bytes(content)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield


@contextlib.contextmanager
def small_disk(folder, size):
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted on this machine")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def list_runs(ttc):
    code, out, _ = ttc("runs", "list", "--json")
    assert code == 0
    return json.loads(out)["runs"]


def is_answered(code, out, err, why):
    """The answer is there; one line says that the run is not kept, why, and what to type."""
    (line,) = [line for line in err.splitlines() if "this run is not kept" in line]
    assert (code, out) == (0, "4\n"), err
    assert line.startswith("warning: ")
    assert why in line
    assert "ttc solve --no-save" in line
    assert "ttc runs off" in line
    assert "Traceback" not in err
    return True


def test_where_runs_are_kept_is_said_once(ttc):
    _, out, err = ttc("solve", "What is 2+2?", "-q")
    assert (out, err) == ("4\n", "")
    _, _, err = ttc("solve", "What is 2+2?")
    (line,) = [line for line in err.splitlines() if "runs are kept" in line]
    assert str(LOG.absolute()) in line
    assert "ttc runs off" in line
    assert "runs are kept" not in ttc("solve", "What is 2+2?")[2]
    assert len(list_runs(ttc)) == 3


def test_nothing_is_kept_where_that_is_not_wanted(ttc, monkeypatch):
    ttc("solve", "What is 2+2?", "--no-save")
    assert not LOG.exists()
    assert ttc("runs", "off")[0] == 0
    assert ttc("solve", "What is 2+2?")[:2] == (0, "4\n")
    assert not LOG.exists()
    monkeypatch.setenv("TTC_KEEP_RUNS", "yes")
    assert "TTC_KEEP_RUNS says otherwise" in ttc("runs", "off")[2]
    monkeypatch.delenv("TTC_KEEP_RUNS")
    ttc("runs", "on")
    ttc("solve", "What is 2+2?")
    assert len(list_runs(ttc)) == 1


@pytest.mark.slow
def test_many_processes_write_at_once(ttc):
    children = [
        start("solve", f"What is {n}+2?", "-q", scenario={"pause": 0.002}) for n in range(4)
    ]
    for child in children:
        out, err = child.communicate()
        assert (child.returncode, out, err) == (0, "4\n", "")
    assert sorted(run["question"] for run in list_runs(ttc)) == [
        f"What is {n}+2?" for n in range(4)
    ]
    for run in list_runs(ttc):
        code, out, _ = ttc("runs", "export", run["id"])
        assert (code, json.loads(out)["question"]) == (0, run["question"])


@pytest.mark.slow
def test_a_locked_database_costs_no_answer(ttc):
    ttc("solve", "What is 2+2?", "-q")
    with held():
        assert is_answered(*ttc("solve", "What is 3+3?", "-q"), "locked by another process")
        code, out, err = ttc("runs", "list")
        assert (code, out) == (1, "")
        assert "locked by another process" in err
    assert [run["question"] for run in list_runs(ttc)] == ["What is 2+2?"]


@pytest.mark.slow
def test_one_that_is_locked_in_mid_run_costs_no_answer(ttc):
    ttc("solve", "What is 2+2?", "-q")
    with contextlib.ExitStack() as stack:

        def script(ask):
            if not holding:
                holding.append(stack.enter_context(held("NORMAL")))
            return FOUR

        holding = []
        assert is_answered(*ttc("solve", "What is 3+3?", "-q", script=script), "locked")
    assert len(list_runs(ttc)) == 2


def test_one_that_is_free_again_before_the_end_loses_nothing(ttc):
    ttc("solve", "What is 2+2?", "-q")
    code, whole, _ = ttc("solve", "What is 3+3?", "-q", "--jsonl", "--no-save")
    with contextlib.ExitStack() as stack:

        def script(ask):
            if not asked:
                stack.enter_context(held("NORMAL"))
            if len(asked) == 3:
                stack.close()
            asked.append(ask)
            return FOUR

        asked = []
        code, out, err = ttc("solve", "What is 3+3?", "-q", script=script)
    assert (code, out, err) == (0, "4\n", "")
    _, kept, _ = ttc("runs", "export", "last", "--jsonl")
    first, second = (
        [kind for line in text.splitlines() if (kind := json.loads(line)["type"]) != "grew"]
        for text in (whole, kept)
    )
    assert first == second


def test_a_file_of_garbage_is_moved_aside_and_said(ttc):
    DATA.mkdir(parents=True)
    LOG.write_bytes(b"garbage" * 1000)
    code, out, err = ttc("solve", "What is 2+2?")
    assert (code, out) == (0, "4\n")
    (aside,) = DATA.glob("*.damaged-*")
    assert aside.read_bytes() == b"garbage" * 1000
    (line,) = [line for line in err.splitlines() if "damaged" in line]
    assert str(aside.absolute()) in line
    assert len(list_runs(ttc)) == 1


@pytest.mark.parametrize(
    "damage",
    ["", "null", "[" * 9_000, "5", "{}", '{"words": 3, "flags": [], "question": 1}', b"\xff\x00"],
)
def test_a_run_whose_request_is_damaged_is_listed_and_shown_and_not_resumed(ttc, damage):
    ttc("solve", "What is 2+2?", "-q")
    with contextlib.closing(sqlite3.connect(LOG)) as log, log:
        log.execute("UPDATE runs SET request = ?, state = 'what?'", (damage,))
    [run] = list_runs(ttc)
    assert run["question"] == "What is 2+2?"
    assert run["state"] == "killed"
    code, out, _ = ttc("runs", "show", "last")
    assert code == 0
    assert "What is 2+2?" in out
    code, _, err = ttc("solve", "--resume", "last")
    assert code == 2
    assert "damaged: it cannot be resumed" in err


def test_damage_within_is_said_and_in_nobodys_way(ttc):
    ttc("solve", "What is 2+2?", "-q")
    with contextlib.closing(sqlite3.connect(LOG)) as log:
        log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = LOG.read_bytes()
    LOG.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    code, out, err = ttc("runs", "list")
    assert (code, out) == (1, "")
    assert "is damaged" in err
    assert "hint: mv " in err
    is_answered(*ttc("solve", "What is 3+3?", "-q"), "damaged")
    (aside,) = DATA.glob("*.damaged-*")
    assert aside.stat().st_size == len(content)
    assert ttc("solve", "What is 4+4?", "-q") == (0, "4\n", "")
    assert [run["question"] for run in list_runs(ttc)] == ["What is 4+4?"]


def test_one_of_a_newer_ttc_is_left_alone(ttc):
    ttc("solve", "What is 2+2?", "-q")
    with contextlib.closing(sqlite3.connect(LOG)) as log:
        log.execute("PRAGMA user_version = 99")
    before = LOG.read_bytes()
    is_answered(*ttc("solve", "What is 3+3?", "-q"), "by a newer ttc")
    assert LOG.read_bytes() == before
    code, _, err = ttc("runs", "list")
    assert code == 1
    assert "hint: update ttc" in err


def test_a_folder_that_cannot_be_made_costs_no_answer(ttc):
    Path("home").mkdir()
    DATA.write_text("a file where the folder should be")
    assert is_answered(*ttc("solve", "What is 2+2?", "-q"), str(LOG.absolute()))


def test_a_read_only_folder_costs_no_answer_and_can_be_listed(ttc):
    ttc("solve", "What is 2+2?", "-q")
    with read_only(DATA):
        assert is_answered(*ttc("solve", "What is 3+3?", "-q"), "cannot be")
        assert [run["question"] for run in list_runs(ttc)] == ["What is 2+2?"]
        assert ttc("runs", "show", "last")[0] == 0
        code, _, err = ttc("runs", "rm", "last", "--yes")
        assert code == 1
        assert "cannot be written" in err


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [0, 8, 40, 120])
def test_a_disk_that_fills_up_costs_no_answer(ttc, kilobytes):
    """A limit on the size of files fails writes as a full disk does, at any of them."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)

    texts = ["longword " * 600 + "\n\nThe final answer is 4."]
    flags = ["--strategy", "majority", "--samples", "12", "-q"]
    child = start("solve", "What is 2+2?", *flags, texts=texts, preexec_fn=limit)
    out, err = child.communicate()
    assert is_answered(child.returncode, out, err, "runs.db")
    assert ttc("runs", "list")[0] == 0
    assert ttc("solve", "What is 3+3?", "-q") == (0, "4\n", "")
    assert list_runs(ttc)[0]["question"] == "What is 3+3?"


def test_a_disk_that_is_full_costs_no_answer(ttc):
    DATA.mkdir(parents=True)
    with small_disk(DATA, "2m"):
        ttc("solve", "What is 2+2?", "-q")
        with contextlib.suppress(OSError), (DATA / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 4096)
        assert is_answered(*ttc("solve", "What is 3+3?", "-q"), "disk")
        (DATA / "filler").unlink()
        assert ttc("solve", "What is 4+4?", "-q") == (0, "4\n", "")
        assert list_runs(ttc)[0]["question"] == "What is 4+4?"


@pytest.mark.parametrize("form", ["", "--jsonl", "--html"])
def test_an_export_onto_a_full_disk_leaves_nothing_there_and_the_run_here(ttc, tmp_path, form):
    ttc("solve", "What is 2+2?", "-q")
    folder = tmp_path / "stick"
    folder.mkdir()
    with small_disk(folder, "16k"):
        (folder / "filler").write_bytes(b"\0" * 12288)
        with contextlib.suppress(OSError), (folder / "more").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 512)
        flags = [form] if form else []
        code, out, err = ttc("runs", "export", "last", *flags, str(folder / "run"))
        assert (code, out) == (1, "")
        assert "No room left on the disk" in err
        assert sorted(each.name for each in folder.iterdir()) == ["filler", "more"]
    assert ttc("runs", "export", "last", *flags, str(folder / "run"))[0] == 0


def test_a_run_that_failed_says_why(ttc):
    def script(ask):
        raise EngineError("The machine is on fire.")

    assert ttc("solve", "What is 2+2?", "-q", script=script)[0] == 1
    (run,) = list_runs(ttc)
    assert run["state"] == "failed"
    assert "The machine is on fire." in run["note"]
    assert "--resume" in ttc("runs", "show", "last")[1]


@pytest.mark.slow
def test_a_run_that_was_terminated_was_interrupted(ttc):
    child = start("solve", "What is 2+2?", "--budget", "max", scenario={"pause": 0.02})
    while not (LOG.exists() and any(run["candidates"] for run in list_runs(ttc))):
        assert child.poll() is None
    child.terminate()
    child.communicate()
    assert child.returncode == 143
    (run,) = list_runs(ttc)
    assert run["state"] == "interrupted"
    assert ttc("solve", "--resume", "last", "-q", "--max-samples", "8")[:2] == (0, "4\n")


@pytest.mark.slow
def test_a_closed_pipe_leaves_the_run_as_it_ended(ttc):
    child = start("solve", "What is 2+2?", "-q", scenario={"pause": 0.01})
    child.stdout.close()
    child.wait()
    child.stderr.close()
    assert child.returncode == 141
    (run,) = list_runs(ttc)
    assert (run["answer"], run["state"]) == ("4", "done")


def test_a_log_that_is_deleted_in_mid_run_costs_no_answer_and_is_said(ttc):
    def delete(ask):
        LOG.unlink(missing_ok=True)
        return FOUR

    code, out, err = ttc("solve", "What is 2+2?", script=delete)
    assert (code, out) == (0, "4\n")
    assert "this run is not kept" in err
    assert "was deleted or replaced while the run went on" in err


@pytest.mark.slow
@pytest.mark.parametrize("files", [6, 8])
def test_too_few_open_files_are_said_in_words(files):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with start("solve", "What is 2+2?", "-q", preexec_fn=limit) as child:
        out, err = child.communicate()
    assert (child.returncode, out) == (1, "")
    assert "error: Too many files are open" in err
    assert {line.partition(": ")[0] for line in err.splitlines()} <= {"warning", "error", "hint"}
