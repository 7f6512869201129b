"""``ttc calibrate``: a policy for one model, fitted to labelled questions.

stdout carries what was fitted (words, or JSON), stderr everything else.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import PanelCommand, grouped, show_examples
from ttc_cli.commands._policy_words import tell_policy, word_policy
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import policies_dir
from ttc_cli.policy.file import check_name
from ttc_cli.settings.config import load_config
from ttc_cli.signals import run_tasks
from ttc_cli.types import AnswerType

PROGRAMMED = (AnswerType.NUMBER, AnswerType.LATEX)
"""Kinds of answers that programs are tried for where nobody asks for them."""

EPILOG = show_examples(
    "ttc calibrate questions.jsonl",
    "ttc calibrate gsm8k-train --limit 200 --model qwen2.5-coder-0.5b --name maths",
    "ttc calibrate questions.jsonl --self",
    "ttc policy show maths",
    more="Samples go into the same pool as those of 'ttc bench': stop it at any time, and the "
    "same command goes on from there. Do not judge a policy by the questions it was fitted "
    "to. See docs/policy.md.",
)

app = typer.Typer()


@app.command(cls=PanelCommand, epilog=EPILOG)
@grouped
def calibrate(
    data: flags.Data,
    model: flags.Model = None,
    *,
    machine: flags.Machine,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the policy.  [default: the model's and the data's]", metavar="NAME"
        ),
    ] = None,
    own_labels: Annotated[
        bool,
        typer.Option(
            "--self", help="Use no labels: the majority of all samples stands in for them."
        ),
    ] = False,
    pool: flags.Pool,
    probes: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe",
            help="Fit a probe on the model's hidden states too, which then has a say in the vote.",
        ),
    ] = True,
    runs: Annotated[
        int, typer.Option(help="Try each setting over this many orders of the samples.", min=1)
    ] = 4,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write the policy to this file.  [default: policies in ttc's data folder]",
            metavar="FILE",
        ),
    ] = None,
    as_json: flags.PrintJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Learn from labelled questions when this model should think harder, and when that is wasted.

    Draws candidates for each question, fits how likely the leading answer is to be right, and tries
    out how each budget is best spent. 'ttc solve' then uses the policy with this model.
    """
    from ttc_cli.answers import Comparer
    from ttc_cli.bench import calibration
    from ttc_cli.commands._pools import PoolModel, read_request

    out = Output(quiet)
    request = read_request(data, pool, machine)
    chosen = load_config().get("model", model)
    # Small matrices: one thread is as fast, and does not wait for busy cores. Read at import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with (
        Comparer() as comparer,
        PoolModel(request, chosen, out, yes=machine.yes, states=probes) as drawing,
    ):
        name = name or f"{drawing.label}-{request.data}"
        check_name(name)
        drawn, _ = drawing.obtain_pool()
        programs = drawing.obtain_programs(lambda kind: kind in PROGRAMMED)
        written = programs[0] if programs is not None else None
        drawing.close()
        ticker = Ticker(out)
        labelled = list(request.questions)
        if own_labels:
            labelled = calibration.label_by_majority(drawn, request.questions, comparer, written)
        policy = run_tasks(
            calibration.calibrate(
                drawn,
                labelled,
                comparer,
                name=name,
                data=request.data,
                date=date.today().isoformat(),
                labels="majority" if own_labels else "given",
                runs=runs,
                progress=ticker.tell,
                programs=written,
                probe=probes,
            )
        )
        out.status("")
    file = out_file or policies_dir() / f"{name}.json"
    policy.save(file)
    if as_json:
        out.document({"v": 1, "file": str(file), "policy": tell_policy(policy)})
    else:
        out.answer(word_policy(policy))
    if own_labels:
        out.warn(
            "fitted to the majority of its own samples, not to labels: it learns when the vote "
            "settles, not when it is right"
        )
    unreliable = [each.verifier for each in policy.reliability if each.trusted is False]
    if unreliable:
        out.warn(f"no better than chance on these questions: {', '.join(unreliable)}")
    out.say(f"written: {file}")
