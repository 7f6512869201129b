"""``ttc models``: list, show, pull, rm, verify, add, default, path, prune, tune.

stdout carries the data (a table, a path, JSON), stderr everything else.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands import _model_facts as model_facts
from ttc_cli.commands._completion import complete_model
from ttc_cli.commands._files import ask, is_somebody_there, may_delete
from ttc_cli.commands._help import make_group, show_examples
from ttc_cli.errors import ModelError, ModelMissing, TtcError, UsageError
from ttc_cli.models import cleaning, files, own, parts, ranking, records
from ttc_cli.models.progress import format_bytes, show_progress
from ttc_cli.models.pull import pull as download
from ttc_cli.models.pull import verify as check
from ttc_cli.models.registry import load_registry, user_file
from ttc_cli.output import Output
from ttc_cli.settings.default_model import find_default, set_default

app = make_group(
    "List, download, check and remove models.",
    show_examples(
        "ttc models list",
        "ttc models pull qwen3-1.7b",
        "ttc models default qwen2.5-coder-0.5b",
        more="See docs/models.md.",
    ),
)


_REFERENCE = "A name from 'ttc models list', user/repo:quant on the hub, or the path of a GGUF."
Name = Annotated[
    str, typer.Argument(metavar="MODEL", help=_REFERENCE, autocompletion=complete_model)
]
MaybeName = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help=_REFERENCE,
        autocompletion=complete_model,
        show_default=False,
    ),
]


@app.command("list", epilog=show_examples("ttc models list --all", "ttc models list --json"))
def list_models(
    as_json: flags.PrintJson = False,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also list models that only serve tests.")
    ] = False,
) -> None:
    """List the models ttc knows, and which of them are here."""
    default = find_default(ranking.glance_at_hub).name
    here = {record.name: record for record in records.list_records()}
    rows: list[dict[str, Any]] = []
    for entry in load_registry().entries.values():
        record = here.pop(entry.name, None)
        if entry.tier != "test" or everything or record is not None:
            rows.append(model_facts.summarise(entry.name, entry, record, default))
    rows += [model_facts.summarise(name, None, record, default) for name, record in here.items()]
    if as_json:
        Output().document({"v": 1, "models": rows})
        return
    cells = [("  NAME", "KIND", "TIER", "SIZE", "STATUS", "MEASURED", "LICENCE")]
    for row in rows:
        size = format_bytes(row["bytes"]) if row["bytes"] else "?"
        name = ("* " if row["default"] else "  ") + row["name"]
        status = row["status"] + (f", {row['tuned']}" if row["tuned"] else "")
        measured = "yes" if row["measured"] else "no"
        cells.append((name, row["kind"], row["tier"], size, status, measured, row["license"]))
    Output().table(cells)
    if any(row["default"] for row in rows):
        Output().say("* the default: ttc models default")


@app.command(
    epilog=show_examples(
        "ttc models show qwen2.5-coder-0.5b", "ttc models show qwen3-1.7b --json | jq .license"
    )
)
def show(model: Name, as_json: flags.PrintJson = False) -> None:
    """Show what is known about a model, and the header of its file if it is here."""
    details = model_facts.describe_model(files.resolve(model))
    if as_json:
        Output().document({"v": 1, **details})
        return
    out = Output()
    for key, value in details.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        if isinstance(value, list):
            value = "; then ".join(value)
        if value not in (None, "", False):
            out.answer(f"{key.replace('_', ' '):<17} {value}")


@app.command(
    epilog=show_examples(
        "ttc models pull --yes",
        "ttc models pull qwen3-1.7b",
        "ttc models pull bartowski/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M",
    )
)
def pull(
    model: MaybeName = None,
    yes: flags.Sure = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Download even if it is here already, or does not fit in memory."
        ),
    ] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Download a model, or the default one for this machine; go on with a stopped download."""
    out = Output(quiet)
    if model is None:
        chosen = ranking.choose_default(here=False)
        model = chosen.name
        size = load_registry().require(model).size
        _say_default(chosen, out)
        if size and not force and not yes and not _is_here(model):
            question = f"Download {model} ({format_bytes(size)})?"
            if is_somebody_there() and not ask(question, default=True):
                raise typer.Abort
    with show_progress(quiet=quiet) as report:
        path = download(model, report=report, force=force)
    out.say(f"Ready: {model} ({format_bytes(parts.measure(path)[0])}, checked).")
    out.answer(str(path))


