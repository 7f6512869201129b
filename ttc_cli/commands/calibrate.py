"""``ttc calibrate``: a policy for one model, fitted to labelled questions.

stdout carries what was fitted (words, or JSON), stderr everything else.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ttc_cli.commands import flags
from ttc_cli.commands.panels import PanelCommand
from ttc_cli.errors import UsageError
from ttc_cli.output import Output

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
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Labelled questions, as for 'ttc bench'."),
    ],
    limit: Annotated[
        int | None, typer.Option(help="Only the first N questions.", min=1, metavar="N")
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="Questions of the data, as 0:50.", metavar="START:STOP")
    ] = None,
    model: flags.Model = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the policy.  [default: the model's and the data's]", metavar="NAME"),
    ] = None,
    own_labels: Annotated[
        bool,
        typer.Option("--self", help="No labels: the majority of all samples stands for them."),
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Candidates drawn for a question.", min=4, metavar="N")
    ] = 16,
    runs: Annotated[
        int, typer.Option(help="Orders of the samples that a setting is tried over.", min=1)
    ] = 4,
    temperature: Annotated[
        float | None,
        typer.Option(help="Of the samples.  [default: the model's own]", min=0.0, metavar="T"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Limit of a candidate.", min=1)] = 512,
    seed: Annotated[int, typer.Option(help="Of the samples.", min=0)] = 0,
    pools: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the pools.  [default: pools in ttc's data folder]", metavar="DIR"
        ),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")
    ] = False,
) -> None:
    """Fit to labelled questions when this model should think harder, and when it is in vain.

    Draws candidates for each, and fits to them how likely the leading answer is right, what more
    candidates gain, and how each budget spends best. 'ttc solve' then uses it with this model.
    """
    from ttc_cli import paths
    from ttc_cli.answers import Comparer
    from ttc_cli.bench import calibration, datasets
    from ttc_cli.commands import planning, policies
    from ttc_cli.commands.pools import Loader, Teller, Wish, obtain_pool
    from ttc_cli.config import load_config

    if limit is not None and part is not None:
        raise UsageError("--limit and --part contradict each other.", "leave one out")
    questions = datasets.find(data, f":{limit}" if limit is not None else part)
    config = load_config()
    out = Output(quiet)
    wish = Wish(
        data=Path(data).stem,
        questions=questions,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        folder=pools or paths.data_dir() / "pools",
        threads=config.get("threads", threads),
        gpu_layers=config.get("gpu_layers", gpu_layers),
        parallel=config.get("parallel", parallel),
    )
    chosen = planning.choose_model(config.get("model", model))
    chosen = replace(chosen, path=planning.obtain_model(chosen, yes=yes, ask=None))
    name = name or f"{planning.label_model(chosen)}-{wish.data}"
    policies.check_name(name)
    sampling = planning.choose_sampling(chosen, temperature)
    with Comparer() as comparer, Loader(wish, chosen, out) as loader:
        pool, _ = obtain_pool(wish, chosen, sampling, loader, out)
        loader.close()
        teller = Teller(out)
        labelled = list(questions)
        if own_labels:
            labelled = calibration.label_by_majority(pool, questions, comparer)
        policy = asyncio.run(
            calibration.calibrate(
                pool,
                labelled,
                comparer,
                name=name,
                data=wish.data,
                date=date.today().isoformat(),
                labels="majority" if own_labels else "given",
                runs=runs,
                told=teller.tell,
            )
        )
        out.status("")
    file = out_file or policies.folder() / f"{name}.json"
    policy.save(file)
    if as_json:
        out.document({"v": 1, "file": str(file), "policy": asdict(policy)})
    else:
        out.answer(policies.word_policy(policy))
    if own_labels:
        out.warn(
            "fitted to the majority of its own samples, not to labels: it learns when the vote "
            "settles, not when it is right"
        )
    unreliable = [each.verifier for each in policy.reliability if not each.trusted]
    if unreliable:
        out.warn(f"no better than chance on these questions: {', '.join(unreliable)}")
    out.say(f"written: {file}")
