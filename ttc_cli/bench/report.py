"""What a bench reports: outcomes, kept a line each, accuracy with its interval, and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ttc_cli.bench.matching import Interval, Match, Point
from ttc_cli.bench.statistics import bootstrap_mean, compare_pairs, wilson
from ttc_cli.paths import open_in_place, write_whole
from ttc_cli.policy.estimate import find_bin
from ttc_cli.texts import read_utf8


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question put to one strategy once. ``oracle``: any candidate was right.

    ``run`` numbers the runs of one question: other orders of its samples.
    """

    question: str
    right: bool
    oracle: bool
    samples: int
    tokens: int
    flops: float
    seconds: float | None = None
    stop_reason: str = ""
    answer: str | None = None
    run: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """A line of an accuracy table; all but ``questions`` are means over questions.

    Several trajectories of one question are averaged first: they narrow the mean, but only
    ``questions`` are independent draws, and the interval is over these.
    """

    name: str
    questions: int
    accuracy: float
    samples: float
    tokens: float
    flops: float
    seconds: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of ``accuracy``."""
        return wilson(self.accuracy, self.questions)


def summarise(name: str, outcomes: Sequence[Outcome]) -> Summary:
    """Average ``outcomes``, at least one, within each question and then over questions."""
    groups = list(_group(outcomes).values())
    timed = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]

    def average(value: Callable[[Outcome], float]) -> float:
        return _mean([_mean([value(each) for each in group]) for group in groups])

    return Summary(
        name,
        len(groups),
        average(lambda each: float(each.right)),
        average(lambda each: each.samples),
        average(lambda each: each.tokens),
        average(lambda each: each.flops),
        sum(timed) / len(timed) if len(timed) == len(outcomes) else None,
    )


def _group(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.question, []).append(outcome)
    return groups


def markdown(rows: Sequence[Summary]) -> str:
    """A Markdown table, a row a strategy."""
    head = ["", "accuracy", "95 % interval", "samples", "tokens", "TFLOPs", "seconds"]
    lines = [head]
    for row in rows:
        low, high = row.interval
        lines.append(
            [
                row.name,
                f"{row.accuracy:.1%}",
                f"{low:.0%} – {high:.0%}",
                f"{row.samples:.1f}",
                f"{row.tokens:,.0f}",
                f"{row.flops / 1e12:.2f}",
                "–" if row.seconds is None else f"{row.seconds:.1f}",
            ]
        )
    return tabulate(lines)


def find_bins(single: Sequence[Outcome]) -> dict[str, int]:
    """The difficulty bin, 1 to 5, of each question, by the share of its single samples right.

    Labels tell it, as in Snell et al. 2024: it is for reports, no policy may look at it.
    """
    return {
        question: find_bin(_mean([each.right for each in group]))
        for question, group in _group(single).items()
    }


def tabulate_bins(found: Mapping[str, Sequence[Outcome]], bins: Mapping[str, int]) -> str:
    """A Markdown table: accuracy and tokens of each strategy by difficulty bin."""
    counts = {number: sum(each == number for each in bins.values()) for number in range(1, 6)}
    head = ["accuracy · tokens", *(f"bin {number} (n {count})" for number, count in counts.items())]
    lines = [head]
    for name, outcomes in found.items():
        cells = [name]
        for number in counts:
            inside = [outcome for outcome in outcomes if bins.get(outcome.question) == number]
            row = summarise(name, inside) if inside else None
            cells.append("–" if row is None else f"{row.accuracy:.0%} · {row.tokens:,.0f}")
        lines.append(cells)
    return tabulate(lines)


def tabulate_pairs(found: Mapping[str, Sequence[Outcome]], baseline: str) -> str:
    """McNemar's test of each strategy against ``baseline``, by their first runs."""
    sides = {
        name: {o.question: o.right for o in outcomes if o.run == 0}
        for name, outcomes in found.items()
    }
    reference = sides[baseline]
    lines = [
        [f"against {baseline}", "only this right", f"only {baseline} right", "p (McNemar, exact)"]
    ]
    for name, rights in sides.items():
        common = [question for question in reference if question in rights]
        if name == baseline or not common:
            continue
        test = compare_pairs([rights[q] for q in common], [reference[q] for q in common])
        lines.append([name, str(test.first), str(test.second), f"{test.p:.3f}"])
    return tabulate(lines)


