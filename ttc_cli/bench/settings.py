"""Tries settings of ``auto`` on a pool, and finds the one that pays best at each price.

Each setting is run once over all questions and kept by question, so that parts of the questions
can pick for themselves without running anything again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

from ttc_cli.answers import Comparer
from ttc_cli.bench import runner
from ttc_cli.bench.contenders import VOTES
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.matching import Point
from ttc_cli.bench.report import Outcome, make_point
from ttc_cli.bench.runner import Pools
from ttc_cli.policy.estimate import Belief
from ttc_cli.policy.standing import FormTraits
from ttc_cli.policy.table import SHIPPED, WORTH, BudgetRow, Table
from ttc_cli.search.vote import TAIL
from ttc_cli.types import PROGRAM

SURENESS = (0.0, 1.0)
PROBES = ((2, 0), (3, 0), (4, 0))
"""First waves in prose: candidates, and how many of them are programs."""
TRUSTED_PROBES = ((1, 0), (2, 0), (4, 0))
TRUSTED_MIXES = ((1, 0), (1, 1), (2, 1), (4, 2))
"""And the waves, first and further, where the belief says when it is enough."""
TRUSTED = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Beliefs at which it is."""
MIXES = ((2, 1), (2, 2), (3, 2), (3, 3), (4, 2), (4, 3), (4, 4))
"""First waves with programs, in the same way."""
THRESHOLDS = (0.77, 0.8, 0.86, 0.9, 0.95)
PRICES = (0.0, 0.005, 0.015)
COARSE = 0.005
"""The price at which all first waves and thresholds are tried; the others with the best of them."""
SHIPPED_SURE = 0.95
"""The threshold from which on the usual first wave has two programs and two in prose."""
WORTHS = tuple(0.16 * 2 ** (-step / 2) for step in range(21))
"""Of a candidate, in share of right answers: the rungs of a frontier, from 0.16 to 0.00016."""


@dataclass(frozen=True, slots=True)
class AutoSetting:
    """What is tried: ``sureness`` of the vote, and a row's probe, threshold, price and cap.

    So many of the probe are ``programs``; None: there are none later either. ``belief`` is the
    number of the one that the threshold is held against, None where that is the votes.
    """

    sureness: float
    probe: int
    threshold: float
    price: float
    cap: int
    programs: int | None = None
    belief: int | None = None


