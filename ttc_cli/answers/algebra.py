"""The parent's side of the algebra worker: ask, wait, kill."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttc_cli import children

_WORKER = Path(__file__).with_name("worker.py")
_START_SECONDS = 120.0
_PATIENCE = 15.0
"""Wall seconds per CPU second: the kernel enforces CPU seconds, but the machine may be busy."""


class WorkerLostError(Exception):
    """The worker died or was killed."""


class Algebra:
    """One worker process, asked one thing at a time, killed when it does not answer.

    It runs at the priority of its parent: the search waits for it while nothing is decoded, and
    a low priority was measured to turn its start of one second into 45 on a busy machine.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._process: children.Process | None = None
        self._ready = False
        self.spent = 0.0
        """CPU seconds of the last request."""

    def start(self) -> children.Process:
        """Start the process if it does not run; it loads while the caller goes on."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = children.start(
                children.name_python(str(_WORKER), str(self._limit)),
                stdin=children.PIPE,
                stdout=children.PIPE,
                stderr=children.DEVNULL,
                new_session=True,  # Ctrl-C is the search's affair
            )
        return self._process

    def ask(self, request: Sequence[str]) -> Any:
        """The worker's answer; None where the algebra failed.

        Raises:
            WorkerLostError: the worker died or ran past the limit.
        """
        self.spent = self._limit
        try:
            process = self.start()
            if not self._ready:
                _read_line(process, _START_SECONDS)
                self._ready = True
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            reply, self.spent = json.loads(_read_line(process, self._limit * _PATIENCE))
        except (OSError, EOFError):
            self.stop()
            raise WorkerLostError from None
        return reply

    def kill(self) -> None:
        """Kill the process from any thread; callers waiting for it get ``WorkerLostError``."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """Kill the process, if there is one, and wait for its end."""
        process, self._process, self._ready = self._process, None, False
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _read_line(process: children.Process, seconds: float) -> bytes:
    """The next line that ``process`` writes; it is killed if that takes longer than ``seconds``."""
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line.endswith(b"\n"):
        raise EOFError
    return line
