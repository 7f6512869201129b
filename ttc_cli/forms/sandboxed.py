"""Runs programs with CPython and sympy, in bubblewrap, or not at all.

A program sees the interpreter's libraries, read-only, and nothing else of the file system; it has
no network and no environment, and before it begins its process gives up beginning others. To import
sympy takes half a second, so that a process waits for the next program that has already done so.
Each runs one program and is gone with it.
"""

from __future__ import annotations

import time

from ttc_cli.forms.confined import Broken, Confined
from ttc_cli.forms.running import GONE, Job, Runner, read_told
from ttc_cli.types import Execution
from ttc_cli.verifiers.checking import sandbox
from ttc_cli.verifiers.checking.cells import LANDLOCK, SEATBELT
from ttc_cli.verifiers.checking.seccomp import build_lone_filter

SECONDS = 4.0
"""Of computing, of one program, rounded up; of waiting for it, ``PATIENCE`` times as many."""
PATIENCE = 3.0
MEMORY = 1 << 30
"""Bytes, of all that its process maps."""
SPARE = 1
"""Processes that wait for a program."""
_STARTUP = 60
"""Seconds of computing that a process may take before its program begins."""


def explain_lack() -> str:
    """Why programs cannot be run with CPython here; empty if they can."""
    found = sandbox.find_sandbox()
    if found in (None, LANDLOCK, SEATBELT):
        return sandbox.explain_sandbox() or "bubblewrap is not for this system"
    return "" if build_lone_filter() is not None else "this machine's system calls are not known"


class Sandboxed(Runner):
    """Runs programs with CPython and sympy, each in a process of its own.

    Args:
        seconds: of computing, of one program.
    """

    name = "cpython"

    def __init__(self, *, seconds: float = SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._spares: list[Confined] = []

    def _run(self, job: Job) -> Execution:
        child = self._take()
        job.attend(child)
        lines, late = build_lone_filter(), f"stopped after {self._seconds:g} s"
        started = time.monotonic()
        try:
            child.wait()
            started = time.monotonic()
            self._prepare()
            assert lines is not None
            request = {
                "code": job.code, "seconds": self._seconds, "late": late, "filter": lines.hex(),
            }  # fmt: skip
            told = child.ask(request, PATIENCE * self._seconds)
        except Broken as error:
            if not child.ready:
                raise
            over = error.late or time.monotonic() - started >= self._seconds
            return Execution("", late if over else GONE, self.name)
        finally:
            job.attend(None)
            self._discard(child)
        return read_told(told, self.name)

    def _take(self) -> Confined:
        """A process that is ready, or soon."""
        with self._lock:
            spare = self._spares.pop() if self._spares else None
        if spare is not None:
            try:
                spare.wait()
            except Broken:
                self._discard(spare)
            else:
                return spare
        return self._hold(self._start())

    def _prepare(self) -> None:
        """Start what the next program finds ready."""
        if len(self._spares) < SPARE:
            child = self._hold(self._start())
            with self._lock:
                self._spares.append(child)

    def close(self) -> None:
        """End all processes."""
        super().close()
        self._spares.clear()

    def _start(self) -> Confined:
        if why := explain_lack():
            raise Broken(why)
        return Confined(
            "cpython",
            sandbox=sandbox.find_sandbox(),
            packages=("sympy", "mpmath", "numpy"),
            limits={
                "nice": 0, "core": 0, "fsize": 1 << 20, "nofile": 64, "as": MEMORY,
                "cpu": _STARTUP,
            },
            environment={
                "LANG": "C.UTF-8",
                "PYTHONHASHSEED": "0",
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )  # fmt: skip