@dataclass
class Trials:
    """Settings tried on all ``questions``, each over ``runs`` orders of the ``samples``.

    ``forms`` is what is known of programs, where they are tried; ``sure_by`` is as in ``Table``.
    ``believe`` fits the belief that a policy has of the questions at some places, with programs or
    without; None where there is none to trust.
    """

    pools: Pools
    questions: Sequence[LabelledQuestion]
    comparer: Comparer
    samples: int
    runs: int
    tilt: float
    slip: float
    progress: Callable[[str], None]
    forms: Mapping[str, FormTraits] = field(default_factory=dict)
    sure_by: Mapping[str, float] = field(default_factory=lambda: dict(TAIL))
    believe: Callable[[Sequence[int], bool], Belief | None] | None = None
    _beliefs: dict[tuple[tuple[int, ...], bool], int | None] = field(default_factory=dict)
    _fitted: list[Belief] = field(default_factory=list)
    _done: dict[AutoSetting, list[Outcome]] = field(default_factory=dict)
    _sums: dict[AutoSetting, list[tuple[float, float]]] = field(default_factory=dict)

    async def fit(self, places: Sequence[int]) -> Table:
        """The table that pays best on the questions at ``places``."""
        programs = await self._prefers_programs(places)
        sureness = await self._choose_sureness(programs, places)
        belief = self._find_belief(places, programs)
        rows = dict(SHIPPED.without_forms().rows)
        for level, worth in WORTH.items():
            cap = self._cap(level, programs)
            usual = SHIPPED.row(level)
            usual = replace(usual, cap=usual.cap + self._count_spare(level, programs))
            best = await self._choose(usual, sureness, cap, programs, places, worth, belief)
            rows[level] = replace(_make_row(best, level), cap=usual.cap)
        if programs:
            most = rows["max"]
            rows["max"] = replace(most, mix={PROGRAM: most.probe // 2})
        frontier: list[tuple[float, BudgetRow]] = []
        cap = self._cap("deep", programs)
        for worth in WORTHS:
            priced = SHIPPED.at_price(worth / WORTH["normal"]).row("normal")
            best = await self._choose(priced, sureness, cap, programs, places, worth, belief)
            row = _make_row(best, "deep")
            if best == self._read_shipped(priced, sureness, cap, programs):
                row = replace(row, cap=priced.cap)  # which may be beyond the samples of the pool
            if not frontier or frontier[-1][1] != row:
                frontier.append((worth, row))
        return Table(
            "fitted",
            rows,
            tilt=self.tilt,
            sureness=sureness,
            sure_by=self.sure_by,
            slip=self.slip,
            frontier=tuple(frontier),
            forms=self.forms if programs else {},
            belief=None if belief is None else self._fitted[belief],
        )

    async def judge(self) -> tuple[dict[str, list[Outcome]], list[Point]]:
        """What each half of the questions comes to with what the other half picked.

        Returns:
            The outcomes by level, and the points of the curve over all of ``WORTHS``.
        """
        count = len(self.questions)
        halves = [range(0, count, 2), range(1, count, 2)]
        held_out: dict[str, list[Outcome]] = {level: [] for level in WORTH}
        sums = [[(0.0, 0.0)] * count for _ in WORTHS]
        for judged, picking in (halves, halves[::-1]):
            table = await self.fit(picking)
            ids = {self.questions[place].id for place in judged}
            for level in WORTH:
                tried = self._done[self._read(table.row(level), table)]
                held_out[level] += [each for each in tried if each.question in ids]
            for number, worth in enumerate(WORTHS):
                rung = self._read(table.find_rung("deep", worth), table)
                for place in judged:
                    sums[number][place] = self._sums[rung][place]
        curve = [
            Point(f"{worth:.4f}", *zip(*found, strict=True))
            for worth, found in zip(WORTHS, sums, strict=True)
        ]
        return held_out, curve

    async def run_fixed(self) -> list[Point]:
        """The fixed strategies with all samples; the best of them is the baseline."""
        ids = [question.id for question in self.questions]
        points = []
        for strategy in VOTES:
            name = f"{strategy}@{self.samples}"
            self.progress(f"{name} …")
            outcomes = await runner.simulate(
                self.pools, self.questions, self.comparer, strategy=strategy, samples=self.samples
            )
            points.append(make_point(name, outcomes, ids))
        return points

    async def run(self, level: str, table: Table, cap: int | None = None) -> list[Outcome]:
        """``auto`` at ``level`` of ``table`` on all questions; ``cap`` is else the level's own."""
        return await runner.simulate(
            self.pools,
            self.questions,
            self.comparer,
            strategy="auto",
            level=level,
            samples=self._cap(level, bool(table.forms)) if cap is None else cap,
            trajectories=self.runs,
            table=table,
        )

    def _read(self, row: BudgetRow, table: Table) -> AutoSetting:
        """The setting that ``row`` was made of."""
        assert row.threshold is not None  # each setting has one
        programs = row.mix.get(PROGRAM, 0) if table.forms else None
        cap = min(row.cap, self._count_drawn(programs is not None))
        belief = self._fitted.index(table.belief) if row.trusts and table.belief else None
        return AutoSetting(
            table.sureness, row.probe, row.threshold, row.price, cap, programs, belief
        )

    def _cap(self, level: str, programs: bool) -> int:
        most = SHIPPED.row(level).cap + self._count_spare(level, programs)
        return min(most, self._count_drawn(programs))

    def _count_spare(self, level: str, programs: bool) -> int:
        """Candidates beyond a level's cap that ``programs`` among them make room for."""
        if not programs:
            return 0
        among = min(SHIPPED.row(level).cap, self._count_drawn(True) - self.samples)
        return max(0, int(among * (1 - self.forms[PROGRAM].cost)))

    def _count_drawn(self, programs: bool) -> int:
        """The candidates that a question has, with its ``programs`` or without."""
        drawn = self.pools.count_samples(self.questions)
        return self.samples + (drawn.get(PROGRAM, 0) if programs else 0)

    async def _prefers_programs(self, places: Sequence[int]) -> bool:
        """Whether programs pay on the questions at ``places``, all levels taken together.

        Settings with and without them are picked from each half of these, and weighed on the other.
        """
        if not self.forms:
            return False
        halves = [places[::2], places[1::2]]
        totals = {False: 0.0, True: 0.0}
        for judged, picking in (halves, halves[::-1]):
            for programs in totals:
                for level, worth in WORTH.items():
                    row, cap = SHIPPED.row(level), self._cap(level, programs)
                    setting = await self._choose(
                        row, SHIPPED.sureness, cap, programs, picking, worth
                    )
                    totals[programs] += math.fsum(self._values(setting, judged, worth))
        return totals[True] > totals[False]

    async def _search(
        self,
        sureness: float,
        cap: int,
        programs: bool,
        places: Sequence[int],
        worth: float,
        belief: int | None = None,
    ) -> AutoSetting:
        """The best setting with ``cap`` for ``worth``: coarsely, then at all prices.

        With a ``belief`` also those that go by it.
        """
        openings = MIXES if programs else PROBES
        trusted = TRUSTED_MIXES if programs else TRUSTED_PROBES
        kinds: list[tuple[Sequence[tuple[int, int]], Sequence[float], int | None]]
        kinds = [(openings, THRESHOLDS, None)]
        if belief is not None:
            kinds.append((trusted, TRUSTED, belief))
        found = [
            AutoSetting(sureness, probe, threshold, COARSE, cap, mixed if programs else None, known)
            for waves, thresholds, known in kinds
            for (probe, mixed), threshold in product(waves, thresholds)
            if probe <= cap
        ]
        for setting in found:
            await self._try(setting)
        rough = self._best(found, places, worth)
        finer = [replace(rough, price=price) for price in PRICES]
        for setting in finer:
            await self._try(setting)
        return self._best(finer, places, worth)

    def _find_belief(self, places: Sequence[int], programs: bool) -> int | None:
        """The number of the belief that is fitted to the questions at ``places``."""
        key = tuple(places), programs
        if key not in self._beliefs:
            belief = self.believe(places, programs) if self.believe is not None else None
            self._beliefs[key] = None if belief is None else len(self._fitted)
            self._fitted += [] if belief is None else [belief]
        return self._beliefs[key]

    def _read_shipped(
        self, row: BudgetRow, sureness: float, cap: int, programs: bool
    ) -> AutoSetting:
        """What a shipped row is as a setting; with ``programs``, half of a small first wave."""
        assert row.threshold is not None  # only ``max`` has none
        cap = min(cap, row.cap)
        probe = min(row.probe, cap)
        if not programs:
            return AutoSetting(sureness, probe, row.threshold, row.price, cap)
        wave, mixed = (4, 2) if row.threshold >= SHIPPED_SURE else (2, 1)
        probe = min(probe, wave)
        return AutoSetting(sureness, probe, row.threshold, row.price, cap, min(probe, mixed))

    async def _try(self, setting: AutoSetting) -> None:
        if setting in self._done:
            return
        if setting.price == COARSE:
            mixed = f" ({setting.programs} programs)" if setting.programs else ""
            self.progress(
                f"trying: sureness {setting.sureness:g}, first wave {setting.probe}{mixed}, "
                f"stop at {setting.threshold:g} …"
            )
        level = "deep"  # of the levels that have a price, the one with the most room
        row = _make_row(setting, level)
        table = Table(
            "tried",
            {level: row},
            tilt=self.tilt,
            sureness=setting.sureness,
            sure_by=self.sure_by,
            slip=self.slip,
            forms={} if setting.programs is None else self.forms,
            belief=None if setting.belief is None else self._fitted[setting.belief],
        )
        outcomes = await self.run(level, table, setting.cap)
        sums = {question.id: [0.0, 0.0] for question in self.questions}
        for each in outcomes:
            sums[each.question][0] += each.right / self.runs
            sums[each.question][1] += each.flops / self.runs
        self._done[setting] = outcomes
        self._sums[setting] = [(right, flops) for right, flops in sums.values()]

    async def _choose_sureness(self, programs: bool, places: Sequence[int]) -> float:
        """The shipped one, unless another is better beyond doubt, all levels taken together.

        Each level at the setting that is best with the shipped one.
        """
        settings = {
            level: await self._search(
                SHIPPED.sureness, self._cap(level, programs), programs, places, worth
            )
            for level, worth in WORTH.items()
        }

        async def weigh(sureness: float) -> list[float]:
            """By question, over all levels."""
            every = []
            for level, worth in WORTH.items():
                setting = replace(settings[level], sureness=sureness)
                await self._try(setting)
                every.append(self._values(setting, places, worth))
            return [math.fsum(values) for values in zip(*every, strict=True)]

        found = {each: await weigh(each) for each in SURENESS}
        usual = found[SHIPPED.sureness]
        better = [each for each in SURENESS if _is_better(found[each], usual)]
        return max(better, key=lambda each: math.fsum(found[each]), default=SHIPPED.sureness)

    async def _choose(
        self,
        row: BudgetRow,
        sureness: float,
        cap: int,
        programs: bool,
        places: Sequence[int],
        worth: float,
        belief: int | None = None,
    ) -> AutoSetting:
        """The best setting for ``worth``, if better than ``row``'s beyond doubt, else that.

        With ``programs`` or a ``belief`` the better one: no such row was measured elsewhere.
        """
        usual = self._read_shipped(row, sureness, cap, programs)
        await self._try(usual)
        best = await self._search(sureness, cap, programs, places, worth, belief)
        if programs or best.belief is not None:
            return self._best([usual, best], places, worth)
        found, before = (self._values(each, places, worth) for each in (best, usual))
        return best if _is_better(found, before) else usual

    def _best(
        self, settings: Sequence[AutoSetting], places: Sequence[int], worth: float
    ) -> AutoSetting:
        return max(settings, key=lambda each: math.fsum(self._values(each, places, worth)))

    def _values(self, setting: AutoSetting, places: Sequence[int], worth: float) -> list[float]:
        """By question, the share of right answers, less the candidates spent times their worth."""
        price = worth / self._flops_a_candidate
        kept = (self._sums[setting][place] for place in places)
        return [right - price * flops for right, flops in kept]

    @cached_property
    def _flops_a_candidate(self) -> float:
        drawn = [s.tokens for q in self.pools.prose.questions.values() for s in q.samples]
        return 2.0 * self.pools.prose.header.parameters * sum(drawn) / len(drawn)


def _is_better(found: Sequence[float], usual: Sequence[float]) -> bool:
    """Whether the mean of ``found`` exceeds that of ``usual`` by three standard errors.

    Both are by question. The best of dozens of settings gains two by chance alone, and what was
    measured elsewhere is not given up for that.
    """
    gains = [a - b for a, b in zip(found, usual, strict=True)]
    mean = math.fsum(gains) / len(gains)
    spread = math.fsum((gain - mean) ** 2 for gain in gains)
    return mean > 3 * math.sqrt(spread / max(1, len(gains) - 1) / len(gains))


def _make_row(setting: AutoSetting, level: str) -> BudgetRow:
    probe, threshold, price = setting.probe, setting.threshold, setting.price
    mix = {PROGRAM: setting.programs} if setting.programs else {}
    row = SHIPPED.row(level)
    trusts = setting.belief is not None
    return replace(row, probe=probe, threshold=threshold, price=price, mix=mix, trusts=trusts)
