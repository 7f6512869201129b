"""``ttc verifiers``: list, test, fit, forget.

stdout carries the data (a table, JSON), stderr everything else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttc_cli.builtin import split_names
from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import grouped, make_group, show_examples
from ttc_cli.errors import TemplateError, TtcError, UsageError, suggest
from ttc_cli.models import files
from ttc_cli.output import Output
from ttc_cli.paths import verdicts_path
from ttc_cli.settings.config import load_config
from ttc_cli.signals import run_tasks
from ttc_cli.solving import choosing
from ttc_cli.solving.request import label_model
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.checking.sandbox import explain_sandbox
from ttc_cli.verifiers.verdicts import Verdict, read_verdicts, write_verdicts
from ttc_cli.views import words

if TYPE_CHECKING:
    from ttc_cli.bench.verifier_trials import Separation
    from ttc_cli.commands._verifier_trials import LoadedVerifiers

_REFUSED = (
    "A verifier that a test found unable to tell right from wrong gets no weight in "
    "'ttc solve' with that model, until a later test says otherwise or 'ttc verifiers forget'. "
    "See docs/verifiers.md."
)

EPILOG = show_examples(
    "ttc verifiers list",
    "ttc verifiers test judge confidence",
    "ttc verifiers fit questions.jsonl --out probe.json",
    more=_REFUSED,
)

app = make_group(
    "List verifiers, test whether they tell right from wrong, fit a probe.",
    EPILOG,
)


@app.command("list", epilog=show_examples("ttc verifiers list", "ttc verifiers list --json"))
def list_verifiers(model: flags.Model = None, as_json: flags.PrintJson = False) -> None:
    """List the verifiers: what each scores, what it costs, whether the model can use it."""
    chosen = choosing.choose_model(load_config().get("model", model))
    known = _verdicts_of(chosen)
    rows: list[dict[str, Any]] = []
    for entry in registry.entries(Output().warn):
        usable, why = _is_usable(entry.name, chosen)
        named = [v for name, v in known.items() if name.partition("=")[0] == entry.name]
        rows.append(
            {
                "name": entry.name + _word_argument(entry.argument),
                "summary": entry.summary,
                "scores": entry.scores,
                "cost": entry.cost,
                "usable": usable,
                "note": why,
                "tests": [
                    {"verifier": each.verifier, "auc": each.auc, "trusted": each.trusted}
                    for each in named
                ],
            }
        )
    if as_json:
        model_name = label_model(chosen)
        Output().document({"v": 1, "model": model_name, "verifiers": rows})
        return
    lines = [("NAME", "SCORES", "COST", "USABLE", "WHAT IT IS")]
    for row in rows:
        lines.append((row["name"], row["scores"], row["cost"], _word_usable(row), row["summary"]))
    Output().table(lines)
    Output().say(f"usable: with {label_model(chosen)}; tested: ttc verifiers test NAME")


def _word_argument(argument: str | None) -> str:
    """What may stand after a name; the ``=`` belongs in the brackets."""
    if not argument:
        return ""
    return f"[={argument.strip('[]')}]" if argument[0] == "[" else f"={argument}"


def _word_usable(row: dict[str, Any]) -> str:
    """Whether a verifier can be used, why not, and how it was tested."""
    usable = "yes" if row["usable"] else "no"
    parts = [row["note"]] if row["note"] else []
    parts += [
        f"{'tested' if each['trusted'] else 'refused'}, AUC {each['auc']:.2f}"
        for each in row["tests"]
    ]
    return f"{usable} ({'; '.join(parts)})" if parts else usable


def _is_usable(name: str, model: files.Model) -> tuple[bool, str]:
    """Whether this verifier works with ``model``, as far as its header tells, and why not."""
    if name == "check":
        return True, explain_sandbox()
    if name not in ("judge", "generative"):
        return True, ""
    if model.path is None or not model.path.is_file():
        return True, "the model is not here yet"
    try:
        choosing.read_chat(model).follow_up("?")
    except TemplateError:
        return False, "its chat template allows no question after an answer"
    except TtcError as error:
        return False, error.message
    return True, ""


def _verdicts_of(model: files.Model) -> dict[str, Verdict]:
    known = read_verdicts(verdicts_path())
    if not known or model.path is None or not model.path.is_file():
        return {}
    own = files.read_hash(model)
    return {name: verdict for (sha256, name), verdict in known.items() if sha256 == own}


@app.command(
    "test",
    epilog=show_examples(
        "ttc verifiers test judge confidence",
        "ttc verifiers test judge:2 generative --model qwen2.5-coder-1.5b --json",
        "ttc verifiers test judge confidence --data questions.jsonl --part 0:50",
        more=_REFUSED,
    ),
)
@grouped
def run_test(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Verifiers, as for 'ttc solve --verifier'.",
            autocompletion=completion.complete_verifier,
        ),
    ],
    model: flags.Model = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled questions to draw solutions for, or planted solutions (JSONL).  "
            "[default: 24 planted ones]",
            metavar="FILE",
        ),
    ] = None,
    *,
    sampled: Annotated[
        bool,
        typer.Option(
            "--sampled", help="Test all of them on solutions that the model writes itself."
        ),
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Samples to draw for each question.", min=2, metavar="N")
    ] = 4,
    drawn: flags.Samples,
    check: flags.Check = None,
    remember: Annotated[
        bool,
        typer.Option("--remember/--no-remember", help="Let 'ttc solve' act on the result."),
    ] = True,
    machine: flags.Machine,
    as_json: flags.PrintJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Test whether verifiers tell right from wrong solutions.

    Reports, for each: AUC overall and within a question (with its 95 % interval), the mean score
    of right and of wrong ones, calibration, and the tokens it took. A verifier whose interval
    reaches down to 0.5 gets no weight from then on.
    """
    from ttc_cli.answers import Comparer
    from ttc_cli.bench.verifier_trials import try_verifiers
    from ttc_cli.commands._verifier_trials import describe, load_verifiers, print_report

    wanted = [word for name in names for word in split_names(name)]
    wanted += [f"check={check}"] if check else []
    entries = [registry.find(registry.parse(each).name) for each in wanted]
    out = Output(quiet)
    with Comparer() as comparer, load_verifiers(wanted, model, machine, out) as loaded:
        sampler = loaded.make_sampler(comparer, samples, drawn)
        found = run_tasks(
            try_verifiers(
                sampler,
                loaded.verifiers,
                [sampled or entry.reads == "sampling" for entry in entries],
                data=data,
                part=drawn.part,
                progress=out.status,
            )
        )
        out.status("")
        if remember:
            _remember(found, loaded)
    if as_json:
        out.document({"v": 1, "model": loaded.label, "tests": [describe(each) for each in found]})
    else:
        print_report(found)
    _speak_out(found, loaded.label, out, remembered=remember)


