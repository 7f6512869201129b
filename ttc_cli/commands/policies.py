"""``ttc policy``: list, show, use, export.

stdout carries the data (a table, words, JSON), stderr everything else.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttc_cli.commands import _flags as flags
from ttc_cli.commands._completion import complete_policy
from ttc_cli.commands._help import show_examples
from ttc_cli.commands._tables import align, print_table, word_number
from ttc_cli.errors import UsageError, suggest
from ttc_cli.output import Output
from ttc_cli.paths import policies_dir, write_whole

if TYPE_CHECKING:
    from ttc_cli.policy.belief import Belief
    from ttc_cli.policy.file import Matched, Policy
    from ttc_cli.policy.table import Table

EPILOG = """\
\b
Examples:
  ttc policy list
  ttc policy show qwen2.5-coder-0.5b-gsm8k
  ttc policy use qwen2.5-coder-0.5b-gsm8k
  ttc policy use --none --model qwen2.5-coder-0.5b
  ttc policy export qwen2.5-coder-0.5b-gsm8k policy.json

'ttc calibrate' makes them. See docs/policy.md.
"""

app = typer.Typer(
    help="List, show, choose and export policies: when to think harder.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=EPILOG,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Of the policy, or a file.", autocompletion=complete_policy
    ),
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STATES = ((1, 0), (2, 0), (2, 1), (3, 1), (2, 2), (4, 0), (4, 2), (4, 4), (6, 3), (8, 2))
"""Votes of leader and runner-up that ``show`` tells the decision at."""


def check_name(name: str) -> None:
    """Make sure that ``name`` can be a file's.

    Raises:
        UsageError: it cannot.
    """
    from ttc_cli.policy.file import ACTIVE

    if not _NAME.fullmatch(name) or f"{name}.json".lower() == ACTIVE:
        raise UsageError(
            f"{name!r} cannot be the name of a policy.",
            "Use letters, digits, dots, dashes and underscores: --name maths",
        )


def find(name: str) -> tuple[Path, Policy]:
    """The policy of that name, else in that file.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    from ttc_cli.policy.file import list_policies, load_policy

    known = list(list_policies(policies_dir()))
    for path, policy in known:
        if policy.name == name:
            return path, policy
    own = policies_dir() / f"{name}.json"
    if _NAME.fullmatch(name) and own.is_file():
        return own, load_policy(own)  # damaged, and says how
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # unlike Path's own, no error for a name that no system takes
        return path, load_policy(path)
    names = [policy.name for _, policy in known]
    hint = suggest(name, names, f"There is: {', '.join(names) or 'none yet'}")
    raise UsageError(f"There is no policy called {name!r}.", hint)


def _put(policy: Policy) -> None:
    """Keep a policy that a file holds; one of that name is not lost by it."""
    from ttc_cli.policy.file import load_policy

    own = policies_dir() / f"{policy.name}.json"
    if own.exists() and load_policy(own) != policy:
        raise UsageError(
            f"You have another policy called {policy.name}: {own}.",
            f"mv {shlex.quote(str(own))} {shlex.quote(f'{policy.name}.json.old')} puts it away, or "
            "change the name in the file",
        )
    policy.save(own)


@app.command("list", epilog=show_examples("ttc policy list", "ttc policy list --json"))
def list_all(as_json: Json = False) -> None:
    """List the policies: for which model, fitted on what, when."""
    from ttc_cli.policy.file import SHIPPED_FOLDER, list_policies

    rows = [
        {
            "name": policy.name,
            "model": policy.model,
            "data": policy.source.data,
            "questions": policy.source.questions,
            "labels": policy.source.labels,
            "date": policy.date,
            "shipped": path.parent == SHIPPED_FOLDER,
        }
        for path, policy in list_policies(policies_dir())
    ]
    out = Output()
    if as_json:
        out.document({"v": 1, "policies": rows})
        return
    if not rows:
        out.say("No policies. 'ttc calibrate QUESTIONS.jsonl' makes one for the default model.")
        return
    head = ("NAME", "MODEL", "FITTED ON", "LABELS", "DATE", "")
    print_table(
        [
            head,
            *(
                (
                    str(r["name"]),
                    str(r["model"]),
                    f"{r['questions']} of {r['data']}",
                    str(r["labels"]),
                    str(r["date"]),
                    "comes with ttc" if r["shipped"] else "",
                )
                for r in rows
            ),
        ]
    )


@app.command(epilog=show_examples("ttc policy show qwen2.5-coder-0.5b-gsm8k"))
def show(name: Name, as_json: Json = False) -> None:
    """Draw a policy: what it does after which vote, and what it is expected to gain."""
    _, policy = find(name)
    if as_json:
        Output().document({"v": 1, "policy": asdict(policy)})
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
            help="Of the policy, or a file.",
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
    from ttc_cli.models.files import read_hash
    from ttc_cli.policy.file import SHIPPED_FOLDER, use_policy
    from ttc_cli.settings.config import load_config
    from ttc_cli.solving import choosing as planning

    if (name is None) is not none:
        raise UsageError("Name one policy, or give --none.", "ttc policy list")
    if name is not None:
        path, policy = find(name)
        check_name(policy.name)  # a file says what it likes
        if path.resolve().parent not in (policies_dir().resolve(), SHIPPED_FOLDER.resolve()):
            _put(policy)
        use_policy(policy.sha256, policy.name, policies_dir())
        Output().say(f"auto uses {policy.name} with {policy.model}")
        return
    chosen = planning.choose_model(load_config().get("model", model))
    use_policy(read_hash(chosen), None, policies_dir())
    Output().say(f"auto uses the generic defaults with {planning.label_model(chosen)}")


