"""Plain lines, one per milestone: for a pipe, a log, or a terminal too small for the tree.

Also the words at the end of every solve: the one-line summary and the policy's whole reasoning.
All of it is safe to print on a terminal.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from ttc_cli import events
from ttc_cli.types import LIKENESS, PROSE, AnswerClass, Candidate, Estimate, Finish, Result, Score
from ttc_cli.views import words
from ttc_cli.views.nodes import join

_ANSWER_CHARS = 60
_STEP_CHARS = 80
_SHOWN = 5
"""Answers of a vote that its line names."""


class PlainLines:
    """A reader of the event stream that writes one line a milestone to ``stream``.

    Scores, votes and dropped candidates come often and in small parts: they are held back and
    written as one line each before the next milestone. A search over steps tells one line a
    round: how many paths wrote which step, how they were scored, how many were pruned, and the
    best one. A stream that is closed is left alone from then on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._scores: list[events.Scored] = []
        self._dropped: dict[tuple[str, str], list[int]] = {}
        self._round = _Round()
        self._search: str | None = None
        self._strategy = ""
        self._waves: dict[int, int] = {}
        self._silent = 0
        self._vote = ""
        self._vote_written = ""
        self._reason = ""
        self._open = True

    def __call__(self, event: events.Event) -> None:
        """Write what ``event`` has to say, if it is a milestone."""
        match event:
            case events.CandidateStarted():
                # A fork that goes on is of the next round; one of the same looks ahead for another.
                self._waves[event.id] = event.wave
                parent = event.parent
                if parent is not None and event.steps and self._waves.get(parent) == event.wave:
                    self._round.parents[event.id] = parent
            case events.Stepped():
                if event.id not in self._round.parents:  # what look-aheads write is not kept
                    self._round.stepped.setdefault(event.id, []).append(event)
                self._search = self._strategy
            case events.Scored():
                if event.score.step is None:
                    self._scores.append(event)
                else:
                    # The score of a look-ahead is that of the path it was made for.
                    id_ = self._round.parents.get(event.id, event.id)
                    self._round.scores.setdefault(id_, []).append(event.score)
            case events.Voted():
                self._vote = _vote_line(event.classes, event.total - self._silent)
            case events.Pruned():
                if event.cancelled or not self._round.stepped:
                    verb = "cancelled" if event.cancelled else "pruned"
                    self._dropped.setdefault((verb, event.reason), []).append(event.id)
                else:
                    self._round.pruned.add(event.id)
            case events.CandidateEnded():
                dropped = event.candidate.finish in (Finish.CANCELLED, Finish.PRUNED)
                self._silent += dropped and event.candidate.answer is None
                if not dropped:
                    self._write(ended_line(event.candidate))
            case events.RunStarted():
                self._write(started_line(event))
            case events.WaveStarted():
                self._flush()
                self._strategy = event.strategy
                self._round.name = words.one_line(event.reason)
                said = event.reason and event.reason == self._reason
                # Once a search tells its rounds, a wave is told when it is over.
                if event.strategy != self._search and not said:
                    self._write(words.one_line(words.wave_words(event)))
            case events.Decided():
                self._flush()
                self._reason = event.reason
                self._write(decided_line(event))
            case events.Warned():
                self._write(f"warning: {words.one_line(event.message)}")
            case events.RunEnded():
                self._flush()
                stop = event.result.stop_reason
                why = f": {words.one_line(stop)}" if stop != self._reason else ""
                self._write(f"ended after {words.spent(event.result.usage)}{why}")
            case _:
                pass

    def _flush(self) -> None:
        if self._round.stepped:
            self._write(self._round.line)
        self._round = _Round()
        if self._scores:
            parts = [f"#{scored.id} {score_words(scored.score)}" for scored in self._scores]
            self._write("scores: " + ", ".join(parts))
        for (verb, reason), ids in self._dropped.items():
            names = ", ".join(f"#{id_}" for id_ in ids)
            self._write(f"{verb} {names}: {words.one_line(reason)}")
        if self._vote != self._vote_written:
            self._write(self._vote)
        self._scores, self._dropped, self._vote_written = [], {}, self._vote

    def _write(self, line: str) -> None:
        if not self._open:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._open = False


class Milestones:
    """The same lines for a program that passes them on."""

    def __init__(self) -> None:
        self._lines = io.StringIO()
        self._write = PlainLines(self._lines)

    def read(self, event: events.Event) -> list[str]:
        """The lines that ``event`` is told with, none where it is no milestone."""
        self._write(event)
        told = self._lines.getvalue()
        self._lines.seek(0)
        self._lines.truncate()
        return told.splitlines()


