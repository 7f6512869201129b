"""Which candidates ``auto`` draws next: how many, and of which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ttc_cli.policy.standing import Standing
from ttc_cli.policy.stopping import (
    WAVE_SIZES,
    NextWave,
    choose_wave,
    count_votes_to_settle,
)
from ttc_cli.policy.table import BudgetRow
from ttc_cli.search.context import SearchContext
from ttc_cli.texts import plural
from ttc_cli.types import PROSE


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known when a wave is planned.

    ``pass_rate`` is the chance that one more sample gives the leader's answer; ``answered`` says
    whether any candidate stated one, be it with a wrong sum. ``settled`` is what the threshold is
    held against: how settled the votes are or, where it is ``trusted``, the calibrated belief.
    """

    standing: Standing
    pass_rate: float
    answered: bool
    settled: float
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the waves of one question under ``row``."""

    context: SearchContext
    row: BudgetRow

    def plan_probe(self, policy: str | None) -> tuple[Mapping[str, int], str]:
        """The first wave: how many of each form, and why; ``policy`` is the one that knows."""
        size = min(self.row.probe, self.context.samples)
        reason = f"probe: {plural(size, 'candidate')} to see how hard this is"
        if policy is not None:
            reason += f", by the policy {policy}"
        forms = self.find_forms()
        if PROSE not in forms:  # the user asked for another
            return {self.context.forms.first.name: size}, reason
        mix = self.row.share_out(size, {form: self._count_left(form) for form in forms})
        if len(mix) > 1:
            reason += f"; {word_mix(mix)}"
        return mix, reason

    def plan_wave(self, outlook: Outlook) -> tuple[Mapping[str, int], str]:
        """A further wave: how many of which form, and why."""
        standing = outlook.standing
        if self.row.by_price:
            best = self.find_best_wave(outlook)
            form, size = best.form, best.size
        else:
            form, size = self._size_wave(outlook)
        heard = sum(standing.heard.values())
        several = len(self.context.forms.entries) > 1
        more = f"{word_mix({form: size}) if several else size} more"
        if not standing.led and outlook.answered:
            return {form: size}, f"none of {heard} answered without a wrong sum: {more}"
        if not standing.led:
            return {form: size}, f"none of {heard} stated an answer: {more}"
        tied = "tied" if standing.tied else f"{standing.led} to {sum(standing.runner_up.values())}"
        threshold = self.row.threshold
        below = "" if threshold is None else f", estimate {outlook.settled:.2f} < {threshold:.2f}"
        return {form: size}, f"{word_agreement(standing)} ({tied}){below}: {more}"

    def find_best_wave(self, outlook: Outlook) -> NextWave:
        """The size and form of the next wave that pays best."""
        if self.row.by_price:
            most = max(self.context.parallel, self.row.probe)
            sizes = {
                form: {min(max(1, self._count_left(form)), most, size) for size in WAVE_SIZES}
                for form in self.find_forms() or self._all_forms[:1]
            }
        else:
            form, size = self._size_wave(outlook)
            left = max(1, self._count_left(form))
            sizes = {form: {min(left, size * times) for times in (1, 2, 4)}}
        return choose_wave(outlook.standing, sizes, self.row.price)

    def find_forms(self) -> list[str]:
        """The forms of which a candidate may still be begun."""
        return [form for form in self._all_forms if self._count_left(form) > 0]

    def _size_wave(self, outlook: Outlook) -> tuple[str, int]:
        """The form that settles it most cheaply if the leader keeps its share, and how many.

        Between probe and slots.
        """
        most = max(self.context.parallel, self.row.probe)
        forms = self.find_forms() or self._all_forms[:1]
        if self.row.threshold is None:
            return forms[0], min(most, self._count_left(forms[0]))
        if outlook.trusted:  # no number of votes tells when it is enough: as many as at first
            standing = outlook.standing
            spent = {form: standing.heard.get(form, 0) * standing.cost(form) for form in forms}
            form = min(forms, key=spent.__getitem__)
            return form, min(self.row.probe, most, self._count_left(form))
        sizes: dict[str, int] = {}
        for form in forms:
            votes = count_votes_to_settle(outlook.standing, self.row.threshold, form)
            needed = ceil(votes / max(0.25, outlook.pass_rate))
            sizes[form] = max(needed, min(self.row.probe, self.context.parallel))
        cheapest = min(forms, key=lambda form: sizes[form] * outlook.standing.cost(form))
        return cheapest, min(sizes[cheapest], most, self._count_left(cheapest))

    @property
    def _all_forms(self) -> list[str]:
        return list(self.context.forms.entries)

    def _count_left(self, form: str) -> int:
        """How many candidates of ``form`` may still be begun."""
        left = self.context.samples - self.context.ledger.samples
        limit = self.context.forms.limits.get(form)
        if limit is None:
            return left
        candidates = self.context.pool.candidates
        begun = sum(each.form == form and each.parent is None for each in candidates)
        return min(left, limit - begun)


def word_agreement(standing: Standing) -> str:
    """How many agree with the leader, and in which forms where in several."""
    agree = f"{standing.led} of {sum(standing.heard.values())} agree"
    forms = [form for form, count in standing.leader.items() if count]
    return f"{agree}, {' and '.join(sorted(forms))}" if len(forms) > 1 else agree


def word_mix(mix: Mapping[str, int]) -> str:
    """``{"program": 2, "prose": 1}`` as "2 programs and 1 in prose"."""
    return " and ".join(
        f"{count} in prose" if form == PROSE else plural(count, form)
        for form, count in mix.items()
        if count
    )