def _say_default(chosen: ranking.Default, out: Output) -> None:
    """Say which model is taken, why, how large it is, and what else fits."""
    candidates = ranking.rank(ranking.read_machine())
    taken = next(each for each in candidates if each.name == chosen.name)
    size = format_bytes(taken.entry.size) if taken.entry.size else "unknown size"
    out.say(f"Default for this machine: {taken.name}, {size} ({chosen.reason}).")
    if not taken.entry.measured:
        out.say("Nothing was measured of it with ttc: it is taken for what its makers say.")
    fitting = [each for each in candidates if not each.unranked and not each.find_obstacle()]
    others = [each for each in fitting if each is not taken]
    if chosen.hub is False:
        out.say("The model hub does not answer: only what a package mirror has can be fetched.")
        others = [each for each in others if not each.entry.needs_hub]
    if others:
        named = (f"{each.name} ({format_bytes(each.entry.size or 0)})" for each in others[:4])
        out.say(f"Others that fit: {', '.join(named)}.")
        out.say("To take another: ttc models pull NAME, then ttc models default NAME")
    out.say("The whole ranking: ttc models default --explain")


def _is_here(name: str) -> bool:

    record = records.find_record(name)
    return record is not None and record.path.is_file()


@app.command("rm", epilog=show_examples("ttc models rm qwen2.5-coder-0.5b --yes"))
def remove(model: Name, yes: flags.Sure = False) -> None:
    """Delete a model's file, and your own entry for it. Files outside ttc's folder stay."""
    known = files.resolve_unchecked(model)
    if known.path is not None:
        raise UsageError(f"{model} is a file of yours: ttc does not delete it.", f"rm {model}")
    folder = records.folder_of(known.name)
    registered = known.entry.own
    if not folder.is_dir() and not registered:
        raise ModelMissing(f"{known.name} is not on this machine.", "ttc models list")
    size = cleaning.measure(folder) if folder.is_dir() else 0
    if not may_delete(f"{known.name} ({format_bytes(size)})", yes=yes):
        return
    record = records.read_record(folder)
    if folder.is_dir():
        cleaning.remove(known.name)
    if registered:
        own.forget_entry(known.name, Output().warn)
    out = Output()
    out.say(f"Deleted {known.name}: {format_bytes(size)}.")
    if record is not None and record.path.parent != folder and record.path.is_file():
        out.say(f"The file itself is outside ttc's folder and stays: {record.path}")


@app.command(epilog=show_examples("ttc models verify", "ttc models verify qwen2.5-coder-0.5b -q"))
def verify(
    model: MaybeName = None,
    quiet: flags.Quiet = False,
) -> None:
    """Check the hash of a model's file, or of all of them if none is named."""
    names = [model] if model is not None else [record.name for record in records.list_records()]
    out = Output(quiet)
    failed: list[TtcError] = []
    with show_progress(quiet=quiet) as report:
        for name in names:
            try:
                record = check(name, report)
            except (ModelError, UsageError) as error:
                out.answer(f"FAILED  {name}")
                out.warn(error.message)
                failed.append(error)
            else:
                out.answer(f"ok      {record.name}  {record.sha256}")
                if record.tuned is not None:
                    tuned = record.tuned
                    out.answer(f"ok      {record.name}, {tuned.kind}  {tuned.sha256}")
    if not names:
        out.say("There are no models here: ttc models pull")
    if failed:
        count = f"{len(failed)} of {len(names)} models" if len(names) > 1 else names[0]
        raise type(failed[0])(f"Failed: {count}.", failed[0].hint)


