"""``auto``: think harder exactly where it pays.

A probe wave, an estimate from it, and then another wave or a stop, until the matter is settled,
cannot change any more, or is not worth its price. What still grows when that is clear is cancelled
in mid-sentence, and candidates that run far past their siblings are cut. Every decision is a
``Decided`` event that gives its reason in words.

The votes decide, each weighed by how sure its candidate ended and by whether its sums are right,
which costs nothing. Verifiers are asked only where their tilt can change who leads, and what they
read is booked like everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp

from ttc_cli.events import (
    Decided,
)
from ttc_cli.policy.estimate import describe_vote, estimate, find_slipped
from ttc_cli.policy.planning import Outlook, Planner, word_agreement
from ttc_cli.policy.standing import PLAIN, FormTraits, Standing, take_stand
from ttc_cli.policy.stopping import (
    cannot_change,
    settle,
)
from ttc_cli.policy.table import BudgetRow, Table
from ttc_cli.search.checked import grow_until_passed
from ttc_cli.search.conclude import (
    conclude_by_likeness,
    conclude_by_verifier,
    conclude_by_vote,
    is_heard,
)
from ttc_cli.search.context import Pool, SearchContext, SearchOutcome
from ttc_cli.search.mending import begin_at_slip, begin_behind_failure, work_out_sums
from ttc_cli.search.sample import (
    Keep,
    Start,
    Watcher,
    Wave,
    count_pool,
    sample_wave,
    show_vote,
    verify,
)
from ttc_cli.search.vote import REACH, Weigh, discount_slips, merit, rank, weigh_by_sureness
from ttc_cli.texts import plural
from ttc_cli.types import CHECK, PROSE, AnswerClass, AnswerType, Candidate, Estimate, Finish
from ttc_cli.verifiers.base import Leaf


def is_chosen(type: AnswerType) -> bool:
    """Whether one is chosen instead of voted for: such answers are seldom worded the same."""
    return type in (AnswerType.FREE, AnswerType.CODE)


async def solve_adaptively(context: SearchContext, table: Table) -> SearchOutcome:
    """Spend on the question what it is worth under the budget's row of ``table``."""
    row = table.row(context.budget.level)
    run = _Run(context, table, row, context.pool, Planner(context, row))
    if not is_chosen(context.problem.answer_type):
        return await run.vote_until_settled()
    if any(each.name == CHECK for each in context.verifiers):
        return await grow_until_passed(context, min(run.row.probe, context.samples))
    return await run.choose_freely()


