"""``ttc solve``: one question, one answer on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ttc_cli import crash, paths
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._dashes import TextCommand
from ttc_cli.commands._schemas import read_schema
from ttc_cli.errors import NoAnswer, TtcError
from ttc_cli.output import Output, print_error
from ttc_cli.sanitise import clean
from ttc_cli.settings.config import load_config
from ttc_cli.signals import Interruption
from ttc_cli.solving.prompt_templates import read_question, read_template
from ttc_cli.types import AnswerType, Problem, Result

if TYPE_CHECKING:
    from ttc_cli.solving.solver import Thought

EPILOG = """\
\b
Examples:
  ttc solve "What is 17 * 23?"
  echo "What is 17 * 23?" | ttc solve
  cat notes.txt | ttc solve "Summarise in one sentence:"
  ttc solve --budget deep --explain "How many primes are below 100?"
  ttc solve --json "Is 91 prime?" | jq -r .answer
  ttc solve --check 'python3 test.py {file.py}' "Write median(numbers) in Python."
  ttc solve --schema person.json --file letter.txt "Who wrote this?" | jq .name
  ttc solve --cascade qwen2.5-coder-0.5b,qwen2.5-coder-1.5b "Is 91 prime?"
  ttc solve --batch questions.jsonl --output answers.jsonl
  cat essay.txt | ttc solve --template review.md
  ttc solve --max-seconds 30 --strategy majority --samples 16 --file question.txt
  ttc solve --budget deep --verifier judge --answer-type number --save maths
  ttc solve --preset maths "What is 17 * 23?"
  ttc solve --continue --budget deep

With a prompt, stdin is added to it where it is a file or a pipe; a pipe that sends nothing for
five seconds is left out with a warning, and '-' after the prompt waits for it without limit.

A prompt may begin with a dash, as "-5 + 3 = ?". One that could be a flag goes after '--', behind
all flags: ttc solve --json -- "-x"

Ctrl-C stops at the next token and prints the best answer so far; pressed twice it leaves at once.

Defaults can be set as TTC_MODEL, TTC_BUDGET, TTC_THREADS … or, as model = "…", in ttc.toml of the
project and config.toml of the user.

