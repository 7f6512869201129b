"""Text of strangers on a terminal: whatever its source, it neither drives nor deceives it.

Each source is shown on a real pseudo-terminal, once; the bytes that came and the screen that pyte
makes of them are looked at.
"""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_cli_pty import Terminal
from tiny_gguf import gguf

from ttc_cli.main import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TTC = [sys.executable, "-m", "ttc_cli"]
ATTACK = (
    "A\x1b]0;owned\x07B\x1b]52;c;b3duZWQ=\x07C\x1b]8;;http://evil\x1b\\D\x1b]8;;\x1b\\E\x1b[2J\x1b[?1049h"
    "\x9b31mF\x9d0;owned\x9cG\u202e\u2066H\u200b\ufeffI[bold red]J[/bold red][link=http://x]K\x08\x7f"
)
FORBIDDEN = [
    "\x1b]",
    "\x1b[2J",
    "\x1b[?1049h",
    "\x07",
    "\x9b",
    "\x9d",
    "\u202e",
    "\u2066",
    "\u200b",
]
FOUR = "Two and two make four.\n\nThe final answer is 4."


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("TTC_", "HF_")) or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def terminal():
    with contextlib.ExitStack() as stack:

        def open_terminal(program, *arguments, texts=(FOUR,), command="solve", **options):
            made = Terminal(
                arguments, {"texts": list(texts), "pause": 0.01}, program=program, rows=60,
                columns=100, command=command, **options,
            )  # fmt: skip
            stack.callback(made.close)
            return made

        yield open_terminal


def assert_harmless(run):
    shown = run.bytes.decode("utf-8", "replace")
    for bad in FORBIDDEN:
        assert bad not in shown, repr(bad)
    assert run.screen.title == ""
    assert not run.screen.cursor.hidden


def gguf_named(name, **changes):
    return gguf({"general.name": name, **changes})


def test_a_file_name_and_the_texts_of_its_header(terminal, tmp_path):
    fine = tmp_path / f"y{ATTACK.replace('/', '')}.gguf"
    fine.write_bytes(gguf_named(ATTACK))
    run = terminal(("-m", "ttc_cli"), "show", str(fine), command="models")
    assert run.finish() == 0
    assert_harmless(run)
    assert "[bold red]J" in run.shown.replace("\n", "")


TYPED = {
    "model": ("solve", "q", "-m", ATTACK),
    "strategy": ("solve", "q", "--strategy", ATTACK),
    "verifier": ("solve", "q", "--verifier", ATTACK),
    "check": ("solve", "q", "--check", ATTACK),
    "budget": ("solve", "q", "--budget", ATTACK),
    "file": ("solve", "--file", ATTACK),
    "policy": ("policy", "show", ATTACK),
    "repo": ("models", "pull", f"user/repo:{ATTACK}"),
    "command": (ATTACK,),
    "setting": ("models", "default", ATTACK),
}


@pytest.mark.parametrize("source", TYPED)
def test_what_was_typed_comes_back_harmless(source, capsys):
    """Errors are cleaned wherever they go, so that this needs no terminal."""
    assert main(list(TYPED[source])) in (2, 3)
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert not any(bad in err for bad in FORBIDDEN)


def test_settings_of_a_folder(tmp_path, capsys):
    for line in (f"{json.dumps(ATTACK)} = 1", f"budget = {json.dumps(ATTACK)}"):
        (tmp_path / "ttc.toml").write_text(line)
        assert main(["solve", "q"]) == 2
        assert not any(bad in capsys.readouterr().err for bad in FORBIDDEN)


def test_models_of_the_users_registry_and_records(terminal, tmp_path):
    folder = tmp_path / "home" / "data" / "models" / "x"
    folder.mkdir(parents=True)
    (folder / "x.gguf").write_bytes(b"x")
    record = {"name": ATTACK, "path": "x.gguf", "size": 1, "mtime_ns": 1, "sha256": ATTACK}
    (folder / "model.json").write_text(json.dumps(record))
    run = terminal(("-m", "ttc_cli"), "list", command="models")
    assert run.finish() == 0
    assert_harmless(run)


def test_what_a_model_writes_in_every_view(terminal):
    text = f"{ATTACK}\n\nThe final answer is {ATTACK}4."
    for view in ("tree", "plain"):
        run = terminal(
            (str(HERE / "scripted_ttc.py"),), f"What? {ATTACK}", "-v", "--explain", "--solution",
            "--view", view, texts=[text],
        )  # fmt: skip
        assert run.finish() in (0, 4)
        assert_harmless(run)


