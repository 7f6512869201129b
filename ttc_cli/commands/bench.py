"""``ttc bench``: compares strategies on labelled questions, and counts what each costs.

stdout carries the report (Markdown, or JSON), stderr everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import grouped, make_group, show_examples
from ttc_cli.errors import UsageError, find_near
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import write_whole
from ttc_cli.signals import run_tasks
from ttc_cli.types import PROGRAM, PROSE

if TYPE_CHECKING:
    from ttc_cli.bench.comparison import Bench, Comparison
    from ttc_cli.bench.contenders import Contender
    from ttc_cli.bench.pool import SamplePool
    from ttc_cli.bench.report import Outcome
    from ttc_cli.commands._pools import PoolRequest
    from ttc_cli.policy.table import Table
    from ttc_cli.verifiers.probe import Probe

EPILOG = show_examples(
    "ttc bench questions.jsonl",
    "ttc bench gsm8k --limit 50 --models qwen2.5-coder-0.5b --out report/",
    "ttc bench questions.csv --strategies majority,weighted,auto:quick,auto:deep,beam@8",
    "ttc bench questions.jsonl --traces other-tool.jsonl",
    "ttc bench compare before/rows.jsonl after/rows.jsonl",
    more="N samples of each question are drawn once, into a pool on disk. Stop it at any time: "
    "the same command goes on from there. Strategies on independent candidates, and auto, "
    "run on that pool and so are compared on the same samples; greedy and step-wise "
    "strategies run on the model. "
    "See docs/bench.md.",
)


class _RunByDefault(typer.core.TyperGroup):
    """``ttc bench DATA`` is ``ttc bench run DATA``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            near = find_near(args[0], self.commands, 0.75)
            if near and not Path(args[0]).exists():
                raise UsageError(
                    f"{args[0]!r} is neither a command nor a file.", f"Did you mean {near}?"
                )
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = make_group(
    "Compare strategies on labelled questions, and count what each costs.",
    EPILOG,
    _RunByDefault,
)

STRATEGIES = "majority,weighted,best-of-n,auto:quick,auto:normal,auto:deep"
PROGRAM_VOTES = (f"{PROGRAM}:majority", f"{PROGRAM}:weighted", f"{PROGRAM}:best-of-n")
"""Compared as well, unasked, where programs were drawn."""


@dataclass(frozen=True, slots=True)
class BenchFlags:
    """What is compared on a pool, and where it is written."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Models, separated by commas; may be repeated.",
            autocompletion=completion.complete_models,
        ),
    ] = None
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategies",
            "-s",
            help="What to compare: NAME, NAME@N, NAME@N+VERIFIER, auto:BUDGET; program:NAME on "
            f"programs alone.  [default: {STRATEGIES}; votes of programs where they are drawn]",
            autocompletion=completion.complete_strategies,
        ),
    ] = None
    runs: Annotated[
        int, typer.Option(help="Average auto over this many orders of the samples.", min=1)
    ] = 20
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Also write report.md, rows.jsonl and curves there."
        ),
    ] = None
    traces: Annotated[
        list[Path] | None,
        typer.Option(help="Answers of another tool, graded the same way (JSONL).", metavar="FILE"),
    ] = None
    policy: Annotated[
        str | None,
        typer.Option(
            help="The policy for auto: a name, a file, or none.  [default: the one 'ttc solve' "
            "uses]",
            metavar="NAME",
            autocompletion=completion.complete_policy,
        ),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option(help="The strategy that McNemar's tests compare with.", metavar="NAME"),
    ] = None
    flight: Annotated[
        int, typer.Option(help="Questions to run at once on the model, for live strategies.", min=1)
    ] = 1
    live: Annotated[
        int,
        typer.Option(
            help="Also solve the first N questions for real with auto, to check the simulation.",
            min=0,
            metavar="N",
        ),
    ] = 0


@app.command("run", epilog=EPILOG)
@grouped
def run(
    data: flags.Data,
    asked: BenchFlags,
    machine: flags.Machine,
    pool: flags.Pool,
    as_json: flags.PrintJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Compare strategies on labelled questions, and count what each costs.

    Reports accuracy with its interval, tokens, FLOPs and seconds of each, by difficulty too, and
    how few FLOPs auto needs to match the best fixed strategy.
    """
    from ttc_cli.bench import contenders, curves
    from ttc_cli.bench.report import write_outcomes
    from ttc_cli.commands._pools import read_request
    from ttc_cli.settings.config import load_config
    from ttc_cli.solving import verifier_models

    programs = contenders.PROGRAMS if pool.programs is None else pool.programs
    rivals = contenders.parse(_split(asked.strategies or [STRATEGIES]), pool.samples, programs)
    for rival in rivals:
        verifier_models.refuse_foreign(rival.verifiers, "a bench")
    out_folder = asked.out_folder
    if out_folder is not None:
        curves.require_plotting()
        out_folder.mkdir(parents=True, exist_ok=True)
    request = read_request(data, pool, machine)
    out = Output(quiet)
    wanted: Sequence[str | None] = _split(asked.models or []) or [load_config().get("model", None)]
    documents, reports = [], []
    for name in wanted:
        bench, file, found, checked = _bench(name, rivals, request, asked, out, yes=machine.yes)
        label = bench.pools.prose.header.model
        title = f"{label}, {len(request.questions)} questions of {request.data}"
        report = bench.write_up(found, _describe(title, bench, file), asked.baseline)
        reports.append(f"{report}\n{checked}" if checked else report)
        documents.append(_document(found, label, file))
        if out_folder is not None:
            suffix = f"-{label}" if len(wanted) > 1 else ""
            on_lines = {row.name for rows in found.lines.values() for row in rows}
            points = [row for row in found.rows if row.name not in on_lines]
            curves.draw_curves(found.lines, points, title, out_folder, f"curves{suffix}")
            curves.draw_bins(found.lines_by_bin, title, out_folder, f"curves-by-bin{suffix}")
            first = len(documents) == 1
            write_outcomes(out_folder / "rows.jsonl", label, found.found, first=first)
            write_whole(out_folder / "report.md", "\n\n".join(reports))
    if as_json:
        out.document({"v": 1, "data": data, "models": documents})
    else:
        out.answer("\n\n".join(reports).rstrip())
    if out_folder is not None:
        out.say(f"written: {out_folder}/report.md, rows.jsonl, curves")