See 'ttc --help' for the exit codes.
"""

app = typer.Typer()


@app.command(cls=TextCommand, epilog=EPILOG, context_settings={"allow_extra_args": True})
def solve(
    ctx: typer.Context,
    prompt: flags.Prompt = None,
    dash: flags.Dash = None,
    file: flags.File = None,
    template: flags.Template = None,
    strategy: flags.Strategy = None,
    knobs: flags.Knobs = None,
    verifier: flags.Verifier = None,
    check: flags.Check = None,
    check_seconds: flags.CheckSeconds = None,
    samples: flags.Samples = None,
    temperature: flags.Temperature = None,
    think_tokens: flags.ThinkTokens = None,
    wait: flags.Wait = None,
    think_keep: flags.ThinkKeep = None,
    seed: flags.Seed = 0,
    answer_type: flags.AnswerKind = None,
    schema: flags.Schema = None,
    system: flags.System = None,
    min_score: flags.MinScore = None,
    budget: flags.Level = None,
    max_tokens: flags.MaxTokens = None,
    max_seconds: flags.MaxSeconds = None,
    max_flops: flags.MaxFlops = None,
    max_samples: flags.MaxSamples = None,
    model: flags.Model = None,
    cascade: flags.Cascade = None,
    server: flags.Server = None,
    chat_template: flags.ChatTemplate = None,
    parameters: flags.Parameters = None,
    yes: flags.Yes = False,
    threads: flags.Threads = None,
    gpu_layers: flags.GpuLayers = None,
    verifier_gpu_layers: flags.VerifierGpuLayers = None,
    parallel: flags.Parallel = None,
    context: flags.Context = None,
    kv_type: flags.KvType = None,
    as_json: flags.Json = False,
    as_jsonl: flags.Jsonl = False,
    view: flags.View = None,
    solution: flags.Solution = False,
    explain: flags.Explain = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    dry_run: flags.DryRun = False,
    color: flags.Color = None,
    preset: flags.Preset = None,
    save: flags.Save = None,
    no_save: flags.NoSave = False,
    resume: flags.Resume = None,
    go_on: flags.GoOn = False,
    batch: flags.Batch = None,
    batch_format: flags.BatchFormat = None,
    column: flags.Column = None,
    output: flags.AnswersFile = None,
    jobs: flags.Jobs = None,
) -> int:
    """Answer one question, with as much thought as it is worth.

    Several candidate solutions grow in parallel and are scored and compared; thinking goes on
    only while it changes the answer. The answer alone goes to stdout.
    """
    from ttc_cli.commands import _presetting as presetting
    from ttc_cli.commands import _resuming as resuming
    from ttc_cli.solving import choosing as planning
    from ttc_cli.solving import keeping
    from ttc_cli.solving import request as requesting
    from ttc_cli.solving import solver as thinking
    from ttc_cli.solving.batch import asking
    from ttc_cli.views.jsonl import error_json

    if resume is not None or go_on:
        return int(ctx.command.invoke(resuming.take_up(ctx)))
    past: resuming.Past | None = ctx.obj
    wording = read_template(template) if template is not None else None
    config = load_config() if past is None else past.narrow(load_config())
    if wording is not None:
        config = config.over(wording.settings)
        answer_type = answer_type or wording.answer_type
        system = wording.system if system is None else system
    wish = requesting.Wish(ctx.params, config)
    out = Output(quiet, wish.option("color", "auto"))
    requesting.refuse_contradictions(ctx.params)
    words = [word for word in (prompt, dash, *ctx.args) if word is not None]
    if save is not None:
        presetting.save_preset(save, ctx, out)
        if not words and file is None and batch is None:
            return 0
    kind = answer_type or AnswerType.AUTO
    stdin = _stdin() if past is None else None
    many = asking.read_batch(
        ctx.params, words, wording, stdin=stdin, answer_type=kind, system=system
    )
    question: str | None
    if many is not None:
        question = many.longest
    else:
        question = read_question(words, file, wording, stdin=stdin, warn=out.warn)
    if question is None:  # a terminal, and nothing to answer
        sys.stderr.write(ctx.get_help() + "\n")
        return 2
    requesting.check_wish(wish)
    try:
        held_to = read_schema(schema, kind, served=bool(wish.option("server")))
        request = requesting.make_request(
            wish,
            Problem(question, kind, system, held_to),
            room=question + (held_to or ""),
            anew=past is None,
            warn=out.warn,
        )
        if dry_run:
            planning.show_plan(request, out, as_json=as_json or as_jsonl)
            if many is not None:
                out.say(f"for each of {len(many.questions)} questions")
            return 0
        ask = _ask if _is_somebody_there() else None
        path = Path()
        if request.server is None:
            path = planning.obtain_model(request.model, yes=yes, ask=ask)
        request = planning.obtain_others(request, yes=yes, ask=ask)
        _warn_of_machine(out)
        interruption = Interruption()
        seen = thinking.choose_view(wish.option("view", "auto"), quiet)
        if many is not None:
            with interruption.installed():
                return asking.answer_batch(many, request, path, out, interruption, seen)
        # The run is kept as it was understood: a template or a schema may be another one later.
        ctx.params |= {"answer_type": answer_type, "system": system, "schema": held_to}
        if past is not None:
            request = past.join(request, path, out)
        named = wish.option("model") if request.larger or request.server else request.model.name
        asked = keeping.read_flags(ctx.command, wish.option, named)
        keep = keeping.keep_run(
            request,
            path,
            asked,
            keeping.word_flags(ctx.command, asked),
            out,
            wanted=not no_save and wish.option("keep_runs", "yes") == "yes",
            parent=None if past is None else past.run.id,
        )
        with interruption.installed(), keep as kept:
            thought = thinking.think(
                request, path, out, interruption, view=seen, lines=as_jsonl, keep=kept.recorder
            )
            kept.conclude(thought.result, out)
            if as_json:
                out.document(thinking.describe(thought, request))
            elif not as_jsonl and _is_answer(thought.result, min_score):
                out.answer(_text(thought.result, whole=solution))
            _comment(thought, out, path=verbose, why=explain)
            return _judge(thought.result, min_score, held=held_to is not None)
    except TtcError as error:
        if as_json or as_jsonl:
            out.document(error_json(error.message, error.hint, error.exit_code))
        raise


def _warn_of_machine(out: Output) -> None:
    """What will cost time or trust here, and is no error."""
    from ttc_cli.models.hardware import find_blindness

    blindness = find_blindness()
    if blindness is not None:
        out.warn(f"{blindness}.")
    hindrance = paths.find_hindrance()
    if hindrance is not None:
        lost = "the build of llama.cpp is tested anew each time"
        out.warn(f"Nothing can be kept in {paths.cache_dir()} ({hindrance}): {lost}.")
    note = crash.take_crash()
    if note is not None:
        out.warn(f"The last run crashed ({crash.name_signal(note)}, {note}): {crash.advise()}.")


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError):  # closed, or not backed by a descriptor
        return None


def _is_somebody_there() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _ask(question: str) -> bool:
    sys.stderr.write(f"{clean(question)} [Y/n] ")
    sys.stderr.flush()
    reply = sys.stdin.readline()
    if not reply:  # end of input: no, and the next line starts on a line of its own
        sys.stderr.write("\n")
    return reply.lower() in ("\n", "y\n", "yes\n")


def _score(result: Result) -> float:
    return result.agreement if result.score is None else result.score


def _is_answer(result: Result, min_score: float | None) -> bool:
    return result.answer is not None and (min_score is None or _score(result) >= min_score)


def _text(result: Result, *, whole: bool) -> str:
    assert result.answer is not None
    if whole:
        return result.solution or result.answer.text
    if result.answer.type is AnswerType.JSON and sys.stdout.isatty():
        from ttc_cli.answers.structured import indent_json

        return indent_json(result.answer.text)
    return result.answer.text


def _comment(thought: Thought, out: Output, *, path: bool, why: bool) -> None:
    """What the user may want to know about the answer, on stderr; the summary comes last."""
    from ttc_cli.views import plain

    if path:
        out.say(plain.best_path(thought.result))
    if why:
        out.say(plain.explain(thought.result, thought.decisions))
    out.say(plain.summary_line(thought.result))


def _judge(result: Result, min_score: float | None, *, held: bool = False) -> int:
    """The exit code, with a word on why there is no answer where there is none."""
    if result.interrupted:
        return 130
    if _is_answer(result, min_score):
        return 0
    silent = [each.finished and not each.text.strip() for each in result.candidates]
    if silent and all(silent):
        print_error(
            f"No candidate wrote anything ({result.stop_reason}): the model ended its turn at "
            "once, or its server sends no text.",
            "a wrong chat template does that; with --server, see --chat-template and its own log",
        )
    elif result.answer is None:
        print_error(
            f"No candidate stated an answer ({result.stop_reason}).",
            "limits in the schema (maxLength, maxItems) end a value sooner, a higher cap later"
            if held
            else "a higher cap or --budget deep thinks longer; --answer-type free takes any text",
        )
    else:
        print_error(
            f"The best answer has score {_score(result):.2f}, below --min-score {min_score:g}.",
            "--budget deep thinks longer; --json shows every candidate",
        )
    return NoAnswer.exit_code
