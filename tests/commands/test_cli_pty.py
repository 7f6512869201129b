"""``ttc solve`` on a terminal: the bytes it gets, the screen it ends with, signals."""

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest
from fake_openai import FakeServer, serve

from ttc_cli.engines.scripted import CHATML

pytestmark = pytest.mark.slow

CHILD = Path(__file__).parent / "scripted_ttc.py"
FOUR = "Two and two make four.\n\nThe final answer is 4."
ON_AND_ON = "forever: and so on"


def _take_signals():
    """A test run in the background ignores these, and its children with it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A child process on a pseudo-terminal, and the screen it draws."""

    def __init__(
        self,
        arguments,
        scenario,
        *,
        rows=24,
        columns=80,
        stdout=None,
        stdin=None,
        program=(str(CHILD),),
        command="solve",
    ):
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        self.child = subprocess.Popen(
            [sys.executable, *program, command, *arguments],
            stdin=theirs if stdin is None else stdin,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_signals,
            env={**os.environ, "SCENARIO": json.dumps(scenario), "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def read(self, seconds=0.0):
        """Feed what has come, waiting up to ``seconds``; False at the end."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.ours, 1 << 16)
        except OSError:  # Linux: EIO once the other side is closed
            return False
        self.bytes += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, text, seconds=20.0):
        """Read until ``text`` was written, wherever it is by now."""
        end = time.monotonic() + seconds
        while text.encode() not in self.bytes:
            assert time.monotonic() < end, f"{text!r} never came:\n{self.shown}"
            assert self.read(0.1), f"ended before {text!r}:\n{self.shown}"

    def type(self, text):
        os.write(self.ours, text.encode())

    def finish(self, seconds=20.0):
        """Read to the end; returns the exit code."""
        end = time.monotonic() + seconds
        while self.read(0.1):
            assert time.monotonic() < end, f"never ended:\n{self.shown}"
        return self.child.wait(timeout=5)

    @property
    def shown(self):
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self.ours)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("TTC_") or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TTC_KEEP_RUNS", "no")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def terminal():
    with contextlib.ExitStack() as stack:

        def open_terminal(*arguments, texts=(FOUR,), size=(24, 80), scenario=None, **options):
            scenario = {"texts": list(texts), "pause": 0.01, **(scenario or {})}
            made = Terminal(arguments, scenario, rows=size[0], columns=size[1], **options)
            stack.callback(made.close)
            return made

        yield open_terminal


def test_the_tree_shows_the_run_and_leaves_answer_and_summary(terminal):
    run = terminal("What is 2+2?", "--max-seconds", "2", texts=[FOUR, ON_AND_ON])
    run.wait_for("What is 2+2?")
    assert run.screen.cursor.hidden
    assert run.finish() == 0
    lines = run.shown.splitlines()
    assert lines[0] == "4"
    assert "stopped: " in " ".join(lines[1:])
    assert "What is 2+2?" not in run.shown
    assert not run.screen.cursor.hidden


def test_the_tree_goes_to_the_terminal_though_stdout_is_a_file(terminal, tmp_path):
    with open(tmp_path / "out.txt", "wb") as out:
        run = terminal("What is 2+2?", stdout=out, scenario={"pause": 0.03})
        run.wait_for("What is 2+2?")
        assert run.finish() == 0
    assert (tmp_path / "out.txt").read_bytes() == b"4\n"


def test_a_batch_shows_a_bar_and_leaves_the_summary(terminal, tmp_path):
    good, bad = {"question": "What is 2+2?"}, {"id": "\x1b[2J[/x]", "question": ""}
    rows = [bad, 7, *[good] * 3]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = terminal("--batch", "q.jsonl", "--output", "a.jsonl", "--jobs", "1")
    run.wait_for("3 of 5 questions")
    assert run.screen.cursor.hidden
    assert run.finish() == 1
    assert "of 5 questions" not in run.shown
    assert run.shown.splitlines()[-1].startswith("3 questions answered · 2 failed · ")
    assert "question [/x]: The question is empty." in run.shown
    assert "question 2: Line 2 is not a JSON object." in run.shown
    assert b"\x1b[2J" not in run.bytes
    assert not run.screen.cursor.hidden


def test_a_batch_on_a_terminal_is_its_rows(terminal, tmp_path):
    (tmp_path / "q.txt").write_text("What is 2+2?\n" * 2)
    run = terminal("--batch", "q.txt")
    assert run.finish() == 0
    assert run.bytes.count(b'"type":"result"') == 2
    assert b"of 2 questions" not in run.bytes


def test_ctrl_c_gives_the_best_answer_so_far(terminal):
    run = terminal("What is 2+2?", texts=[FOUR, ON_AND_ON])
    run.wait_for("What is 2+2?")
    run.wait_for("leads")
    run.child.send_signal(signal.SIGINT)
    assert run.finish() == 130
    assert run.shown.splitlines()[0] == "4"
    assert "interrupted" in run.shown
    assert not run.screen.cursor.hidden


def test_ctrl_c_ends_a_check_under_way(terminal, tmp_path):
    script, mark = tmp_path / "check.py", tmp_path / "mark"
    script.write_text(
        "import contextlib, time\n"
        "with contextlib.suppress(OSError):\n"  # read-only where bubblewrap is installed
        f"    open({str(mark)!r}, 'w').close()\n"
        "time.sleep(60)\n"
    )
    command = f"{sys.executable} {script} {{file}}"
    run = terminal(
        "What is 2+2?",
        *("--strategy", "best-of-n", "--samples", "2"),
        *("--check", command, "--check-seconds", "60"),
    )
    run.wait_for("What is 2+2?")
    patience = time.monotonic() + 10
    while not mark.exists() and time.monotonic() < patience:
        time.sleep(0.05)
    started = time.monotonic()
    run.child.send_signal(signal.SIGINT)
    assert run.finish() == 130
    assert time.monotonic() - started < 20
    assert "4" in run.shown.splitlines()


def test_ctrl_c_before_any_answer_prints_none(terminal, tmp_path):
    with open(tmp_path / "out.txt", "wb") as out:
        run = terminal("What is 2+2?", texts=[ON_AND_ON], stdout=out)
        run.wait_for("What is 2+2?")
        run.child.send_signal(signal.SIGINT)
        assert run.finish() == 130
    assert (tmp_path / "out.txt").read_bytes() == b""


def test_a_second_ctrl_c_leaves_at_once(terminal):
    run = terminal("What is 2+2?", texts=[ON_AND_ON], scenario={"wedged": True})
    run.wait_for("What is 2+2?")
    run.child.send_signal(signal.SIGINT)
    run.wait_for("asked to stop")
    started = time.monotonic()
    run.child.send_signal(signal.SIGINT)
    assert run.finish() == 130
    assert time.monotonic() - started < 10  # the engine would never end
    assert not run.screen.cursor.hidden


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_restores_the_terminal(terminal, number, code):
    run = terminal("What is 2+2?", texts=[ON_AND_ON])
    run.wait_for("What is 2+2?")
    run.child.send_signal(number)
    assert run.finish() == code
    assert run.shown == ""
    assert not run.screen.cursor.hidden


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
@pytest.mark.parametrize("batch", [False, True])
def test_what_ends_it_at_once_leaves_the_cursor_on_a_server_too(terminal, tmp_path, number, batch):
    (tmp_path / "chat.jinja").write_text(CHATML)
    (tmp_path / "q.txt").write_text("What is 2+2?\n")
    asked = ["--batch", "q.txt", "--output", "a.jsonl"] if batch else ["What is 2+2?"]
    with serve(FakeServer(say=lambda prompt, seed: " and so on" * 999, token_seconds=0.05)) as fake:
        run = terminal(*asked, "--server", fake.url, "--chat-template", "chat.jinja")
        run.wait_for("of 1 questions" if batch else "What is 2+2?")
        assert run.screen.cursor.hidden
        run.child.send_signal(number)
        assert run.finish() == -number
    assert not run.screen.cursor.hidden


@pytest.mark.parametrize("size", [(1, 1), (2, 10), (5, 20), (24, 39), (3, 200)])
def test_a_tiny_terminal_still_gets_the_answer(terminal, tmp_path, size):
    with open(tmp_path / "out.txt", "wb") as out:
        run = terminal("What is 2+2?", size=size, stdout=out, scenario={"pause": 0.04})
        assert run.finish() == 0
    assert (tmp_path / "out.txt").read_bytes() == b"4\n"
    assert b"Traceback" not in run.bytes


def test_hostile_text_never_reaches_the_terminal(terminal):
    hostile = (
        "\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x1b[2J\x1b[?1049h\x9b31m[/bold][link=x]\u202e\x07"
        "\n\nThe final answer is \x1b]0;owned\x07\u202e4."
    )
    run = terminal(
        "What?\x1b]0;owned\x07", "-v", "--explain", "--solution", texts=[hostile], size=(60, 100)
    )
    assert run.finish() == 0
    for bad in (b"\x1b]", b"\x1b[2J", b"\x1b[?1049h", b"\x07", b"\xc2\x9b", "\u202e".encode()):
        assert bad not in run.bytes
    assert "owned" not in run.shown


def test_a_terminal_and_no_question_shows_the_help(terminal):
    run = terminal()
    assert run.finish() == 2
    assert b"Usage: ttc solve" in run.bytes


def test_a_dumb_terminal_and_no_color_get_no_escape_sequences(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    run = terminal("What is 2+2?", "--view", "plain", "--model", "x", "--samples", "2")
    assert run.finish() == 0
    assert b"\x1b[3" not in run.bytes
    assert b"started: " in run.bytes


def test_an_idle_pipe_beside_a_prompt_does_not_hang(terminal):
    out, into = os.pipe()
    try:
        run = terminal("What is 2+2?", stdin=out)
        assert run.finish() == 0
    finally:
        os.close(out)
        os.close(into)
    assert b"sent nothing for 5 s" in run.bytes


@pytest.mark.parametrize("reply", ["n\n", "\x04"])
def test_a_missing_model_is_asked_about_and_not_fetched_unasked(terminal, monkeypatch, reply):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ("q", "-m", "qwen2.5-coder-0.5b")
    run = terminal(*arguments, program=("-m", "ttc_cli"))
    run.wait_for("Download it? [Y/n]")
    assert b"491 MB" in run.bytes
    run.type(reply)
    assert run.finish() == 3
    assert run.shown.splitlines()[-1] == "hint: ttc models pull qwen2.5-coder-0.5b"
    assert run.shown.splitlines()[-2].startswith("error: ")