def _split(given: Sequence[str]) -> list[str]:
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def _bench(
    name: str | None,
    rivals: Sequence[Contender],
    request: PoolRequest,
    asked: BenchFlags,
    out: Output,
    *,
    yes: bool,
) -> tuple[Bench, Path, Comparison, str]:
    """Draw what is missing, run what is live, compare; last a table of the live check."""
    from ttc_cli.answers import Comparer
    from ttc_cli.bench import contenders
    from ttc_cli.bench.comparison import Bench
    from ttc_cli.bench.runner import Pools
    from ttc_cli.bench.traces import read_traces
    from ttc_cli.commands._pools import PoolModel
    from ttc_cli.verifiers.registry import wants_certainty

    certainty = wants_certainty([verifier for each in rivals for verifier in each.verifiers])
    ticker = Ticker(out)

    def tell(what: str, done: int, total: int) -> None:
        ticker.tell(f"{what}: {done} of {total} questions", last=done == total)

    with (
        Comparer() as comparer,
        PoolModel(request, name, out, yes=yes, certainty=certainty) as model,
    ):
        theirs = [read_traces(trace, request.questions, comparer) for trace in asked.traces or ()]
        pool, file = model.obtain_pool()
        table, probe = _choose_table(asked.policy, pool)
        if probe is not None:
            model.want_states(form for form in (PROSE, PROGRAM) if probe.find(form, "whole"))
            pool, file = model.obtain_pool()
        traits = table.forms.get(PROGRAM)
        named = any(each.form == PROGRAM for each in rivals)
        programs = model.obtain_programs(
            lambda kind: named or (traits is not None and traits.suits(kind))
        )
        bench = Bench(
            Pools(pool, None if programs is None else programs[0], probe),
            request.questions,
            rivals,
            comparer,
            request.asked.samples,
            asked.runs,
            table,
        )
        if programs is not None and asked.strategies is None:
            votes = contenders.parse(PROGRAM_VOTES, request.asked.samples, bench.programs)
            bench = replace(bench, contenders=[*rivals, *votes])
        live: dict[str, list[Outcome]] = {}
        checked = ""
        count = min(asked.live, len(request.questions))
        if count or any(each.live for each in rivals):
            engine, chat = model.load()
            kept = model.find_file().with_suffix(f".{pool.header.prompt_format[:8]}.live.jsonl")
            live = run_tasks(bench.run_live(engine, chat, kept, flight=asked.flight, progress=tell))
            if count:
                checked = run_tasks(bench.check_live(engine, chat, count, tell))
        model.close()
        found = run_tasks(bench.compare(live, lambda what: ticker.tell(f"simulating {what} …")))
        out.status("")
    for outcomes in theirs:
        _add(found, outcomes)
    return bench, file, found, checked


