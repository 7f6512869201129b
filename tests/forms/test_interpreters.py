"""What comes of running programs: output, errors, what is run where, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from ttc_cli.forms.interpreters import Interpreters, try_all
from ttc_cli.forms.monty import find_lack
from ttc_cli.forms.runner import KEPT
from ttc_cli.forms.running import LONGEST, MESSAGE
from ttc_cli.forms.sandboxed import explain_lack
from ttc_cli.types import Execution
from ttc_cli.verifiers.checking import sandbox

confined = pytest.mark.skipif(bool(explain_lack()), reason="bubblewrap does not work here")


@pytest.fixture(scope="module")
def interpreters():
    """They need no event loop of their own, and no end but that they are forgotten."""
    return Interpreters(seconds=(0.3, 2.0))


def run(interpreters: Interpreters, code: str) -> Execution:
    return asyncio.run(interpreters.run(code))


def list_children(process: int | None = None) -> list[psutil.Process]:
    found = psutil.Process(process).children(recursive=True)
    return [each for each in found if is_alive(each)]


def read_command(process: psutil.Process) -> list[str]:
    """Empty of one that has just ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        ("eggs = 16 - 3 - 4\nprint(eggs * 2)", "18\n", ""),
        ("import math\nprint(math.comb(5, 2), math.gcd(4, 6))", "10 2\n", ""),
        ("from collections import Counter\nprint(Counter('aab')['a'])", "2\n", ""),
        ("if __name__ == '__main__':\n  print(1)", "1\n", ""),
        ("print(1, end='')\nprint(2)", "12\n", ""),
        ("import sys\nprint(1)\nprint('e', file=sys.stderr)", "1\n", ""),
        ("x = 1", "", ""),
        ("", "", ""),
        ("print(1)\nprint(x)", "1\n", "NameError: name 'x' is not defined"),
        ("print(1 / 0)", "", "ZeroDivisionError: division by zero"),
        ("raise ValueError", "", "ValueError"),
        ("raise ValueError('a\\n b\\n')", "", "ValueError: a b"),
        ("print(1", "", "SyntaxError: unexpected EOF while parsing"),
        ("import nosuchthing", "", "ModuleNotFoundError: No module named 'nosuchthing'"),
        ("print(3)\nexit()\nprint(4)", "3\n", ""),
        ("import sys\nprint(3)\nsys.exit(0)", "3\n", ""),
        ("print(3)\nraise SystemExit", "3\n", ""),
        ("while True: pass", "", "stopped after 0.3 s"),
        ("print(5, flush=True)\nwhile True: pass", "5\n", "stopped after 0.3 s"),
        ("x = 'a' * 10**10", "", "MemoryError: more than 96 MiB"),
        ("print('\\x1b[31m')", "\x1b[31m\n", ""),
    ],
)
def test_a_program_is_run(interpreters, code, output, error) -> None:
    assert run(interpreters, code) == Execution(output, error, "monty")


def test_long_output_loses_its_beginning_where_a_line_ends(interpreters) -> None:
    ran = run(interpreters, "for i in range(9000): print(i)")
    lines = ran.output.splitlines()
    assert ran.error == ""
    assert lines[0] == "…"
    assert lines[-1] == "8999"
    assert lines[1:] == [str(i) for i in range(int(lines[1]), 9000)]
    assert KEPT - 10 < len(ran.output) <= KEPT


def test_a_line_too_long_to_keep_is_an_error(interpreters) -> None:
    """The end of a number is another number."""
    for code in (
        "print('9' * 20000)",
        "print('9' * 20000, end='')",
        "print(1)\nprint('9' * 17000)",
    ):
        ran = run(interpreters, code)
        assert ran.error == "printed a line of more than 16,384 characters"
        assert ran.output.startswith("…9")
        assert len(ran.output) <= KEPT + 1


def test_a_message_is_cut(interpreters) -> None:
    ran = run(interpreters, "raise ValueError('x' * 10**6)")
    assert ran.error == f"ValueError: {'x' * (MESSAGE - 13)}…"


def test_a_program_that_is_too_long_is_not_run(interpreters) -> None:
    ran = run(interpreters, "x = 1\n" * LONGEST)
    assert ran == Execution("", "longer than 100,000 characters", "monty")


