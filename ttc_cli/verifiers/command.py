"""The user's own check: the exit status of a command a candidate is the outcome reward.

``--check 'pytest -q {file}'`` writes each candidate's last fenced code block (or, without one,
its stated answer) to a file and runs the command on it; exit status 0 scores 1, all else 0. The
command is the user's, split once by ``shlex`` and never given to a shell; model text gets into
the file alone, not into an argument or a name.

Model-written code is hostile. A check runs in an empty folder of its own, without the user's
environment, with a time limit, limits on memory, file size, processes and processor time, at
the lowest priority; its whole process group is killed at the end. Where bubblewrap works it also
has no network, a read-only file system and a process space of its own. Without it the code has
the user's rights (it can read the user's files, and a process that leaves its group outlives the
check by at most its processor time): ``find_sandbox`` says which, and the command line warns.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.engines.base import Session
from ttc_cli.errors import UsageError
from ttc_cli.types import Candidate, Problem, Score
from ttc_cli.verifiers.base import Leaf, WholeVerifier

SECONDS = 10.0
OUTPUT = 64 * 1024
"""Bytes of output that are kept, the last ones; more is read and thrown away."""
MEMORY = 4 << 30
"""Of data, not of addresses: JavaScript and Java reserve far more than they use."""
FILE_BYTES = 64 << 20
PROCESSES = 256
"""How many more processes and threads than the user has already, all checks together."""

SUFFIXES: Mapping[str, str] = {
    "bash": ".sh", "c": ".c", "c++": ".cpp", "cpp": ".cpp", "csharp": ".cs", "css": ".css",
    "go": ".go", "haskell": ".hs", "html": ".html", "java": ".java", "javascript": ".js",
    "js": ".js", "json": ".json", "julia": ".jl", "kotlin": ".kt", "lean": ".lean", "lua": ".lua",
    "ocaml": ".ml", "perl": ".pl", "php": ".php", "py": ".py", "python": ".py", "python3": ".py",
    "r": ".r", "ruby": ".rb", "rust": ".rs", "scala": ".scala", "sh": ".sh", "sql": ".sql",
    "swift": ".swift", "ts": ".ts", "typescript": ".ts", "xml": ".xml", "yaml": ".yaml",
}  # fmt: skip
"""The file's ending by a fence's language; anything else, and an answer, is ``.txt``."""

_FILE = re.compile(r"\{file(\.[A-Za-z0-9_]{1,12})?\}")
_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:^ {0,3}\1[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "SystemRoot")
_CONFINE = Path(__file__).with_name("confine.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the user gave it: ``words``, some of which hold ``{file}``."""

    words: tuple[str, ...]

    def fill(self, file: Path) -> list[str]:
        """The argument list for the candidate in ``file``."""
        return [_FILE.sub(lambda _: str(file), word) for word in self.words]

    @property
    def suffix(self) -> str | None:
        """The file's ending where the user named one: ``{file.py}``."""
        found = (_FILE.search(word) for word in self.words)
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


def read_command(text: str, folder: Path | None = None) -> Command:
    """Split ``text`` as a shell would and make its program and scripts findable from anywhere.

    A check does not run in the user's folder. So the program, and an argument that names a file
    there by a path with a slash or a script's ending (``check.py``), become absolute paths.

    Args:
        text: the user's command, with ``{file}`` or ``{file.py}`` where the file's path goes.
        folder: what relative paths are relative to; None is the current one.

    Raises:
        UsageError: it is empty, its quotes do not match, ``{file}`` is missing, or there is no
            such program.
    """
    example = "Write it as: --check 'python3 check.py {file}'"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"The check {text!r} cannot be split: {error}.", example) from error
    if not words:
        raise UsageError("The check is empty.", example)
    if not any(_FILE.search(word) for word in words[1:]):
        raise UsageError(
            f"The check {text!r} has no {{file}}: it would not see the candidates.", example
        )
    folder = folder or Path.cwd()
    program = shutil.which(words[0]) if os.sep not in words[0] else str(folder / words[0])
    if program is None or not os.access(program, os.X_OK) or os.path.isdir(program):
        raise UsageError(f"There is no program {words[0]!r} to check with.", example)
    return Command((program, *(_locate(word, folder) for word in words[1:])))


def _locate(word: str, folder: Path) -> str:
    named = os.sep in word or Path(word).suffix in SUFFIXES.values()
    path = folder / word
    return str(path) if named and not _FILE.search(word) and path.is_file() else word


def pick_content(candidate: Candidate) -> tuple[str, str]:
    """What of ``candidate`` is checked, and the ending of its file.

    Its last fenced code block, else its stated answer, else all of its text.
    """
    text = candidate.text[candidate.thought :]
    blocks = list(_FENCE.finditer(text))
    if blocks:
        return blocks[-1][3], SUFFIXES.get(blocks[-1][2].lower(), ".txt")
    stated = candidate.answer.text if candidate.answer is not None else text
    return stated + "\n", ".txt"