def _choose_table(name: str | None, pool: SamplePool) -> tuple[Table, Probe | None]:
    """The table and the probe that ``name`` asks for, or those that ``ttc solve`` would use."""
    from ttc_cli.forms import registry as forms
    from ttc_cli.policy.file import find_named, find_policy
    from ttc_cli.policy.table import SHIPPED
    from ttc_cli.prompts import Chat

    header = pool.header
    if name == "none":
        return SHIPPED, None
    if name is not None:
        _, policy = find_named(name)
        if policy.sha256 != header.sha256:
            raise UsageError(
                f"The policy {policy.name} is for {policy.model}, not for {header.model}.",
                "ttc policy list",
            )
    else:
        found = find_policy(header.sha256, header.prompt_format)
        if found is None:
            return SHIPPED, None
        policy = found
    chat = Chat(pool.recording().info, header.template_arguments)
    return policy.choose_table(forms.find(PROGRAM).hash_prompts(chat)), policy.probe


def _add(found: Comparison, theirs: dict[str, list[Outcome]]) -> None:
    from ttc_cli.bench.report import summarise

    for name, outcomes in theirs.items():
        name = f"{name} (trace)" if name in found.found else name
        found.found[name] = outcomes
        found.rows.append(summarise(name, outcomes))


def _describe(title: str, bench: Bench, file: Path) -> str:
    """What it was measured on."""
    pool, programs = bench.pools.prose, bench.pools.programs
    header = pool.header
    drawn = [
        sample
        for question in bench.questions
        for sample in pool.questions[question.id].samples[: bench.samples]
    ]
    mixed = ""
    if programs is not None:
        written = [s for each in programs.questions.values() for s in each.samples]
        failed = sum(s.ran is None or bool(s.ran.error) for s in written) / len(written)
        mixed = (
            f" Beside them {bench.programs} programs of {len(programs.questions)} questions at "
            f"temperature {programs.header.sampling.temperature:g}, of which {failed:.1%} failed."
        )
    finished = sum(sample.finish == "stop" for sample in drawn) / len(drawn)
    return (
        f"## {title}\n\n{bench.samples} samples a question, temperature "
        f"{header.sampling.temperature:g}, at most {header.max_tokens} tokens a candidate, seed "
        f"{header.seed}, {header.build}; {finished:.1%} of the samples finished.{mixed} "
        f"Intervals are 95 %, over questions. Policy of auto: {bench.table.name}. Pool: "
        f"{file.name}\n"
    )


def _document(comparison: Comparison, model: str, path: Path) -> dict[str, Any]:
    def tell(row: Any) -> dict[str, Any]:
        return {**asdict(row), "interval": list(row.interval)}

    found = comparison.match
    matched = None
    if found is not None:
        matched = {
            "baseline": found.baseline.name,
            "baseline_accuracy": found.baseline.accuracy,
            "baseline_flops": found.baseline.cost,
            "match": found.point.name if found.point else None,
            **{
                key: None if (value := getattr(found, key)) is None else asdict(value)
                for key in ("share", "quarter", "held_out", "held_out_difference")
            },
            "reached": found.reached,
        }
    return {
        "model": model,
        "pool": str(path),
        "rows": [tell(row) for row in comparison.rows],
        "curves": {name: [tell(row) for row in rows] for name, rows in comparison.lines.items()},
        "bins": comparison.bins,
        "agreement": [tell(row) for row in comparison.agreement],
        "compute_to_match": matched,
    }


@app.command(
    "compare", epilog=show_examples("ttc bench compare before/rows.jsonl after/rows.jsonl")
)
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="rows.jsonl of one bench.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="rows.jsonl of another.")],
    as_json: flags.PrintJson = False,
) -> None:
    """Compare two benches on the questions and strategies that they share.

    For each strategy: accuracy in A and in B, the paired difference with its 95 % interval, and
    the ratio of FLOPs. A bench of several models is compared model by model only if both hold one.
    """
    from ttc_cli.bench.report import read_outcomes, tabulate_differences

    sides = [read_outcomes(path) for path in (first, second)]
    shared = [name for name in sides[0] if name in sides[1]]
    if not shared:
        raise UsageError("These two benches share no strategy.", "ttc bench DATA --out DIR")
    rows, table = tabulate_differences({name: (sides[0][name], sides[1][name]) for name in shared})
    if as_json:
        Output().document({"v": 1, "strategies": rows})
    else:
        Output().answer(table.rstrip())
