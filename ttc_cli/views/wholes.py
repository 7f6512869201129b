"""What candidates wrote, whole, for a terminal: text by its steps, programs with what they printed.

All of it is safe to print.
"""

from __future__ import annotations

from ttc_cli.forms.passages import Passage, part_program
from ttc_cli.sanitise import clean
from ttc_cli.texts import fence_in
from ttc_cli.types import PROGRAM, Candidate, Result, Score
from ttc_cli.views import words
from ttc_cli.views.nodes import group_by_step
from ttc_cli.views.plain import ended_line, score_words

_REMARK_LINES = 8
"""Of what a verifier said, the last ones, which are shown below its first."""


def best_path(result: Result) -> str:
    """The winner's text step by step with its scores, for ``-v``.

    Its ancestors' come before it, where these did not end up in its own text. Thinking is set
    off by bars. Safe to print: every line is cleaned. Empty where there is no winner.
    """
    by_id = {candidate.id: candidate for candidate in result.candidates}
    path: list[Candidate] = []
    id_ = result.winner
    while id_ is not None and id_ in by_id and by_id[id_] not in path:
        path.append(by_id[id_])
        own, id_ = by_id[id_], by_id[id_].parent
        parent = by_id.get(id_) if id_ is not None else None
        # What was grown step by step, or goes on behind its parent's text, holds the whole path.
        if own.steps or (parent is not None and parent.text and own.text.startswith(parent.text)):
            break
    return "\n\n".join(_path_part(candidate) for candidate in reversed(path))


def _path_part(candidate: Candidate) -> str:
    origin = "" if candidate.parent is None else f" (from #{candidate.parent})"
    lines = [ended_line(candidate) + origin]
    thought = clean(candidate.text[: candidate.thought]).strip()
    lines += [f"  │ {line}" for line in thought.splitlines()]
    if candidate.form == PROGRAM:
        steps = []
    elif candidate.steps and not thought:
        steps = [clean(step.text) for step in candidate.steps]
    else:
        steps = words.paragraphs(clean(candidate.text[candidate.thought :]))
    scores = group_by_step(candidate.scores)
    for number, step in enumerate(each for each in steps if each.strip()):
        said = ", ".join(map(_say, scores.get(number, ()) if not thought else ()))
        body = step.strip().replace("\n", "\n     ")
        lines.append(f"  {number + 1}. {body}" + (f"  [{said}]" if said else ""))
    last = [*tell_program(candidate).splitlines(), *remark_lines(candidate)]
    lines += [f"  {line}".rstrip() for line in last]
    return "\n".join(lines)


def tell_text(candidate: Candidate) -> str:
    """All that ``candidate`` wrote, cleaned: a program in blocks, with what it printed below it."""
    program = candidate.form == PROGRAM
    text = candidate.text[: candidate.thought].strip() if program else candidate.text
    return "\n\n".join(part for part in (clean(text), tell_program(candidate)) if part)


def tell_program(candidate: Candidate) -> str:
    """Its program and what it printed in fenced blocks, those that it was repaired from first.

    Of a form that is no program only what came of running it; empty where nothing was run.
    """
    program = candidate.form == PROGRAM
    text = candidate.text[candidate.thought :] if program else ""
    passages = part_program(text, candidate.ran)
    return "\n\n".join(map(_fence, passages))


def _fence(passage: Passage) -> str:
    text = clean(passage.text)
    if passage.kind == "words":
        return text
    return fence_in(text, "python" if passage.kind == "code" else passage.kind)


def remark_lines(candidate: Candidate) -> list[str]:
    """What verifiers said of all of ``candidate`` in words, the longer ones in part; cleaned."""
    lines = []
    for score in candidate.scores:
        if score.step is None and score.remark.strip():
            first, *rest = clean(score.remark).strip().splitlines() or [""]
            rest = [f"  {line}".rstrip() for line in rest if line.strip()]
            lines += [f"{words.one_line(score.verifier)} says: {first}", *rest[-_REMARK_LINES:]]
    return lines


def _say(score: Score) -> str:
    """A step's score, and in a few words why."""
    return score_words(score) + (f": {words.shorten(score.remark, 80)}" if score.remark else "")
