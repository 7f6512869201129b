"""Kept runs: opens their log, and shows one run as text, as JSON and as a page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ttc_cli import events
from ttc_cli.errors import RunsUnavailable, UsageError
from ttc_cli.output import Output
from ttc_cli.paths import runs_path
from ttc_cli.runs.database import is_refusal
from ttc_cli.runs.resuming import word_command
from ttc_cli.runs.run import Run, RunState
from ttc_cli.runs.store import RunStore
from ttc_cli.types import Candidate, Result
from ttc_cli.views import jsonl, plain, wholes, words

_TAIL_CHARS = 100


def open_runs() -> RunStore:
    """Open the log of runs, for reading alone where it cannot be written to.

    Raises:
        UsageError: there is none yet.
        RunsUnavailable, RunDamaged: it cannot be read.
    """
    path = runs_path()
    if not path.is_file():
        raise UsageError("No run is kept yet.", 'ttc solve "What is 17 * 23?"')
    try:
        return RunStore.open(path, Output().warn)
    except RunsUnavailable as error:
        if not is_refusal(error.__cause__):
            raise
        return RunStore.open_to_read(path)


@dataclass(slots=True)
class Story:
    """What became of a run: of its last model, where several were asked.

    ``growing`` is the text of candidates that had not ended, by id.
    """

    run: Run
    result: Result | None = None
    decisions: list[events.Decided] = field(default_factory=list)
    candidates: dict[int, Candidate] = field(default_factory=dict)
    growing: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_story(store: RunStore, run: Run) -> Story:
    """Fold the events of ``run``.

    Raises:
        RunDamaged: one cannot be read.
    """
    story = Story(run)
    for timed in store.events(run.id):
        match timed.event:
            case events.RunStarted():
                story.candidates, story.growing = {}, {}
            case events.CandidateStarted(id=id):
                story.growing[id] = ""
            case events.Grew(texts=texts):
                for id, text in texts.items():
                    if id in story.growing:
                        story.growing[id] += text
            case events.CandidateEnded(candidate=candidate):
                story.growing.pop(candidate.id, None)
                story.candidates[candidate.id] = candidate
            case events.Scored(id=id, score=score) if id in story.candidates:
                story.candidates[id] = story.candidates[id].with_scores(score)
            case events.Decided() as decided:
                story.decisions.append(decided)
            case events.Warned(message=message):
                story.warnings.append(message)
            case events.RunEnded(result=result):
                story.result = result
    return story


def describe_row(run: Run) -> dict[str, Any]:
    """A run as the lists of ``--json`` hold it."""
    return {
        "id": run.id,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.started)),
        "state": run.state.value,
        "resumes": run.parent,
        "question": run.question,
        "model": run.model,
        "strategy": run.strategy,
        "budget": run.level,
        "answer": run.answer,
        "difficulty": run.difficulty,
        "candidates": run.candidates,
        "tokens": run.tokens,
        "flops": run.flops,
        "seconds": run.seconds,
        "note": run.note,
    }


def word_story(story: Story, *, whole: bool) -> str:
    """The run for people; ``whole`` with every candidate's text."""
    run, result = story.run, story.result
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    lines = [
        f"run       {run.id}, {_word_state(run)}, begun {begun}",
        f"asked as  {words.one_line(word_command(run))}",
        f"model     {words.one_line(run.model)}",
    ]
    if run.parent is not None:
        lines.append(f"resumed   {run.parent}")
    if run.answer is not None:
        lines.append(f"answer    {words.shorten(run.answer, 200)}")
    lines += [f"warning   {words.one_line(each)}" for each in story.warnings]
    candidates = result.candidates if result is not None else (*story.candidates.values(),)
    lines += ["", "Candidates", *(f"  {plain.ended_line(each)}" for each in candidates)]
    if result is None:
        for id, text in story.growing.items():
            shown = words.one_line(text[-_TAIL_CHARS:])
            lines.append(f"  #{id} had not ended: …{shown}" if shown else f"  #{id} had not ended")
        cost = f"{words.count(run.tokens)} tokens, {words.seconds(run.seconds)}"
        lines += ["", f"Until then {cost}"]
    else:
        lines += ["", plain.explain(result, story.decisions)]
    if whole:
        for each in candidates:
            lines += ["", f"#{each.id}", wholes.tell_text(each), *wholes.remark_lines(each)]
    if run.state in (RunState.KILLED, RunState.INTERRUPTED, RunState.FAILED):
        lines += ["", f"ttc solve --resume {run.id} resumes it where it stopped"]
    return "\n".join(lines)


def describe_story(story: Story) -> dict[str, Any]:
    """The object that ``ttc runs show --json`` prints."""
    run, result = story.run, story.result
    ended = [events.CandidateEnded(each) for each in story.candidates.values()]
    return describe_row(run) | {
        "question": run.request["question"],
        "command": word_command(run),
        "result": None if result is None else describe_result(result, run),
        "ended": [jsonl.encode(each)["candidate"] for each in ended],
        "growing": {str(id): text for id, text in story.growing.items()},
    }


def describe_result(result: Result, run: Run) -> dict[str, Any]:
    """The object that ``ttc solve --json`` printed."""
    return jsonl.result_json(
        result,
        question=run.request["question"],
        model=run.model,
        seed=run.request["flags"].get("seed", 0),
    )


def describe_events(store: RunStore, run: Run) -> Iterator[str]:
    """The lines that ``ttc solve --jsonl`` printed; text may be cut in other places."""
    for timed in store.events(run.id):
        if isinstance(timed.event, events.RunEnded):
            yield jsonl.to_line(describe_result(timed.event.result, run))
        else:
            yield jsonl.to_line(jsonl.encode(timed.event))


def draw_page(store: RunStore, run: Run) -> str:
    """The run as one HTML page."""
    from ttc_cli.runs.playback import smooth
    from ttc_cli.views.page import render_page

    timed = smooth(list(store.events(run.id)))
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    when = begun if run.state is RunState.DONE else f"{begun}, {_word_state(run)}"
    return render_page(timed, name=run.id, when=when)


def _word_state(run: Run) -> str:
    return (
        run.state.value if run.note is None else f"{run.state.value} ({words.one_line(run.note)})"
    )
