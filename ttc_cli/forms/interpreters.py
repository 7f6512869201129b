"""Runs what a model wrote: monty first, CPython with sympy for what that lacks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Self

from ttc_cli.forms.confined import Broken
from ttc_cli.forms.monty import SECONDS as MONTY_SECONDS
from ttc_cli.forms.monty import Monty, find_lack
from ttc_cli.forms.running import shorten
from ttc_cli.forms.sandboxed import SECONDS as CPYTHON_SECONDS
from ttc_cli.forms.sandboxed import Sandboxed
from ttc_cli.types import Execution

_ONE = "print(1)"
_REMEMBERED = 1000
"""Results; what was run before so many others is run again."""


class Interpreters:
    """Runs programs, each once however often it is asked for. Starts what it needs when needed.

    Its children end with ``close``, or where it is an async context manager at the end of that; in
    any case with ttc.

    Args:
        known: what is known of programs already, by their code; they are not run.
        warn: is told, once, that programs fail for want of an interpreter.
        seconds: of one program, and of one that needs CPython.
    """

    def __init__(
        self,
        *,
        known: Mapping[str, Execution] | None = None,
        warn: Callable[[str], None] = lambda text: None,
        seconds: tuple[float, float] = (MONTY_SECONDS, CPYTHON_SECONDS),
    ) -> None:
        self._given = known or {}
        self._known: dict[str, Execution] = {}
        self._warn = warn
        self._warned = False
        self._running: dict[str, asyncio.Task[Execution]] = {}
        self._monty = Monty(seconds=seconds[0])
        self._sandboxed = Sandboxed(seconds=seconds[1])
        self._broken = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, code: str) -> Execution:
        """What ``code`` came to. Never raises for what the code does."""
        known = self._given.get(code) or self._known.get(code)
        if known is not None:
            return known
        task = self._running.get(code)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._running[code] = asyncio.ensure_future(self._run(code))
            task.add_done_callback(lambda done: self._forget(code, done))
        return await asyncio.shield(task)  # others may wait for it too

    def _forget(self, code: str, task: asyncio.Task[Execution]) -> None:
        if self._running.get(code) is task:
            del self._running[code]
        if not task.cancelled() and task.exception() is None:
            self._known[code] = task.result()
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    async def close(self) -> None:
        """End all that runs, and the children. It may be used again."""
        running = [
            task for task in self._running.values() if task.get_loop() is asyncio.get_running_loop()
        ]
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)
        for runner in (self._monty, self._sandboxed):
            if runner.started:
                await asyncio.to_thread(runner.close)

    async def _run(self, code: str) -> Execution:
        ran: Execution | None = None
        lack: str | None = "an interpreter"
        if not self._broken:
            try:
                ran = await self._monty.run(code)
            except Broken as error:
                self._broken = str(error)
            else:
                lack = find_lack(ran.error)
                if lack is None:
                    return ran
        try:
            return await self._sandboxed.run(code)
        except Broken as error:
            why = str(error)
        if not self._warned:
            self._warned = True
            self._warn(_explain(lack, self._broken, why))
        output = "" if ran is None else ran.output
        return Execution(output, shorten(f"needs {lack}, which is not there"), "")


def _explain(lack: str | None, broken: str, why: str) -> str:
    if broken:
        return f"Programs cannot be run here: monty: {broken}; CPython: {why}."
    return f"A program needs {lack}, which is run in bubblewrap alone ({why}): such programs fail."


async def try_all() -> dict[str, str]:
    """Runs a tiny program with each interpreter: why it does not work here, or nothing; by name."""
    found = {}
    for runner in (Monty(), Sandboxed()):
        try:
            ran = await runner.run(_ONE)
            found[runner.name] = "" if ran.output == "1\n" else ran.error or "it prints nothing"
        except Broken as error:
            found[runner.name] = str(error)
        finally:
            await asyncio.to_thread(runner.close)
    return found
