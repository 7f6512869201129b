"""``ttc solve``: one question, one answer on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from ttc_cli import crash, paths
from ttc_cli.commands import _solve_flags as flags
from ttc_cli.commands._dashes import TextCommand
from ttc_cli.commands._files import make_confirm
from ttc_cli.commands._help import grouped
from ttc_cli.errors import NoAnswer, TtcError, UsageError
from ttc_cli.output import Output, print_error
from ttc_cli.settings.config import load_config
from ttc_cli.signals import Interruption
from ttc_cli.types import AnswerType, Problem, Result

if TYPE_CHECKING:
    from ttc_cli.commands._resuming import Past
    from ttc_cli.solving.options import Options
    from ttc_cli.solving.request import Request

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

With a prompt, stdin is added to it if it is a file or a pipe. A pipe that sends nothing for five
seconds is left out with a warning; '-' after the prompt waits for it without limit.

A prompt may begin with a dash, such as "-5 + 3 = ?". One that could be a flag goes after '--', at
the end of the command: ttc solve --json -- "-x"

Ctrl-C stops at the next token and prints the best answer so far; pressed twice, it exits at once.

Defaults can be set as TTC_MODEL, TTC_BUDGET, TTC_THREADS … or, as model = "…", in the project's
ttc.toml and in your config.toml.

See 'ttc --help' for the exit codes.
"""

app = typer.Typer()

_AGAINST_CASCADE = {
    "model": "--model",
    "server": "--server",
    "verifier": "--verifier",
    "check": "--check",
}
_PAIRS = (
    {"as_json": "--json", "as_jsonl": "--jsonl"},
    {"quiet": "--quiet", "verbose": "--verbose"},
    {"quiet": "--quiet", "explain": "--explain"},
    *({"cascade": "--cascade", name: flag} for name, flag in _AGAINST_CASCADE.items()),
)
"""Flags that contradict each other, by their parameters' names."""


@app.command(cls=TextCommand, epilog=EPILOG, context_settings={"allow_extra_args": True})
@grouped
def solve(
    ctx: typer.Context,
    question: flags.Question,
    thinking: flags.Thinking,
    caps: flags.Caps,
    engine: flags.Engine,
    shown: flags.Shown,
    kept: flags.Kept,
    many: flags.Many,
) -> int:
    """Answer one question, with as much thought as it is worth.

    Several candidate solutions grow in parallel and are scored and compared; thinking goes on
    only while it changes the answer. Only the answer goes to stdout.
    """
    from ttc_cli.commands import _batch, _presetting, _resuming
    from ttc_cli.solving import choosing, dry_run, running
    from ttc_cli.solving.batch.solving import answer_batch
    from ttc_cli.solving.options import Options
    from ttc_cli.solving.prompt_templates import read_question, read_template
    from ttc_cli.solving.question import read_schema
    from ttc_cli.views.jsonl import error_json

    if kept.resume is not None or kept.go_on:
        return int(ctx.command.invoke(_resuming.take_up(ctx)))
    past: Past | None = ctx.obj
    config = load_config() if past is None else past.narrow(load_config())
    template = None if question.template is None else read_template(question.template)
    asked_kind, system = thinking.answer_type, thinking.system
    if template is not None:
        config = config.over(template.settings)
        asked_kind = asked_kind or template.answer_type
        system = template.system if system is None else system
    kind = asked_kind or AnswerType.AUTO
    options = Options(ctx.params, config)
    out = Output(shown.quiet, options.get("color", "auto"))
    _refuse_contradictions(ctx.params)
    words = [word for word in (question.prompt, question.dash, *ctx.args) if word is not None]
    if kept.save is not None:
        _presetting.save_preset(kept.save, ctx, out)
        if not words and question.file is None and many.batch is None:
            return 0
    stdin = _stdin() if past is None else None
    batch = _batch.read_batch(
        ctx.params, words, template, stdin=stdin, answer_type=kind, system=system
    )
    text: str | None
    if batch is not None:
        text = batch.longest
    else:
        text = read_question(words, question.file, template, stdin=stdin, warn=out.warn)
    if text is None:  # a terminal, and nothing to answer
        sys.stderr.write(ctx.get_help() + "\n")
        return 2
    options.validate()
    try:
        schema = thinking.schema
        if schema is not None:
            schema = read_schema(schema, kind, served=bool(options.get("server")))
        problem = Problem(text, kind, system, schema)
        room = text + (schema or "")
        request = choosing.choose(options, problem, room=room, insist=past is None, warn=out.warn)
        if shown.dry_run:
            as_json = shown.as_json or shown.as_jsonl
            _show_plan(dry_run.make_plan(request), out, as_json=as_json)
            if batch is not None:
                out.say(f"for each of {len(batch.questions)} questions")
            return 0
        request = choosing.obtain(request, confirm=make_confirm(engine.yes))
        _warn_of_machine(out)
        interruption = Interruption()
        view = running.choose_view(options.get("view", "auto"), shown.quiet)
        with interruption.installed():
            if batch is not None:
                return answer_batch(batch, request, out, interruption, view)
            # The run is kept as it was understood: a template or a schema may change later.
            ctx.params |= {"answer_type": asked_kind, "system": system, "schema": schema}
            return _answer(ctx, request, options, out, interruption, view)
    except TtcError as error:
        if shown.as_json or shown.as_jsonl:
            out.document(error_json(error.message, error.hint, error.exit_code))
        raise


