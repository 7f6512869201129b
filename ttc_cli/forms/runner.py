"""What runs programs, in a process of its own: ``python runner.py monty|cpython FOLDER …``.

A script that stands alone: it is copied to where it runs, and imports nothing of ttc's. It takes
requests on stdin and answers on what was its stdout, a line of JSON each; the first line says that
it is ready. With ``monty`` it goes on until its stdin ends; with ``cpython`` it runs one program,
in itself, and is not to be used again: what it answers may be the program's own words.

``FOLDER`` s are where libraries are; the environment names ``MONTY_BIN``.
"""

from __future__ import annotations

import ctypes
import datetime
import io
import json
import os
import resource
import signal
import struct
import sys
import time
import types
from typing import Any

KEPT = 16 * 1024
"""Characters of output that are kept, the last ones."""
_MESSAGE = 2000
_CLOCK = datetime.datetime(2025, 1, 1)
"""What a program is told that it is: the same program is to print the same."""
_SEED = 0
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


class Kept:
    """The end of what a program printed, and how much it was in all."""

    def __init__(self) -> None:
        self.total = 0
        self._size = 0
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Keep ``text``, and forget what is too long ago."""
        self.total += len(text)
        self._size += len(text)
        self._pieces.append(text[-KEPT:])
        if self._size > 4 * KEPT or len(self._pieces) > KEPT:
            self._pieces = [self.text()]
            self._size = len(self._pieces[0])

    def hear(self, stream: str, text: str) -> None:
        """As ``add``, for what goes to stdout: a warning is no answer."""
        if stream == "stdout":
            self.add(text)

    def text(self) -> str:
        """The last ``KEPT`` characters."""
        return "".join(self._pieces)[-KEPT:]

    def tell(self, error: str) -> dict[str, Any]:
        """The answer to a request."""
        return {"output": self.text(), "printed": self.total, "error": error[:_MESSAGE]}


def serve_monty(channel: io.BufferedWriter) -> None:
    """Run every program in a session of its own."""
    import pydantic_monty as monty

    def begin() -> monty.Monty:
        pool = monty.Monty(min_processes=1, max_processes=1)
        pool.__enter__()
        return pool

    pool = begin()
    policy = monty.OSPolicy(
        datetime=_CLOCK, random_start={"seed": _SEED}, sleep="zero", process_time="zero"
    )
    answer(channel, {"ready": monty.__version__})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        limits = monty.ResourceLimits(
            max_feed_duration_secs=asked["seconds"],
            max_memory=asked["memory"],
            max_recursion_depth=asked["depth"],
        )
        kept, error, worn = Kept(), "", False
        try:
            with pool.checkout(limits=limits, os_policy=policy) as session:
                session.feed_run(asked["code"], print_callback=kept.hear)
        except monty.MontyCrashedError as caught:
            error = "TimeoutError" if caught.timed_out else "Crashed"
        except (monty.MontyRuntimeError, monty.MontySyntaxError) as caught:
            error = caught.display("type-msg")
            worn = error.startswith(("TimeoutError", "MemoryError"))
        except monty.MontyConversionError:
            pass  # the value of its last line, which nobody asks for
        answer(channel, kept.tell(error))
        if worn:  # what was stopped in the middle of something serves nobody again
            pool.__exit__(None, None, None)
            pool = begin()


class Printed(io.TextIOBase):
    """What stands for stdout in a program that CPython runs."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def write(self, text: str) -> int:
        """Keep ``text``."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._kept.add(str(text))
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True


def serve_cpython(channel: io.BufferedWriter) -> None:
    """Run one program with sympy at hand, in a process that can do nothing but compute."""
    settle()
    import sympy

    sympy.core.random.seed(_SEED)
    answer(channel, {"ready": sympy.__version__})
    asked = json.loads(sys.stdin.buffer.readline())
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(nothing, each)
    used = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
    limit = int(used + asked["seconds"]) + 1
    kept = Kept()
    number, write, dump, end = channel.fileno(), os.write, json.dumps, os._exit

    def finish(error: str) -> None:
        data = dump(kept.tell(error)).encode() + b"\n"
        while data:
            data = data[write(number, data) :]
        end(0)

    signal.signal(signal.SIGXCPU, lambda *_: finish(asked["late"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    streams = {"stdin": io.StringIO(), "stdout": Printed(kept), "stderr": Printed(Kept())}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    main = types.ModuleType("__main__")
    main.__dict__.update(exit=sys.exit, quit=sys.exit)
    sys.modules["__main__"] = main
    error = ""
    shut(bytes.fromhex(asked["filter"]))
    try:
        exec(compile(asked["code"], "<program>", "exec", dont_inherit=True), main.__dict__)
    except BaseException as caught:
        error = describe(caught)
    finish(error)


def settle() -> None:
    """Make chance and time the same for every program."""
    os.urandom = lambda size: bytes(size)
    import random

    seed = random.Random.seed

    def begin(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, _SEED if a is None else a, version)

    random.Random.seed = begin  # type: ignore[method-assign]
    random._urandom = os.urandom  # type: ignore[attr-defined]
    random.seed(_SEED)
    now = _CLOCK.replace(tzinfo=datetime.UTC).timestamp()
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, lambda: now)
        setattr(time, f"{name}_ns", lambda: int(now) * 10**9)
    time.process_time = time.thread_time = lambda: 0.0
    time.sleep = lambda seconds: None

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2025, 1, 1) if tz is None else cls(2025, 1, 1, tzinfo=tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls(2025, 1, 1)

        today = utcnow

    class Today(datetime.date):
        @classmethod
        def today(cls) -> Any:
            return cls(2025, 1, 1)

    Fixed.__name__, Today.__name__ = "datetime", "date"
    datetime.datetime, datetime.date = Fixed, Today  # type: ignore[misc]


def shut(lines: bytes) -> None:
    """Give up, by a seccomp filter, all calls that reach anything.

    Raises:
        OSError: the system does not take it.
    """
    array = ctypes.create_string_buffer(lines, len(lines))
    program = struct.pack("HP", len(lines) // 8, ctypes.addressof(array))
    if ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0):
        raise OSError("seccomp is not there")


def describe(caught: BaseException) -> str:
    """The type and the message of what a program raised, whatever these do; empty for an exit."""
    try:
        if isinstance(caught, SystemExit) and caught.code in (None, 0):
            return ""
        name, text = str(type(caught).__name__), str(caught)
        return f"{name}: {text}" if text else name
    except BaseException:
        return "an error that cannot be shown"


def answer(channel: io.BufferedWriter, told: dict[str, Any]) -> None:
    """Write one line."""
    channel.write(json.dumps(told).encode() + b"\n")
    channel.flush()


def main(kind: str, folders: list[str]) -> None:
    """Serve until the end."""
    sys.path[:] = [each for each in sys.path if each != os.path.dirname(__file__)] + folders
    channel = os.fdopen(os.dup(1), "wb")
    if kind == "monty":
        serve_monty(channel)
    else:
        serve_cpython(channel)
    os._exit(0)  # not by way of threads of the library's, which Python does not end well


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
