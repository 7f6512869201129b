"""``--resume`` and ``--continue``: a run's own flags in place of those on the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from ttc_cli import __version__
from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.settings.config import Config
from ttc_cli.solving.keeping import MACHINE, identify_models, word_flags
from ttc_cli.solving.request import Request
from ttc_cli.types import PROSE, WHOLE

if TYPE_CHECKING:
    from ttc_cli.runs.resuming import Known
    from ttc_cli.runs.run import Run

_SETTINGS = (*MACHINE, "view", "color", "keep_runs")
"""Settings that a run does not bring: they say how it computes here, and what is shown."""
_FREE = (*MACHINE, "yes", "min_score", "resume", "go_on")
"""Flags that may stand beside ``--resume``, with those of the budget and of the output."""


@dataclass(frozen=True, slots=True)
class Past:
    """A run being resumed, and what is known about it."""

    run: Run
    known: tuple[Known, ...]
    anew: bool = False
    """Whether it searches over steps, and begins from the start."""

    def narrow(self, config: Config) -> Config:
        """The settings that hold for it: what is not this machine's, it brings itself."""
        return config.narrow(_SETTINGS)

    def join(self, request: Request, out: Output) -> Request:
        """``request`` with what is known, once it is sure that the models are the same.

        Raises:
            UsageError: a model file changed.
        """
        from ttc_cli.runs.resuming import check_files

        check_files(self.run, identify_models(request))
        if self.run.request["version"] != __version__:
            out.warn(
                f"the run {self.run.id} was made by ttc {self.run.request['version']}, this is "
                f"{__version__}: its prompts may have been worded differently"
            )
        if self.anew:
            out.say(
                f"{self.run.strategy} searches over steps: the run {self.run.id} starts again, "
                "with the same seed"
            )
        else:
            ended = [c for turn in self.known for c in turn.values() if c.finish in WHOLE]
            tokens = sum(each.tokens for each in ended)
            out.say(
                f"resuming the run {self.run.id}: {len(ended)} of its candidates, {tokens:,} "
                "tokens, are re-used at no cost; caps apply to what is added"
            )
        return replace(request, known=self.known)


def take_up(ctx: typer.Context) -> Any:
    """The context in which ``ttc solve`` asks again for the run that ``ctx`` names.

    Its flags are those of the run, but for what ``ctx`` may say beside ``--resume``; its ``obj`` is
    the ``Past``.

    Raises:
        UsageError: there is no such run, it still runs, there is nothing left to do, or a flag
            is given that the run itself sets.
        RunDamaged, RunsUnavailable: the log cannot be read.
    """
    from ttc_cli.commands._runs import open_runs
    from ttc_cli.runs import resuming
    from ttc_cli.runs.run import RunState
    from ttc_cli.runs.store import LAST
    from ttc_cli.search import registry

    go_on, wanted = ctx.params["go_on"], ctx.params["resume"]
    if go_on and wanted is not None:
        raise UsageError("--continue and --resume contradict each other.", "leave one out")
    given = _find_given(ctx)
    more = {name: ctx.params[name] for name in resuming.BUDGET if name in given}
    with open_runs() as store:
        run = store.find(LAST if go_on else wanted)
        if run.state is RunState.RUNNING:
            raise UsageError(f"The run {run.id} is still running.", f"ttc runs show {run.id}")
        if run.request["hidden"]:
            raise UsageError(
                f"The command of the run {run.id} held a key, which is not kept: it cannot be "
                "resumed.",
                "ask again, with the same command",
            )
        if not run.request["flags"]:
            raise UsageError(
                f"What the run {run.id} was asked with is damaged: it cannot be resumed.",
                "ask again, with the same command",
            )
        if run.request["flags"].get("served"):
            raise UsageError(
                f"The run {run.id} was asked for by a client of ttc serve: it cannot be resumed.",
                "ask the server again",
            )
        # A run of before there were forms was in prose.
        flags = {"form": PROSE, **run.request["flags"]}
        if go_on:
            more = resuming.raise_budget(run, more)
        elif not more:
            _check_open(store.read_result(run.id), run, flags)
        known = resuming.collect_known(store, run)
    entry = None if flags["strategy"] in (None, "auto") else registry.find(flags["strategy"])
    known = resuming.choose_known(
        known,
        steps=entry is not None and entry.steps,
        continues=entry is not None and entry.continues,
        as_before=not {"budget", "samples", "max_samples"} & set(more),
    )
    words = word_flags(ctx.command, flags | more)
    asked = ctx.command.make_context(ctx.info_name, words, parent=ctx.parent)
    asked.params |= {name: ctx.params[name] for name in given}
    asked.params |= {"prompt": run.request["question"], "resume": None, "go_on": False}
    asked.obj = Past(run, known, anew=entry is not None and entry.steps)
    return asked


def _find_given(ctx: typer.Context) -> set[str]:
    """The parameters that stand on the command line, all of them allowed there."""
    from ttc_cli.runs.resuming import BUDGET

    given = set()
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        given.add(name)
        shows = getattr(parameter, "rich_help_panel", None) == "Output"
        if name not in (*_FREE, *BUDGET) and not shows:
            word = parameter.opts[0] if parameter.param_type_name == "option" else "The question"
            raise UsageError(
                f"{word} comes from the run that is resumed.",
                "leave it out; ttc runs show ID shows the run's flags",
            )
    if ctx.args:
        raise UsageError("The question comes from the run that is resumed.", "leave it out")
    return given


def _check_open(result: Any, run: Run, flags: dict[str, Any]) -> None:
    """Make sure that something is left to do."""
    from ttc_cli.runs.resuming import reached_cap

    if result is None or result.interrupted:
        return
    if not reached_cap(result, flags, run.candidates):
        samples = flags["samples"]
        more = f"--samples {2 * samples}" if samples else "--budget deep"
        raise UsageError(
            f"The run {run.id} ended by itself ({result.stop_reason}).",
            f"ttc solve --resume {run.id} {more} goes on thinking",
        )