class CommandVerifier(WholeVerifier):
    """Scores candidates by the exit status of the user's command.

    Args:
        command: from ``read_command``.
        seconds: time limit of one check; the run's own time cap holds beside it.
        sandbox: bubblewrap's path, or None to run without: what ``find_sandbox`` said.
        parallel: checks that run at once.
    """

    name = "check"
    needs_branch = False

    def __init__(
        self, command: Command, *, seconds: float = SECONDS, sandbox: str | None, parallel: int = 1
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._sandbox = sandbox
        self._parallel = max(1, parallel)
        self._known: dict[int, dict[str, float]] = {}

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """1 where the command exits with status 0, else 0; None where a cap came first.

        What several candidates have in common is checked once a question.

        Raises:
            UsageError: the command could not be started.
        """
        known = self._known.setdefault(id(session), {})
        keys, missing = [], {}
        for leaf in leaves:
            content, suffix = pick_content(leaf.candidate)
            data = content.encode("utf-8", "surrogatepass")
            suffix = self._command.suffix or suffix
            keys.append(hashlib.sha256(suffix.encode() + b"\0" + data).hexdigest())
            if keys[-1] not in known:
                missing[keys[-1]] = (data, suffix)
        gate = asyncio.Semaphore(self._parallel)
        processes = _count_processes() if missing else None
        unstarted = False

        async def check(key: str, data: bytes, suffix: str) -> None:
            nonlocal unstarted
            async with gate:
                left = session.meter.remaining_seconds()
                limit = self._seconds if left is None else min(self._seconds, left)
                if limit <= 0 or session.meter.exhausted():
                    return
                found = await run_check(
                    self._command,
                    data,
                    suffix,
                    seconds=limit,
                    sandbox=self._sandbox,
                    processes=processes,
                )
            if found.code is None and limit < self._seconds:
                return  # the run's own time ended, not the check's
            if found.code in (126, 127) and not found.output:
                unstarted = True
            known[key] = float(found.passed)

        await asyncio.gather(*(check(key, *each) for key, each in missing.items()))
        if unstarted:
            raise UsageError(
                f"The check could not be started: {self._command.words[0]}.",
                "Try the command by itself.",
            )
        return [
            None if (value := known.get(key)) is None else Score(self.name, value) for key in keys
        ]

    async def leave(self, session: Session) -> None:
        """Forget the results."""
        self._known.pop(id(session), None)


async def run_check(
    command: Command,
    data: bytes,
    suffix: str,
    *,
    seconds: float,
    sandbox: str | None,
    processes: int | None = None,
) -> Checked:
    """Run ``command`` once on a file that holds ``data``; cancelling it kills the command.

    Args:
        command: the user's.
        data: the content of the file.
        suffix: the ending of its name.
        seconds: after which it is killed.
        sandbox: bubblewrap's path or None.
        processes: how many the user may have in all; None is no limit.
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
    running = asyncio.ensure_future(
        asyncio.to_thread(_run, command, data, suffix, seconds, sandbox, words, stop)
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
    stop: threading.Event,
) -> Checked:
    with tempfile.TemporaryDirectory(prefix="ttc-check-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        file = folder / f"candidate{suffix}"
        file.write_bytes(data)
        argv = [sys.executable, "-I", "-S", str(_CONFINE), limits]
        if sandbox is not None:
            argv += confine_words(sandbox, folder, command)
        started = time.monotonic()
        process = subprocess.Popen(
            argv + command.fill(file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        with process:
            output, ended = _attend(process, started + seconds, stop)
            _kill_group(process)  # before it is waited for: until then its number is its own
            code = process.wait()
    text = output.decode("utf-8", "replace")
    return Checked(code if ended else None, text, time.monotonic() - started)


def _attend(
    process: subprocess.Popen[bytes], deadline: float, stop: threading.Event
) -> tuple[bytes, bool]:
    """Read what ``process`` writes until it exits (True), or ``deadline`` or ``stop`` (False)."""
    assert process.stdout is not None
    kept = bytearray()
    ended = False
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdout.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ)
        pause = 0.002
        while not stop.is_set():
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


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without freeing its process number where the system allows that."""
    if hasattr(os, "waitid"):
        try:
            seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return seen is not None
    return process.poll() is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
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


def _count_processes() -> int | None:
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
    path = shutil.which("bwrap")
    if path is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="ttc-check-") as made:
            probe = [*confine_words(path, Path(made).resolve(), Command(())), "true"]
            done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return path if done.returncode == 0 else None
