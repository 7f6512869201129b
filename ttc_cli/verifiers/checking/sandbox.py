"""Runs the user's command on model-written text: its time, its output, the end of it.

What ``command`` promises of a check is kept here. ``cells`` is what stands around it, ``confine``
what the child does to itself, ``watching`` what all of a check's processes may use together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import platform
import re
import selectors
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttc_cli import children
from ttc_cli.verifiers.checking import confine
from ttc_cli.verifiers.checking.cells import LANDLOCK, SEATBELT, open_cell
from ttc_cli.verifiers.checking.seccomp import build_filter
from ttc_cli.verifiers.checking.shown import follow
from ttc_cli.verifiers.checking.watching import MEMORY, PROCESSES, Watch

OUTPUT = 64 * 1024
"""Bytes of output that are kept, the last ones; more is read and thrown away."""
FILE_BYTES = 64 << 20
OPEN_FILES = 1024

FILE = re.compile(r"\{file(\.[A-Za-z0-9_]{1,12})?\}")
_KEPT = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "SystemRoot",
    "CONDA_PREFIX", "GOROOT", "JAVA_HOME", "PYENV_ROOT", "PYENV_VERSION", "RUSTUP_TOOLCHAIN",
)  # fmt: skip
_PLACES = {"PYENV_DIR": ".", "PYTHONUSERBASE": "~/.local", "RUSTUP_HOME": "~/.rustup"}
"""What programs look for in the folder they run in or in the home, which are others in a check."""


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
    ``excess`` is what it was killed for using too much of. Where it was not ``started``, ``output``
    is the sandbox's or the system's, and says nothing about the candidate. ``folder`` is where it
    ran, which is gone.
    """

    code: int | None
    output: str
    excess: str | None = None
    started: bool = True
    folder: str = ""

    @property
    def passed(self) -> bool:
        """Whether it exited with status 0."""
        return self.started and self.code == 0


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
        sandbox: as ``find_sandbox`` says.
        processes: how many the user may have in all; None for no limit.
        stopped: set, it kills the command as cancelling does, from any thread.
    """
    limits = {
        "data": MEMORY,
        "fsize": FILE_BYTES,
        "nofile": OPEN_FILES,
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
    with contextlib.ExitStack() as stack:
        try:
            cell = stack.enter_context(
                open_cell(sandbox, command.words, data, f"candidate{suffix}", limits)
            )
            folder = cell.file.parent
            started = time.monotonic()
            process = children.start(
                cell.words + command.fill(cell.file),
                stdout=children.PIPE,
                stderr=children.STDOUT,
                cwd=Path("/") if cell.closed else folder,
                environment=_environment(folder),
                new_session=True,
                held=cell.held,
            )
        except OSError as error:
            return Checked(None, str(error), started=False)
        with process:
            watch = Watch(process.pid, grown=cell.closed, folder=None if cell.closed else folder)
            output, ended = _attend(process, started + seconds, stops, watch)
            _kill_group(process)  # before it is waited for: until then its number is its own
            code: int | None = process.wait()
        told = os.pread(cell.ready, 2, 0)
    text = output.decode("utf-8", "replace")
    if watch.excess:
        code = -signal.SIGKILL
    elif not ended:
        code = None
    return Checked(code, text, watch.excess, told == b"+", str(folder))


def _attend(
    process: children.Process,
    deadline: float,
    stops: Sequence[threading.Event],
    watch: Watch,
) -> tuple[bytes, bool]:
    """Read what ``process`` writes until it exits (True), or is to end (False).

    It is to end at ``deadline``, at a stop, and when ``watch`` finds too much of something.
    """
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
            if left <= 0 or (not ended and watch.look()):
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
    kept = {name: os.environ[name] for name in (*_KEPT, *_PLACES) if name in os.environ}
    for name, place in _PLACES.items():
        with contextlib.suppress(OSError):  # the working folder may be gone
            kept.setdefault(name, os.path.abspath(os.path.expanduser(place)))
    return {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def count_processes() -> int | None:
    """The user's processes and threads, which the system's limit counts all, and room for more.

    None for root, to whom the limit does not apply.
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


@functools.lru_cache(maxsize=1)
def find_sandbox() -> str | None:
    """What confines checks here: the path of bubblewrap, or of macOS's own sandbox; ``LANDLOCK``.

    None where none of these is there and works.
    """
    return _try_all()[0]


def explain_sandbox() -> str:
    """Why no sandbox better than ``find_sandbox``'s works here; empty if it is the best."""
    return _try_all()[1] if find_sandbox() in (None, LANDLOCK) else ""


def _try_all() -> tuple[str | None, str]:
    """The best sandbox that works here, and why there is no better one."""
    mac = sys.platform == "darwin"
    name = "sandbox-exec" if mac else "bubblewrap"
    path = children.find_program(SEATBELT if mac else "bwrap")
    if path is None:
        why = f"{name} is missing"
    elif not mac and build_filter(alone=True) is None:
        why = f"{name} is not known to work on {platform.machine()}"
    elif (said := _try(path)) is None:
        return path, ""
    else:
        why = f"{name} does not work here" + (f" ({said})" if said else "")
    kept = (
        confine.read_landlock() >= confine.NEEDED_VERSION and build_filter(alone=False) is not None
    )
    return (LANDLOCK if kept and _try(LANDLOCK) is None else None), why


def _try(sandbox: str) -> str | None:
    """None where ``sandbox`` works; else the last line that it said."""
    nothing = Command(children.name_python("-I", "-S", "-c", ""))
    tried = _run(nothing, b"", "", 5.0, sandbox, "", ())
    return None if tried.passed else "".join(tried.output.strip().splitlines()[-1:])


@functools.lru_cache(maxsize=4)
def find_hidden(command: Command, sandbox: str | None) -> tuple[str, ...]:
    """The files and folders ``command`` names, and needs for it, that its check could not open.

    With bubblewrap root has no more rights to files than their owners give it, for one.
    """
    named = [word for word in command.words if os.path.isabs(word) and os.path.exists(word)]
    wanted = [*named, *(str(each) for each in follow(command.words[:1]) if each.is_file())]
    wanted = list(dict.fromkeys(each for each in wanted if _is_open(each)))
    look = Command(children.name_python("-I", "-S", "-c", _LOOK, *wanted))
    found = _run(look, b"", "", 10.0, sandbox, "", ())
    return tuple(wanted[int(each)] for each in found.output.split() if found.passed)


_LOOK = (
    "import os, sys\n"
    "for place, path in enumerate(sys.argv[1:]):\n"
    "    if not (os.access(path, os.R_OK) or os.access(path, os.X_OK)): print(place)\n"
)


def _is_open(path: str) -> bool:
    return os.access(path, os.R_OK) or os.access(path, os.X_OK)
