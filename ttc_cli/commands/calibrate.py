"""``ttc calibrate``: a policy for one model, fitted to labelled questions.

stdout carries what was fitted (words, or JSON), stderr everything else.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands import _pools as pools
from ttc_cli.commands._help import PanelCommand
from ttc_cli.output import Output, Ticker
from ttc_cli.paths import policies_dir
from ttc_cli.signals import run_tasks

EPILOG = """\
\b
Examples:
  ttc calibrate questions.jsonl
  ttc calibrate gsm8k-train --limit 200 --model qwen2.5-coder-0.5b --name maths
  ttc calibrate questions.jsonl --self
  ttc policy show maths

Samples go into the same pool as those of 'ttc bench': stop it at any time, the same command goes
on. Do not judge a policy by the questions it was fitted to. See docs/policy.md.
"""

app = typer.Typer()


@app.command(cls=PanelCommand, epilog=EPILOG)
def calibrate(
    data: pools.Data,
    limit: pools.Limit = None,
    part: pools.Part = None,
    model: flags.Model = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the policy.  [default: the model's and the data's]", metavar="NAME"),
    ] = None,
    own_labels: Annotated[
        bool,
        typer.Option("--self", help="No labels: the majority of all samples stands for them."),
    ] = False,
    samples: pools.Samples = 16,
    runs: Annotated[
        int, typer.Option(help="Orders of the samples that a setting is tried over.", min=1)
    ] = 4,
    temperature: pools.Temperature = None,
    max_tokens: pools.MaxTokens = 512,
    seed: pools.Seed = 0,
    folder: pools.Folder = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write the policy there.  [default: policies in ttc's data folder]",
            metavar="FILE",
        ),
    ] = None,
    yes: flags.Yes = False,
    threads: flags.Threads = None,
    gpu_layers: flags.GpuLayers = None,
    parallel: flags.Parallel = None,
    as_json: pools.Json = False,
    quiet: pools.Quiet = False,
) -> None:
    """Fit to labelled questions when this model should think harder, and when it is in vain.

    Draws candidates for each, fits to them how likely the leading answer is right, and tries out
    how each budget spends best. 'ttc solve' then uses it with this model.
    """
    from ttc_cli.answers import Comparer
    from ttc_cli.bench import calibration
    from ttc_cli.commands._policy_words import word_policy
    from ttc_cli.policy.file import check_name
    from ttc_cli.settings.config import load_config
    from ttc_cli.solving import choosing as planning

    out = Output(quiet)
    wish = pools.make_wish(
        data,
        limit,
        part,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        folder=folder,
        threads=threads,
        gpu_layers=gpu_layers,
        parallel=parallel,
    )
    chosen = planning.choose_model(load_config().get("model", model))
    chosen = replace(chosen, path=planning.obtain_model(chosen, yes=yes, ask=None))
    name = name or f"{planning.label_model(chosen)}-{wish.data}"
    check_name(name)
    sampling = planning.choose_sampling(chosen, temperature)
    with Comparer() as comparer, pools.Loader(wish, chosen, out) as loader:
        pool, _ = pools.obtain_pool(wish, chosen, sampling, loader, out)
        loader.close()
        ticker = Ticker(out)
        labelled = list(wish.questions)
        if own_labels:
            labelled = calibration.label_by_majority(pool, wish.questions, comparer)
        policy = run_tasks(
            calibration.calibrate(
                pool,
                labelled,
                comparer,
                name=name,
                data=wish.data,
                date=date.today().isoformat(),
                labels="majority" if own_labels else "given",
                runs=runs,
                told=ticker.tell,
            )
        )
        out.status("")
    file = out_file or policies_dir() / f"{name}.json"
    policy.save(file)
    if as_json:
        out.document({"v": 1, "file": str(file), "policy": asdict(policy)})
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
