"""``ttc runs``: list, show, search, export, rm, stats, path, off, on.

stdout carries the data (a table, words, JSON), stderr everything else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Annotated

import typer

from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _flags as flags
from ttc_cli.commands import _runs as kept
from ttc_cli.commands._dashes import TextCommand
from ttc_cli.commands._files import may_delete, write_new
from ttc_cli.commands._help import make_group, show_examples
from ttc_cli.commands._runs import open_runs
from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.paths import runs_path
from ttc_cli.runs.run import Run, RunState
from ttc_cli.runs.spending import DifficultyBin, sum_up
from ttc_cli.runs.store import RunStore
from ttc_cli.settings.config import load_config, user_file
from ttc_cli.toml_files import change
from ttc_cli.views import words
from ttc_cli.views.jsonl import to_line

app = make_group(
    "List, show, search, export and delete kept runs.",
    show_examples(
        "ttc runs list",
        "ttc runs show last",
        "ttc runs search primes",
        "ttc runs export last --jsonl",
        "ttc runs rm --older-than 30d --yes",
        more="Name a run by its id, the beginning of its id, or 'last'. 'ttc solve --resume ID' "
        "resumes one. See docs/runs.md.",
    ),
)

Limit = Annotated[
    int, typer.Option("--limit", "-n", help="Show at most N runs; 0 for all.", min=0, metavar="N")
]

_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_ANSWER_CHARS, _QUESTION_CHARS = 20, 48


@app.command("list", epilog=show_examples("ttc runs list", "ttc runs list -n 0 --json"))
def list_runs(limit: Limit = 20, as_json: flags.PrintJson = False) -> None:
    """List the kept runs, newest first."""
    runs = _read(lambda store: store.newest(limit or None))
    _print_runs(runs, as_json, "No run is kept yet.")


def _read(select: Callable[[RunStore], list[Run]]) -> list[Run]:
    """What ``select`` finds in the log; nothing where no run was ever kept."""
    if not runs_path().is_file():
        return []
    with open_runs() as store:
        return select(store)


@app.command(
    cls=TextCommand,
    epilog=show_examples("ttc runs search 17 23", "ttc runs search --json 'prime number'"),
)
def search(
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS", help="Words that the run must contain, all of them."),
    ],
    limit: Limit = 20,
    as_json: flags.PrintJson = False,
) -> None:
    """Find runs by words of the question or of a solution, newest first."""
    found = _read(lambda store: store.search(" ".join(words), limit or None))
    _print_runs(found, as_json, "No run has these words.")


@app.command(epilog=show_examples("ttc runs show last", "ttc runs show last --verbose"))
def show(
    id: flags.RunId,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show every candidate's whole text.")
    ] = False,
    as_json: flags.PrintJson = False,
) -> None:
    """Show one run: what was asked, what came of it and why, and how to resume it."""
    with open_runs() as store:
        run = store.find(id)
        story = kept.read_story(store, run)
    if as_json:
        Output().document({"v": 1, "run": kept.describe_story(story)})
    else:
        Output().answer(kept.word_story(story, whole=verbose))


@app.command(
    epilog=show_examples(
        "ttc runs export last",
        "ttc runs export last --jsonl",
        "ttc runs export last --html run.html",
    )
)
def export(
    id: flags.RunId,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Write to this file instead of stdout; it must not exist.",
            show_default=False,
        ),
    ] = None,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print every event as a JSON line, the result last.")
    ] = False,
    as_html: Annotated[
        bool,
        typer.Option(
            "--html", help="Write one web page to look at and pass on; it needs no network."
        ),
    ] = False,
) -> None:
    """Write a run to stdout: as the object of 'ttc solve --json', as JSON lines or as a web page.

    The page shows the question, the answer and why it won, every candidate with its scores, the
    vote and the spending over time, and the decisions.
    """
    if as_jsonl and as_html:
        raise UsageError("--jsonl and --html contradict each other.", "leave one out")
    with open_runs() as store:
        run = store.find(id)
        if as_jsonl:
            text = "".join(kept.describe_events(store, run))
        elif as_html:
            text = kept.draw_page(store, run)
        else:
            result = store.read_result(run.id)
            if result is None:
                raise UsageError(
                    f"The run {run.id} has no result: it is {run.state.value}.",
                    f"ttc runs export {run.id} --jsonl writes what there is of it",
                )
            value = kept.describe_result(result, run)
            if file is None:
                Output().document(value)
                return
            text = to_line(value)
    if file is None:
        Output().answer(text.removesuffix("\n"))
    else:
        write_new(file, text)
        Output().say(f"written: {file}")


@app.command(epilog=show_examples("ttc runs rm last --yes", "ttc runs rm --older-than 30d --yes"))
def rm(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Ids of runs, or beginnings of them; 'last' is the newest.",
            autocompletion=completion.complete_run,
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all runs.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            help="Delete runs that began longer ago than this, in hours, days or weeks.",
            metavar="30d",
        ),
    ] = None,
    yes: flags.Sure = False,
) -> None:
    """Delete runs and everything kept with them. Running ones stay."""
    if sum((bool(ids), everything, older_than is not None)) != 1:
        raise UsageError("Name runs, or give --all, or --older-than.", "ttc runs list")
    out = Output()
    with open_runs() as store:
        if ids:
            found = list({run.id: run for run in map(store.find, ids)}.values())
        else:
            before = time.time() - (0 if older_than is None else _read_age(older_than))
            found = [run for run in store.newest() if everything or run.started < before]
        for run in found:
            if run.state is RunState.RUNNING:
                out.warn(f"the run {run.id} is running: it stays")
        found = [run for run in found if run.state is not RunState.RUNNING]
        if not found:
            out.say("nothing to delete")
        elif may_delete(words.plural(len(found), "run"), yes=yes):
            store.remove([run.id for run in found])
            out.say(f"deleted: {words.plural(len(found), 'run')}")


@app.command(epilog=show_examples("ttc runs stats", "ttc runs stats --json"))
def stats(as_json: flags.PrintJson = False) -> None:
    """Show what 'auto' spent and saved, by predicted difficulty.

    Each run is compared with what a vote over all samples of its budget would have cost, each
    sample as long as the run's own candidates were on average, at its model's FLOPs per token.
    Verifiers count only in what was spent. A resumed run counts once, with everything it took.
    Runs that did not end, and those of a fixed strategy, are left out.
    """
    runs = _read(lambda store: store.newest())
    bins = sum_up(runs)
    total = DifficultyBin(*map(sum, zip(*map(astuple, bins.values()), strict=True)))
    if as_json:
        rows = [{"difficulty": level, **asdict(each)} for level, each in bins.items()]
        Output().document({"v": 1, "kept": len(runs), "bins": rows, "total": asdict(total)})
        return
    if not bins:
        Output().say(f"{words.plural(len(runs), 'run')} kept, none of them an 'auto' that ended")
        return
    lines = [("DIFFICULTY", "RUNS", "TOKENS", "OF ALL", "SAVED", "FLOPS", "OF ALL", "SAVED")]
    for name, each in [*((str(level), each) for level, each in bins.items()), ("all", total)]:
        lines.append(
            (
                name,
                words.count(each.runs),
                words.count(each.tokens),
                words.count(each.full_tokens),
                _share_saved(each.tokens, each.full_tokens),
                words.flops(each.flops),
                words.flops(each.full_flops),
                _share_saved(each.flops, each.full_flops),
            )
        )
    Output().table(lines)


@app.command(epilog=show_examples("ttc runs path"))
def path() -> None:
    """Print where runs are kept."""
    Output().answer(str(runs_path()))


@app.command(epilog=show_examples("ttc runs off"))
def off() -> None:
    """Keep no runs from now on. Those kept so far stay until 'ttc runs rm'."""
    _switch("no")


@app.command(epilog=show_examples("ttc runs on"))
def on() -> None:
    """Keep runs again."""
    _switch("yes")


def _switch(wanted: str) -> None:
    out = Output()
    change(user_file(), ("keep_runs",), wanted, out.warn)
    config = load_config()
    if config.get("keep_runs") != wanted:
        out.warn(f"{config.origin('keep_runs')} says otherwise here, and wins")
    kept = "runs are kept from now on" if wanted == "yes" else "no run is kept from now on"
    more = "" if wanted == "yes" else "; ttc runs rm --all deletes those kept so far"
    out.say(f"{kept} ({user_file()}){more}")


def _print_runs(runs: Sequence[Run], as_json: bool, none: str) -> None:
    if as_json:
        Output().document({"v": 1, "runs": [kept.describe_row(run) for run in runs]})
        return
    if not runs:
        Output().say(none)
        return
    lines = [("ID", "BEGUN", "STATE", "MODEL", "STRATEGY", "TOKENS", "TIME", "ANSWER", "QUESTION")]
    for run in runs:
        lines.append(
            (
                run.id,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
                run.state.value,
                words.one_line(run.model),
                run.strategy,
                words.count(run.tokens),
                words.seconds(run.seconds),
                "–" if run.answer is None else words.shorten(run.answer, _ANSWER_CHARS),
                words.shorten(run.question, _QUESTION_CHARS),
            )
        )
    Output().table(lines)


def _read_age(text: str) -> float:
    """Seconds; a ``UsageError`` where ``text`` is not a number of hours, days or weeks."""
    found = re.fullmatch(r"(\d{1,6})([hdw])", text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not an age.", "ttc runs rm --older-than 30d (or 12h, 8w)")
    return int(found[1]) * _UNITS[found[2]]


def _share_saved(used: float, full: float) -> str:
    return f"{100 * (1 - used / full):.0f} %" if full else "–"
