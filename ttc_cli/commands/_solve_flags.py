"""The flags of ``ttc solve``, in groups; each becomes a parameter by ``_help.grouped``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _flags as flags
from ttc_cli.commands import _presetting as presetting
from ttc_cli.types import AnswerType

_thinking = flags.thinking
_budget = partial(typer.Option, rich_help_panel="Budget")
_engine = flags.engine
_output = flags.output
_batch = partial(typer.Option, rich_help_panel="Many questions")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and in which words."""

    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="The question, in quotes; if it is missing or '-', it is read from stdin.",
            show_default=False,
        ),
    ] = None
    dash: Annotated[
        str | None,
        typer.Argument(
            metavar="-", help="After a prompt: wait for stdin and add it.", show_default=False
        ),
    ] = None
    file: Annotated[Path | None, typer.Option(help="Add this file's text.", metavar="PATH")] = None
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            help="Put the question into this template: a file, or a name in ttc's templates folder "
            "(docs/batch.md).",
            metavar="FILE",
            autocompletion=completion.complete_template,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """How to search, and what scores the candidates."""

    strategy: Annotated[
        str | None,
        _thinking(
            help="How to search; 'auto' decides question by question.  [default: auto]",
            metavar="NAME",
            autocompletion=completion.complete_strategy,
        ),
    ] = None
    knobs: Annotated[
        list[str] | None,
        _thinking(
            "--option",
            "-o",
            help="A setting of the strategy, such as width=4; may be repeated "
            "(docs/strategies.md).",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None
    form: Annotated[
        str | None,
        _thinking(
            help="What candidates are: prose, program, or auto, which mixes them where that pays "
            "(docs/programs.md).  [default: auto]",
            metavar="NAME",
            autocompletion=completion.complete_form,
        ),
    ] = None
    verifier: Annotated[
        list[str] | None,
        _thinking(
            help="What scores the candidates, such as judge or prm=MODEL; may be repeated "
            "(docs/verifiers.md).  [default: the strategy's own]",
            metavar="NAME",
            autocompletion=completion.complete_verifier,
        ),
    ] = None
    check: flags.Check = None
    check_seconds: Annotated[
        float | None,
        _thinking(help="Seconds that one check may take.  [default: 10]", min=0.1, metavar="S"),
    ] = None
    samples: Annotated[
        int | None,
        _thinking(
            help="The N of a fixed strategy, or the most candidates that auto may grow.",
            min=1,
            metavar="N",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        _thinking(
            help="0 always takes the likeliest token.  [default: the model's own]",
            min=0.0,
            metavar="T",
        ),
    ] = None
    think_tokens: Annotated[
        int | None,
        _thinking(
            help="The longest thought of a model that thinks, after which it must answer; 0 for "
            "none.  "
            "[default: 2048]",
            min=0,
            metavar="N",
        ),
    ] = None
    wait: Annotated[
        int | None,
        _thinking(help="How many times to make a finished thought go on.", min=0, metavar="N"),
    ] = None
    think_keep: Annotated[
        float | None,
        _thinking(
            help="Once four thoughts have ended, a later one must answer as soon as it falls "
            "outside this share of the surest, such as 0.9.",
            min=0.0,
            max=1.0,
            metavar="SHARE",
        ),
    ] = None
    seed: flags.Seed = 0
    answer_type: Annotated[
        AnswerType | None,
        _thinking(
            "--answer-type",
            help="How answers are read and compared; 'auto' decides by the question.  [default: "
            "auto]",
        ),
    ] = None
    schema: Annotated[
        str | None,
        _thinking(
            help="Make the answer JSON that conforms to this JSON Schema: a file, or the schema "
            "itself (docs/answers.md).",
            metavar="FILE|JSON",
        ),
    ] = None
    system: Annotated[str | None, _thinking(help="Instructions for the model.", metavar="TEXT")] = (
        None
    )
    min_score: Annotated[
        float | None,
        _thinking(
            help="Exit 4 instead of printing an answer whose score (agreement, if no verifier "
            "scored it) is lower.",
            min=0.0,
            max=1.0,
            metavar="S",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Caps:
    """What an answer may cost."""

    budget: Annotated[
        Literal["quick", "normal", "deep", "max"] | None,
        _budget("--budget", help="How much a little more certainty may cost.  [default: normal]"),
    ] = None
    max_tokens: Annotated[
        int | None,
        _budget(help="Sample at most N tokens, over all candidates.", min=1, metavar="N"),
    ] = None
    max_seconds: Annotated[
        float | None,
        _budget(
            help="Search for at most S seconds; loading the model does not count.",
            min=0.0,
            metavar="S",
        ),
    ] = None
    max_flops: Annotated[
        float | None,
        _budget(
            help="Spend at most N floating-point operations, such as 2e13.", min=1.0, metavar="N"
        ),
    ] = None
    max_samples: Annotated[
        int | None, _budget(help="Start at most N candidates.", min=1, metavar="N")
    ] = None


@dataclass(frozen=True, slots=True)
class Engine:
    """Which model answers, and how it is computed."""

    model: flags.Model = None
    cascade: Annotated[
        str | None,
        _engine(
            help="Models separated by commas, smallest first; if one is not sure, the next is "
            "asked.",
            metavar="NAMES",
            autocompletion=completion.complete_models,
        ),
    ] = None
    server: Annotated[
        str | None,
        _engine(
            help="Use the OpenAI-compatible server at this address; --model is the model's name "
            "there.",
            metavar="URL",
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        _engine(
            "--chat-template",
            help="With --server: a chat template file, or the name of a model.  [default: the "
            "server's]",
            metavar="PATH",
        ),
    ] = None
    parameters: Annotated[
        float | None,
        _engine(
            help="With --server: the model's parameter count, such as 7e9, to count FLOPs.",
            min=1.0,
            metavar="N",
        ),
    ] = None
    yes: flags.Yes = False
    threads: flags.Threads = None
    gpu_layers: flags.GpuLayers = None
    verifier_gpu_layers: Annotated[
        int | None,
        _engine(
            help="The same for a verifier's own model.  [default: as --gpu-layers]",
            min=-1,
            metavar="N",
        ),
    ] = None
    parallel: flags.Parallel = None
    context: flags.Context = None
    kv_type: flags.KvType = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What is printed."""

    as_json: Annotated[
        bool, _output("--json", help="Print the whole result as one JSON object.")
    ] = False
    as_jsonl: Annotated[
        bool, _output("--jsonl", help="Print every event as a JSON line, the result last.")
    ] = False
    view: flags.View = None
    solution: flags.Solution = False
    explain: flags.Explain = False
    quiet: flags.Quiet = False
    verbose: Annotated[
        bool, _output("--verbose", "-v", help="Also show the best path, on stderr.")
    ] = False
    dry_run: Annotated[
        bool,
        _output("--dry-run", help="Show plan, model, memory and estimate; compute nothing."),
    ] = False
    color: flags.Color = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Presets, and runs that are kept."""

    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Use the flags saved under this name; flags given beside it win.",
            metavar="NAME",
            is_eager=True,
            callback=presetting.apply_preset,
            autocompletion=completion.complete_preset,
        ),
    ] = None
    save: Annotated[
        str | None,
        typer.Option(
            "--save",
            help="Save the flags given here under this name; without a prompt, do nothing else.",
            metavar="NAME",
            autocompletion=completion.complete_preset,
        ),
    ] = None
    no_save: flags.NoSave = False
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="Resume a run where it stopped, with its own question and flags; finished "
            "candidates are not grown again.",
            metavar="ID",
            autocompletion=completion.complete_run,
        ),
    ] = None
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue",
            "-c",
            help="Resume the last run with more budget: --budget, caps, or else the next level.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class Many:
    """Many questions in one run."""

    batch: Annotated[
        str | None,
        _batch(
            "--batch",
            help="Answer every question in a JSONL, CSV or text file ('-' for stdin), each as "
            "one JSON object (docs/batch.md).",
            metavar="PATH",
            show_default=False,
        ),
    ] = None
    batch_format: Annotated[
        Literal["jsonl", "csv", "lines"] | None,
        _batch(
            "--batch-format", help="The format of the --batch file.  [default: by its extension]"
        ),
    ] = None
    column: Annotated[
        str | None,
        _batch(
            help="With --batch: the column that holds the question.  [default: question, prompt, "
            "problem or text]",
            metavar="NAME",
        ),
    ] = None
    output: Annotated[
        Path | None,
        _batch(
            "--output",
            help="With --batch: write the answers to this file ('-' for stdout); run again, it "
            "goes on from there.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None
    jobs: Annotated[
        int | None,
        _batch(
            help="With --batch: questions to answer at once.  [default: a quarter of --parallel]",
            min=1,
            metavar="N",
        ),
    ] = None