@dataclass(slots=True)
class _Run:
    """One question under way.

    ``tokens`` are the limits that runaways are cut at, by form, once known; ``mended`` are the
    candidates that were drawn on from their first wrong sum, or from what their program came to.
    """

    context: SearchContext
    table: Table
    row: BudgetRow
    pool: Pool
    planner: Planner
    classes: tuple[AnswerClass, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)
    mended: set[int] = field(default_factory=set)

    async def vote_until_settled(self) -> SearchOutcome:
        policy = self.table.name if self._knows_kind() else None
        mix, reason = self.planner.plan_probe(policy)
        while True:
            await self._sample("sample", mix, reason, self._watch, keep=self._may_be_mended)
            await self._mend()
            stop = self._find_reason_to_stop()
            if stop is not None:
                return await self._conclude(stop)
            mix, reason = self.planner.plan_wave(self._look())

    async def choose_freely(self) -> SearchOutcome:
        """Grow a few, of which the verifiers choose; without a word of theirs, likeness."""
        size = min(self.row.free, self.context.samples)
        free = self.context.problem.answer_type is AnswerType.FREE
        kind = "free-form" if free else "code"

        async def watch(wave: Wave, ended: Candidate) -> None:
            if wave.growing:
                self._cut_runaways(wave)

        reason = f"{kind}: {plural(size, 'candidate')}"
        if size > 1:
            alike = free and not self.context.verifiers
            reason += (
                ", to take the one most like the others" if alike else " for the verifier to choose"
            )
        await self._sample("sample", {PROSE: size}, reason, watch)
        finished = self.pool.answered
        if len(finished) > 1:
            await verify(self.context, [each.id for each in finished])
        reason = self.pool.halted or f"{kind}: no vote to settle, {len(finished)} finished"
        if free and all(merit(each) is None for each in self.pool.answered):
            outcome = await conclude_by_likeness(self.context, reason)
        else:
            outcome = conclude_by_verifier(self.context, (), reason)
        self._decide("stop", outcome.stop_reason)
        return outcome

    async def _sample(
        self,
        name: str,
        mix: Mapping[str, int],
        reason: str,
        watch: Watcher,
        starts: Sequence[Start] | None = None,
        keep: Keep = lambda candidate: False,
    ) -> None:
        """A wave of independent candidates, so many of each form, or from ``starts``."""
        self._decide("wave", reason)
        wave, size = self.pool.waves, sum(mix.values())
        self.context.begin_wave(wave, name, size, reason)
        await sample_wave(
            self.context,
            size,
            wave=wave,
            max_tokens=self.tokens,
            watch=watch,
            starts=starts,
            mix=mix,
            keep=keep,
        )

    async def _mend(self) -> None:
        """Continue those that wrote a wrong sum, or a program that failed, from there.

        With the right number in its place, or behind what the interpreter said. Once each, and
        before anything new is drawn: the rest of a solution costs less than a whole one, and comes
        out right at least as often (ADR 14, 25).
        """
        left = self.context.samples - self.context.ledger.samples
        if left <= 0 or self.pool.halted or self._find_settled():
            return
        wrong = [leaf for _, leaf in sorted(self.pool.leaves.items()) if self._is_to_mend(leaf)]
        self.mended.update(leaf.candidate.id for leaf in wrong)
        starts = [start for leaf in wrong if (start := self._begin_anew(leaf)) is not None]
        self.context.session.drop(each.branch for each in starts[left:])
        starts = starts[:left]
        if starts:
            slips = sum(start.form == PROSE for start in starts)
            reasons = []
            if slips:
                sums = plural(slips, "wrong sum")
                reasons.append(f"{sums}: on from there with the right number")
            if failures := len(starts) - slips:
                failed = plural(failures, "program")
                reasons.append(f"{failed} failed: on behind what came of it")
            mix = Counter(start.form for start in starts)
            await self._sample("mend", mix, "; ".join(reasons), self._watch, starts)
        for leaf in wrong:  # only now: their KV is what the others went on from
            self._give_back(leaf.candidate.id)

    def _may_be_mended(self, candidate: Candidate) -> bool:
        """Whether it is continued from its wrong sum, should it have one, or where it failed."""
        if not self.table.mend or candidate.parent is not None or candidate.thought:
            return False
        if candidate.form == PROSE:
            return self.table.slip < 1.0 and candidate.answer is not None
        if candidate.answer is not None or not self._traits(candidate.form).retry:
            return False
        return self.context.forms.entries[candidate.form].retry(candidate) is not None

    def _is_to_mend(self, leaf: Leaf) -> bool:
        candidate = leaf.candidate
        wrong = candidate.slipped or candidate.form != PROSE
        return wrong and candidate.id not in self.mended and self._may_be_mended(candidate)

    def _begin_anew(self, leaf: Leaf) -> Start | None:
        form = self.context.forms.entries[leaf.candidate.form]
        if form.name == PROSE:
            return begin_at_slip(self.context.session, leaf)
        return begin_behind_failure(self.context.session, leaf, form)

    def _give_back(self, id: int) -> None:
        """Free the branch of candidate ``id`` unless a verifier may read on from it."""
        if not self.context.reads_branches:
            self.context.free(id)

    async def _watch(self, wave: Wave, ended: Candidate) -> None:
        """Look at a candidate that ended: is the matter settled, is a sibling running away?"""
        await self._work_out_sums(ended.id)
        self.classes = await show_vote(self.context, self._weigh())
        if not wave.growing or wave.cancelled is not None:
            return
        settled = self._find_settled()
        if settled is not None:
            reason = f"{settled}: cancel {len(wave.growing)} still growing"
            self._decide("cancel", reason)
            wave.cancel(settled)
        else:
            self._cut_runaways(wave)

    def _cut_runaways(self, wave: Wave) -> None:
        """Limit what still grows once half of a form's candidates, and at least three, answered."""
        for form in {wave.starts[id].form for id in wave.growing} - self.tokens.keys():
            answered = [each for each in self.pool.answered if each.form == form]
            growing = sum(wave.starts[id].form == form for id in wave.growing)
            started = growing + sum(each.form == form for each in self.pool.candidates)
            if len(answered) < max(3, ceil(started / 2)):
                continue
            longest = max(each.tokens for each in answered)
            tokens = max(self.table.runaway_floor, ceil(self.table.runaway * longest))
            if tokens < self.context.budget.tokens_per_candidate:
                self.tokens[form] = tokens
                wave.limit(tokens, form)
                self._decide(
                    "cancel",
                    f"{len(answered)} answered within {longest} tokens: cut others at {tokens}",
                )

    def _find_settled(self) -> str | None:
        """Why the vote is over, or None."""
        standing = self._stand()
        if not standing.led:
            return None
        agree = word_agreement(standing)
        settled, threshold = self._look().settled, self.row.threshold
        if threshold is not None and settled >= threshold:
            return f"{agree}, estimate {settled:.2f} ≥ {threshold:.2f}"
        ended = sum(each.finish is not Finish.PRUNED for each in self.pool.candidates)
        remaining = self.context.samples - ended
        if self.row.by_price:
            most = self.planner.find_best_wave(self._look())
            if most.size == 0:
                return f"{agree}, more would gain {most.gain:.3f}, below its price"
        first, second = (*(each.weight for each in self.classes), 0.0)[:2]
        heaviest = exp(self.table.sureness * REACH)
        heaviest *= max(self._traits(form).weight for form in self.context.forms.entries)
        if remaining and cannot_change(first, second, remaining, self.table.tilt, heaviest):
            return f"{agree}, the remaining {remaining} cannot change that"
        return None

    def _find_reason_to_stop(self) -> str | None:
        """Why no further wave is grown, or None."""
        settled = self._find_settled()
        if settled is not None:
            return f"{settled}: stop"
        if self.pool.halted is not None:
            return self.pool.halted
        if not self.planner.find_forms():
            return f"all {plural(self.context.samples, 'candidate')} of this budget are grown"
        best = self.planner.find_best_wave(self._look())
        if best.size == 0:
            return (
                f"{word_agreement(self._stand())}; "
                f"{plural(best.tried, 'further candidate')} would gain {best.gain:.3f}, below "
                "their price: stop"
            )
        return None

    async def _conclude(self, reason: str) -> SearchOutcome:
        contested = self._find_contested()
        if contested and self.context.verifiers:
            ids = [id for each in contested for id in each.members]
            await verify(self.context, ids)
            places = rank([self.pool.leaves[id].candidate for id in ids])
            tilt = self.table.tilt
            weigh = self._weigh()
            self.classes = await count_pool(
                self.context,
                lambda each: weigh(each) * (1.0 + tilt * places.get(each.id, 0.0)),
            )
            reason = f"{reason}; {len(contested)} answers close enough for the verifier to tell"
        elif contested:
            reason = f"{reason}; {len(contested)} answers tied, the first one taken"
        self._decide("stop", reason)
        outcome = conclude_by_vote(self.context, self.classes, reason)
        standing = self._stand()
        heard = sum(standing.heard.values())
        return replace(outcome, estimate=self._estimate(), heard=heard, agreeing=standing.led)

    def _find_contested(self) -> list[AnswerClass]:
        """The classes that the verifiers' tilt could bring to the top, if more than one."""
        leader = self.classes[0].weight if self.classes else 0.0
        close = [each for each in self.classes if each.weight * (1 + self.table.tilt) > leader]
        return close if len(close) > 1 else []

    async def _work_out_sums(self, id: int) -> None:
        """Note whether candidate ``id`` wrote a sum that is wrong, and so may be mended."""
        candidate = self.pool.leaves[id].candidate
        if self.table.slip == 1.0 or candidate.answer is None or candidate.form != PROSE:
            return
        await work_out_sums(self.context, id)
        if not self.pool.leaves[id].candidate.slipped:
            self._give_back(id)

    def _find_slipped(self) -> frozenset[int]:
        return find_slipped(self.pool.answered) if self.table.slip < 1.0 else frozenset()

    def _weigh(self) -> Weigh:
        sure = weigh_by_sureness(self.pool.answered, self.table.sureness, self.table.sure_by)
        votes = discount_slips(sure, self.table.slip)
        return lambda candidate: votes(candidate) * self._traits(candidate.form).weight

    def _traits(self, form: str) -> FormTraits:
        return self.table.forms.get(form, PLAIN)

    def _stand(self) -> Standing:
        """How the vote stands; of a mended candidate only the new version is heard."""
        candidates = self.pool.candidates
        anew = {each.parent for each in candidates if each.answer is not None}
        heard = [
            each
            for each in candidates
            if is_heard(each) and not (each.id in anew and (each.slipped or each.answer is None))
        ]
        slipped = self._find_slipped()
        return take_stand(self.classes, heard, candidates, self.table.forms, slipped)

    def _look(self) -> Outlook:
        standing, believed = self._stand(), self._estimate()
        trusted = believed.calibrated and self.row.trusts
        settled = believed.settled if trusted else settle(*standing.strengths)
        return Outlook(standing, believed.pass_rate, bool(self.classes), settled, trusted)

    def _estimate(self) -> Estimate:
        standing = self._stand()
        believed = estimate(standing, self.table.prior)
        if self.table.belief is None or not self.classes or not self._knows_kind():
            return believed
        vote = describe_vote(self.classes, self.pool.candidates, standing, self.table.sure_by)
        return replace(believed, settled=self.table.belief.rate(vote), calibrated=True)

    def _knows_kind(self) -> bool:
        """Whether the policy's belief was fitted to answers of this kind."""
        belief = self.table.belief
        return belief is not None and belief.knows(self.context.problem.answer_type)

    def _decide(self, action: str, reason: str) -> None:
        voted = not is_chosen(self.context.problem.answer_type)
        believed = self._estimate() if voted and self.pool.leaves else None
        self.context.events.emit(Decided(action, reason, believed))