@app.command(
    epilog=show_examples(
        "ttc policy export qwen2.5-coder-0.5b-gsm8k policy.json", "ttc policy use policy.json"
    )
)
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist.")],
) -> None:
    """Copy a policy into a file, for another machine with the same model."""
    path, _ = find(name)
    if file.exists():
        raise UsageError(f"{file} exists.", "Name another file.")
    try:
        write_whole(file, path.read_bytes())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(f"{file} cannot be written: {error.strerror}.", "Name another.") from error
    Output().say(f"written: {file}; there: ttc policy use {file}")


def word_policy(policy: Policy) -> str:
    """A policy as words and tables."""
    source, table = policy.source, policy.table
    labels = "" if source.labels == "given" else ", labelled by the majority of the samples"
    lines = [
        f"{policy.name}: for {policy.model}, fitted {policy.date}",
        f"on {source.questions} questions of {source.data} × {source.samples} samples (T "
        f"{source.temperature:g}, at most {source.max_tokens} tokens, seed {source.seed}{labels})",
    ]
    if source.questions < 100:
        lines.append("few questions: take it as a beginning")
    lines.append(
        f"a vote weighs exp({table.sureness:g} × nats that its candidate ended surer than others)"
        + (f", × {table.slip:g} with a wrong sum in it" if table.slip != 1.0 else "")
    )
    if table.belief is not None:
        types = ", ".join(table.belief.types)
        lines += [f"it speaks of answers of the kind {types}"] if types else []
        lines += ["", "What it believes and does at budget normal, by votes of the two leaders:"]
        lines += _indent(_draw(table, table.belief))
    lines += ["", "Each budget on questions its half of the fit had not seen, and before:"]
    lines += _indent(
        [
            (
                "BUDGET",
                "FIRST WAVE",
                "STOP AT",
                "PRICE",
                "ACCURACY",
                "TFLOPS",
                "CANDIDATES",
                "BEFORE",
            ),
            *(
                (
                    each.level,
                    str(table.rows[each.level].probe),
                    word_number(table.rows[each.level].threshold),
                    f"{table.rows[each.level].price:g}",
                    f"{each.accuracy:.1%}",
                    f"{each.flops / 1e12:.2f}",
                    f"{each.samples:.1f}",
                    f"{each.before:.1%}, {each.before_flops / 1e12:.2f} TFLOPs",
                )
                for each in policy.expected
            ),
        ]
    )
    if policy.matched is not None:
        lines += ["", _word_match(policy.matched)]
    if policy.reliability:
        lines += ["", "Scores of its candidates: AUC, and within a question [95 %]:"]
        lines += _indent(
            [
                (
                    each.verifier,
                    word_number(each.auc),
                    f"{word_number(each.auc_within)} "
                    f"[{word_number(each.low)}, {word_number(each.high)}]",
                    {True: "", False: "no better than chance", None: "too few to tell"}[
                        each.trusted
                    ],
                )
                for each in policy.reliability
            ]
        )
    return "\n".join(lines)


def _word_match(found: Matched) -> str:
    base = f"{found.baseline} ({found.accuracy:.1%}, {found.flops / 1e12:.2f} TFLOPs)"
    if found.share is None:
        return (
            f"It does not match {base} at any price (in {found.reached:.0%} of resamples it does)."
        )
    bounds = ", ".join("–" if each is None else f"{each:.0%}" for each in (found.low, found.high))
    return (
        f"It matches {base} at {found.share:.0%} [{bounds}] of its FLOPs on questions its "
        f"half had not seen (in {found.reached:.0%} of resamples)."
    )


def _draw(table: Table, belief: Belief) -> list[tuple[str, ...]]:
    """A line a vote at budget normal, where nobody scattered and nothing is known but the votes."""
    from ttc_cli.policy.belief import describe_vote
    from ttc_cli.policy.difficulty import estimate
    from ttc_cli.policy.stopping import WAVE_SIZES, choose_wave, expect_gain, settle
    from ttc_cli.types import Answer, AnswerClass, AnswerType

    row = table.rows["normal"]
    lines: list[tuple[str, ...]] = [
        ("VOTES", "DIFFICULTY", "P(RIGHT)", "SETTLED", "4 MORE GAIN", "DECISION")
    ]
    for votes in _STATES:
        leader, runner_up = votes
        classes = [
            AnswerClass(Answer(name, name, AnswerType.TEXT), tuple(range(count)), float(count))
            for name, count in zip("ab", votes, strict=True)
            if count
        ]
        heard = leader + runner_up
        sizes = [size for size in WAVE_SIZES if size <= row.cap - heard]
        best = choose_wave(leader, runner_up, heard, sizes, row.price)
        settled = settle(leader, runner_up)
        over = row.threshold is not None and settled >= row.threshold
        lines.append(
            (
                f"{leader} to {runner_up}",
                str(estimate(classes, heard, table.prior).difficulty),
                f"{belief.rate(describe_vote(classes, (), heard)):.2f}",
                f"{settled:.2f}",
                f"{expect_gain(leader, runner_up, heard, 4):.3f}",
                "stop" if over or not best.size else "go on",
            )
        )
    return lines


def _indent(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"  {line}" for line in align(rows)]