def tabulate_differences(
    pairs: Mapping[str, tuple[Sequence[Outcome], Sequence[Outcome]]],
) -> tuple[list[dict[str, Any]], str]:
    """What changed from A to B, by strategy, on the questions that both sides have.

    Returns:
        A row a strategy, and the same as a table.
    """
    head = ["", "questions", "A", "B", "B − A", "FLOPs B / A"]
    lines = [head]
    rows: list[dict[str, Any]] = []
    for name, sides in pairs.items():
        first, second = ({each.question for each in side} for side in sides)
        common = sorted(first & second)
        if not common:
            continue
        a, b = (make_point(name, side, common) for side in sides)
        change = [y - x for x, y in zip(a.right, b.right, strict=True)]
        interval = Interval(sum(change) / len(change), *bootstrap_mean(change))
        ratio = b.cost / a.cost if a.cost else None
        rows.append(
            {
                "strategy": name,
                "questions": len(common),
                "accuracy": [a.accuracy, b.accuracy],
                "difference": interval.value,
                "interval": [interval.low, interval.high],
                "flops_ratio": ratio,
            }
        )
        cells = [f"{a.accuracy:.1%}", f"{b.accuracy:.1%}", _word_points(interval)]
        told = "–" if ratio is None else f"{ratio:.2f}"
        lines.append([name, str(len(common)), *cells, told])
    return rows, tabulate(lines)


def make_point(name: str, outcomes: Sequence[Outcome], questions: Sequence[str]) -> Point:
    """``outcomes`` as a point of a curve, in the order of ``questions``; runs are averaged."""
    groups = _group(outcomes)
    return Point(
        name,
        tuple(_mean([float(o.right) for o in groups[question]]) for question in questions),
        tuple(_mean([o.flops for o in groups[question]]) for question in questions),
    )


def word_match(found: Match) -> str:
    """Compute to match in sentences, as Markdown."""
    base = found.baseline
    lines = [
        f"Baseline: {base.name}, {base.accuracy:.1%} at {base.cost / 1e12:.2f} TFLOPs a question."
    ]
    if base.accuracy == 0:
        return f"* {lines[0]} It got nothing right: there is nothing to match.\n"
    if found.point is None or found.share is None:
        best = "not reached at any price"
        lines.append(f"**Compute to match: {best}** (reached in {found.reached:.0%} of resamples).")
    else:
        lines.append(
            f"**Compute to match: {_word(found.share)}** of the baseline's FLOPs, by "
            f"{found.point.name} ({found.point.accuracy:.1%}); reached in {found.reached:.0%} of "
            "resamples. The price was picked on the same questions."
        )
    if found.held_out is not None and found.held_out_difference is not None:
        lines.append(
            f"With the price picked on the other half of the questions: {_word(found.held_out)} of "
            f"the FLOPs, accuracy {_word_points(found.held_out_difference)}."
        )
    if found.quarter is not None:
        lines.append(
            f"At a quarter of the baseline's FLOPs: accuracy {_word_points(found.quarter)}."
        )
    else:
        lines.append("No price brings it down to a quarter of the baseline's FLOPs.")
    return "\n".join(f"* {line}" for line in lines) + "\n"


def _word(interval: Interval) -> str:
    low, high = (
        "not reached" if bound is None else f"{bound:.0%}"
        for bound in (interval.low, interval.high)
    )
    return f"{interval.value:.0%} [{low}, {high}]"


def _word_points(interval: Interval) -> str:
    low, high = (100 * (bound or 0.0) for bound in (interval.low, interval.high))
    return f"{100 * interval.value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def tabulate(lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first of ``lines`` is the head."""
    head, *rows = lines
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def read_outcomes(path: Path) -> dict[str, list[Outcome]]:
    """Outcomes by strategy, as ``run_live`` and ``write_outcomes`` keep them; torn lines are left.

    Raises:
        UsageError: the file cannot be read.
    """
    found: dict[str, list[Outcome]] = {}
    for line in read_utf8(path, str(path), "The outcomes in").splitlines():
        try:
            row = json.loads(line)
            name = row.pop("strategy")
            row.pop("model", None)
            found.setdefault(str(name), []).append(Outcome(**row))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # cut off in the middle: run again
    return found


def write_outcomes(
    path: Path, model: str, found: Mapping[str, Sequence[Outcome]], *, first: bool
) -> None:
    """Add outcomes to ``path``, a JSON object a line; the ``first`` of a bench replaces it."""
    text = "".join(
        json.dumps({"model": model, "strategy": name, **asdict(outcome)}) + "\n"
        for name, outcomes in found.items()
        for outcome in outcomes
    )
    if first:
        write_whole(path, text)
        return
    with open_in_place(path, "ab") as file:
        file.write(text.encode())