@app.command(
    epilog=show_examples(
        "ttc models add my-model.gguf --name mine",
        "ttc models add bartowski/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M",
        'ttc solve --model mine "What is 17 * 23?"',
    )
)
def add(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="user/repo:quant, user/repo:file or a path.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it.  [default: from the file's name]")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="The file's hash, if you know it from elsewhere.")
    ] = None,
    verifier_format: Annotated[
        str | None,
        typer.Option(
            "--verifier-format",
            help="It is a verifier of this format: rlhflow, math-shepherd or versaprm.",
        ),
    ] = None,
    thinks: Annotated[
        bool, typer.Option("--thinks", help="It writes a think block before its answer.")
    ] = False,
) -> None:
    """Add a model of your own to the registry, pinned to its hash."""
    if verifier_format is not None:
        from ttc_cli.verifiers.prm.formats import FORMATS

        if verifier_format not in FORMATS:
            raise UsageError(
                f"There is no verifier format {verifier_format!r}.",
                f"choose one of {', '.join(FORMATS)}",
            )
    out = Output()
    entry = own.add_entry(
        reference,
        name=name,
        sha256=sha256,
        verifier_format=verifier_format,
        thinks=thinks,
        warn=out.warn,
    )
    out.say(f"Added to {user_file()}; next: ttc solve --model {entry.name} …")
    out.answer(entry.name)


@app.command(
    epilog=show_examples(
        "ttc models default",
        "ttc models default --explain",
        "ttc models default qwen2.5-coder-0.5b",
    )
)
def default(
    model: MaybeName = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every candidate, and why it was taken or not.")
    ] = False,
) -> None:
    """Show which model is used when none is named, or set it."""
    out = Output()
    if model is not None:
        name = set_default(model, out.warn)
        out.say(f"{name} is now the default.")
        current = find_default(ranking.glance_at_hub)
        if current.name != name:
            out.warn(f"{current.name} is still used here: {current.reason}.")
        elif files.resolve_unchecked(name).path is None and not _is_here(name):
            out.say(f"It is not on this machine yet: ttc models pull {name}")
        return
    found = find_default(ranking.glance_at_hub)
    if explain:
        candidates = ranking.rank(ranking.read_machine())
        verdicts = ranking.explain(candidates, found)
        out.table(model_facts.tabulate(candidates, verdicts, found.name))
        return
    out.say(f"Chosen because: {found.reason}.")
    out.answer(found.name)


@app.command(epilog=show_examples("ttc models path qwen2.5-coder-0.5b"))
def path(model: Name) -> None:
    """Print the path of a model's file."""
    Output().answer(str(files.resolve(model).require_path()))


@app.command(epilog=show_examples("ttc models prune --dry-run", "ttc models prune --yes"))
def prune(
    yes: flags.Sure = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
) -> None:
    """Delete unfinished downloads and superseded files."""
    leftovers = cleaning.find_leftovers()
    out = Output()
    for leftover in leftovers:
        out.answer(f"{format_bytes(leftover.bytes):>9}  {leftover.path}  ({leftover.reason})")
    if not leftovers:
        out.say("There is nothing to prune.")
        return
    if dry_run:
        return
    if may_delete(format_bytes(sum(leftover.bytes for leftover in leftovers)), yes=yes):
        out.say(f"Freed {format_bytes(cleaning.prune(leftovers))}.")


@app.command(
    epilog=show_examples(
        "ttc models tune qwen2.5-coder-0.5b --dry-run",
        "ttc models tune qwen2.5-coder-0.5b",
        "ttc models tune qwen2.5-coder-0.5b --undo",
    )
)
def tune(
    model: Name,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Q8_0 loses next to nothing; Q4_0, Q4_K_M, Q6_K are lossy; BF16, F16.",
        ),
    ] = "Q8_0",
    keep: Annotated[
        bool, typer.Option("--keep", help="Use the new file even if it is not faster.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to the original; delete the new file.")
    ] = False,
    as_json: flags.PrintJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Re-quantise a model for this processor, and use the new file if it is faster.

    Measures both files in turn (a minute or two) and compares what they say. The original stays.
    """
    from ttc_cli.commands import _tuning
    from ttc_cli.tuning import tune as tuning

    out = Output(quiet)
    if undo:
        out.say(f"Back to the original of {model}; freed {format_bytes(tuning.undo(model))}.")
        return
    if dry_run:
        _tuning.print_plan(tuning.plan(model, kind), as_json=as_json)
        return
    with show_progress(quiet=quiet) as report:
        outcome = tuning.tune(model, kind, keep=keep, report=report)
    _tuning.print_outcome(outcome, out, as_json=as_json)