def test_what_a_check_prints_is_never_shown(terminal, tmp_path):
    script = tmp_path / "check.py"
    script.write_text(f"print({ATTACK!r}); raise SystemExit({ATTACK!r})")
    run = terminal(
        (str(HERE / "scripted_ttc.py"),), "What?", "--strategy", "best-of-n", "--samples", "2",
        "--check", f"{sys.executable} {script} {{file}}",
    )  # fmt: skip
    assert run.finish() in (0, 4)
    assert_harmless(run)


class Rude(http.server.BaseHTTPRequestHandler):
    """Refuses everything, with an attack for a reason."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        body = json.dumps({"error": {"message": ATTACK}, "detail": ATTACK}).encode()
        self.send_response(self.server.status, "No")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Error-Message", "A\x9b31m\x9d0;owned\x9c")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET


@pytest.fixture
def rude():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_a_server_says_why_it_refuses(terminal, rude, monkeypatch):
    rude.status = 400
    address = f"http://127.0.0.1:{rude.server_port}"
    run = terminal(("-m", "ttc_cli"), "q", "--server", address)
    assert run.finish() in (1, 2, 3, 6)
    assert_harmless(run)
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    run = terminal(("-m", "ttc_cli"), "pull", "user/repo:Q4_K_M", command="models")
    assert run.finish() in (3, 6)
    assert_harmless(run)


def test_a_kill_leaves_the_cursor_and_no_crash_is_claimed(terminal):
    run = terminal((str(HERE / "scripted_ttc.py"),), "What?", texts=["forever: and so on"])
    run.wait_for("What?")
    assert run.screen.cursor.hidden
    os.kill(run.child.pid, signal.SIGKILL)
    assert run.finish() == -signal.SIGKILL
    assert not run.screen.cursor.hidden
    assert b"crashed" not in run.bytes


def interrupted(number, *arguments, wait):
    """``ttc`` with these arguments, sent a signal once it says ``wait`` or a second has passed."""
    with subprocess.Popen(
        [*TTC, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as child:
        for line in child.stdout:
            if wait in line:
                break
        time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    return child.returncode, out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_doctor_that_is_interrupted_leaves_without_a_traceback(number, code):
    ended, _, err = interrupted(number, "doctor", wait="disk")
    assert ended == code, err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [("doctor", "--quick"), ("models", "list")], ids=" ".join)
def test_a_reader_that_goes_away_ends_other_commands_quietly_too(command):
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [*TTC, *command], stdin=subprocess.DEVNULL, stdout=into, stderr=subprocess.PIPE, timeout=60
    )
    os.close(into)
    assert (done.returncode, b"Traceback" in done.stderr) == (141, False)


@pytest.mark.parametrize(
    ("flag", "number", "code"),
    [
        ("--json", signal.SIGINT, 130),
        ("--jsonl", signal.SIGINT, 130),
        ("--json", signal.SIGHUP, 129),
        ("--jsonl", signal.SIGTERM, 143),
    ],
)
def test_json_of_an_interrupted_solve_is_whole(monkeypatch, flag, number, code):
    scenario = {"texts": [FOUR, "forever: and so on"], "pause": 0.01}
    monkeypatch.setenv("SCENARIO", json.dumps(scenario))
    with subprocess.Popen(
        [sys.executable, str(HERE / "scripted_ttc.py"), "solve", "What is 2+2?", flag],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as child:
        for line in child.stderr:
            if line.startswith("#0: 4"):
                break
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert "Traceback" not in err
    documents = [json.loads(line) for line in out.splitlines()]
    if number == signal.SIGINT:  # what was computed is given
        assert documents[-1]["type"] == "result"
        assert documents[-1]["answer"] == "4"


def test_a_bench_that_is_ended_keeps_its_pool_and_says_nothing(monkeypatch, tmp_path):
    data = tmp_path / "sums.jsonl"
    lines = [{"question": f"What is {n}+{n}?", "answer": str(2 * n)} for n in range(1, 7)]
    data.write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / "script.gguf").write_bytes(b"hashed")
    monkeypatch.setenv("SCENARIO", json.dumps({"texts": [FOUR], "pause": 0.02}))
    with subprocess.Popen(
        [sys.executable, str(HERE / "scripted_ttc.py"), "bench", str(data), "--samples", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    ) as child:
        patience = time.monotonic() + 30
        while time.monotonic() < patience:
            pools = (tmp_path / "home").rglob("*.jsonl")
            if any(pool.read_bytes().count(b"\n") > 1 for pool in pools):
                break
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 143, err
    assert "Traceback" not in err
    (pool,) = (tmp_path / "home").rglob("*.jsonl")
    whole = pool.read_bytes().split(b"\n")[:-1]
    assert len(whole) > 1
    assert all(json.loads(line) for line in whole)
