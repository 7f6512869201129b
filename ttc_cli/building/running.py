"""Runs the programs of an installation, and logs everything they print."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ttc_cli import children
from ttc_cli.errors import TtcError
from ttc_cli.paths import name_installer, open_in_place

# What would make pip or Python look elsewhere than in the environment that is being set up.
_MISLEADING = {
    *("PYTHONHOME", "PYTHONPATH"),
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"),
}
_CALM = {"PYTHONSAFEPATH": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def warn(text: str) -> None:
    """A warning on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Runner:
    """Runs programs and keeps what they say in ``log``; they inherit the open file ``lock``."""

    def __init__(self, log: Path, lock: int) -> None:
        self.log = log
        self._lock = lock
        self.note(time.ctime())

    def note(self, text: str) -> None:
        """A heading in the log."""
        with open_in_place(self.log, "ab") as log:
            log.write(f"\n### {text}\n".encode())

    def run(self, what: str, command: Sequence[str], **environment: str) -> int:
        """Run ``command`` with its output in the log, below ``what``, and return its exit status.

        ``environment`` is set beside this process's own. A terminal shows how far ninja is.
        """
        self.note(f"{what}: {shlex.join(command)}")
        with open_in_place(self.log, "ab") as log:
            try:
                process = self._start(command, log.fileno(), children.STDOUT, environment)
            except OSError:  # there is no such program
                return 127
            with process:
                while True:
                    try:
                        return process.wait(timeout=1)
                    except children.TimeoutExpired:
                        if sys.stderr.isatty():
                            self._show_progress()

    def read(self, command: Sequence[str], *, log_errors: bool = False) -> str:
        """What ``command`` prints, or nothing if it fails; its stderr is ours or the log."""
        with open_in_place(self.log, "ab") as log:
            stderr = log.fileno() if log_errors else None
            with self._start(command, children.PIPE, stderr, {}) as process:
                printed = process.communicate()[0].decode(errors="replace").strip()
        return "" if process.returncode else printed

    def fail(self, message: str, flag: str = "") -> TtcError:
        """Print the end of the log; returns the error to raise, which offers ``flag``."""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        print("", *(f"    {line}" for line in lines), sep="\n", file=sys.stderr)
        return TtcError(
            f"{message}. The whole log: {self.log}", f"{name_installer()} {flag}".strip()
        )

    def _start(
        self, command: Sequence[str], stdout: int, stderr: int | None, added: dict[str, str]
    ) -> children.Process:
        own = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        return children.start(
            command,
            stdout=stdout,
            stderr=stderr,
            environment={**own, **_CALM, **added},
            held=[self._lock],
        )

    def _show_progress(self) -> None:
        with self.log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
            files = re.findall(rb"^ *\[(\d+/\d+)\]", log.read(), re.MULTILINE)
        if files:
            print(f"\r    file {files[-1].decode()} \r", end="", file=sys.stderr, flush=True)
