"""Hostile programs as candidates of a check, in each sandbox that works here."""

from __future__ import annotations

import asyncio
import sys

import pytest

from ttc_cli.engines.base import Span
from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Candidate, Finish, Problem, Score
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.checking.cells import LANDLOCK
from ttc_cli.verifiers.checking.command import CommandVerifier, read_command
from ttc_cli.verifiers.checking.sandbox import Checked, find_sandbox, run_check

PYTHON = sys.executable
FOUND = find_sandbox()
CONFINED = [LANDLOCK, FOUND] if FOUND not in (None, LANDLOCK) else [FOUND] if FOUND else []
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux confines so")
confined = pytest.mark.parametrize(
    "kind", CONFINED, ids=lambda each: "landlock" if each == LANDLOCK else "bubblewrap"
)
walled = pytest.mark.skipif(FOUND in (None, LANDLOCK), reason="bubblewrap cannot work here")

SETUP = """
import ctypes, mmap, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) == -1: raise OSError
def number(x86, other, *args):
    call('syscall', x86 if os.uname().machine == 'x86_64' else other, *args)
"""


def run(text: str, kind: str | None, *, seconds: float = 10.0) -> Checked:
    """``text`` as a candidate's program."""
    command = read_command(f"{PYTHON} {{file.py}}")
    data = (SETUP + text).encode()
    return asyncio.run(run_check(command, data, ".py", seconds=seconds, sandbox=kind))


def score(verifier: CommandVerifier, texts: list[str]) -> list[Score | None]:
    """What candidates of ``texts`` get, one after another the same question's."""

    async def work():
        async with await ScriptedEngine().open((Span("?"),), Ledger(Budget())) as session:
            found = [Candidate(n, text, 1, Finish.STOP) for n, text in enumerate(texts)]
            leaves = [Leaf(each, None) for each in found]
            return await verifier.score(session, Problem("?"), leaves)

    return asyncio.run(work())


LEAVINGS = {
    "deep": "for _ in range(1500): os.mkdir('d'); os.chdir('d')",
    "deeper than a path": "for _ in range(600): os.mkdir('d' * 255); os.chdir('d' * 255)",
    "closed": "os.makedirs('a/b/c'); os.mkdir('a/b/c/d', 0); os.chmod('a/b', 0); os.chmod('.', 0)",
    "names": "for n in range(1, 256): open(bytes([n]) * 200, 'w') if n not in (46, 47) else 0\n"
    "os.mkdir(b'\\xff'); open(b'\\xff/\\n', 'w'); os.mkfifo('fifo')",
    "links": "os.mkdir('a')\nfor to in (PLACE, PLACE + '/old', '.', '/', 'nowhere'):\n"
    "    for at in ('', 'a/'): os.symlink(to, at + str(hash(to)))",
    "nobody's": "os.mkdir('a', 0o555); os.mkdir('b'); os.mkdir('b/c', 0o111); os.chmod('b', 0o500)",
}
