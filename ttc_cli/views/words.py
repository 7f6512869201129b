"""How numbers, states and model text are worded: shared by all views, pure, without rich."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ttc_cli.events import WaveStarted
from ttc_cli.sanitise import clean
from ttc_cli.types import PROGRAM, PROSE, AnswerType, Budget, Candidate, Estimate, Finish, Usage

FINISH_WORDS: Mapping[Finish, str] = {
    Finish.STOP: "finished",
    Finish.STEP: "paused",
    Finish.LENGTH: "too long",
    Finish.CONTEXT: "context full",
    Finish.MARK: "paused",
    Finish.UNSURE: "too unsure",
    Finish.CUT: "cut off",
    Finish.LOOP: "repeats itself",
    Finish.PRUNED: "pruned",
    Finish.CANCELLED: "cancelled",
    Finish.BUDGET: "out of budget",
}

BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
"""Between two steps of a text."""


def one_line(text: str) -> str:
    """Untrusted ``text`` as one line that is safe to print: cleaned, white space collapsed."""
    return " ".join(clean(text).replace("\ufe0f", "").split())


def paragraphs(text: str) -> list[str]:
    """``text`` cut at its blank lines, which are how models and verifiers tell steps apart."""
    return [part for part in BLANK_LINE.split(text) if part.strip()]


def shorten(text: str, length: int) -> str:
    """``text`` as one safe line of at most ``length`` characters (only its start is read)."""
    line = one_line(text[: 4 * length + 64])
    return line if len(line) <= length else line[: max(0, length - 1)] + "…"


def decimal(number: float | None) -> str:
    """Two decimals, or a dash."""
    return "–" if number is None else f"{number:.2f}"


def count(number: float) -> str:
    """A whole number as people read it: ``3,120``, ``120k``, ``1.2M``."""
    if not math.isfinite(number):
        return "?"
    if abs(number) < 100_000:
        return f"{number:,.0f}"
    if abs(number) < 1_000_000:
        return f"{number / 1_000:.0f}k"
    return f"{number / 1_000_000:,.1f}M"


def flops(number: float) -> str:
    """Floating-point operations with their unit: ``1.2 TFLOP``."""
    if not math.isfinite(number):
        return "? FLOP"
    for power, unit in ((18, "EFLOP"), (15, "PFLOP"), (12, "TFLOP"), (9, "GFLOP"), (6, "MFLOP")):
        if abs(number) >= 10**power:
            return f"{number / 10**power:.3g} {unit}" if number < 10**21 else f"{number:.1e} FLOP"
    return f"{number:.0f} FLOP"


def seconds(number: float) -> str:
    """A duration: ``8.4 s``, ``52 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if not math.isfinite(number):
        return "? s"
    if number < 9.95:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plural(number: int, noun: str) -> str:
    """``1 vote``, ``2 votes``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def progress(done: int, total: int, tokens: int, passed: float) -> str:
    """How far questions have come: ``3 of 8 questions, 41 tokens/s, 2 min 5 s to go``."""
    rate = f", {tokens / passed:.0f} tokens/s" if passed else ""
    left = passed / done * (total - done) if done else 0.0
    return f"{done} of {total} questions{rate}{f', {seconds(left)} to go' if left else ''}"


def wave_words(event: WaveStarted) -> str:
    """A wave (counted from 0 in events, from 1 for people) and why it is grown.

    A search that goes in rounds says itself which one it is.
    """
    counted = event.strategy == "sample" or not event.reason
    name = f"wave {event.wave + 1}" if counted else event.strategy
    return f"{name} · {event.reason or plural(event.samples, 'sample')}"


def outcome(candidate: Candidate) -> str:
    """How a candidate ended, in a word or two: its answer, or why it has none."""
    if candidate.answer is not None and candidate.answer.type is not AnswerType.FREE:
        answer = shorten(candidate.answer.text, 60) or "(empty)"
        return answer if candidate.finished else f"{FINISH_WORDS[candidate.finish]} ({answer})"
    if candidate.finished and candidate.answer is None:
        return "failed" if candidate.ran is not None and candidate.ran.error else "no answer"
    return FINISH_WORDS[candidate.finish]


def mark_form(form: str) -> str:
    """What tells rows of a form apart at a glance: nothing for prose, a prompt for a program."""
    return {PROSE: "", PROGRAM: ">>>"}.get(form, shorten(form, 8))


def form_outcome(candidate: Candidate) -> str:
    """A candidate's form, and what came of its program where that is not its answer; "" of prose.

    ``program``, ``program: NameError: …``, ``program printed nothing``.
    """
    ran, name = candidate.ran, shorten(candidate.form, 20)
    if candidate.form == PROSE or ran is None:
        return "" if candidate.form == PROSE else name
    if ran.error:
        return f"{name}: {shorten(ran.error, 200)}"
    if candidate.answer is None:
        printed = shorten(ran.output.rstrip()[-200:], 80)
        return f"{name} printed {printed or 'nothing'}"
    return name


def spent(usage: Usage) -> str:
    """Tokens, FLOPs and seconds in one phrase."""
    parts = [f"{count(usage.generated_tokens)} tokens"]
    if usage.flops:
        parts.append(flops(usage.flops))
    parts.append(seconds(usage.seconds))
    return ", ".join(parts)


def odds(estimate: Estimate, between: str = ", ") -> str:
    """What the policy believes, calling nothing a probability that is not one."""
    settled = "probability right" if estimate.calibrated else "settled"
    return f"{settled} {estimate.settled:.2f}{between}pass rate {estimate.pass_rate:.2f}"


def caps(budget: Budget) -> str:
    """The hard caps of a budget in words, or ``no cap``."""
    named = [
        None if budget.max_tokens is None else f"{count(budget.max_tokens)} tokens",
        None if budget.max_samples is None else plural(budget.max_samples, "sample"),
        None if budget.max_flops is None else flops(budget.max_flops),
        None if budget.max_seconds is None else seconds(budget.max_seconds),
    ]
    return ", ".join(cap for cap in named if cap is not None) or "no cap"
