"""The flags that say how to think, with what and how much: their names, limits and help texts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ttc_cli.commands import _completion as completion
from ttc_cli.commands import _presetting as presetting
from ttc_cli.types import AnswerType

_thinking = partial(typer.Option, rich_help_panel="Thinking")
_budget = partial(typer.Option, rich_help_panel="Budget")
_model = partial(typer.Option, rich_help_panel="Model and engine")
_output = partial(typer.Option, rich_help_panel="Output")
_batch = partial(typer.Option, rich_help_panel="Many questions")

Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help="The question, in quotes; without it, or as '-', it is read from stdin.",
        show_default=False,
    ),
]
Dash = Annotated[
    str | None,
    typer.Argument(
        metavar="-", help="After a prompt: wait for stdin and add it.", show_default=False
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        help="Word the question by this template: a file, or a name in ttc's templates folder "
        "(docs/batch.md).",
        metavar="FILE",
        autocompletion=completion.complete_template,
        show_default=False,
    ),
]
File = Annotated[Path | None, typer.Option(help="Add this file's text.", metavar="PATH")]

Strategy = Annotated[
    str | None,
    _thinking(
        help="How to search; 'auto' decides question by question.  [default: auto]",
        metavar="NAME",
        autocompletion=completion.complete_strategy,
    ),
]
Verifier = Annotated[
    list[str] | None,
    _thinking(
        help="What scores the candidates, as judge or prm=MODEL; may be repeated "
        "(docs/verifiers.md).  [default: the strategy's own]",
        metavar="NAME",
        autocompletion=completion.complete_verifier,
    ),
]
Check = Annotated[
    str | None,
    _thinking(
        "--check",
        help="Score candidates by this command's exit status; {file} is the candidate's code or "
        "answer, {file.py} with that ending.",
        metavar="COMMAND",
        show_default=False,
    ),
]
CheckSeconds = Annotated[
    float | None,
    _thinking(help="Time limit of one check.  [default: 10]", min=0.1, metavar="S"),
]
Knobs = Annotated[
    list[str] | None,
    _thinking(
        "--option",
        "-o",
        help="A setting of the strategy, as width=4; may be repeated (docs/strategies.md).",
        metavar="NAME=VALUE",
        show_default=False,
    ),
]
Samples = Annotated[
    int | None,
    _thinking(
        help="The N of a fixed strategy, or auto's greatest number of candidates.",
        min=1,
        metavar="N",
    ),
]
Temperature = Annotated[
    float | None,
    _thinking(
        help="0 always takes the likeliest token.  [default: the model's own]",
        min=0.0,
        metavar="T",
    ),
]
ThinkTokens = Annotated[
    int | None,
    _thinking(
        help="Of a model that thinks: the longest thought before it must answer; 0 is none.  "
        "[default: 2048]",
        min=0,
        metavar="N",
    ),
]
Wait = Annotated[
    int | None,
    _thinking(help="How often a thought that ended is made to go on.", min=0, metavar="N"),
]
ThinkKeep = Annotated[
    float | None,
    _thinking(
        help="Once four thoughts have ended, later ones must answer as soon as they are not among "
        "this share of the surest, as 0.9.",
        min=0.0,
        max=1.0,
        metavar="SHARE",
    ),
]
Seed = Annotated[int, _thinking(help="Same seed, machine and flags: same text.", min=0)]
AnswerKind = Annotated[
    AnswerType | None,
    _thinking(
        "--answer-type",
        help="How answers are read and compared; 'auto' goes by the question.  [default: auto]",
    ),
]
Schema = Annotated[
    str | None,
    _thinking(
        help="The answer is JSON that conforms to this JSON Schema, a file or the schema itself "
        "(docs/answers.md).",
        metavar="FILE|JSON",
    ),
]
System = Annotated[str | None, _thinking(help="Instructions for the model.", metavar="TEXT")]
MinScore = Annotated[
    float | None,
    _thinking(
        help="Exit 4 without an answer whose score (agreement, where no verifier spoke) is lower.",
        min=0.0,
        max=1.0,
        metavar="S",
    ),
]

Level = Annotated[
    Literal["quick", "normal", "deep", "max"] | None,
    _budget("--budget", help="What a little more certainty may cost.  [default: normal]"),
]
MaxTokens = Annotated[
    int | None, _budget(help="Tokens sampled, over all candidates.", min=1, metavar="N")
]
MaxSeconds = Annotated[
    float | None,
    _budget(help="Seconds of search; loading the model is not counted.", min=0.0, metavar="S"),
]
MaxFlops = Annotated[
    float | None, _budget(help="Floating-point operations, e.g. 2e13.", min=1.0, metavar="N")
]
MaxSamples = Annotated[int | None, _budget(help="Candidates started.", min=1, metavar="N")]

Model = Annotated[
    str | None,
    _model(
        "--model",
        "-m",
        help="A name from 'ttc models list', user/repo:quant, or a .gguf file.  "
        "[default: the best for this machine]",
        metavar="NAME",
        autocompletion=completion.complete_model,
    ),
]
Cascade = Annotated[
    str | None,
    _model(
        help="Models with commas, smallest first: the next is asked where one is not sure.",
        metavar="NAMES",
        autocompletion=completion.complete_models,
    ),
]
Server = Annotated[
    str | None,
    _model(
        help="Grow on an OpenAI-compatible server at this address; --model is its name there.",
        metavar="URL",
    ),
]
ChatTemplate = Annotated[
    str | None,
    _model(
        "--chat-template",
        help="With --server: a chat template's file, or a model's name.  [default: the server's]",
        metavar="PATH",
    ),
]
Parameters = Annotated[
    float | None,
    _model(
        help="With --server: the model's size, as 7e9, to count FLOPs by.",
        min=1.0,
        metavar="N",
    ),
]
Yes = Annotated[bool, _model("--yes", "-y", help="Download a missing model without asking.")]
Threads = Annotated[
    int | None,
    _model(help="Threads to compute with.  [default: the cores it may use]", min=1, metavar="N"),
]
GpuLayers = Annotated[
    int | None, _model(help="Layers on the GPU; -1 is all.  [default: -1]", min=-1, metavar="N")
]
VerifierGpuLayers = Annotated[
    int | None,
    _model(
        help="The same for a verifier's own model.  [default: as --gpu-layers]",
        min=-1,
        metavar="N",
    ),
]
Parallel = Annotated[
    int | None,
    _model(help="Candidates that grow at once.  [default: as memory allows]", min=1, metavar="N"),
]
Context = Annotated[
    int | None,
    _model(
        help="Tokens of question and answer together.  [default: as memory allows]",
        min=1,
        metavar="N",
    ),
]
KvType = Annotated[
    Literal["f16", "q8_0", "q4_0"] | None,
    _model(help="How the KV cache is stored.  [default: f16, or q8_0 where memory is short]"),
]

Json = Annotated[bool, _output("--json", help="The whole result as one JSON object.")]
Jsonl = Annotated[bool, _output("--jsonl", help="Every event as a JSON line, the result last.")]
View = Annotated[
    Literal["auto", "tree", "plain", "none"] | None,
    _output(
        help="What stderr shows: 'auto' is the tree on a terminal, else lines.  [default: auto]"
    ),
]
Solution = Annotated[bool, _output("--solution", help="The winner's whole text on stdout.")]
Explain = Annotated[bool, _output("--explain", help="Say at the end why this answer.")]
Quiet = Annotated[bool, _output("--quiet", "-q", help="Nothing on stderr but errors.")]
Verbose = Annotated[bool, _output("--verbose", "-v", help="Also the best path, on stderr.")]
DryRun = Annotated[
    bool,
    _output("--dry-run", help="Show plan, model, memory and estimate; compute nothing."),
]
Color = Annotated[
    Literal["auto", "always", "never"] | None,
    _output(help="Colour on stderr.  [default: auto]"),
]
NoSave = Annotated[bool, _output("--no-save", help="Do not keep this run (ttc runs).")]

Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        help="Take a run up where it stopped, with its own question and flags; what had ended is "
        "not grown again.",
        metavar="ID",
        autocompletion=completion.complete_run,
    ),
]
GoOn = Annotated[
    bool,
    typer.Option(
        "--continue",
        "-c",
        help="The same with the last run and more budget: --budget, caps, or else the next level.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Flags kept under this name; those given beside it win.",
        metavar="NAME",
        is_eager=True,
        callback=presetting.apply_preset,
        autocompletion=completion.complete_preset,
    ),
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save",
        help="Keep the flags given here under this name; without a prompt, do only that.",
        metavar="NAME",
        autocompletion=completion.complete_preset,
    ),
]

Batch = Annotated[
    str | None,
    _batch(
        "--batch",
        help="Answer every question of a JSONL, CSV or text file, '-' for stdin, as one JSON "
        "object each (docs/batch.md).",
        metavar="PATH",
        show_default=False,
    ),
]
BatchFormat = Annotated[
    Literal["jsonl", "csv", "lines"] | None,
    _batch("--batch-format", help="Of --batch.  [default: by the file's ending]"),
]
Column = Annotated[
    str | None,
    _batch(
        help="Of --batch: the column to ask.  [default: question, prompt, problem or text]",
        metavar="NAME",
    ),
]
AnswersFile = Annotated[
    Path | None,
    _batch(
        "--output",
        help="Of --batch: write to this file, - is stdout; repeated, it goes on where it ended.",
        metavar="PATH",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    _batch(
        help="Of --batch: questions at once.  [default: a fourth of --parallel]",
        min=1,
        metavar="N",
    ),
]

PrintJson = Annotated[bool, _output("--json", help="Print one JSON object.")]
Sure = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The run's id, or how it begins; 'last' is the newest.",
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
Limit = Annotated[int | None, typer.Option(help="Only the first N questions.", min=1, metavar="N")]
Part = Annotated[
    str | None, typer.Option(help="Questions of the data, as 0:50.", metavar="START:STOP")
]
Drawn = Annotated[int, typer.Option(help="Samples drawn for a question.", min=2, metavar="N")]
DrawnAt = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        help="Temperature of the samples.  [default: the model's own]",
        min=0.0,
        metavar="T",
    ),
]
Longest = Annotated[int, typer.Option("--max-tokens", help="The longest sample, in tokens.", min=1)]
PoolSeed = Annotated[int, typer.Option("--seed", help="Seed of the samples.", min=0)]
Pools = Annotated[
    Path | None,
    typer.Option(
        "--pools", help="Folder of the pools.  [default: pools in ttc's data folder]", metavar="DIR"
    ),
]
