"""Runs the user's command on model-written text: files, limits, bubblewrap, the end of it.

What ``command`` promises of a check is kept here; ``confine`` is what the child does to itself.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
import re
import selectors
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttc_cli import children

OUTPUT = 64 * 1024
"""Bytes of output that are kept, the last ones; more is read and thrown away."""
MEMORY = 4 << 30
"""Of data, not of addresses: JavaScript and Java reserve far more than they use."""
FILE_BYTES = 64 << 20
PROCESSES = 256
"""How many more processes and threads than the user has already, all checks together."""

FILE = re.compile(r"\{file(\.[A-Za-z0-9_]{1,12})?\}")
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "SystemRoot")
_CONFINE = Path(__file__).with_name("confine.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the user gave it: ``words``, some of which hold ``{file}``."""

    words: tuple[str, ...]

    def fill(self, file: Path) -> list[str]:
        """The argument list for the candidate in ``file``."""
        return [FILE.sub(lambda _: str(file), word) for word in self.words]

    @property
    def suffix(self) -> str | None:
        """The file's ending where the user named one: ``{file.py}``."""
        found = (FILE.search(word) for word in self.words)
        return next((each[1] for each in found if each is not None and each[1]), None)


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one check. ``code`` is None where it was killed: time, or a cancelled run.

    ``output`` is the end of what it wrote to stdout and stderr; hostile, like all model text.
    """

    code: int | None
    output: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it exited with status 0."""
        return self.code == 0


async def run_check(
    command: Command,
    data: bytes,
    suffix: str,
    *,
    seconds: float,
    sandbox: str | None,
    processes: int | None = None,
    stopped: threading.Event | None = None,
) -> Checked:
    """Run ``command`` once on a file that holds ``data``; cancelling it kills the command.

    Args:
        command: the user's.
        data: the content of the file.
        suffix: the ending of its name.
        seconds: after which it is killed.
        sandbox: bubblewrap's path or None.
        processes: how many the user may have in all; None is no limit.
        stopped: set, it kills the command as cancelling does, from any thread.
    """
    limits = {
        "data": MEMORY,
        "fsize": FILE_BYTES,
        "cpu": math.ceil(seconds) + 1,
        "core": 0,
        **({} if processes is None else {"nproc": processes}),
    }
    words = ",".join(f"{name}={value}" for name, value in limits.items())
    stop = threading.Event()
    stops = (stop,) if stopped is None else (stop, stopped)
    running = asyncio.ensure_future(
        asyncio.to_thread(_run, command, data, suffix, seconds, sandbox, words, stops)
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await running
        raise


def _run(
    command: Command,
    data: bytes,
    suffix: str,
    seconds: float,
    sandbox: str | None,
    limits: str,
    stops: Sequence[threading.Event],
) -> Checked:
    with tempfile.TemporaryDirectory(prefix="ttc-check-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        file = folder / f"candidate{suffix}"
        file.write_bytes(data)
        argv = [*children.name_python("-I", "-S", str(_CONFINE), limits)]
        if sandbox is not None:
            argv += confine_words(sandbox, folder, command)
        started = time.monotonic()
        process = children.start(
            argv + command.fill(file),
            stdout=children.PIPE,
            stderr=children.STDOUT,
            cwd=folder,
            environment=_environment(folder),
            new_session=True,
        )
        with process:
            output, ended = _attend(process, started + seconds, stops)
            _kill_group(process)  # before it is waited for: until then its number is its own
            code = process.wait()
    text = output.decode("utf-8", "replace")
    return Checked(code if ended else None, text, time.monotonic() - started)


def _attend(
    process: children.Process, deadline: float, stops: Sequence[threading.Event]
) -> tuple[bytes, bool]:
    """Read what ``process`` writes until it exits (True), or ``deadline`` or a stop (False)."""
    assert process.stdout is not None
    kept = bytearray()
    ended = False
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdout.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ)
        pause = 0.002
        while not any(stop.is_set() for stop in stops):
            ended = _has_exited(process)
            left = deadline - time.monotonic()
            if selector.get_map():
                ready = selector.select(0 if ended else max(0.0, min(pause, left)))
            else:  # it closed its output and goes on
                ready = []
                time.sleep(0 if ended else max(0.0, min(pause, left)))
            if ready:
                chunk = process.stdout.read(1 << 16)
                if chunk:
                    kept += chunk
                    del kept[:-OUTPUT]
                elif chunk == b"":
                    selector.unregister(process.stdout)
            elif ended:
                break
            if left <= 0:
                break
            pause = min(0.05, pause * 1.5)
    return bytes(kept), ended


def _has_exited(process: children.Process) -> bool:
    """Whether it has, without freeing its process number where the system allows that."""
    if hasattr(os, "waitid"):
        try:
            seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return seen is not None
    return process.poll() is not None


def _kill_group(process: children.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # all of it is gone (macOS says the latter)
        return


def _environment(folder: Path) -> dict[str, str]:
    """Little enough that no key or token of the user's is in it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def count_processes() -> int | None:
    """The user's processes and threads, which the system's limit counts all, and room for more.

    None for root, whom the limit does not hold.
    """
    import psutil

    mine, count = os.getuid(), PROCESSES
    if mine == 0:
        return None
    for process in psutil.process_iter():
        try:
            if process.uids().real == mine:
                count += process.num_threads()
        except psutil.Error:
            continue
    return count


def confine_words(sandbox: str, folder: Path, command: Command) -> list[str]:
    """What runs a command in bubblewrap: all is read-only but ``folder``, and no network.

    ``/tmp`` is private; what ``command`` names there is shown again, read-only.
    """
    shown: list[str] = []
    for word in command.words:
        path = Path(word)
        if path.is_absolute() and path.parts[1:2] == ("tmp",) and path.exists():
            place = str(path if path.parent == Path("/tmp") else path.parent)
            shown += ["--ro-bind", place, place]
    shared = [
        "--ro-bind", "/", "/",
        "--dev", "/dev",
        "--proc", "/proc",
        "--tmpfs", "/tmp",
        *shown,
        "--bind", str(folder), str(folder),
        "--chdir", str(folder),
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop", "ALL",
    ]  # fmt: skip
    return [sandbox, *shared, "--"]


@functools.lru_cache(maxsize=1)
def find_sandbox() -> str | None:
    """Bubblewrap's path, where it is installed and the system lets it work; else None."""
    path = children.find_program("bwrap")
    if path is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="ttc-check-") as made:
            probe = [*confine_words(path, Path(made).resolve(), Command(())), "true"]
            done = children.run(probe, timeout=5)
    except (OSError, children.SubprocessError):
        return None
    return path if done.returncode == 0 else None
