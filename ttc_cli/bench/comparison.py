"""Runs contenders on the same questions and says who wins: the body of ``ttc bench``.

All sampled contenders run the real ``solve`` on the recorded pool; ``auto`` over several orders of
its samples. Live ones run on the engine and are kept, a line an outcome, so that a run that is cut
off goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttc_cli.appending import LineFile
from ttc_cli.bench import contenders, runner
from ttc_cli.bench.contenders import Contender
from ttc_cli.bench.datasets import Question
from ttc_cli.bench.matching import Match, match, pick_baseline
from ttc_cli.bench.pool import Pool
from ttc_cli.bench.report import (
    Outcome,
    Row,
    find_bins,
    make_point,
    markdown,
    summarise,
    tabulate_bins,
    tabulate_pairs,
    word_match,
)
from ttc_cli.engines.base import Engine
from ttc_cli.errors import UsageError
from ttc_cli.paths import open_in_place, write_whole
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.texts import read_utf8
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.registry import build

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer
    from ttc_cli.prompts import Chat


LIVE_SEED = 1_000_003
"""Added to the pool's seed where the simulation is checked on the model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared: ``auto`` over ``runs`` orders, all with ``samples`` at most."""

    questions: Sequence[Question]
    contenders: Sequence[Contender]
    samples: int
    runs: int = 20
    parallel: int = 16
    table: Table = SHIPPED


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out, by contender's name: first the references, then those asked for."""

    found: dict[str, list[Outcome]]
    rows: list[Row]
    bins: dict[str, int]
    lines: dict[str, list[Row]]
    lines_by_bin: dict[int, dict[str, list[Row]]]
    match: Match | None

    @property
    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Every single one, with its contender's name."""
        return [(name, outcome) for name, found in self.found.items() for outcome in found]


