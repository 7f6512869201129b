"""Runs requests for a user at a terminal: progress, views, JSON lines, signals."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from ttc_cli import crash
from ttc_cli.output import Output, use_color
from ttc_cli.signals import Interruption
from ttc_cli.solving import loading
from ttc_cli.solving.request import Request
from ttc_cli.types import AnswerType

if TYPE_CHECKING:
    from ttc_cli.events import Event
    from ttc_cli.solving.solver import Solver
    from ttc_cli.types import Result
    from ttc_cli.views.jsonl import JsonLines

    Reader = Callable[[Event], None]
    OpenSolver = Callable[..., Awaitable[Solver]]


def choose_view(view: str, quiet: bool) -> str:
    """``tree``, ``plain`` or ``none``; ``auto`` is the tree where the cursor can be moved."""
    if quiet:
        return "none"
    if view == "auto":
        return "tree" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    return view


def word_answer(result: Result, *, whole: bool) -> str:
    """The answer of ``result``, which has one, for stdout: JSON indented on a terminal.

    ``whole`` is the solution that states it.
    """
    assert result.answer is not None
    if whole:
        return result.solution or result.answer.text
    if result.answer.type is AnswerType.JSON and sys.stdout.isatty():
        from ttc_cli.answers.structured import indent_json

        return indent_json(result.answer.text)
    return result.answer.text


def run(
    request: Request,
    out: Output,
    interruption: Interruption,
    *readers: Reader,
    view: str,
    lines: bool = False,
) -> Result:
    """Load the models of ``request`` and search.

    Args:
        request: its models have been obtained.
        out: where progress goes.
        interruption: must be installed: a first Ctrl-C ends the search with what it has
            (``result.interrupted``).
        readers: get every event.
        view: from ``choose_view``.
        lines: write the events to stdout as JSON lines.

    Raises:
        TtcError: as ``loading.load`` and ``Solver.answer``.
        OSError: the JSON lines cannot be written: a closed pipe, a full disk.
    """

    async def search(open_solver: OpenSolver) -> Result:
        solver = await open_solver(*(["ttc_cli.views.tree"] if view == "tree" else []))
        heard = list(readers)
        written: JsonLines | None = None
        if lines:
            from ttc_cli.views.jsonl import JsonLines

            written = JsonLines(sys.stdout, on_broken=solver.interrupt)
            heard.append(written)
        with _show(view, out.color) as shown:
            result = await solver.answer(request, *heard, *shown)
        if written is not None and isinstance(written.failure, OSError):
            raise written.failure
        return result

    with opening(request, out, interruption) as open_solver:
        return interruption.run(search(open_solver))


@contextlib.contextmanager
def opening(request: Request, out: Output, interruption: Interruption) -> Iterator[OpenSolver]:
    """What loads the models of ``request``; they are freed at the end, after the event loop.

    Tasks that are torn down with the loop still use the engine. ``interruption`` ends what the
    solver runs. A crash of the native library is noted, and the cursor shown again.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(crash.watched())  # also on a server: it shows the cursor again

        async def open_solver(*rooms: str) -> Solver:
            """Load, importing the solver and ``rooms`` meanwhile."""
            server = request.server
            out.status(f"loading {request.label} …" if server is None else f"asking {server.url} …")
            work = loading.begin(request)
            from ttc_cli.solving.solver import Solver

            for room in rooms:
                importlib.import_module(room)
            solver = await Solver.open(request, work)
            stack.callback(solver.close)
            out.status("")
            if server is not None:
                from ttc_cli.solving import serving

                serving.tell_limits(solver.engine, out)
                stack.callback(serving.tell_trouble, solver.engine, out)
            stack.callback(interruption.rest)
            interruption.stop = solver.interrupt
            return solver

        yield open_solver


@contextlib.contextmanager
def _show(view: str, color: str) -> Iterator[list[Any]]:
    """The reader that shows a run on stderr while the context is open, if there is one."""
    if view == "tree":
        from ttc_cli.views.tree import LiveTree

        with LiveTree(colour=use_color(color)) as tree:
            yield [tree]
    elif view == "plain":
        from ttc_cli.views.plain import PlainLines

        yield [PlainLines(sys.stderr)]
    else:
        yield []
