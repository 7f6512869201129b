"""What signals mean to ttc: SIGTERM and SIGHUP unwind, the first Ctrl-C asks, the second leaves.

Handlers run in the main thread between two bytecodes. Native code never runs there for long
(the engine decodes in a thread of its own), so a signal is answered at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

_SHOW_CURSOR = b"\x1b[?25h"
_UNWIND_SECONDS = 5.0
_T = TypeVar("_T")
_Handler = Callable[[int, FrameType | None], Any]


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived; ``code`` is 128 + its number."""


def leave(code: int) -> None:
    """End the process now: no unwinding, no waiting for threads; only the cursor is restored."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)
    os._exit(code)


@contextlib.contextmanager
def handle(
    handlers: dict[signal.Signals, _Handler],
) -> Iterator[None]:
    """Install ``handlers`` and put the old ones back at the end.

    A signal that the parent process ignores (``nohup``, a background job) stays ignored, and
    outside the main thread nothing happens: Python takes signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old: dict[signal.Signals, Any] = {}
    for number, handler in handlers.items():
        if signal.getsignal(number) is not signal.SIG_IGN:
            old[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(128 + number)


def raise_on_termination() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP unwind the stack as ``Terminated``, so that ``finally`` runs."""
    return handle({signal.SIGTERM: _terminate, signal.SIGHUP: _terminate})


def forgive_termination(loop: asyncio.AbstractEventLoop) -> None:
    """Keep ``loop`` from reporting a task that ``Terminated`` went through on its way out.

    A signal may arrive while any task runs. The loop ends with it as it should, and would then
    complain that nobody asked this task for its exception.
    """

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Terminated):
            loop.default_exception_handler(context)

    loop.set_exception_handler(report)


def run_tasks(work: Coroutine[Any, Any, _T]) -> _T:
    """``asyncio.run`` for work that SIGTERM and SIGHUP may end, with no word on its tasks."""
    import asyncio

    async def forgiving() -> _T:
        forgive_termination(asyncio.get_running_loop())
        return await work

    return asyncio.run(forgiving())


class Interruption:
    """Ctrl-C and termination of a search.

    ``stop`` asks the search to end with what it has; while it is None there is nothing to save
    and a signal ends the process at once.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        self.happened = False

    def installed(self) -> contextlib.AbstractContextManager[None]:
        """Handle SIGINT, SIGTERM and SIGHUP while a search runs."""
        return handle(
            {
                signal.SIGINT: self._interrupt,
                signal.SIGTERM: self._terminate,
                signal.SIGHUP: self._terminate,
            }
        )

    def rest(self) -> None:
        """The search is over: a first Ctrl-C now may not cost the answer about to be printed."""
        self.stop = lambda: None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None or self.happened:
            leave(130)
            return
        self.happened = True
        self.stop()

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None:
            leave(128 + number)
            return
        # Unwinding waits for the engine's thread; should that hang, leave all the same.
        deadline = threading.Timer(_UNWIND_SECONDS, leave, (128 + number,))
        deadline.daemon = True
        deadline.start()
        stop, self.stop = self.stop, None
        stop()
        raise Terminated(128 + number)