@pytest.mark.slow
def test_chance_and_time_are_the_same_each_time() -> None:
    code = "import random, time\nfrom datetime import datetime\n"
    code += "print(random.random(), random.randint(1, 99), random.Random().random(), hash('a'))\n"
    code += "print(time.time(), datetime.now())\nclass A: pass\nprint(A(), {'x', 'y', 'z'})"
    found = set()
    for before in ("", "import random\nprint([random.random() for i in range(99)])"):
        interpreters = Interpreters()
        run(interpreters, before)
        found.add(run(interpreters, code))
    assert len(found) == 1
    assert found.pop().error == ""


def test_nothing_of_one_program_is_left_to_another(interpreters) -> None:
    run(interpreters, "left = 1\nprint = None\nimport math\nmath.pi = 3")
    ran = run(interpreters, "import math\nprint(math.pi)\nprint(left)")
    assert ran == Execution("3.141592653589793\n", "NameError: name 'left' is not defined", "monty")


def test_the_same_program_is_run_once(interpreters) -> None:
    async def ask() -> list[Execution]:
        asked = [interpreters.run("while True: pass  # once") for _ in range(8)]
        return [*await asyncio.gather(*asked), await interpreters.run("while True: pass  # once")]

    started = time.monotonic()
    assert {ran.error for ran in asyncio.run(ask())} == {"stopped after 0.3 s"}
    assert time.monotonic() - started < 1.5


def test_who_leaves_takes_the_result_from_nobody_else(interpreters) -> None:
    async def ask() -> Execution:
        code = "while True: pass  # left"
        first = asyncio.ensure_future(interpreters.run(code))
        second = asyncio.ensure_future(interpreters.run(code))
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert asyncio.run(ask()).error == "stopped after 0.3 s"


@pytest.mark.slow
def test_what_was_run_long_ago_is_run_again(monkeypatch) -> None:
    interpreters = Interpreters(seconds=(0.3, 2.0))
    monkeypatch.setattr("ttc_cli.forms.interpreters._REMEMBERED", 2)
    seconds = []
    for name in ("a", "b", "b", "c", "a"):
        started = time.monotonic()
        run(interpreters, f"while True: pass  # {name}")
        seconds.append(time.monotonic() - started)
    assert [each > 0.2 for each in seconds] == [True, True, False, True, True]


def test_what_is_known_is_not_run() -> None:
    known = {"import sympy": Execution("7\n", "", "recorded")}
    interpreters = Interpreters(known=known)
    assert run(interpreters, "import sympy") == known["import sympy"]
    assert list_children() == [] or "sympy" not in str(list_children())


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        ("ModuleNotFoundError: No module named 'sympy'", "sympy"),
        ("ModuleNotFoundError: No module named 'fractions'", "fractions"),
        ("ModuleNotFoundError: No module named 'nosuchthing'", None),
        ("ImportError: cannot import name 'cbrt' from 'math' (unknown location)", "math.cbrt"),
        ("AttributeError: module 'math' has no attribute 'cbrt'", "math.cbrt"),
        ("AttributeError: 'int' object has no attribute '__class__'", "int.__class__"),
        ("AttributeError: 'int' object has no attribute 'length'", None),
        ("AttributeError: 'Eggs' object has no attribute 'count'", None),
        ("NameError: name 'input' is not defined", "input"),
        ("NameError: name 'eggs' is not defined", None),
        (
            "NotImplementedError: The monty syntax parser does not yet support yield expressions",
            "yield expressions",
        ),
        ("TypeError: field() does not yet support it", "field() does not yet support it"),
        (
            "NotImplementedError: Wildcard imports (`from ... import *`) are not supported",
            "Wildcard imports (`from ... import *`)",
        ),
        ("NotImplementedError: todo", None),
        ("NotImplementedError", None),
        ("TypeError: '<' not supported between instances of 'int' and 'str'", None),
        ("TypeError: 'int' object does not support item assignment", None),
        ("TypeError: unsupported operand type(s) for +: 'int' and 'str'", None),
        ("RuntimeError: 'os.environ' is not supported in this environment", None),
        (
            "ValueError: pow() 2nd argument cannot be negative when 3rd argument specified",
            "pow with a negative exponent and a modulus",
        ),
        ("ValueError: invalid literal for int() with base 10: 'a'", None),
        ("SyntaxError: unexpected EOF while parsing", None),
        ("ZeroDivisionError: division by zero", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_monty_lacks_is_told_from_faults(error, lack) -> None:
    assert find_lack(error) == lack


@confined
@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        ("import sympy\nx = sympy.symbols('x')\nprint(sympy.solve(x**2 - 2, x))",
         "[-sqrt(2), sqrt(2)]\n", ""),
        ("from sympy import *\nprint(Rational(1, 3) + sqrt(8))", "1/3 + 2*sqrt(2)\n", ""),
        ("from fractions import Fraction\nprint(Fraction(2, 6))", "1/3\n", ""),
        ("import numpy as np\nprint(int(np.arange(5).sum()))", "10\n", ""),
        ("def g():\n  yield 1\nprint(sum(g()))", "1\n", ""),
        ("class E(Exception): pass\nraise E('hey')", "", "E: hey"),
        ("print(pow(2, -1, 7))", "4\n", ""),
        ("import math\nprint(math.nosuch)", "",
         "AttributeError: module 'math' has no attribute 'nosuch'"),
        ("from math import nosuch", "", "ImportError: cannot import name 'nosuch' from 'math'"),
        ("import sympy\nprint(1)\nprint(y)", "1\n", "NameError: name 'y' is not defined"),
        ("import sympy\nif __name__ == '__main__': print(2)", "2\n", ""),
        ("import sympy, sys\nprint(2)\nsys.exit()", "2\n", ""),
        ("import sympy, sys, warnings\nprint(2)\nwarnings.warn('a')\nsys.stderr.write('b')",
         "2\n", ""),
        ("x = input()", "", "EOFError: EOF when reading a line"),
        ("import sympy\nprint('9' * 20000)", None, "printed a line of more than 16,384 characters"),
        ("import sympy\nprint(7)\nwhile True: pass", "7\n", "stopped after 2 s"),
        ("import sympy\ndef f(): f()\nf()", "",
         "RecursionError: maximum recursion depth exceeded"),
        ("import sympy\nprint('\\ud800')", "?\n", ""),
    ],
)  # fmt: skip
def test_what_monty_lacks_cpython_runs(interpreters, code, output, error) -> None:
    ran = run(interpreters, code)
    assert (ran.error, ran.interpreter) == (error, "cpython")
    assert output in (None, ran.output)


