"""What SIGTERM and SIGHUP do to work that is under way."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ttc_cli.signals import Interruption, Terminated, run_aside, run_tasks

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that ends a process which does not unwind would end the tests."""
    monkeypatch.setattr("ttc_cli.signals._UNWIND_SECONDS", 3600)


def run_interruptibly(work: Any) -> Any:
    interruption = Interruption()
    interruption.stop = lambda: None
    with interruption.installed():
        return interruption.run(work)


@pytest.mark.parametrize("run", [run_tasks, run_interruptibly])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_work_is_ended_where_it_waits_and_not_between_two_of_its_lines(
    run: Any, number: signal.Signals, code: int
) -> None:
    seen: list[str] = []
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)  # where it is ignored it stays so

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            seen.append("the line after the signal")
            await asyncio.sleep(60)
            seen.append("what comes after the wait")
        finally:
            await asyncio.sleep(0.01)
            seen.append("the end, which may wait too")

    try:
        with pytest.raises(Terminated) as caught:
            run(work())
    finally:
        signal.signal(number, before)
    assert caught.value.code == code
    assert seen == ["the line after the signal", "the end, which may wait too"]


@pytest.mark.parametrize("run", [run_tasks, run_interruptibly])
def test_work_that_fails_on_its_way_out_is_terminated_all_the_same(run: Any) -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("the engine is gone")

    with pytest.raises(Terminated) as caught:
        run(work())
    assert caught.value.code == 143
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("run", [run_tasks, run_interruptibly])
def test_work_that_is_over_when_the_signal_comes_is_terminated_too(run: Any) -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "an answer that nobody is there to read"

    with pytest.raises(Terminated):
        run(work())


def test_work_without_a_signal_gives_what_it_gives_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> int:
        assert signal.getsignal(signal.SIGTERM) is not before
        return 42

    assert run_tasks(work()) == 42
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ValueError, match="its own"):
        run_tasks(_fail())


def test_a_signal_to_native_code_that_calls_back_is_not_lost() -> None:
    def call_back() -> list[int]:
        def compare(first: Any, second: Any) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return int(first[0] - second[0])

        order = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
        )
        numbers = (ctypes.c_int * 2)(17, 4)
        ctypes.CDLL(None).qsort(numbers, 2, ctypes.sizeof(ctypes.c_int), order(compare))
        return list(numbers)

    with pytest.raises(Terminated) as caught:
        run_aside(call_back)
    assert caught.value.code == 143


async def _fail() -> None:
    raise ValueError("its own")


HANGING = """
import asyncio, sys
from ttc_cli import signals
signals._UNWIND_SECONDS = 0.5

async def work():
    print("ready", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("no", flush=True)

signals.run_tasks(work())
"""


@pytest.mark.parametrize("again", [False, True])
def test_work_that_will_not_end_is_left_after_a_while_or_at_the_second_signal(
    again: bool,
) -> None:
    script = HANGING.replace("0.5", "3600") if again else HANGING
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    started = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "no\n"
    if again:
        child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 143
    assert again or time.monotonic() - started > 0.4


LOADING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background
sys.argv = ["ttc", "--version"]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from ttc_cli.__main__ import run
run()
"""


def test_ctrl_c_while_ttc_itself_is_loaded_shows_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
