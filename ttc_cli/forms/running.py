"""Programs run in threads that each start and attend children, off the event loop.

A child is bound to the thread that started it: the kernel ends it with that thread, and so with
ttc, however ttc ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ttc_cli.forms.confined import Confined
from ttc_cli.forms.runner import KEPT
from ttc_cli.types import Execution

LONGEST = 100_000
"""Characters of a program; one that is longer is not run."""
MESSAGE = 500
"""Characters of an error."""
GONE = "its interpreter crashed"
_CUT = "…"
_PLACE = re.compile(r" \((?:/[^()]*|unknown location)\)$")


class Job:
    """A program that is run, and may be given up at any time."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.dropped = False
        self._child: Confined | None = None
        self._lock = threading.Lock()

    def attend(self, child: Confined | None) -> None:
        """Say which child is at it; that one is killed when the job is dropped."""
        with self._lock:
            self._child = child
            if self.dropped and child is not None:
                child.kill()

    def drop(self) -> None:
        """Give it up."""
        with self._lock:
            self.dropped = True
            if self._child is not None:
                self._child.kill()


class Runner:
    """One way to run programs: ``threads`` at once, each with children of its own.

    Where it is never closed, its children end when it is forgotten, or with ttc.
    """

    name = ""

    def __init__(self, *, threads: int = 2) -> None:
        self._count = threads
        self._threads: ThreadPoolExecutor | None = None
        self._children: set[Confined] = set()
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._children)

    @property
    def started(self) -> bool:
        """Whether it has been used, and not closed since."""
        return self._threads is not None

    async def run(self, code: str) -> Execution:
        """What ``code`` came to. Cancelled, it ends the child that is at it.

        Raises:
            Broken: no child can be started here.
        """
        if len(code) > LONGEST:
            return Execution("", f"longer than {LONGEST:,} characters", self.name)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._count, f"ttc-{self.name}")
        job = Job(code)
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            job.drop()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await running
            raise

    def _run(self, job: Job) -> Execution:
        """Run it, in a thread of its own.

        Raises:
            Broken: as ``run``.
        """
        raise NotImplementedError

    def _hold(self, child: Confined) -> Confined:
        with self._lock:
            self._children.add(child)
        return child

    def _discard(self, child: Confined) -> None:
        with self._lock:
            self._children.discard(child)
        child.close()

    def close(self) -> None:
        """End all children. It may be used again."""
        threads, self._threads = self._threads, None
        for child in list(self._children):
            child.kill()
        if threads is not None:
            threads.shutdown(cancel_futures=True)
        for child in list(self._children):
            self._discard(child)


def _close_all(children: set[Confined]) -> None:
    while children:
        children.pop().close()


def read_told(told: Mapping[str, Any], name: str) -> Execution:
    """What a child answered; all of it may be the program's own words.

    Output beyond a bound is cut at its beginning, where a line ends. A last line that is longer is
    an error: half a number is another number.
    """
    output, printed, error = told.get("output"), told.get("printed"), told.get("error")
    output = _clean(output)[-KEPT:] if isinstance(output, str) else ""
    error = shorten(error) if isinstance(error, str) else GONE
    if isinstance(printed, int) and printed > len(output):
        _, end, rest = output.partition("\n")
        if end and rest:
            output = f"{_CUT}\n{rest}"
        else:
            output = _CUT + output
            error = error or f"printed a line of more than {KEPT:,} characters"
    return Execution(output, error, name)


def shorten(error: str) -> str:
    """One line of at most ``MESSAGE`` characters, without the place of a file on this machine."""
    line = " ".join(filter(None, map(str.strip, _clean(error).split("\n"))))
    line = _PLACE.sub("", line) if line.startswith("ImportError: ") else line
    return line if len(line) <= MESSAGE else line[: MESSAGE - 1] + _CUT


def _clean(text: str) -> str:
    """``text`` without what is no character by itself."""
    return text.encode("utf-8", "replace").decode("utf-8")