@confined
@pytest.mark.slow
def test_chance_and_time_are_the_same_in_cpython() -> None:
    code = (
        "import random, time, datetime, secrets\nimport numpy as np\nfrom sympy import randprime\n"
    )
    code += "print(random.random(), random.Random().random(), secrets.randbelow(99))\n"
    code += "print(np.random.rand(), np.random.default_rng().random(), randprime(1, 10**6))\n"
    code += "print(time.time(), datetime.datetime.now(), datetime.date.today())\n"
    code += "print({'x', 'y', 'z'}, hash('a'))"
    first, second = (run(Interpreters(), code) for _ in range(2))
    assert first == second
    assert first.error == ""


@confined
@pytest.mark.slow
def test_nothing_of_one_program_is_left_to_another_in_cpython(interpreters) -> None:
    run(interpreters, "import sympy\nsympy.sqrt = None\nopen('/tmp/left', 'w').write('1')")
    code = "import sympy, os\nprint(sympy.sqrt(4), os.path.exists('/tmp/left'))"
    assert run(interpreters, code).output == "2 False\n"


@pytest.mark.parametrize("found", [None, "landlock"])
def test_without_bubblewrap_what_needs_cpython_fails_and_that_is_said_once(
    found, monkeypatch
) -> None:
    if found and not sys.platform.startswith("linux"):
        pytest.skip("Landlock is Linux's")
    monkeypatch.setattr(sandbox, "find_sandbox", lambda: found)
    monkeypatch.setattr(sandbox, "explain_sandbox", lambda: "bubblewrap is missing")
    said: list[str] = []
    interpreters = Interpreters(warn=said.append)
    assert run(interpreters, "print(1)") == Execution("1\n", "", "monty")
    for lack in ("sympy", "numpy"):
        ran = run(interpreters, f"print(1)\nimport {lack}")
        assert ran == Execution("1\n", f"needs {lack}, which is not there", "")
    assert said == [
        "A program needs sympy, which is run in bubblewrap alone (bubblewrap is missing): "
        "such programs fail."
    ]


def test_without_monty_all_fails_where_there_is_no_bubblewrap(monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "find_sandbox", lambda: None)
    monkeypatch.setattr(sandbox, "explain_sandbox", lambda: "bubblewrap is missing")
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    said: list[str] = []
    interpreters = Interpreters(warn=said.append)
    for code in ("print(1)", "print(2)"):
        assert run(interpreters, code) == Execution("", "needs an interpreter, which is not there")
    assert said == [
        "Programs cannot be run here: monty: pydantic-monty has no program for this machine; "
        "CPython: bubblewrap is missing."
    ]


