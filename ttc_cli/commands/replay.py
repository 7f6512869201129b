"""``ttc replay``: plays back a kept run in the terminal, its answer on stdout."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import show_examples
from ttc_cli.commands._runs import open_runs
from ttc_cli.errors import NoAnswer, UsageError
from ttc_cli.events import Decided, RunEnded
from ttc_cli.output import Output, print_error, use_color
from ttc_cli.runs.playback import Playback, smooth
from ttc_cli.runs.run import Run, Timed
from ttc_cli.settings.config import load_config
from ttc_cli.solving.running import choose_view, word_answer
from ttc_cli.views import plain

EPILOG = show_examples(
    "ttc replay last",
    "ttc replay --speed 4 last",
    "ttc replay --speed 0 --explain last",
    more="Nothing is computed and no model is loaded. Waits of more than two seconds are "
    "shortened. Ctrl-C exits. 'ttc runs list' shows the ids.",
)

app = typer.Typer()


@app.command(epilog=EPILOG)
def replay(
    name: flags.RunId,
    speed: Annotated[
        float,
        typer.Option(
            help="How many times as fast as the run was; 0 shows it at once.",
            min=0.0,
            metavar="FACTOR",
        ),
    ] = 1.0,
    step: Annotated[
        bool, typer.Option("--step", help="Wait for a key after every decision.")
    ] = False,
    view: flags.View = None,
    solution: flags.Solution = False,
    explain: flags.Explain = False,
    color: flags.Color = None,
) -> int:
    """Play back how a run was searched, from the log of runs.

    The tree of candidates grows on the terminal as it did then, and its last state stays; without
    a terminal, stderr gets lines. The answer goes to stdout.
    """
    config = load_config()
    out = Output(color=config.get("color", color, "auto"))
    if not math.isfinite(speed):
        raise UsageError(f"--speed {speed} is not a speed.", "ttc replay --speed 4 last")
    if step and not sys.stdin.isatty():
        raise UsageError("--step waits for a key, and stdin is not a terminal.", "leave --step out")
    with open_runs() as store:
        run = store.find(name)
        timed = list(store.events(run.id))
    with _keys() if step else contextlib.nullcontext() as wait:
        playback = Playback(list(smooth(timed)), speed, wait)
        _show(playback, config.get("view", view, "auto"), out.color)
    return _answer(run, timed, out, whole=solution, why=explain)


def _show(playback: Playback, view: str, color: str) -> None:
    view = choose_view(view, quiet=False)
    if view == "tree":
        from ttc_cli.views.tree import LiveTree

        tree = LiveTree(
            colour=use_color(color),
            clock=playback.now,
            stays=True,
            hint="Ctrl-C leaves" if playback.pause is None else "any key goes on",
        )
        with contextlib.closing(tree):
            if not playback.speed and playback.pause is None:
                playback.play(tree)  # before anything is drawn: the last frame is the only one
            with tree:
                if playback.speed or playback.pause is not None:
                    playback.play(tree)
    elif view == "plain":
        playback.play(plain.PlainLines(sys.stderr))


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], None]]:
    """A function that waits for a key on stdin; keys come one by one and are not shown."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()

    def wait() -> None:
        os.read(descriptor, 64)  # all that one key sends; at the end of input at once

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _answer(run: Run, timed: Sequence[Timed], out: Output, *, whole: bool, why: bool) -> int:
    """Print the answer as ``ttc solve`` did; returns the exit code."""
    ends = [each.event.result for each in timed if isinstance(each.event, RunEnded)]
    if not ends:
        print_error(f"The run {run.id} did not end: {run.state}.", "ttc runs list")
        return NoAnswer.exit_code
    result = ends[-1]
    if result.answer is not None:
        out.answer(word_answer(result, whole=whole))
    if why:
        decisions = [each.event for each in timed if isinstance(each.event, Decided)]
        out.say(plain.explain(result, decisions))
    out.say(plain.summary_line(result))
    if result.answer is None:
        print_error(f"No candidate stated an answer ({result.stop_reason}).")
        return NoAnswer.exit_code
    return 0
