"""A policy as words and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ttc_cli.output import align
from ttc_cli.policy.estimate import Belief, describe_vote, estimate
from ttc_cli.policy.file import Matched, Policy
from ttc_cli.policy.planning import word_mix
from ttc_cli.policy.standing import Standing, Votes
from ttc_cli.policy.stopping import WAVE_SIZES, choose_wave, expect_gain, settle
from ttc_cli.policy.table import Table
from ttc_cli.search.vote import TAIL
from ttc_cli.texts import plural
from ttc_cli.types import PROGRAM, PROSE, Answer, AnswerClass, AnswerType
from ttc_cli.verifiers.probe import Part, Probe
from ttc_cli.views import words

_VOTES = ((1, 0), (2, 0), (2, 1), (3, 1), (2, 2), (4, 0), (4, 2), (4, 4), (6, 3), (8, 2))
"""Of leader and runner-up, at which the decision is told."""
_MIXED = ((1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), (3, 0, 0), (2, 0, 1), (4, 0, 2))
"""Of another form and of prose for the leader, and of prose for the runner-up, likewise."""


def tell_policy(policy: Policy) -> dict[str, Any]:
    """All of ``policy`` but the weights of its probe, as JSON has it."""
    told = asdict(policy)
    for head in (told["probe"] or {}).get("heads", ()):
        del head["weights"]
    return told


def word_policy(policy: Policy) -> str:
    """All of ``policy``, for people."""
    source, table = policy.source, policy.table
    labels = "" if source.labels == "given" else ", labelled by the majority of the samples"
    lines = [
        f"{policy.name}: for {policy.model}, fitted {policy.date}",
        f"on {source.questions} questions of {source.data} × {source.samples} samples (T "
        f"{source.temperature:g}, at most {source.max_tokens} tokens, seed {source.seed}{labels})",
    ]
    if source.programs:
        lines.append(_word_programs(policy))
    elif not table.forms:
        lines.append("it draws candidates in prose alone")
    if source.questions < 100:
        lines.append("few questions: treat it as a first estimate")
    slip = f", × {table.slip:g} with a wrong sum in it" if table.slip != 1.0 else ""
    lines.append(f"a vote weighs exp({table.sureness:g} × {_word_sureness(table.sure_by)}){slip}")
    if policy.probe is not None:
        lines += ["", "The probe that comes with it:", *_indent(word_heads(policy.probe))]
    if table.belief is not None:
        if table.belief.types:
            lines.append(f"it covers answers of the kind {', '.join(table.belief.types)}")
        lines += ["", "What it believes and does at budget normal, by votes of the two leaders:"]
        lines += _indent(list(_tell_decisions(table, table.belief)))
    lines += ["", "Each budget on questions its half of the fit had not seen, and before:"]
    lines += _indent(list(_tell_levels(policy)))
    if policy.matched is not None:
        lines += ["", _word_match(policy.matched)]
    if policy.reliability:
        lines += ["", "Scores of its candidates: AUC, and within a question [95 %]:"]
        verdicts = {True: "", False: "no better than chance", None: "too few to tell"}
        rows = []
        for each in policy.reliability:
            within, low, high = map(words.decimal, (each.auc_within, each.low, each.high))
            auc, verdict = words.decimal(each.auc), verdicts[each.trusted]
            rows.append((each.verifier, auc, f"{within} [{low}, {high}]", verdict))
        lines += _indent(rows)
    return "\n".join(lines)


def _word_sureness(parts: Mapping[str, float]) -> str:
    if parts == TAIL:
        return "nats that its candidate ended surer than others"
    terms = [
        f"{weight:g} × {name.replace('_', ' ')}"
        for name, weight in ((name, round(weight, 2)) for name, weight in parts.items())
    ]
    return f"what it has more than others of {' + '.join(terms)}"


def word_heads(probe: Probe) -> list[tuple[str, ...]]:
    """A table of the heads of ``probe``, their names first."""
    rows: list[tuple[str, ...]] = [
        ("candidates", "of", "right", "view", "objective", "AUC", "within a question, 95 %")
    ]
    for head in probe.heads:
        within, low, high = map(words.decimal, (head.auc_within, head.low, head.high))
        rows.append(
            (
                f"{head.samples} {word_part(head.form, head.part)}",
                plural(head.questions, "question"),
                f"{head.right:.0%}",
                head.view.value,
                head.objective,
                words.decimal(head.auc),
                f"{within} [{low}, {high}]",
            )
        )
    return rows


def word_part(form: str, part: Part) -> str:
    """What of which candidates a head is for."""
    return f"{'steps' if part == 'step' else part}, {form}"


def _word_programs(policy: Policy) -> str:
    """What was found of programs, and whether they are drawn."""
    source, traits = policy.source, policy.table.forms.get(PROGRAM)
    temperature = (
        "" if source.program_temperature is None else f" (T {source.program_temperature:g})"
    )
    drawn = f"and × {source.programs} programs{temperature}"
    if traits is None:
        return f"{drawn}, which do not pay here: none are drawn"
    kinds = ", ".join(traits.types) or "any"
    retried = "; gone on with if it fails" if traits.retry else ""
    return (
        f"{drawn}: one costs {traits.cost:.2f} of a candidate in prose, proves {traits.first:g} of "
        f"its vote, each further one {traits.further:g}, agreement across forms {traits.accord:g}; "
        f"drawn for answers of the kind {kinds}{retried}"
    )


def _word_mix(mix: Mapping[str, int]) -> str:
    counts = [plural(count, form) for form, count in mix.items() if count]
    return f" ({', '.join(counts)})" if counts else ""


def _tell_levels(policy: Policy) -> Iterator[tuple[str, ...]]:
    yield ("BUDGET", "FIRST WAVE", "STOP AT", "PRICE", "ACCURACY", "TFLOPS", "CANDIDATES", "BEFORE")
    for each in policy.expected:
        row = policy.table.rows[each.level]
        yield (
            each.level,
            f"{row.probe}{_word_mix(row.mix)}",
            f"{'P ' if row.trusts else ''}{words.decimal(row.threshold)}",
            f"{row.price:g}",
            f"{each.accuracy:.1%}",
            f"{each.flops / 1e12:.2f}",
            f"{each.samples:.1f}",
            f"{each.before:.1%}, {each.before_flops / 1e12:.2f} TFLOPs",
        )


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


def _tell_decisions(table: Table, belief: Belief) -> Iterator[tuple[str, ...]]:
    """A line a vote at budget normal, where nobody scattered and nothing is known but the votes."""
    row = table.rows["normal"]
    yield ("VOTES", "DIFFICULTY", "P(RIGHT)", "SETTLED", "4 MORE GAIN", "DECISION")
    go_on = "go on: {}" if table.forms else "go on"
    votes: list[tuple[Votes, Votes]] = [({PROSE: mine}, {PROSE: other}) for mine, other in _VOTES]
    for form in table.forms:
        votes += [({form: mine, PROSE: prose}, {PROSE: other}) for mine, prose, other in _MIXED]
    for leader, runner_up in votes:
        counts = sum(leader.values()), sum(runner_up.values())
        classes = [
            AnswerClass(Answer(name, name, AnswerType.TEXT), tuple(range(count)), float(count))
            for name, count in zip("ab", counts, strict=True)
            if count
        ]
        heard = Counter(leader) + Counter(runner_up)
        standing = Standing(leader, runner_up, heard, table.forms)
        sizes = [size for size in WAVE_SIZES if size <= row.cap - sum(counts)]
        wave = choose_wave(standing, dict.fromkeys((PROSE, *table.forms), sizes), row.price)
        settled = settle(*standing.strengths)
        right = belief.rate(describe_vote(classes, (), standing))
        held = right if row.trusts else settled
        over = row.threshold is not None and held >= row.threshold
        yield (
            f"{_word_votes(leader)} to {counts[1]}",
            str(estimate(standing, table.prior).difficulty),
            f"{right:.2f}",
            f"{settled:.2f}",
            f"{expect_gain(standing, 4):.3f}",
            "stop" if over or not wave.size else go_on.format(wave.form),
        )


def _word_votes(votes: Votes) -> str:
    """Of prose as a number alone."""
    return word_mix(votes) if votes.keys() - {PROSE} else str(votes[PROSE])


def _indent(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"  {line}" for line in align(rows)]