def test_monty_runs_where_its_libraries_are_not_found_in_the_sandbox(monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "find_sandbox", lambda: "/bin/false")
    assert run(Interpreters(), "print(1)") == Execution("1\n", "", "monty")


@confined
@pytest.mark.slow
def test_a_process_that_ended_while_it_waited_is_replaced() -> None:
    interpreters = Interpreters()
    before = {each.pid for each in list_children()}
    assert run(interpreters, "import sympy\nprint(1)").output == "1\n"
    for each in list_children():
        if each.pid not in before and "cpython" in read_command(each):
            each.kill()
    assert run(interpreters, "import sympy\nprint(2)").output == "2\n"


@confined
@pytest.mark.slow
def test_without_monty_cpython_runs_all(monkeypatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    assert run(Interpreters(), "print(1)") == Execution("1\n", "", "cpython")


@pytest.mark.slow
def test_a_child_that_is_killed_costs_one_program_and_is_replaced() -> None:
    async def ask() -> list[Execution]:
        async with Interpreters(seconds=(20.0, 2.0)) as interpreters:
            before = list_children()
            await interpreters.run("print(0)")
            mine = [each for each in list_children() if each not in before]
            lost = asyncio.ensure_future(interpreters.run("while True: pass"))
            await asyncio.sleep(0.2)
            for each in mine:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "runner.py" in " ".join(read_command(each)):
                        each.kill()
            return [await lost, await interpreters.run("print(1)")]

    lost, next_one = asyncio.run(ask())
    assert lost == Execution("", "its interpreter crashed", "monty")
    assert next_one == Execution("1\n", "", "monty")


@pytest.mark.slow
def test_closing_ends_every_child_and_they_may_be_used_again() -> None:
    async def ask() -> None:
        before = {each.pid for each in list_children()}
        interpreters = Interpreters(seconds=(30.0, 2.0))
        for round in range(2):
            await interpreters.run(f"print({round})")
            running = asyncio.ensure_future(interpreters.run(f"while True: {round}"))
            await asyncio.sleep(0.1)
            assert {each.pid for each in list_children()} > before
            await interpreters.close()
            assert running.cancelled() or running.done()
            assert {each.pid for each in list_children()} <= before

    asyncio.run(ask())


@pytest.mark.slow
def test_a_loop_that_ends_in_mid_run_waits_for_no_program() -> None:
    interpreters = Interpreters(seconds=(30.0, 2.0))

    async def leave() -> None:
        running = asyncio.ensure_future(interpreters.run("while True: pass"))
        await asyncio.sleep(0.5)
        assert not running.done()

    started = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - started < 10
    assert run(interpreters, "print(1)").output == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_child_is_left_however_ttc_ends(number) -> None:
    needs = "import sympy\n" if not explain_lack() else ""
    script = f"""
import asyncio, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from ttc_cli.forms.interpreters import Interpreters
async def main():
    it = Interpreters(seconds=(60.0, 60.0))
    await it.run({needs + "print(1)"!r})
    runs = [it.run("while True: pass"), it.run({needs + "while True: pass #"!r})]
    running = [asyncio.ensure_future(each) for each in runs]
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.gather(*running)
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = list_children(process.pid)
        assert children
        process.send_signal(number)
        process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not any(map(is_alive, alive))


@pytest.mark.slow
def test_doctor_asks_each() -> None:
    assert asyncio.run(try_all()) == {"monty": "", "cpython": explain_lack()}


def test_the_command_does_not_load_them() -> None:
    script = "import sys, ttc_cli.main\nprint([m for m in sys.modules if 'monty' in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_their_library_never_comes_into_this_process(interpreters) -> None:
    run(interpreters, "print(1)")
    assert "pydantic_monty" not in sys.modules


def test_a_flood_is_never_stored_whole(interpreters) -> None:
    tracemalloc.start()
    try:
        ran = run(interpreters, "while True: print('a' * 1000)")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert ran.error == "stopped after 0.3 s"
    assert len(ran.output) <= KEPT


@pytest.mark.slow
def test_no_file_is_left(interpreters, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asyncio.run(try_all())
    assert list(tmp_path.iterdir()) == []
    assert not Path("/tmp/ttc-reached").exists()
    assert os.path.isdir(tmp_path)
