"""``ttc policy``: list, show, use, export.

stdout carries the data (a table, words, JSON), stderr everything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands._completion import complete_policy
from ttc_cli.commands._files import write_new
from ttc_cli.commands._help import make_group, show_examples
from ttc_cli.commands._policy_words import tell_policy, word_policy
from ttc_cli.errors import UsageError
from ttc_cli.models import files
from ttc_cli.output import Output
from ttc_cli.policy.file import (
    SHIPPED_FOLDER,
    adopt_policy,
    find_named,
    list_policies,
    use_policy,
)
from ttc_cli.settings.config import load_config
from ttc_cli.solving import choosing
from ttc_cli.solving.request import label_model

app = make_group(
    "List, show, choose and export policies: when to think harder.",
    show_examples(
        "ttc policy list",
        "ttc policy show qwen2.5-coder-0.5b-gsm8k",
        "ttc policy use qwen2.5-coder-0.5b-gsm8k",
        "ttc policy use --none --model qwen2.5-coder-0.5b",
        "ttc policy export qwen2.5-coder-0.5b-gsm8k policy.json",
        more="'ttc calibrate' makes them. See docs/policy.md.",
    ),
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The policy's name, or a file.", autocompletion=complete_policy
    ),
]


@app.command("list", epilog=show_examples("ttc policy list", "ttc policy list --json"))
def list_all(as_json: flags.PrintJson = False) -> None:
    """List the policies: for which model, fitted on what, when."""
    rows: list[dict[str, Any]] = [
        {
            "name": policy.name,
            "model": policy.model,
            "data": policy.source.data,
            "questions": policy.source.questions,
            "labels": policy.source.labels,
            "date": policy.date,
            "shipped": path.parent == SHIPPED_FOLDER,
        }
        for path, policy in list_policies()
    ]
    if as_json:
        Output().document({"v": 1, "policies": rows})
    elif not rows:
        Output().say(
            "No policies. 'ttc calibrate QUESTIONS.jsonl' makes one for the default model."
        )
    else:
        lines: list[tuple[str, ...]] = [("NAME", "MODEL", "FITTED ON", "LABELS", "DATE", "")]
        for row in rows:
            on, comes = f"{row['questions']} of {row['data']}", row["shipped"] and "comes with ttc"
            lines.append((row["name"], row["model"], on, row["labels"], row["date"], comes or ""))
        Output().table(lines)


@app.command(epilog=show_examples("ttc policy show qwen2.5-coder-0.5b-gsm8k"))
def show(name: Name, as_json: flags.PrintJson = False) -> None:
    """Show a policy: what it does after each vote, and what it is expected to gain."""
    _, policy = find_named(name)
    if as_json:
        Output().document({"v": 1, "policy": tell_policy(policy)})
    else:
        Output().answer(word_policy(policy))


@app.command(
    epilog=show_examples(
        "ttc policy use qwen2.5-coder-0.5b-gsm8k",
        "ttc policy use --none --model qwen2.5-coder-0.5b",
    )
)
def use(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The policy's name, or a file.",
            autocompletion=complete_policy,
            show_default=False,
        ),
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Use the generic defaults for the model.")
    ] = False,
    model: flags.Model = None,
) -> None:
    """Use a policy with its model from now on, or none."""
    if (name is None) is not none:
        raise UsageError("Name one policy, or give --none.", "ttc policy list")
    if name is not None:
        path, policy = find_named(name)
        adopt_policy(path, policy)
        use_policy(policy.sha256, policy.name)
        Output().say(f"auto uses {policy.name} with {policy.model}")
        return
    chosen = choosing.choose_model(load_config().get("model", model))
    use_policy(files.read_hash(chosen), None)
    Output().say(f"auto uses the generic defaults with {label_model(chosen)}")


@app.command(
    epilog=show_examples(
        "ttc policy export qwen2.5-coder-0.5b-gsm8k policy.json", "ttc policy use policy.json"
    )
)
def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")
    ],
) -> None:
    """Copy a policy to a file, for another machine with the same model."""
    path, _ = find_named(name)
    write_new(file, path.read_bytes())
    Output().say(f"written: {file}; there: ttc policy use {file}")