async def compare(
    plan: Plan,
    pool: Pool,
    comparer: Comparer,
    live: Mapping[str, list[Outcome]],
    told: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Run the sampled contenders of ``plan`` on ``pool``; ``live`` are the others' outcomes."""
    count, questions = plan.samples, list(plan.questions)
    single = runner.single(pool, questions, comparer, count)
    found: dict[str, list[Outcome]] = {"pass@1": single}
    done: dict[Contender, list[Outcome]] = {}

    async def run(contender: Contender) -> list[Outcome]:
        if contender not in done:
            told(contender.name)
            # All samples of a question in any order give the same vote; fewer, or auto, do not.
            whole = contender.strategy != "auto" and contender.samples == count
            table = plan.table.at_price(contender.price)
            done[contender] = await runner.simulate(
                pool,
                questions,
                comparer,
                strategy=contender.strategy,
                level=contender.level,
                samples=_cap(contender, table),
                trajectories=1 if whole else plan.runs,
                parallel=plan.parallel,
                table=table,
            )
        return done[contender]

    for contender in plan.contenders:
        found[contender.name] = live[contender.name] if contender.live else await run(contender)
    majority = await run(Contender("majority", count))
    oracle = [replace(each, right=each.oracle) for each in majority]
    found[f"oracle@{count}"] = oracle
    rows = [summarise(name, outcomes) for name, outcomes in found.items()]
    ids = [question.id for question in questions]
    fixed = contenders.ladder(count)
    curve = contenders.prices(count)
    members = {
        strategy: [each for each in fixed if each.strategy == strategy]
        for strategy in contenders.VOTES
    } | {"auto": list(curve)}
    for each in [*fixed, *curve]:
        await run(each)

    def trace(inside: Container[str]) -> dict[str, list[Row]]:
        """A row for each contender of a line, of the questions ``inside``."""
        return {
            line: [
                summarise(each.name, [one for one in done[each] if one.question in inside])
                for each in on_line
            ]
            for line, on_line in members.items()
        }

    bins = find_bins(single)
    by_bin = {
        number: trace({id for id, its in bins.items() if its == number})
        for number in sorted(set(bins.values()))
    }
    baseline = pick_baseline(
        [make_point(each.name, done[each], ids) for each in fixed if each.samples == count]
    )
    matched = match([make_point(each.name, done[each], ids) for each in curve], baseline)
    return Comparison(found, rows, bins, trace(ids), by_bin, matched)


def _cap(contender: Contender, table: Table) -> int:
    """The most candidates of a question; what ``auto`` may grow falls with its price."""
    if contender.strategy != "auto":
        return contender.samples
    return min(contender.samples, table.row(contender.level).cap)


async def put_live(
    plan: Plan,
    engine: Engine,
    chat: Chat,
    comparer: Comparer,
    pool: Pool,
    path: Path,
    *,
    flight: int = 1,
    told: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> dict[str, list[Outcome]]:
    """Run the live contenders of ``plan`` and keep what they came to in ``path``.

    Returns:
        All outcomes by contender's name, those of earlier runs included.

    Raises:
        UsageError: another process writes ``path``, or a verifier cannot be made.
        TtcError: as ``policy.run.solve``; outcomes until then are kept.
    """
    header = pool.header
    means = VerifierContext(chat, engine=engine, fingerprint=lambda: header.sha256)
    found: dict[str, list[Outcome]] = {}
    with LineFile(path, UsageError(f"Another process is writing {path}.")) as file:
        file.cut()
        known = read_outcomes(path)
        for contender in (each for each in plan.contenders if each.live):
            name = contender.name
            have = {outcome.question: outcome for outcome in known.get(name, ())}
            missing = [question for question in plan.questions if question.id not in have]
            count = len(plan.questions) - len(missing)

            def keep(question: Question, outcome: Outcome, name: str = name) -> None:
                nonlocal count
                line = json.dumps({"strategy": name, **asdict(outcome)}) + "\n"
                file.append(line.encode())
                count += 1
                told(name, count, len(plan.questions))

            told(name, count, len(plan.questions))
            fresh = await runner.put(
                missing,
                engine,
                chat,
                comparer,
                strategy=contender.strategy,
                samples=contender.samples,
                max_tokens=header.max_tokens,
                sampling=header.sampling,
                verifiers=build(contender.verifiers, means),
                seed=header.seed,
                flight=flight,
                done=keep,
            )
            have |= {outcome.question: outcome for outcome in fresh}
            found[name] = [have[question.id] for question in plan.questions]
    return found


async def check_live(
    plan: Plan,
    engine: Engine,
    chat: Chat,
    comparer: Comparer,
    pool: Pool,
    count: int,
    told: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> str:
    """Solve the first ``count`` questions for real with each ``auto`` of ``plan``; a table.

    Other seeds than the pool's are drawn: what differs beyond chance is a fault of the simulation.
    """
    header, rows = pool.header, []
    questions = list(plan.questions)[:count]
    for contender in (each for each in plan.contenders if each.strategy == "auto"):
        done = 0

        def say(question: Question, outcome: Outcome, name: str = contender.name) -> None:
            nonlocal done
            done += 1
            told(f"{name}, live", done, count)

        table = plan.table.at_price(contender.price)
        common: dict[str, Any] = {
            "strategy": "auto",
            "level": contender.level,
            "samples": _cap(contender, table),
            "table": table,
        }
        simulated = await runner.simulate(
            pool, questions, comparer, trajectories=plan.runs, parallel=plan.parallel, **common
        )
        live = await runner.put(
            questions,
            engine,
            chat,
            comparer,
            max_tokens=header.max_tokens,
            sampling=header.sampling,
            seed=header.seed + LIVE_SEED,
            done=say,
            **common,
        )
        rows += [
            summarise(f"{contender.name}, simulated", simulated),
            summarise(f"{contender.name}, live", live),
        ]
    title = f"The first {count} questions, live (seconds measured) against simulated:"
    return f"{title}\n\n{markdown(rows, seconds='seconds')}"


def read_outcomes(path: Path) -> dict[str, list[Outcome]]:
    """Outcomes by strategy, as ``put_live`` and ``write_outcomes`` keep them; torn lines are left.

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


def write_outcomes(path: Path, model: str, comparison: Comparison, *, first: bool) -> None:
    """Add every outcome to ``path``, a JSON object a line; the ``first`` of a bench replaces it."""
    rows = (
        {"model": model, "strategy": name, **asdict(outcome)}
        for name, outcome in comparison.outcomes
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if first:
        write_whole(path, text)
        return
    with open_in_place(path, "ab") as file:
        file.write(text.encode())


def write_up(comparison: Comparison, plan: Plan, facts: str, baseline: str | None = None) -> str:
    """The comparison as Markdown.

    Args:
        comparison: what came out.
        plan: what was compared.
        facts: a paragraph on what it was measured on.
        baseline: McNemar's tests are against this one; None is the match's own.

    Raises:
        UsageError: there is no contender of that name.
    """
    found = comparison.found
    parts = [facts, markdown(comparison.rows, seconds="seconds")]
    parts.append(
        f"`auto` and less than {plan.samples} samples: mean over {plan.runs} orders of the "
        "samples. Seconds of sampled strategies are tokens over the rate at which the pool was "
        "drawn, its batch always full: a live run takes longer."
    )
    parts.append(tabulate_bins(found, comparison.bins))
    parts.append(
        "Bins: fifths of the share of single samples that are right, from the labels; no strategy "
        "saw them."
    )
    matched = comparison.match
    if matched is not None:
        parts.append(word_match(matched))
    against = baseline or (matched.baseline.name if matched is not None else None)
    if baseline is not None and baseline not in found:
        raise UsageError(
            f"There is no {baseline!r} to compare with.", f"One of: {', '.join(found)}"
        )
    if against is not None and against in found:
        parts.append(tabulate_pairs(found, against))
    return "\n\n".join(part.strip() for part in parts) + "\n"