def _remember(found: Sequence[Separation], loaded: LoadedVerifiers) -> None:
    """Keep what was found of whole solutions, where it decides anything."""
    fresh: dict[str, Verdict] = {}
    for each in found:
        trial, auc, low, high = each.trial, each.auc_within, each.low, each.high
        if trial.part == "step" or each.trusted is None:
            continue
        if auc is None or low is None or high is None:
            continue
        fresh[trial.verifier] = Verdict(
            verifier=trial.verifier,
            model=loaded.label,
            trusted=each.trusted,
            auc=auc,
            low=low,
            high=high,
            questions=each.compared,
            on=trial.on,
            date=date.today().isoformat(),
        )
    if fresh:
        path, sha256 = verdicts_path(), files.read_hash(loaded.model)
        known = read_verdicts(path)
        write_verdicts(path, known | {(sha256, name): each for name, each in fresh.items()})


def _speak_out(found: Sequence[Separation], model: str, out: Output, *, remembered: bool) -> None:
    for each in found:
        if each.trial.failure:
            out.warn(f"{each.trial.verifier} failed: {each.trial.failure}")
        if each.trial.part == "whole" and each.trusted is False and each.low is not None:
            auc, low = words.decimal(each.auc_within), words.decimal(each.low)
            then = "it gets no weight in 'ttc solve' with" if remembered else "it deserves none on"
            out.warn(
                f"{each.trial.verifier} cannot tell right from wrong solutions (AUC within a "
                f"question {auc}, which may be as low as {low}): {then} {model}"
            )


