"""Flags that several commands take: each is declared once, with its limits and help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ttc_cli.commands import _completion as completion

thinking = partial(typer.Option, rich_help_panel="Thinking")
engine = partial(typer.Option, rich_help_panel="Model and engine")
output = partial(typer.Option, rich_help_panel="Output")

Check = Annotated[
    str | None,
    thinking(
        "--check",
        help="Score candidates by this command's exit status; {file} is a file with the "
        "candidate's code or answer, {file.py} the same with that ending.",
        metavar="COMMAND",
        show_default=False,
    ),
]
Color = Annotated[
    Literal["auto", "always", "never"] | None,
    output(help="Colour on stderr.  [default: auto]"),
]
Context = Annotated[
    int | None,
    engine(
        help="Room for question and answer together, in tokens.  [default: as much as fits in "
        "memory]",
        min=1,
        metavar="N",
    ),
]
Explain = Annotated[bool, output("--explain", help="Say at the end why this answer won.")]
GpuLayers = Annotated[
    int | None,
    engine(help="Layers to put on the GPU; -1 for all.  [default: -1]", min=-1, metavar="N"),
]
KvType = Annotated[
    Literal["f16", "q8_0", "q4_0"] | None,
    engine(help="How the KV cache is stored.  [default: f16, or q8_0 where memory is short]"),
]
Model = Annotated[
    str | None,
    engine(
        "--model",
        "-m",
        help="A name from 'ttc models list', user/repo:quant, or a .gguf file.  [default: the best "
        "for this machine]",
        metavar="NAME",
        autocompletion=completion.complete_model,
    ),
]
NoSave = Annotated[bool, output("--no-save", help="Do not keep this run (see ttc runs).")]
Parallel = Annotated[
    int | None,
    engine(
        help="Candidates that grow at once.  [default: as many as fit in memory]",
        min=1,
        metavar="N",
    ),
]
Solution = Annotated[
    bool,
    output(
        "--solution",
        help="Print the winner's whole text on stdout; of a program its code and what it printed.",
    ),
]
Threads = Annotated[
    int | None,
    engine(help="Threads to compute with.  [default: the cores ttc may use]", min=1, metavar="N"),
]
View = Annotated[
    Literal["auto", "tree", "plain", "none"] | None,
    output(
        help="What stderr shows: 'auto' is the tree on a terminal, lines elsewhere.  [default: "
        "auto]"
    ),
]
Yes = Annotated[bool, engine("--yes", "-y", help="Download a missing model without asking.")]

PrintJson = Annotated[bool, output("--json", help="Print one JSON object.")]
Sure = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The run's id, or the beginning of it; 'last' is the newest.",
        autocompletion=completion.complete_run,
    ),
]

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A JSONL, CSV or Parquet file of labelled questions, or one of gsm8k, gsm8k-train, "
        "math500, aime, arc, mmlu from the hub.",
    ),
]
Quiet = Annotated[bool, output("--quiet", "-q", help="Print nothing on stderr but errors.")]
Seed = Annotated[int, thinking(help="The same seed, machine and flags give the same text.", min=0)]


@dataclass(frozen=True, slots=True)
class Machine:
    """Whether a missing model is downloaded, and what it computes with."""

    yes: Yes = False
    threads: Threads = None
    gpu_layers: GpuLayers = None


@dataclass(frozen=True, slots=True)
class Samples:
    """Of which questions samples are drawn, and how."""

    part: Annotated[
        str | None,
        typer.Option(
            help="Use only these questions of the data, such as 0:50.", metavar="START:STOP"
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Temperature of the samples.  [default: the model's own]", min=0.0, metavar="T"
        ),
    ] = None
    max_tokens: Annotated[int, typer.Option(help="The longest sample, in tokens.", min=1)] = 512
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0)] = 0


@dataclass(frozen=True, slots=True)
class Pool(Samples):
    """Which samples a pool must hold, and where it lies."""

    limit: Annotated[
        int | None, typer.Option(help="Use only the first N questions.", min=1, metavar="N")
    ] = None
    samples: Annotated[
        int, typer.Option(help="Samples to draw for each question.", min=2, metavar="N")
    ] = 16
    programs: Annotated[
        int | None,
        typer.Option(
            help="Programs to draw for each question beside them; 0 for none.  [default: 8 where "
            "they may be used]",
            min=0,
            metavar="N",
        ),
    ] = None
    folder: Annotated[
        Path | None,
        typer.Option(
            "--pools",
            help="Folder for the pools.  [default: pools in ttc's data folder]",
            metavar="DIR",
        ),
    ] = None
    parallel: Parallel = None