def _answer(
    ctx: typer.Context,
    request: Request,
    options: Options,
    out: Output,
    interruption: Interruption,
    view: str,
) -> int:
    """Answer one question, keep the run and print the result; returns the exit code."""
    from ttc_cli.events import Decided, Event
    from ttc_cli.solving import keeping, running
    from ttc_cli.views import jsonl, plain, wholes

    given, past = ctx.params, ctx.obj
    if past is not None:
        request = past.join(request, out)
    named = options.get("model") if request.larger or request.server else request.model.name
    asked = keeping.read_flags(ctx.command, options.get, named)
    keep = keeping.keep_run(
        request,
        asked,
        keeping.word_flags(ctx.command, asked),
        out,
        wanted=not given["no_save"] and options.get("keep_runs", "yes") == "yes",
        parent=None if past is None else past.run.id,
    )
    decisions: list[Decided] = []

    def note(event: Event) -> None:
        if isinstance(event, Decided):
            decisions.append(event)

    with keep as run:
        readers = [note] if run.recorder is None else [note, run.recorder]
        result = running.run(
            request, out, interruption, *readers, view=view, lines=given["as_jsonl"]
        )
        run.conclude(result, out)
        if given["as_json"]:
            label, text = request.label, request.problem.text
            out.document(jsonl.result_json(result, question=text, model=label, seed=request.seed))
        elif not given["as_jsonl"] and _is_answer(result, given["min_score"]):
            out.answer(running.word_answer(result, whole=given["solution"]))
        if given["verbose"]:
            out.say(wholes.best_path(result))
        if given["explain"]:
            out.say(plain.explain(result, decisions))
        out.say(plain.summary_line(result))
        return _judge(result, given["min_score"], held=request.problem.schema is not None)


def _refuse_contradictions(given: Mapping[str, Any]) -> None:
    """Make sure that no two flags contradict each other.

    Raises:
        UsageError: two do.
    """
    for pair in _PAIRS:
        if all(given.get(name) for name in pair):
            raise UsageError(
                f"{' and '.join(pair.values())} contradict each other.", "leave one out"
            )


def _show_plan(plan: dict[str, Any], out: Output, *, as_json: bool) -> None:
    """Print what a run would do and take: model, memory, strategy, and the most it can cost."""
    from ttc_cli.solving.dry_run import word_plan

    if as_json:
        out.document(plan)
    else:
        out.answer("\n".join(f"{key:<11}{value}" for key, value in word_plan(plan).items()))


def _warn_of_machine(out: Output) -> None:
    """Warn of what costs time or trust on this machine."""
    from ttc_cli.models.hardware import find_blindness

    blindness = find_blindness()
    if blindness is not None:
        out.warn(f"{blindness}.")
    hindrance = paths.find_hindrance()
    if hindrance is not None:
        lost = "the build of llama.cpp is tested again each time"
        out.warn(f"Nothing can be kept in {paths.cache_dir()} ({hindrance}): {lost}.")
    note = crash.take_crash()
    if note is not None:
        out.warn(f"The last run crashed ({crash.name_signal(note)}, {note}): {crash.advise()}.")


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError):  # closed, or not backed by a descriptor
        return None


def _score(result: Result) -> float:
    return result.agreement if result.score is None else result.score


def _is_answer(result: Result, min_score: float | None) -> bool:
    return result.answer is not None and (min_score is None or _score(result) >= min_score)


def _judge(result: Result, min_score: float | None, *, held: bool = False) -> int:
    """The exit code; says why where there is no answer."""
    if result.interrupted:
        return 130
    if _is_answer(result, min_score):
        return 0
    silent = [each.finished and not each.text.strip() for each in result.candidates]
    if silent and all(silent):
        print_error(
            f"No candidate wrote anything ({result.stop_reason}): the model ended its turn at "
            "once, or its server sends no text.",
            "a wrong chat template can cause this; with --server, check --chat-template and the "
            "server's log",
        )
    elif result.answer is None:
        print_error(
            f"No candidate stated an answer ({result.stop_reason}).",
            "set limits in the schema (maxLength, maxItems) to end values sooner, or raise the cap"
            if held
            else "raise the cap or use --budget deep to think longer; --answer-type free accepts "
            "any text",
        )
    else:
        print_error(
            f"The best answer has score {_score(result):.2f}, below --min-score {min_score:g}.",
            "--budget deep thinks longer; --json shows every candidate",
        )
    return NoAnswer.exit_code