@app.command(
    epilog=show_examples(
        "ttc verifiers fit questions.jsonl --out probe.json",
        "ttc verifiers fit gsm8k-train --limit 100 --programs 8 --out probe.json",
        'ttc solve --verifier probe=probe.json "What is 17 * 23?"',
        more="A hundred questions make a good probe. Samples go into the same pool as those of "
        "'ttc calibrate', which fits a probe too. See docs/verifiers.md.",
    )
)
@grouped
def fit(
    data: flags.Data,
    out_file: Annotated[
        Path, typer.Option("--out", "-o", help="Write the probe to this file.", metavar="FILE")
    ],
    model: flags.Model = None,
    *,
    pool: flags.Pool,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also tell how each view and objective does.")
    ] = False,
    machine: flags.Machine,
    as_json: flags.PrintJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Fit a probe on the model's hidden states to its right and wrong solutions.

    Draws solutions of labelled questions, with the hidden states of their tokens averaged in
    several ways, and fits a regression: which average, which objective and how much it is held
    back are chosen by questions that the fit did not see. Use it as --verifier probe=FILE.
    """
    # Small matrices: one thread is as fast, and does not wait for busy cores. Read at import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from ttc_cli.answers import Comparer
    from ttc_cli.bench import probing
    from ttc_cli.bench.probing import CHANCE
    from ttc_cli.bench.runner import Pools
    from ttc_cli.commands._policy_words import word_heads, word_part
    from ttc_cli.commands._pools import PoolModel, read_request

    out = Output(quiet)
    request = read_request(data, pool, machine)
    chosen = load_config().get("model", model)
    with (
        Comparer() as comparer,
        PoolModel(request, chosen, out, yes=machine.yes, states=True) as drawing,
    ):
        drawn, _ = drawing.obtain_pool()
        programs = drawing.obtain_programs(lambda kind: False)
        drawing.close()
        pools = Pools(drawn, None if programs is None else programs[0])
        today = date.today().isoformat()
        probe, _ = probing.fit_probe(pools, request.questions, comparer, today, out.status)
        tried = probing.compare(pools, request.questions, comparer, out.status) if compare else []
    probe.save(out_file)
    out.status("")
    if as_json:
        heads = [_tell(head, ("weights", "bias")) for head in probe.heads]
        document = {"v": 1, "model": probe.model, "file": str(out_file), "heads": heads}
        if compare:
            document["compared"] = [asdict(each) for each in tried]
        out.document(document)
        return
    out.table(word_heads(probe))
    if tried:
        rows = [("candidates", "view", "objective", "AUC", "within a question")]
        for each in tried:
            auc, within = words.decimal(each.auc), words.decimal(each.auc_within)
            rows.append(
                (word_part(each.form, each.part), each.view.value, each.objective, auc, within)
            )
        out.answer("")
        out.table(rows)
    if any(head.part == "whole" and (head.low or 0.0) <= CHANCE for head in probe.heads):
        out.warn(
            "on questions it has not seen, the probe may be no better than chance: give it more "
            "questions (a hundred), or more --samples"
        )
    out.say(f"written: {out_file}; use it as --verifier probe={out_file}")


def _tell(head: Any, without: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in asdict(head).items() if key not in without}


@app.command(epilog=show_examples("ttc verifiers forget judge", "ttc verifiers forget --all"))
def forget(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The verifier.",
            autocompletion=completion.complete_tested_verifier,
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Forget the test results of all verifiers.")
    ] = False,
) -> None:
    """Forget what tests found out about a verifier, for every model."""
    if (name is None) is not everything:
        raise UsageError("Name one verifier, or give --all.", "ttc verifiers forget judge")
    path = verdicts_path()
    if everything:
        path.unlink(missing_ok=True)
        Output().say("forgotten: the test results of all verifiers")
        return
    known = read_verdicts(path)
    left = {key: verdict for key, verdict in known.items() if key[1] != name}
    if len(left) == len(known):
        hint = suggest(str(name), {each for _, each in known}, "ttc verifiers list")
        raise UsageError(f"No test of {name!r} is remembered.", hint)
    write_verdicts(path, left)
    Output().say(f"forgotten: what tests of {name} found")
