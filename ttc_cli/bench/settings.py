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
from ttc_cli.bench.pool import SamplePool
from ttc_cli.bench.report import Outcome, make_point
from ttc_cli.policy.table import SHIPPED, WORTH, BudgetRow, Table

SURENESS = (0.0, 1.0)
PROBES = (2, 3, 4)
THRESHOLDS = (0.77, 0.8, 0.86, 0.9, 0.95)
PRICES = (0.0, 0.005, 0.015)
WORTHS = tuple(0.02 * 2 ** (-step / 2) for step in range(15))
"""Of a candidate, in share of right answers: the rungs of a frontier, from 0.02 to 0.00016."""


@dataclass(frozen=True, slots=True)
class AutoSetting:
    """What is tried: ``sureness`` of the vote, and a row's probe, threshold, price and cap."""

    sureness: float
    probe: int
    threshold: float
    price: float
    cap: int


@dataclass
class Trials:
    """Settings tried on all ``questions``, each over ``runs`` orders of the ``samples``."""

    pool: SamplePool
    questions: Sequence[LabelledQuestion]
    comparer: Comparer
    samples: int
    runs: int
    tilt: float
    slip: float
    progress: Callable[[str], None]
    _done: dict[AutoSetting, list[Outcome]] = field(default_factory=dict)
    _sums: dict[AutoSetting, list[tuple[float, float]]] = field(default_factory=dict)

    async def fit(self, places: Sequence[int]) -> Table:
        """The table that pays best on the questions at ``places``."""
        chosen = {level: await self._find(self._cap(level)) for level in WORTH}
        sureness = self._choose_sureness(chosen, places)
        rows = dict(SHIPPED.rows)
        for level, worth in WORTH.items():
            usual = await self._try_shipped(SHIPPED.row(level), sureness, self._cap(level))
            best = self._choose(chosen[level][sureness], usual, places, worth)
            rows[level] = _make_row(best, level)
        frontier: list[tuple[float, BudgetRow]] = []
        for worth in WORTHS:
            priced = SHIPPED.at_price(worth / WORTH["normal"]).row("normal")
            usual = await self._try_shipped(priced, sureness, min(priced.cap, self.samples))
            best = self._choose(chosen["deep"][sureness], usual, places, worth)
            row = _make_row(best, "deep")
            if best == usual:  # its own cap, which may be beyond the samples of the pool
                row = replace(row, cap=priced.cap)
            if not frontier or frontier[-1][1] != row:
                frontier.append((worth, row))
        steps = tuple(frontier)
        return Table(
            "fitted", rows, tilt=self.tilt, sureness=sureness, slip=self.slip, frontier=steps
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
                self.pool, self.questions, self.comparer, strategy=strategy, samples=self.samples
            )
            points.append(make_point(name, outcomes, ids))
        return points

    async def run(self, level: str, table: Table, cap: int | None = None) -> list[Outcome]:
        """``auto`` at ``level`` of ``table`` on all questions; ``cap`` is else the level's own."""
        return await runner.simulate(
            self.pool,
            self.questions,
            self.comparer,
            strategy="auto",
            level=level,
            samples=self._cap(level) if cap is None else cap,
            trajectories=self.runs,
            table=table,
        )

    def _read(self, row: BudgetRow, table: Table) -> AutoSetting:
        """The setting that ``row`` was made of."""
        assert row.threshold is not None  # each setting has one
        cap = min(row.cap, self.samples)
        return AutoSetting(table.sureness, row.probe, row.threshold, row.price, cap)

    def _cap(self, level: str) -> int:
        return min(SHIPPED.row(level).cap, self.samples)

    async def _find(self, cap: int) -> dict[float, list[AutoSetting]]:
        """All settings with ``cap``, by sureness, each tried."""
        found: dict[float, list[AutoSetting]] = {sureness: [] for sureness in SURENESS}
        for sureness, probe, threshold, price in product(SURENESS, PROBES, THRESHOLDS, PRICES):
            if probe <= cap:
                setting = AutoSetting(sureness, probe, threshold, price, cap)
                await self._try(setting)
                found[sureness].append(setting)
        return found

    async def _try_shipped(self, row: BudgetRow, sureness: float, cap: int) -> AutoSetting:
        """What a shipped row is as a setting, tried."""
        assert row.threshold is not None  # only ``max`` has none
        setting = AutoSetting(sureness, min(row.probe, cap), row.threshold, row.price, cap)
        await self._try(setting)
        return setting

    async def _try(self, setting: AutoSetting) -> None:
        if setting in self._done:
            return
        if setting.price == PRICES[0]:
            self.progress(
                f"trying: sureness {setting.sureness:g}, first wave {setting.probe}, "
                f"stop at {setting.threshold:g} …"
            )
        level = "deep"  # of the levels that have a price, the one with the most room
        row = _make_row(setting, level)
        table = Table(
            "tried", {level: row}, tilt=self.tilt, sureness=setting.sureness, slip=self.slip
        )
        outcomes = await self.run(level, table, setting.cap)
        sums = {question.id: [0.0, 0.0] for question in self.questions}
        for each in outcomes:
            sums[each.question][0] += each.right / self.runs
            sums[each.question][1] += each.flops / self.runs
        self._done[setting] = outcomes
        self._sums[setting] = [(right, flops) for right, flops in sums.values()]

    def _choose_sureness(
        self, chosen: Mapping[str, Mapping[float, Sequence[AutoSetting]]], places: Sequence[int]
    ) -> float:
        """The shipped one, unless another is better beyond doubt, all levels taken together."""

        def weigh(sureness: float) -> list[float]:
            """By question, over all levels, each at its best setting."""
            every = [
                self._values(self._best(chosen[level][sureness], places, worth), places, worth)
                for level, worth in WORTH.items()
            ]
            return [math.fsum(values) for values in zip(*every, strict=True)]

        usual = weigh(SHIPPED.sureness)
        better = [each for each in SURENESS if _is_better(weigh(each), usual)]
        return max(better, key=lambda each: math.fsum(weigh(each)), default=SHIPPED.sureness)

    def _choose(
        self,
        settings: Sequence[AutoSetting],
        usual: AutoSetting,
        places: Sequence[int],
        worth: float,
    ) -> AutoSetting:
        """The best of ``settings``, if it is better than ``usual`` beyond doubt, else that."""
        best = self._best(settings, places, worth)
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
        drawn = [s.tokens for q in self.pool.questions.values() for s in q.samples]
        return 2.0 * self.pool.header.parameters * sum(drawn) / len(drawn)


def _is_better(found: Sequence[float], usual: Sequence[float]) -> bool:
    """Whether the mean of ``found`` exceeds that of ``usual`` by three standard errors.

    Both are by question. The best of ninety settings gains two by chance alone, and what was
    measured elsewhere is not given up for that.
    """
    gains = [a - b for a, b in zip(found, usual, strict=True)]
    mean = math.fsum(gains) / len(gains)
    spread = math.fsum((gain - mean) ** 2 for gain in gains)
    return mean > 3 * math.sqrt(spread / max(1, len(gains) - 1) / len(gains))


def _make_row(setting: AutoSetting, level: str) -> BudgetRow:
    probe, threshold, price = setting.probe, setting.threshold, setting.price
    return replace(SHIPPED.row(level), probe=probe, threshold=threshold, price=price)
