"""A child that runs programs: confined as a check is, asked by a line of JSON, answering by one."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ttc_cli import children
from ttc_cli.verifiers.checking.cells import open_cell

SPACE = 32 << 20
"""Bytes of its files, where they are in memory."""
STARTING = 60.0
"""Seconds that a child may take to be ready: a machine that computes is slow to begin things."""
LINE = 256 * 1024
"""Bytes of an answer; more is not read."""
_RUNNER = Path(__file__).with_name("runner.py")


class Broken(Exception):
    """A child did not start, or is gone; ``late``: it was not ready or did not answer in time."""

    def __init__(self, reason: str, *, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class Confined:
    """One child, ``runner.py``. Used by one thread at a time, but for ``kill``.

    Args:
        kind: ``monty`` or ``cpython``.
        sandbox: as ``find_sandbox`` says.
        packages: the Python packages it imports, which must be installed here.
        limits: as ``confine`` reads them.
        environment: all of it.
        files: what it needs to see of the file system beside its libraries.

    Raises:
        Broken: it cannot be started.
    """

    def __init__(
        self,
        kind: str,
        *,
        sandbox: str | None,
        packages: Sequence[str],
        limits: Mapping[str, int],
        environment: Mapping[str, str],
        files: Sequence[Path] = (),
    ) -> None:
        self._lock = threading.Lock()
        self.ready = False
        self._kept = b""
        folders = _find_folders(packages)
        words = ",".join(f"{name}={value}" for name, value in limits.items())
        python = os.path.realpath(children.name_python()[0])
        command = (*children.name_python("-s", "-S", "-B", python=python),)
        with contextlib.ExitStack() as stack:
            try:
                self._said = stack.enter_context(tempfile.TemporaryFile())
                cell = stack.enter_context(
                    open_cell(
                        sandbox,
                        command,
                        _RUNNER.read_bytes(),
                        _RUNNER.name,
                        words,
                        only=(*map(Path, folders), *files),
                        space=SPACE,
                    )
                )
                self._process = children.start(
                    [*cell.words, *command, str(cell.file), kind, *folders],
                    stdin=children.PIPE,
                    stdout=children.PIPE,
                    stderr=self._said,
                    cwd=Path("/") if cell.closed else cell.file.parent,
                    environment=environment,
                    new_session=True,
                    held=cell.held,
                )
            except OSError as error:
                raise Broken(str(error)) from error
            self._stack = stack.pop_all()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """What it answers within ``seconds`` from when it was ready.

        Raises:
            Broken: it did not; it is of no use any more.
        """
        self.wait()
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except (OSError, ValueError) as error:
            raise Broken("its interpreter is gone") from error
        return self._read(time.monotonic() + seconds)

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            Broken: it never was.
        """
        if not self.ready:
            self._read(time.monotonic() + STARTING)
            self.ready = True

    def _read(self, until: float) -> dict[str, Any]:
        """The next line."""
        pipe = self._process.stdout
        assert pipe is not None
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(pipe, selectors.EVENT_READ)
                while b"\n" not in self._kept:
                    if not selector.select(max(0.0, until - time.monotonic())):
                        raise Broken("it does not answer", late=True)
                    chunk = os.read(pipe.fileno(), 1 << 16)
                    self._kept += chunk
                    if not chunk or len(self._kept) > LINE:
                        raise Broken(self._explain())
            except (OSError, ValueError) as error:  # closed meanwhile
                raise Broken("its interpreter is gone") from error
        line, _, self._kept = self._kept.partition(b"\n")
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise Broken("its interpreter is gone")
        return cast(dict[str, Any], told)

    def _explain(self) -> str:
        """The last line that it wrote to stderr."""
        size = os.fstat(self._said.fileno()).st_size
        said = os.pread(self._said.fileno(), 4096, max(0, size - 4096)).decode("utf-8", "replace")
        return said.strip().rpartition("\n")[2] or "its interpreter is gone"

    def kill(self) -> None:
        """End it, from any thread; ``close`` is still to come."""
        with self._lock:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it and forget it; a second time does nothing."""
        self.kill()
        with self._lock:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError, ValueError):
                    if pipe is not None:
                        pipe.close()
            self._stack.close()


def _find_folders(packages: Sequence[str]) -> list[str]:
    """Where ``packages`` are installed, without importing them.

    Raises:
        Broken: one of them is not.
    """
    folders: dict[str, None] = {}
    for package in packages:
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise Broken(f"{package} is not installed")
        origin = Path(found.origin)
        within = origin.parent.parent if origin.name == "__init__.py" else origin.parent
        folders[str(within)] = None
    return list(folders)
