"""What a run is to those who list it, and whether the process that writes it still lives."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ttc_cli.events import Event

_FAR_SECONDS = 3600.0
"""A run on another machine counts as killed this long after its last sign of life."""


class RunState(StrEnum):
    """What became of a run. ``KILLED``: its process is gone and it had not ended."""

    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    FAILED = "failed"


class Timed(NamedTuple):
    """An event and when it happened, in seconds since the first of its run."""

    seconds: float
    event: Event


@dataclass(frozen=True, slots=True)
class Run:
    """A run as a list shows it.

    ``started`` is in seconds since 1970. ``question`` is its beginning. ``request`` is what was
    asked for, as ``begin`` was given it; ``parent`` the id of the run that this one resumed.
    ``candidates`` ended until now. ``tokens`` (sampled), ``flops`` and ``seconds`` are this run's
    own, without its parent's; ``full_tokens`` and ``full_flops`` what all samples of its budget
    would have cost (see ``spending``), None where the run had not ended. ``note``: why it failed.
    """

    id: str
    started: float
    state: RunState
    parent: str | None
    question: str
    model: str
    strategy: str
    level: str
    request: Mapping[str, Any]
    answer: str | None
    difficulty: int | None
    candidates: int
    tokens: int
    flops: float
    seconds: float
    full_tokens: float | None
    full_flops: float | None
    note: str | None


def describe_process() -> str:
    """This process, so that ``lives`` knows it again."""
    pid = os.getpid()
    return json.dumps({"pid": pid, "born": _read_birth(pid), "host": socket.gethostname()})


def lives(process: str, last_sign: float) -> bool:
    """Whether the process that writes a run is there still."""
    known = json.loads(process)
    if known["host"] != socket.gethostname():
        return time.time() - last_sign < _FAR_SECONDS
    pid, born = known["pid"], known["born"]
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's
    except OSError:
        return False
    now = _read_birth(pid) if isinstance(born, str) else _ask_birth(pid)
    if now is None or born is None:
        return True
    if isinstance(now, float) and isinstance(born, float):
        return abs(now - born) < 2
    return bool(now == born)


def _read_birth(pid: int) -> str | float | None:
    """When the process began, in a form that no step of the clock changes; None if nobody says.

    On Linux the boot and the ticks since then (``starttime``, proc(5)). Elsewhere seconds since
    1970, which the system wrote down when the process began.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name in brackets may hold anything, brackets and blanks too.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{boot} {int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return _ask_birth(pid)


def _ask_birth(pid: int) -> float | None:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, OSError):
        return None
