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

from ttc_cli.answers import Comparer, resolve
from ttc_cli.appending import LineFile
from ttc_cli.bench import contenders, runner
from ttc_cli.bench.agreement import Agreement, collect, measure_agreement, tabulate_agreement
from ttc_cli.bench.contenders import Contender
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.matching import Match, match, pick_baseline
from ttc_cli.bench.report import (
    Outcome,
    Summary,
    find_bins,
    make_point,
    markdown,
    read_outcomes,
    summarise,
    tabulate_bins,
    tabulate_pairs,
    word_match,
)
from ttc_cli.bench.runner import Pools
from ttc_cli.engines.base import Engine
from ttc_cli.errors import UsageError
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.policy.table import SHIPPED, Table
from ttc_cli.prompts import Chat
from ttc_cli.types import PROGRAM, Budget, Sampling
from ttc_cli.verifiers.base import VerifierContext
from ttc_cli.verifiers.registry import build

LIVE_SEED = 1_000_003
"""Added to the pool's seed where the simulation is checked on the model."""
PARALLEL = 16
"""Candidates that grow at once in a simulation, whatever machine drew the pool."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcomes, by contender's name: the references, then those that were named.

    ``agreement`` says what votes of both forms prove, where programs were drawn.
    """

    found: dict[str, list[Outcome]]
    rows: list[Summary]
    bins: dict[str, int]
    lines: dict[str, list[Summary]]
    lines_by_bin: dict[int, dict[str, list[Summary]]]
    match: Match | None
    agreement: Sequence[Agreement] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """Contenders, and the questions and the pools that they are compared on.

    Each has ``samples`` candidates in prose at most, and ``auto`` goes over ``runs`` orders.
    """

    pools: Pools
    questions: Sequence[LabelledQuestion]
    contenders: Sequence[Contender]
    comparer: Comparer
    samples: int
    runs: int = 20
    table: Table = SHIPPED

    @property
    def programs(self) -> int:
        """How many of a question there are, at least."""
        return self.pools.count_samples(self.questions).get(PROGRAM, 0)

    @property
    def samplings(self) -> Mapping[str, Sampling] | None:
        """How candidates of a form are drawn; None where prose alone was."""
        return self.pools.samplings if self.programs else None

    async def compare(
        self,
        live: Mapping[str, list[Outcome]],
        progress: Callable[[str], None] = lambda name: None,
    ) -> Comparison:
        """Run the sampled contenders on the pool; ``live`` are the others' outcomes."""
        count = self.samples
        done: dict[Contender, list[Outcome]] = {}

        async def run(contender: Contender) -> list[Outcome]:
            if contender not in done:
                progress(contender.name)
                done[contender] = await self._simulate(contender, self.questions)
            return done[contender]

        single = runner.single(self.pools.prose, self.questions, self.comparer, count)
        found = {"pass@1": single}
        if self.pools.programs is not None:
            found[f"{PROGRAM}:pass@1"] = runner.single(
                self.pools.programs,
                self._find_asked(PROGRAM, self.questions),
                self.comparer,
                self.programs,
            )
        for each in self.contenders:
            found[each.name] = live[each.name] if each.live else await run(each)
        majority = await run(Contender("majority", count))
        found[f"oracle@{count}"] = _show_oracle(majority)
        fixed = contenders.ladder(count)
        if self.programs:
            votes = await run(Contender("majority", self.programs, form=PROGRAM))
            found[f"{PROGRAM}:oracle@{self.programs}"] = _show_oracle(votes)
            fixed += contenders.ladder(self.programs, PROGRAM)
        curve = contenders.prices(count)
        for each in [*fixed, *curve]:
            await run(each)
        ids = [question.id for question in self.questions]
        bins = find_bins(single)
        baseline = pick_baseline(
            [
                make_point(each.name, done[each], ids)
                for each in fixed
                if each.samples == count and each.form == "auto"
            ]
        )
        members: dict[str, list[Contender]] = {}
        for each in [*fixed, *curve]:
            members.setdefault(each.line, []).append(each)

        def trace(inside: Container[str]) -> dict[str, list[Summary]]:
            """A row for each contender of a line, of the questions ``inside``."""
            parts = {
                line: {
                    each.name: [one for one in done[each] if one.question in inside]
                    for each in on_line
                }
                for line, on_line in members.items()
            }
            return {
                line: [summarise(name, outcomes) for name, outcomes in named.items()]
                for line, named in parts.items()
                if all(named.values())  # programs were not drawn for every question
            }

        return Comparison(
            found,
            [summarise(name, outcomes) for name, outcomes in found.items()],
            bins,
            trace(ids),
            {
                number: trace({id for id, its in bins.items() if its == number})
                for number in sorted(set(bins.values()))
            },
            match([make_point(each.name, done[each], ids) for each in curve], baseline),
            measure_agreement(collect(self.pools, self.questions, self.comparer))
            if self.programs
            else (),
        )

    async def run_live(
        self,
        engine: Engine,
        chat: Chat,
        path: Path,
        *,
        flight: int = 1,
        progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    ) -> dict[str, list[Outcome]]:
        """Run the live contenders and keep what they came to in ``path``.

        Returns:
            All outcomes by contender's name, those of earlier runs included.

        Raises:
            UsageError: another process writes ``path``, or a verifier cannot be made.
            TtcError: as ``policy.run.solve``; outcomes until then are kept.
        """
        header = self.pools.prose.header
        means = VerifierContext(chat, engine=engine, fingerprint=lambda: header.sha256)
        found: dict[str, list[Outcome]] = {}
        with LineFile(path, UsageError(f"Another process is writing {path}.")) as file:
            file.cut()
            known = read_outcomes(path)
            for contender in (each for each in self.contenders if each.live):
                name = contender.name
                questions = self._find_asked(contender.form, self.questions)
                ids = {question.id for question in questions}
                have = {each.question: each for each in known.get(name, ()) if each.question in ids}

                def keep(
                    outcome: Outcome,
                    name: str = name,
                    have: dict[str, Outcome] = have,
                    total: int = len(ids),
                ) -> None:
                    line = json.dumps({"strategy": name, **asdict(outcome)}) + "\n"
                    file.append(line.encode())
                    have[outcome.question] = outcome
                    progress(name, len(have), total)

                progress(name, len(have), len(ids))
                verifiers = build(contender.verifiers, means)
                await runner.solve_all(
                    [question for question in questions if question.id not in have],
                    Stage(
                        engine,
                        chat,
                        sampling=header.sampling,
                        verifiers=verifiers,
                        probe=self.pools.make_probe(engine),
                        samplings=self.samplings,
                    ),
                    self._search(contender, contender.samples, header.seed),
                    self.comparer,
                    flight=flight,
                    done=keep,
                )
                found[name] = [have[question.id] for question in questions]
        return found

    async def check_live(
        self,
        engine: Engine,
        chat: Chat,
        count: int,
        progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    ) -> str:
        """Solve the first ``count`` questions for real with each ``auto``; returns a table.

        Other seeds than the pool's are drawn: what differs beyond chance is a fault of the
        simulation.
        """
        header, rows = self.pools.prose.header, []
        for contender in (each for each in self.contenders if each.strategy == "auto"):
            name = contender.name
            questions = self._find_asked(contender.form, self.questions[:count])
            if not questions:
                continue
            done: list[Outcome] = []

            def say(outcome: Outcome, name: str = name, done: list[Outcome] = done) -> None:
                done.append(outcome)
                progress(f"{name}, live", len(done), count)

            live: list[Outcome] = []
            for table, part in self._price(contender, questions):
                live += await runner.solve_all(
                    part,
                    Stage(
                        engine,
                        chat,
                        table,
                        header.sampling,
                        probe=self.pools.make_probe(engine),
                        samplings=self.samplings,
                    ),
                    self._search(contender, self._cap(contender, table), header.seed + LIVE_SEED),
                    self.comparer,
                    done=say,
                )
            rows += [
                summarise(f"{name}, simulated", await self._simulate(contender, questions)),
                summarise(f"{name}, live", live),
            ]
        title = f"The first {count} questions, live (seconds measured) against simulated:"
        return f"{title}\n\n{markdown(rows)}"

    async def _simulate(
        self, contender: Contender, questions: Sequence[LabelledQuestion]
    ) -> list[Outcome]:
        # All samples of a question in any order give the same vote; fewer, or auto, do not.
        every = self.programs if contender.form == PROGRAM else self.samples
        whole = contender.strategy != "auto" and contender.samples == every
        asked = self._find_asked(contender.form, questions)
        found: list[Outcome] = []
        for table, part in self._price(contender, asked):
            found += await runner.simulate(
                self.pools,
                part,
                self.comparer,
                strategy=contender.strategy,
                level=contender.level,
                samples=self._cap(contender, table),
                trajectories=1 if whole else self.runs,
                parallel=PARALLEL,
                table=table,
                form=contender.form,
            )
        places = {question.id: place for place, question in enumerate(asked)}
        return sorted(found, key=lambda each: (each.run, places[each.question]))

    def _find_asked(
        self, form: str, questions: Sequence[LabelledQuestion]
    ) -> list[LabelledQuestion]:
        """Those of ``questions`` that candidates of ``form`` were drawn for."""
        pool = self.pools.by_form.get(form, self.pools.prose)
        return [question for question in questions if question.id in pool.questions]

    def _price(
        self, contender: Contender, questions: Sequence[LabelledQuestion]
    ) -> list[tuple[Table, list[LabelledQuestion]]]:
        """The table at the price of ``contender``, by the kind of answer that it is for.

        It has forms only where they were drawn.
        """
        table = self.table if self.programs else self.table.without_forms()
        kinds: dict[bool, tuple[Table, list[LabelledQuestion]]] = {}
        for question in questions:
            fitted = table.for_answers(resolve(question.problem).answer_type)
            kind = kinds.setdefault(fitted is table, (fitted.at_price(contender.price), []))
            kind[1].append(question)
        return list(kinds.values())

    def _cap(self, contender: Contender, table: Table) -> int:
        """The most candidates of a question; what ``auto`` may grow falls with its price."""
        if contender.strategy != "auto":
            return contender.samples
        mixed = self.programs if contender.form == "auto" and table.forms else 0
        return min(contender.samples + mixed, table.row(contender.level).cap)

    def _search(self, contender: Contender, samples: int, seed: int) -> SearchOptions:
        tokens = self.pools.prose.header.max_tokens
        return SearchOptions(
            contender.strategy,
            samples=samples,
            budget=Budget(level=contender.level, tokens_per_candidate=tokens),
            seed=seed,
            form=contender.form,
            limits=self.pools.count_samples(self.questions),
        )

    def write_up(self, comparison: Comparison, facts: str, baseline: str | None = None) -> str:
        """``comparison`` as Markdown, below ``facts``, a paragraph on what it was measured on.

        McNemar's tests are against ``baseline``; None is the match's own.

        Raises:
            UsageError: there is no contender of that name.
        """
        found, matched = comparison.found, comparison.match
        if baseline is not None and baseline not in found:
            raise UsageError(
                f"There is no {baseline!r} to compare with.", f"One of: {', '.join(found)}"
            )
        mixed = f" and {self.programs} programs" if self.programs else ""
        parts = [
            facts,
            markdown(comparison.rows),
            f"`auto` and less than {self.samples} samples{mixed}: mean over {self.runs} orders of "
            "the samples. Seconds of sampled strategies are tokens over the rate at which the pool "
            "was drawn, its batch always full: a live run takes longer.",
            tabulate_bins(found, comparison.bins),
            "Bins: fifths of the share of single samples that are right, from the labels; no "
            "strategy saw them.",
        ]
        if matched is not None:
            parts.append(word_match(matched))
            baseline = baseline or matched.baseline.name
        if baseline is not None and baseline in found:
            parts.append(tabulate_pairs(found, baseline))
        if comparison.agreement:
            parts.append(tabulate_agreement(comparison.agreement))
        return "\n\n".join(part.strip() for part in parts) + "\n"


def _show_oracle(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [replace(each, right=each.oracle) for each in outcomes]