@dataclass(slots=True)
class _Round:
    """What happened since a round of a search over steps began.

    ``parents`` are those of look-aheads: candidates that step only to tell what a path is worth.
    """

    name: str = ""
    parents: dict[int, int] = field(default_factory=dict)
    stepped: dict[int, list[events.Stepped]] = field(default_factory=dict)
    scores: dict[int, list[Score]] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)

    def value(self, id_: int) -> float | None:
        """What the verifiers make of the newest step of a path that they saw."""
        found = self.scores.get(id_, [])
        newest = max((s.step for s in found if s.step is not None), default=None)
        return join([score for score in found if score.step == newest])

    @property
    def line(self) -> str:
        """``step 3: 8 beams, scores 0.31–0.92, 4 pruned; best #5: We add …``."""
        values = {id_: value for id_ in self.stepped if (value := self.value(id_)) is not None}
        numbers = sorted({event.step + 1 for each in self.stepped.values() for event in each})
        several = f"s {numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else f" {numbers[0]}"
        parts = [self.name or f"step{several}: {words.plural(len(self.stepped), 'path')}"]
        if values:
            low, high = min(values.values()), max(values.values())
            parts.append(f"scores {low:.2f}–{high:.2f}" if len(values) > 1 else f"score {low:.2f}")
        if self.parents:
            parts.append(words.plural(len(self.parents), "look-ahead"))
        pruned = self.pruned - self.parents.keys()
        if pruned:
            parts.append(f"{len(pruned)} pruned")
        line = ", ".join(parts)
        if not values:
            return line
        best = max(values, key=lambda id_: (values[id_], -id_))
        text = words.shorten(self.stepped[best][-1].text, _STEP_CHARS)
        return f"{line}; best #{best}: {text}"


def started_line(event: events.RunStarted) -> str:
    """Which model, strategy, verifiers, budget and seed a run begins with."""
    parts = [words.one_line(event.model), words.one_line(event.strategy)]
    if event.verifiers:
        parts.append("scored by " + ", ".join(map(words.one_line, event.verifiers)))
    parts.append(f"budget {words.one_line(event.budget.level)} ({words.caps(event.budget)})")
    parts.append(f"seed {event.seed}")
    return "started: " + " · ".join(parts)


def ended_line(candidate: Candidate) -> str:
    """How one candidate ended: answer or reason, length, form, confidence, scores."""
    parts = [f"{words.outcome(candidate)} ({words.plural(candidate.tokens, 'token')})"]
    if form := words.form_outcome(candidate):
        parts.append(form)
    if candidate.confidence is not None:
        parts.append(f"mean log-prob {candidate.confidence.mean_logprob:.2f}")
    parts += [score_words(score) for score in candidate.scores if score.step is None]
    return f"#{candidate.id}: " + ", ".join(parts)


def decided_line(event: events.Decided) -> str:
    """One decision of the policy and why."""
    line = f"policy: {words.one_line(event.action)}: {words.one_line(event.reason)}"
    return f"{line} ({estimate_words(event.estimate)})" if event.estimate is not None else line


def _vote_line(classes: Sequence[AnswerClass], total: int) -> str:
    """The vote in one line, the leader first."""
    if not classes:
        return f"vote: none of {total} candidates gave an answer"
    parts = []
    for one in classes[:_SHOWN]:
        answer = words.shorten(one.answer.text, _ANSWER_CHARS)
        weight = f" (weight {one.weight:.2f})" if abs(one.weight - one.votes) > 1e-6 else ""
        parts.append(f"{answer}: {one.votes} of {max(total, one.votes)}{weight}")
    if len(classes) > _SHOWN:
        parts.append(words.plural(len(classes) - _SHOWN, "other answer"))
    return "vote: " + " · ".join(parts)


def score_words(score: Score) -> str:
    """``judge 0.91``."""
    return f"{words.one_line(score.verifier)} {score.value:.2f}"


def estimate_words(estimate: Estimate) -> str:
    """``difficulty 3 of 5, settled 0.71, pass rate 0.40``."""
    return f"difficulty {estimate.difficulty} of 5, {words.odds(estimate)}"


def summary_line(result: Result) -> str:
    """Why this answer, in one line for stderr: how it was found, how sure, what it cost."""
    parts = [words.one_line(result.strategy)]
    if result.estimate is not None:
        parts.append(f"difficulty {result.estimate.difficulty} of 5")
    parts.append(_agreement(result))
    if result.score is not None:
        parts.append(f"score {result.score:.2f}")
    parts.append(words.spent(result.usage))
    parts.append("stopped: " + words.one_line(result.stop_reason).removesuffix(": stop"))
    if result.interrupted:
        parts.append("interrupted, best so far")
    return " · ".join(part for part in parts if part)


