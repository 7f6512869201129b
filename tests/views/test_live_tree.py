"""Real bytes through a real pseudo terminal, read by a terminal emulator."""

import fcntl
import os
import pty
import re
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

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1]
ROOT = HERE.parent

BEGIN = """
import os, signal, sys, time
sys.path[:0] = [{here!r}, {root!r}]
import story
from ttc_cli.views.tree import LiveTree
def leave(number, frame):
    raise SystemExit(128 + number)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
def show(tree, name, until=10**9):
    for at, event in story.STORIES[name]():
        tree(event)
"""


class Terminal:
    """A child on a pseudo terminal of ``columns`` × ``lines``, and the screen it makes."""

    def __init__(self, script, columns=80, lines=24, **environ):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        self.ours, theirs = pty.openpty()
        self.resize(columns, lines)
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        code = BEGIN.format(here=str(HERE), root=str(ROOT)) + script
        self.child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**clean, "TERM": "xterm-256color", **environ},
        )
        os.close(theirs)

    def resize(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def read(self, until=None, seconds=20.0):
        """Feed the screen until ``until`` is on it, or the child is gone."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until is not None and until in self.text:
                return
            if select.select([self.ours], [], [], 0.05)[0]:
                try:
                    data = os.read(self.ours, 65536)
                except OSError:
                    data = b""
                if not data:
                    break
                self.bytes += data
                self.stream.feed(data)
        if until is not None:
            raise AssertionError(f"{until!r} never appeared:\n{self.text}")

    def finish(self):
        self.read()
        return self.child.wait(10)

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def close(self):
        self.child.kill()
        self.child.wait()
        os.close(self.ours)


@pytest.fixture
def terminal():
    opened = []

    def start(script, *size, **environ):
        opened.append(Terminal(script, *size, **environ))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


STAY = """
print("before")
with LiveTree() as tree:
    show(tree, "middle")
    time.sleep(60)
"""


def test_the_tree_is_on_the_screen_while_the_run_is_on(terminal):
    shown = terminal(STAY)
    shown.read("growing")
    shown.read("Ctrl-C answers now")
    assert shown.screen.cursor.hidden
    assert "question    A train leaves" in shown.text
    assert "◂ leads" in shown.text
    assert "before" not in shown.screen.display[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_erases_the_tree_and_gives_the_cursor_back(terminal, number):
    shown = terminal(STAY, 80, 40)
    shown.read("growing")
    shown.child.send_signal(number)
    shown.finish()
    assert not shown.screen.cursor.hidden
    assert "growing" not in shown.text
    assert shown.screen.display[0].startswith("before")


def test_an_exception_erases_the_tree_and_is_seen(terminal):
    shown = terminal("""
with LiveTree() as tree:
    show(tree, "middle")
    tree.refresh()
    raise ValueError("out of luck")
""")
    assert shown.finish() == 1
    assert not shown.screen.cursor.hidden
    assert "out of luck" in shown.text
    assert "growing" not in shown.text


def test_closing_twice_and_from_a_handler_does_no_harm(terminal):
    shown = terminal("""
with LiveTree() as tree:
    show(tree, "whole")
    signal.signal(signal.SIGALRM, lambda *_: tree.close())
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    time.sleep(0.6)
    tree.close()
tree.close()
print("the end")
""")
    assert shown.finish() == 0
    assert not shown.screen.cursor.hidden
    assert shown.screen.display[0].startswith("the end")


def test_stdout_stays_free_for_the_answer():
    script = (
        BEGIN.format(here=str(HERE), root=str(ROOT))
        + """
out = sys.stdout
with LiveTree() as tree:
    show(tree, "whole")
    assert sys.stdout is out
print("6")
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"6\n"
    assert done.stderr == b""  # no terminal, nothing to draw on


def test_a_resized_terminal_shows_one_whole_tree(terminal):
    shown = terminal(STAY, 100, 40)
    shown.read("growing")
    for columns, lines in ((60, 30), (30, 8), (90, 20)):
        shown.bytes = b""
        shown.resize(columns, lines)
        shown.screen.reset()
        shown.read("5 growing")
        shown.read("A train leaves")
        assert shown.text.count("5 growing") == 1


def test_a_tiny_terminal_is_not_overrun(terminal):
    shown = terminal(STAY, 12, 3)
    shown.read("6: 4 of 8")
    assert shown.screen.display[0].startswith("before")


def test_no_color_means_none(terminal):
    coloured = terminal(STAY)
    coloured.read("growing")
    assert b"\x1b[36m" in coloured.bytes
    plain = terminal(STAY, NO_COLOR="1")
    plain.read("growing")
    assert b"\x1b[36m" not in plain.bytes
    assert "◂ leads" in plain.text


def test_hostile_text_reaches_no_terminal(terminal):
    shown = terminal("""
from ttc_cli import events
with LiveTree() as tree:
    show(tree, "start")
    bad = "\\x1b]52;c;QUJD\\x07\\x1b]0;owned\\x07\\x1b[2J\\x9b31m[/x][red]harmless"
    tree(events.Grew({0: bad}, 1, 0, 1, 2))
    tree(events.Warned(bad))
    time.sleep(60)
""")
    shown.read("harmless")
    for sequence in (b"\x1b]", b"\x07", b"\x1b[2J", b"\xc2\x9b"):
        assert sequence not in shown.bytes
    assert "[/x][red]harmless" in shown.text


STEPWISE = """
import asyncio
from ttc_cli import events
from ttc_cli.answers import Comparer
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.engines.scripted.script import babble
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import AnswerType, Problem
signal.signal(signal.SIGUSR1, lambda *_: None)
print("before")
stream = events.EventStream()
engine = ScriptedEngine(babble, yes=lambda text: len(text) % 97 / 97, parallel=8)
with Comparer() as comparer, LiveTree() as tree:
    stream.readers.append(tree)
    def wait(event):  # in the third round, once everything of the second is known
        if isinstance(event, events.WaveStarted) and event.wave == 2:
            signal.pause()
    stream.readers.append(wait)
    result = asyncio.run(solve(
        Problem("How many apples has Tom?", AnswerType.NUMBER), Stage(engine, Chat(engine.info)),
        SearchOptions("{strategy}", {knobs}, samples=6), comparer=comparer, events=stream,
    ))
print("the answer is", result.answer.text)
"""


@pytest.mark.parametrize(
    ("strategy", "knobs"),
    [
        ("beam", {"width": "2"}),
        ("lookahead", {"width": "2"}),
        ("mcts", {"width": "2"}),
    ],
)
def test_a_search_over_steps_is_on_the_screen_and_then_gone(terminal, strategy, knobs):
    script = STEPWISE.replace("{strategy}", strategy).replace("{knobs}", repr(knobs))
    shown = terminal(script, 100, 60)
    shown.read(" best #")
    shown.read("step 2")
    tree = shown.text
    assert re.search(r"^ best #\d+ +1 (0\.\d\d  )?\w", tree, re.MULTILINE)
    assert re.search(r"─ \d+ +[‖◇·▸] \w+ .*0\.\d\d [▁▂▃▄▅▆▇█━╸─]+ +[●◐○]", tree)
    assert shown.screen.cursor.hidden
    shown.child.send_signal(signal.SIGUSR1)
    assert shown.finish() == 0
    assert not shown.screen.cursor.hidden
    assert shown.screen.display[0].startswith("before")
    assert shown.screen.display[1].startswith("the answer is")
    assert "best #" not in shown.text
