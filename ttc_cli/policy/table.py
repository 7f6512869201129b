"""The budgets by name: what ``--budget`` means in samples, thresholds and prices.

``SHIPPED`` holds for every model and was chosen before measurement; a calibration
(``policy.file``) makes another ``Table`` for one model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ttc_cli.errors import UsageError
from ttc_cli.policy.estimate import FEATURES, PROSE_FEATURES, Belief
from ttc_cli.policy.standing import FormTraits, Standing
from ttc_cli.policy.stopping import count_votes_to_settle
from ttc_cli.search.vote import TAIL
from ttc_cli.types import PROGRAM, PROSE, AnswerType


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """How one budget level spends.

    Attributes:
        probe: candidates of the first wave.
        cap: the most candidates of a question.
        threshold: stop when the estimate reaches this; None never does.
        price: what one more candidate must gain, as a chance of choosing the right answer.
        free: candidates of a free-form question, of which the one most like the others is taken,
            and of code, of which the verifiers choose one.
        mix: how many of the first wave have another form than prose, by form.
        trusts: whether the threshold is one of the calibrated belief that the leader is right,
            where there is one for the answer's kind, and not of how settled the votes are.
    """

    probe: int
    cap: int
    threshold: float | None
    price: float
    free: int
    mix: Mapping[str, int] = field(default_factory=dict)
    trusts: bool = False

    @property
    def by_price(self) -> bool:
        """Whether the price alone says when it is enough."""
        return self.threshold is None and self.price > 0

    def share_out(self, size: int, most: Mapping[str, int]) -> dict[str, int]:
        """How many of a first wave of ``size`` have each form; ``most`` of each, and prose."""
        shares: dict[str, int] = {}
        for form, count in self.mix.items():
            if form in most and count:
                shares[form] = min(count, most[form], size - sum(shares.values()))
        return {**shares, PROSE: size - sum(shares.values())}


@dataclass(frozen=True, slots=True)
class Table:
    """A policy: one row a level, and what is common to all.

    Attributes:
        name: what the user is told it is.
        rows: by level.
        prior: Beta prior (a, b) of the pass rate.
        tilt: a vote weighs 1 + ``tilt`` × the verifiers' rank of its candidate in [0, 1]. 0.1
            lets them break ties and, past ten votes, near ties: small judges rank little
            better than chance.
        sureness: a vote weighs exp(``sureness`` × how much surer its candidate is than the
            others); see ``search.vote.weigh_by_sureness``. 0 counts heads.
        sure_by: what tells how sure a candidate is, as ``search.vote.measure_sureness`` says; with
            more than its confidence, in log-odds.
        slip: what is left of the vote of a candidate that wrote a wrong sum. 1 counts it in full;
            less than 1 also keeps it from settling the matter.
        mend: whether candidates with a wrong sum are drawn on from it with the right number.
        runaway: siblings may grow to this many times the longest answered candidate.
        runaway_floor: tokens below which no candidate counts as a runaway.
        belief: the calibrated estimate; with it, estimates may be called probabilities.
        frontier: calibrated rows by what a candidate must be worth, dearest first, each where it
            differs from the one before: the row of a level is the one at its ``WORTH``.
        forms: the forms besides prose that candidates may have, and what is known of them.
    """

    name: str
    rows: Mapping[str, BudgetRow]
    prior: tuple[float, float] = (1.0, 1.0)
    tilt: float = 0.1
    sureness: float = 1.0
    sure_by: Mapping[str, float] = field(default_factory=lambda: dict(TAIL))
    slip: float = 0.2
    mend: bool = True
    runaway: float = 2.0
    runaway_floor: int = 128
    belief: Belief | None = None
    frontier: tuple[tuple[float, BudgetRow], ...] = ()
    forms: Mapping[str, FormTraits] = field(default_factory=dict)

    def row(self, level: str) -> BudgetRow:
        """The row of ``level``.

        Raises:
            UsageError: the level is unknown.
        """
        if level not in self.rows:
            raise UsageError(
                f"There is no budget called {level!r}.", f"Choose one of {', '.join(self.rows)}."
            )
        return self.rows[level]

    def for_answers(self, type: AnswerType) -> Table:
        """This table for answers of ``type``.

        Where it was fitted to other kinds, ttc's own rows and way to weigh a vote take the place
        of what was picked for those; what is known of the model's scores stays.
        """
        if self.belief is None or self.belief.knows(type):
            return self
        own = SHIPPED
        return replace(
            self,
            name=own.name,
            rows=own.rows,
            frontier=(),
            sureness=own.sureness,
            sure_by=own.sure_by,
            belief=None,
        )

    def without_forms(self) -> Table:
        """This table where all candidates are in prose."""
        if not self.forms:
            return self
        rows = {name: replace(row, mix={}) for name, row in self.rows.items()}
        frontier = tuple((worth, replace(row, mix={})) for worth, row in self.frontier)
        return replace(self, rows=rows, frontier=frontier, forms={})

    def at_price(self, factor: float) -> Table:
        """This table where an extra percent of confidence costs ``factor`` times as much.

        The one knob that a bench turns. It goes along the frontier where there is one; else a row's
        price grows with it, the doubt that its threshold leaves with its square root, and its cap
        shrinks as it grows: what a hopeless question costs is its cap. A dearer row probes with no
        more candidates than can settle the matter. A row without a threshold has no price either
        and stays as it is.
        """
        if self.frontier and factor != 1.0:
            rows = {
                name: self.find_rung(name, WORTH[name] * factor) if name in WORTH else row
                for name, row in self.rows.items()
            }
            return replace(self, rows=rows)

        def scale(row: BudgetRow) -> BudgetRow:
            if row.threshold is None:
                return row
            threshold = max(0.5, 1 - (1 - row.threshold) * math.sqrt(factor))
            cap = max(1, round(row.cap / factor))
            probe = min(row.probe, cap)
            if factor > 1.0:
                probe = min(probe, max(1, count_votes_to_settle(Standing(), threshold)))
            return replace(row, probe=probe, cap=cap, price=row.price * factor, threshold=threshold)

        return replace(self, rows={name: scale(row) for name, row in self.rows.items()})

    def find_rung(self, level: str, worth: float) -> BudgetRow:
        """The frontier's row for ``worth``, within the cap of ``level``.

        A rung holds from its own worth down to that of the next; the first also above.
        """
        _, rung = min(
            (each for each in self.frontier if each[0] >= worth),
            key=lambda each: each[0],
            default=self.frontier[0],
        )
        row = self.row(level)
        return replace(rung, cap=min(rung.cap, row.cap), free=row.free)

    def with_programs(self) -> Table:
        """This table where one of a first wave is a program: ``PROGRAMS`` is all that is known."""
        rows = {level: replace(row, mix={PROGRAM: 1}) for level, row in self.rows.items()}
        return replace(
            self, name=f"{self.name}, with programs", rows=rows, forms={PROGRAM: PROGRAMS}
        )


PROGRAMS = FormTraits(
    cost=0.5,
    first=1.0,
    further=0.5,
    accord=0.5,
    types=(AnswerType.NUMBER, AnswerType.LATEX),
)
"""Of programs of a model that was seen to write them and was never measured: half as long as prose
and as good, alike among themselves, and worth more where prose agrees."""

WORTH = {"quick": 0.01, "normal": 0.003, "deep": 0.0005}
"""By level, what one more candidate must add to the share of right answers to be drawn: what a
calibration weighs accuracy against compute with."""

SHIPPED = Table(
    name="shipped defaults",
    rows={
        "quick": BudgetRow(probe=4, cap=8, threshold=0.80, price=0.005, free=2),
        "normal": BudgetRow(probe=4, cap=16, threshold=0.90, price=0.002, free=4),
        "deep": BudgetRow(probe=8, cap=64, threshold=0.97, price=0.0002, free=8),
        "max": BudgetRow(probe=8, cap=256, threshold=None, price=0.0, free=16),
    },
)

_MOST = 1 << 16


def find_fault(table: Table) -> str | None:
    """What makes a table that came from a file unusable, in words; None where it is sound."""
    belief = table.belief
    for name, traits in table.forms.items():
        numbers = (traits.first, traits.further, traits.accord, traits.weight)
        if not 1e-3 <= traits.cost <= 1e3 or not all(0 <= each <= 100 for each in numbers):
            return f"table.forms.{name}: cost is 0.001 to 1000, the others are 0 to 100"
    if not table.sure_by or not all(abs(each) <= 100 for each in table.sure_by.values()):
        return "table.sure_by needs a part, and weights of -100 to 100"
    for level in SHIPPED.rows.keys() - table.rows.keys():
        return f"table.rows.{level} is missing"
    for row in (*table.rows.values(), *(row for _, row in table.frontier)):
        if not all(1 <= each <= _MOST for each in (row.probe, row.cap, row.free)):
            return f"table.rows: probe, cap and free are candidates, 1 to {_MOST:,}"
        if min(row.mix.values(), default=0) < 0 or sum(row.mix.values()) > row.probe:
            return "table.rows: mix says how many of the probe have another form, at most all"
        if row.mix.keys() - table.forms.keys():
            return "table.rows: mix names a form that table.forms does not describe"
    bounds = {
        "prior": (min(table.prior), 1e-6, 1e6),
        "tilt": (table.tilt, 0, 100),
        "sureness": (table.sureness, 0, 100),
        "slip": (table.slip, 0, 1),
        "runaway": (table.runaway, 1, _MOST),
        "runaway_floor": (table.runaway_floor, 0, 1 << 31),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            return f"table.{name} must be {least:g} to {most:g}"
    if belief is not None and not (
        len(belief.weights) == len(belief.centre) == len(belief.scale)
        and len(belief.weights) in (PROSE_FEATURES, len(FEATURES))
        and min(belief.scale) > 0
    ):
        return f"table.belief wants {len(FEATURES)} weights, centres and scales above 0"
    return None
