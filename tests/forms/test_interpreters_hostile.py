"""Hostile programs: nothing hangs, nothing is reached, and no other program suffers."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import programs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.forms.monty import Monty
from ttc_cli.forms.runner import KEPT
from ttc_cli.forms.running import MESSAGE, read_told
from ttc_cli.forms.sandboxed import Sandboxed, explain_lack
from ttc_cli.types import Execution

confined = pytest.mark.skipif(bool(explain_lack()), reason="bubblewrap does not work here")
INTERPRETERS = Interpreters(seconds=(0.3, 1.0))
MONTY = Monty(seconds=0.3)
SANDBOXED = Sandboxed(seconds=1.0)


@pytest.fixture(autouse=True)
def nothing_is_reached(monkeypatch):
    monkeypatch.setenv("TTC_SECRET", "hidden")
    yield
    assert not Path("/tmp/ttc-reached").exists()
    assert not Path("/ttc-reached").exists()


def run(code: str, within: float = 20.0) -> Execution:
    """What came of it; it is as it must be, and the next program is none the worse."""
    started = time.monotonic()
    ran = asyncio.run(INTERPRETERS.run(code))
    assert time.monotonic() - started < within
    judge(ran)
    one = f"print(6 * 7)  # {time.monotonic()}"
    assert asyncio.run(INTERPRETERS.run(one)) == Execution("42\n", "", "monty")
    return ran


def judge(ran: Execution) -> None:
    assert len(ran.output) <= KEPT + 1
    assert len(ran.error) <= MESSAGE
    assert "\n" not in ran.error
    (ran.output + ran.error).encode()
    assert "hidden" not in ran.output
    assert "root:" not in ran.output


@pytest.mark.slow
@pytest.mark.parametrize("code", programs.LOOPS.values(), ids=programs.LOOPS)
def test_loops_end(code: str) -> None:
    assert run(code).error in (programs.LATE, programs.MIB)


@pytest.mark.parametrize("code", programs.BOMBS.values(), ids=programs.BOMBS)
def test_bombs_are_small(code: str) -> None:
    ran = run(code)
    assert ran.error in (programs.LATE, programs.MIB) or ran.error.startswith(
        ("OverflowError", "ValueError", "TypeError", "MemoryError")
    )


@pytest.mark.parametrize("code", programs.DEPTHS.values(), ids=programs.DEPTHS)
def test_depths_have_a_ground(code: str) -> None:
    run(code)


@pytest.mark.parametrize("code", programs.ODD.values(), ids=programs.ODD)
def test_odd_programs_come_to_something(code: str) -> None:
    run(code)


@pytest.mark.parametrize("code", programs.REACHING.values(), ids=programs.REACHING)
def test_monty_reaches_nothing(code: str) -> None:
    ran = asyncio.run(MONTY.run(code))
    judge(ran)
    assert ran.error
    assert ran.output == ""


@confined
@pytest.mark.slow
@pytest.mark.parametrize("code", programs.ESCAPES.values(), ids=programs.ESCAPES)
def test_cpython_reaches_nothing(code: str, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        known = f"HOME = {os.path.expanduser('~')!r}\nSECRET = {str(secret)!r}\n"
        known += f"PORT = {server.getsockname()[1]}\n"
        ran = asyncio.run(SANDBOXED.run(known + code))
        with pytest.raises(BlockingIOError):
            server.accept()
    judge(ran)
    assert ran.output == ""
    assert ran.error


@confined
@pytest.mark.slow
@pytest.mark.parametrize("code", programs.RUINS.values(), ids=programs.RUINS)
def test_cpython_may_be_ruined(code: str) -> None:
    started = time.monotonic()
    ran = asyncio.run(SANDBOXED.run(code))
    assert time.monotonic() - started < 30
    judge(ran)
    assert ran.error
    one = asyncio.run(SANDBOXED.run(f"print(6 * 7)  # {time.monotonic()}"))
    assert one == Execution("42\n", "", "cpython")


@confined
@pytest.mark.slow
@pytest.mark.parametrize(
    "groups",
    [programs.LOOPS | programs.BOMBS | programs.DEPTHS, programs.ODD | programs.REACHING],
)
def test_cpython_bears_what_monty_bears(groups) -> None:
    """A third of them, for each costs a process with sympy; ``TTC_TEST_ALL=1`` runs all."""
    stride = 1 if os.environ.get("TTC_TEST_ALL") else 3

    async def ask() -> list[Execution]:
        return [await SANDBOXED.run(code) for code in list(groups.values())[::stride]]

    for ran in asyncio.run(ask()):
        judge(ran)


@confined
@pytest.mark.slow
def test_cpython_sees_processes_of_its_own_alone() -> None:
    code = "import os\nprint(sum(each.isdigit() for each in os.listdir('/proc')), os.listdir('/'))"
    ran = asyncio.run(SANDBOXED.run(code))
    count, _, names = ran.output.partition(" ")
    assert int(count) <= 3
    assert "home" not in names
    assert asyncio.run(SANDBOXED.run("import os\nprint(sorted(os.environ))")).output == (
        "['LANG', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PWD', 'PYTHONHASHSEED']\n"
    )


PIECES = st.sampled_from(
    ["print(", ")", "(", "[", "]", "x", "=", "+", "*", "**", "10", "'a'", "\n", "  ", "for i in ",
     "range(9)", ":", "while True", "def f(x)", "return ", "import ", "math", "sympy", "lambda ",
     "f'{", "}'", "\0", "\ud800", "if ", "else", "try:", "except:", "raise ", "class A", "yield ",
     "await ", "del ", ",", ".", "__class__", "exit()", "open(", "'/etc/passwd'", "# ", "\\", "\r"]
)  # fmt: skip


@settings(max_examples=150)
@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_comes_to_something(code: str) -> None:
    async def ask() -> Execution:
        return await MONTY.run(code)

    judge(asyncio.run(ask()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["output", "printed", "error", "more"]), JSON))
def test_whatever_a_child_answers_is_read(told) -> None:
    judge(read_told(told, "cpython"))