def _agreement(result: Result) -> str:
    silent = [each for each in result.candidates if _is_silent(each)]
    cut = Counter(each.finish.value for each in silent)
    cut["mended"] = len(result.candidates) - len(silent) - result.heard
    named = ", ".join(
        f"{words.count(number)} {name}" for name, number in sorted(cut.items()) if number > 0
    )
    more = f" ({named})" if named else ""
    candidates = words.plural(result.heard, "candidate")
    if result.answer is None:
        return f"no answer from {candidates}{more}"
    if result.decided_by == "vote" and result.classes:
        if not result.agreeing:
            return f"none of {candidates} answered without a wrong sum{more}"
        return f"{result.agreeing} of {candidates} agree{more}"
    checked = [each.passed for each in result.candidates if each.passed is not None]
    if checked and result.decided_by in ("verifier", "single"):
        passed = sum(checked)
        return f"{passed} of {candidates} {'passes' if passed == 1 else 'pass'} the check{more}"
    if result.decided_by == LIKENESS:
        likeness = [s for each in result.candidates for s in each.scores if s.verifier == LIKENESS]
        chosen = "most like the others and surest" if likeness else "the only one that ended"
        return f"#{result.winner} of {candidates}, {chosen}{more}"
    if result.decided_by == "verifier":
        winner = next(each for each in result.candidates if each.id == result.winner)
        counted = [each for each in winner.scores if each.step is None and each.weight > 0]
        who = " and ".join(words.one_line(each.verifier) for each in counted)
        chosen = f"chosen by {who}" if who else "the first, since nothing was scored"
        return f"#{result.winner} of {candidates}, {chosen}{more}"
    return candidates + more


def _is_silent(candidate: Candidate) -> bool:
    """Whether it was dropped before it stated an answer: it speaks for and against nobody."""
    dropped = candidate.finish in (Finish.CANCELLED, Finish.PRUNED)
    return dropped and candidate.answer is None


def explain(result: Result, decisions: Sequence[events.Decided]) -> str:
    """The policy's whole reasoning, for ``--explain``: every decision, the vote, the cost."""
    lines = ["Decisions"]
    for number, decision in enumerate(decisions, 1):
        lines.append(
            f"  {number}. {words.one_line(decision.action)}: {words.one_line(decision.reason)}"
        )
        if decision.estimate is not None:
            lines.append(f"     {estimate_words(decision.estimate)}")
    if not decisions:
        lines.append(f"  none: {words.one_line(result.strategy)} makes no decisions")
    if any(candidate.steps for candidate in result.candidates):
        lines += ["", "Search", *(f"  {line}" for line in _search_lines(result))]
    lines += ["", "Vote"]
    lines += [f"  {line}" for line in _vote_lines(result)]
    lines += ["", "Cost"]
    for name, role in (("generator", result.usage.generator), ("verifier", result.usage.verifier)):
        lines.append(
            f"  {name}: {words.count(role.generated_tokens)} tokens generated, "
            f"{words.count(role.prompt_tokens)} read, {words.count(role.reused_tokens)} re-used, "
            f"{words.flops(role.flops)}"
        )
    lines.append(f"  time: {words.seconds(result.usage.seconds)}")
    lines += ["", f"Stopped: {words.one_line(result.stop_reason)}"]
    if result.estimate is not None and not result.estimate.calibrated:
        lines.append("Not calibrated for this model: agreement is not the chance of being right.")
    return "\n".join(lines)


def _search_lines(result: Result) -> list[str]:
    """What became of the paths of a search over steps, and where its tokens went."""
    ends = Counter(candidate.finish for candidate in result.candidates)
    became = ", ".join(
        f"{words.count(n)} {words.FINISH_WORDS[end]}" for end in Finish if (n := ends[end])
    )
    deepest = max(len(candidate.steps) for candidate in result.candidates)
    forks = sum(candidate.parent is not None for candidate in result.candidates)
    spent = sum(candidate.tokens for candidate in result.candidates)
    lost = sum(candidate.tokens for candidate in result.candidates if _is_silent(candidate))
    lines = [
        f"{words.plural(len(result.candidates), 'path')}, {words.count(forks)} of them branched "
        f"off others: {became}",
        f"the longest has {words.plural(deepest, 'step')}",
    ]
    if lost and spent:
        lines.append(
            f"{words.count(lost)} of {words.count(spent)} tokens ({100 * lost / spent:.0f} %) "
            "went into paths that were dropped"
        )
    return lines


def _forms_of(one: AnswerClass, result: Result) -> str:
    """Which forms stand behind an answer: `` (program 2, prose 1)``; "" where all are prose."""
    if all(each.form == PROSE for each in result.candidates):
        return ""
    forms = Counter(each.form for each in result.candidates if each.id in one.members)
    named = ", ".join(f"{words.shorten(form, 20)} {n}" for form, n in sorted(forms.items()))
    return f" ({named})" if named else ""


def _vote_lines(result: Result) -> list[str]:
    if not result.classes:
        chosen = result.answer is not None
        return [f"none: {_agreement(result)}" if chosen else "no candidate stated an answer"]
    lines = []
    for one in result.classes:
        members = ", ".join(f"#{member}" for member in one.members[:12])
        more = f" and {len(one.members) - 12} more" if len(one.members) > 12 else ""
        lines.append(
            f"{words.shorten(one.answer.text, _ANSWER_CHARS)}: {words.plural(one.votes, 'vote')}"
            f"{_forms_of(one, result)}, weight {one.weight:.2f} ({members}{more})"
        )
    silent = sum(map(_is_silent, result.candidates))
    without = len(result.candidates) - silent - sum(one.votes for one in result.classes)
    if without > 0:
        lines.append(f"no answer: {words.plural(without, 'candidate')}")
    if silent:
        lines.append(f"dropped before they answered: {words.plural(silent, 'candidate')}")
    return lines
