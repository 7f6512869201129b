"""The tree of a step-wise search: partial solutions that pause, are scored, forked and pruned.

``Tree.grow`` lets partial solutions write one step each, in one batch, ``Tree.score`` asks the
verifiers for process scores of what is new, ``Tree.fork`` and ``Tree.prune`` shape the tree. A
pause costs nothing: a branch that survives goes on in its own KV, token for token as if it had
never stopped. What ends is a candidate of ``Tree.pool`` like any other; so is what was pruned,
without a voice in the vote.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ttc_cli.engines.base import Branch, Grow, Growth, Until
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.events import (
    CandidateEnded,
    CandidateStarted,
    Pruned,
    Scored,
    Spent,
    Stepped,
    Voted,
    Warned,
)
from ttc_cli.search.conclude import conclude_by_verifier, conclude_by_vote
from ttc_cli.search.context import Outcome, SearchContext
from ttc_cli.search.sample import Pool, count_pool, derive_seed, read_answer
from ttc_cli.types import Candidate, Confidence, Finish, Sampling, Score, Step
from ttc_cli.verifiers.base import Leaf

Aggregate = Literal["last", "min", "mean", "prod"]
"""How the process scores along a path become one number."""


@dataclass(slots=True, eq=False)
class Partial:
    """A solution under way. ``finish`` is None while it can go on.

    ``steps`` and ``scores`` are those of the whole path, ``tokens`` the ones it drew itself.
    ``boundaries`` holds, where the tree keeps them, a branch for each step's end.
    """

    id: int
    branch: Branch
    parent: int | None = None
    wave: int = 0
    steps: tuple[Step, ...] = ()
    scores: tuple[Score, ...] = ()
    tokens: int = 0
    finish: Finish | None = None
    draws: int = 0
    boundaries: tuple[Branch, ...] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(step.text for step in self.steps)

    @property
    def length(self) -> int:
        """Tokens of the whole path."""
        return sum(step.tokens for step in self.steps)


@dataclass(slots=True)
class Tree:
    """The partial solutions of a run, and the pool of what has ended.

    ``aggregate`` makes one value of the process scores along a path; ``keep_boundaries`` keeps
    a branch at the end of each step, from which ``fork`` can then start again.
    """

    context: SearchContext
    aggregate: Aggregate = "last"
    keep_boundaries: bool = False
    pool: Pool = field(default_factory=Pool)
    partials: dict[int, Partial] = field(default_factory=dict)

    @property
    def paused(self) -> list[Partial]:
        """Those that can go on, by id."""
        return [each for _, each in sorted(self.partials.items()) if each.finish is None]

    @property
    def halted(self) -> bool:
        """Whether nothing more can be grown."""
        return self.pool.halted is not None

    def plant(self, count: int, *, wave: int = 0) -> list[Partial]:
        """New partial solutions at the prompt, as many of ``count`` as the ledger admits."""
        granted = self.context.ledger.admit(count)
        if granted < count:
            self.pool.halted = self.context.ledger.exhausted() or "sample cap reached"
        session = self.context.session
        return [self._start(branch, wave) for branch in session.fork(session.root, granted)]

    def fork(
        self, partial: Partial, count: int, *, at: int | None = None, wave: int | None = None
    ) -> list[Partial]:
        """``count`` new partial solutions that go on from ``partial``, which stays as it is.

        Forks replace what a step-wise search prunes, so that they are not admitted as further
        samples: the ledger's caps on tokens, FLOPs and seconds hold them.

        Args:
            partial: where to fork.
            count: how many.
            at: go on behind its first ``at`` steps (needs ``keep_boundaries``); None: all.
            wave: of the new ones; None is that of ``partial``.
        """
        steps = len(partial.steps) if at is None else at
        origin = partial.branch
        if steps < len(partial.steps):
            origin = partial.boundaries[steps - 1] if steps else self.context.session.root
        made = []
        for branch in self.context.session.fork(origin, count):
            child = self._start(branch, partial.wave if wave is None else wave, partial.id, steps)
            child.steps = partial.steps[:steps]
            child.boundaries = partial.boundaries[:steps]
            child.scores = tuple(s for s in partial.scores if s.step is not None and s.step < steps)
            made.append(child)
        return made

    async def grow(
        self,
        partials: Sequence[Partial],
        *,
        until: Until = Until.STEP,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Let each write one step (or all the rest), in one batch; those that end are candidates.

        Args:
            partials: paused ones.
            until: ``Until.END`` grows to the end of the turn.
            sampling: how tokens are drawn; None is the run's.
            max_tokens: of this step; the candidate's own limit holds beside it.

        Raises:
            EngineError: the engine failed before any candidate of the run had ended.
        """
        limit = self.context.budget.tokens_per_candidate
        asked = {each.id: each for each in partials if each.finish is None}
        requests = []
        for each in asked.values():
            seed = derive_seed(
                self.context.seed, *((each.id, each.draws) if each.draws else (each.id,))
            )
            each.draws += 1
            left = max(1, limit - each.length)
            tokens = left if max_tokens is None else min(left, max_tokens)
            drawn = sampling or self.context.sampling
            requests.append(Grow(each.branch, tokens, drawn, seed, each.id, until))
        try:
            async for growth in self.context.session.grow(requests):
                self._take(asked[growth.label], growth, cut=max_tokens)
        except EngineError as error:
            if not self.pool.leaves:
                raise
            self.pool.halted = "the engine failed"
            message = f"The engine failed; going on with what was grown: {error.message}"
            self.context.events.emit(Warned(message))

    async def score(self, partials: Sequence[Partial]) -> None:
        """Ask the verifiers for the process score of the last step of each, where it is new."""
        for verifier in self.context.verifiers:
            if not verifier.grades_steps:
                continue
            new = [
                each
                for each in partials
                if each.steps
                and each.finish in (None, Finish.STOP)
                and not any(
                    s.verifier == verifier.name and s.step == len(each.steps) - 1
                    for s in each.scores
                )
            ]
            if not new or (verifier.needs_branch and self.context.ledger.exhausted()):
                continue
            try:
                scores = await verifier.score_steps(
                    self.context.session, self.context.problem, [self._leaf(each) for each in new]
                )
            except (EngineError, UsageError) as error:
                message = f"Going on without {verifier.name}: {error.message}"
                self.context.events.emit(Warned(message))
                continue
            for each, score in zip(new, scores, strict=True):
                if score is not None:
                    each.scores = (*each.scores, score)
                    self.context.events.emit(Scored(each.id, score))
                    self._update(each)
        self.context.events.emit(Spent(self.context.ledger.usage()))

    def value(self, partial: Partial) -> float | None:
        """One number for a path: its process scores, joined as ``aggregate`` says."""
        return join_scores(partial.scores, self.aggregate)

    def prune(self, partials: Iterable[Partial], reason: str) -> None:
        """Drop these at their step boundary, as candidates without a voice."""
        for each in partials:
            if each.finish is None:
                self.context.events.emit(Pruned(each.id, reason))
                self._end(each, Finish.PRUNED)

    async def conclude(self, reason: str, *, by: Literal["vote", "value"] = "vote") -> Outcome:
        """Prune what is still under way and choose among what has ended.

        Args:
            reason: why the search stops.
            by: ``vote``: the answer whose candidates' values add up to the most (best-of-N
                weighted, arXiv 2408.03314); ``value``: the best single candidate.
        """
        self.prune(self.paused, "the search ended")
        self._carry_values()
        reason = self.pool.halted or reason
        if by == "value":
            classes = await count_pool(self.context, self.pool)
            return conclude_by_verifier(self.context, self.pool, classes, reason)
        values = {each.id: self.value(each) for each in self.partials.values()}
        known = [value for value in values.values() if value is not None]
        average = math.fsum(known) / len(known) if known else 1.0

        def weigh(candidate: Candidate) -> float:
            value = values.get(candidate.id)
            return average if value is None else value

        classes = await count_pool(self.context, self.pool, weigh)
        return conclude_by_vote(self.context, self.pool, classes, reason)

    def _start(
        self, branch: Branch, wave: int, parent: int | None = None, steps: int = 0
    ) -> Partial:
        made = Partial(self.pool.started, branch, parent, wave)
        self.pool.started += 1
        self.partials[made.id] = made
        self.context.events.emit(CandidateStarted(made.id, wave, parent, steps))
        return made

    def _take(self, partial: Partial, growth: Growth, *, cut: int | None) -> None:
        """Book one growth."""
        partial.tokens += growth.tokens
        if growth.text or growth.finish is Finish.STEP:
            step = Step(growth.text, growth.tokens, growth.confidence)
            partial.steps = (*partial.steps, step)
        elif partial.steps and growth.tokens:  # the token that ends the turn, by itself
            last = partial.steps[-1]
            partial.steps = (
                *partial.steps[:-1],
                Step(last.text, last.tokens + growth.tokens, last.confidence),
            )
        limit = self.context.budget.tokens_per_candidate
        paused = growth.finish is Finish.STEP or (
            growth.finish is Finish.LENGTH and cut is not None and partial.length < limit
        )
        if paused and partial.length < limit:
            if self.keep_boundaries:
                partial.boundaries = (
                    *partial.boundaries,
                    *self.context.session.fork(partial.branch),
                )
            event = Stepped(partial.id, len(partial.steps) - 1, growth.text, growth.tokens)
            self.context.events.emit(event)
            self.context.events.emit(Spent(self.context.ledger.usage()))
            return
        if growth.finish is Finish.BUDGET:
            self.pool.halted = self.context.ledger.exhausted() or "a cap was reached"
        elif growth.finish is Finish.CANCELLED:
            self.pool.halted, self.pool.interrupted = "interrupted", True
        self._end(partial, Finish.LENGTH if paused else growth.finish)

    def _end(self, partial: Partial, finish: Finish) -> None:
        partial.finish = finish
        answer = read_answer(partial.text, finish, self.context.problem.answer_type)
        keep = answer is not None and any(each.needs_branch for each in self.context.verifiers)
        if not keep:
            self.context.session.drop([partial.branch])
        candidate = Candidate(
            id=partial.id,
            text=partial.text,
            tokens=partial.tokens,
            finish=finish,
            answer=answer,
            confidence=join_confidence(partial.steps),
            scores=partial.scores,
            wave=partial.wave,
            parent=partial.parent,
            steps=partial.steps,
        )
        self.pool.leaves[partial.id] = Leaf(candidate, partial.branch if keep else None)
        self.context.events.emit(CandidateEnded(candidate))
        self.context.events.emit(Spent(self.context.ledger.usage()))

    def _leaf(self, partial: Partial) -> Leaf:
        """``partial`` as a verifier sees it."""
        ended = self.pool.leaves.get(partial.id)
        if ended is not None:
            return ended
        candidate = Candidate(
            id=partial.id,
            text=partial.text,
            tokens=partial.tokens,
            finish=Finish.STEP,
            scores=partial.scores,
            wave=partial.wave,
            parent=partial.parent,
            steps=partial.steps,
        )
        return Leaf(candidate, partial.branch)

    def _update(self, partial: Partial) -> None:
        """Carry new scores over to the candidate, if ``partial`` has become one."""
        leaf = self.pool.leaves.get(partial.id)
        if leaf is not None:
            scored = leaf.candidate.with_scores(*partial.scores[len(leaf.candidate.scores) :])
            self.pool.leaves[partial.id] = Leaf(scored, leaf.branch)

    def _carry_values(self) -> None:
        """Give each candidate that ended its value as a score of the whole."""
        for each in self.partials.values():
            value, leaf = self.value(each), self.pool.leaves.get(each.id)
            if value is None or leaf is None or leaf.candidate.answer is None:
                continue
            if any(score.step is None for score in leaf.candidate.scores):
                continue
            scored = leaf.candidate.with_scores(Score(f"process ({self.aggregate})", value))
            self.pool.leaves[each.id] = Leaf(scored, leaf.branch)


async def show_tree_vote(tree: Tree) -> None:
    """Emit the unweighted vote as it stands."""
    classes = await count_pool(tree.context, tree.pool)
    if classes:
        tree.context.events.emit(Voted(classes, len(tree.pool.leaves)))


def join_scores(scores: Sequence[Score], aggregate: Aggregate) -> float | None:
    """One value of the process scores along a path, each step's averaged over its verifiers.

    ``last`` (huggingface/search-and-learn), ``mean`` (RLHFlow), ``min`` (Math-Shepherd, and
    Lightman et al. 2023, arXiv 2305.20050), ``prod``; a weight of 0 does not count.
    """
    steps: dict[int, list[Score]] = {}
    for score in scores:
        if score.step is not None and score.weight > 0:
            steps.setdefault(score.step, []).append(score)
    if not steps:
        return None
    values = [
        math.fsum(s.value * s.weight for s in found) / math.fsum(s.weight for s in found)
        for _, found in sorted(steps.items())
    ]
    if aggregate == "last":
        return values[-1]
    if aggregate == "min":
        return min(values)
    return math.prod(values) if aggregate == "prod" else math.fsum(values) / len(values)


def join_confidence(steps: Sequence[Step]) -> Confidence | None:
    """That of a whole path: means by tokens, the lowest of the lowest, the tail of the last."""
    known = [step for step in steps if step.confidence is not None]
    total = sum(step.tokens for step in known)
    if not total:
        return None
    found = [(step.tokens / total, step.confidence) for step in known if step.confidence]
    last = found[-1][1]
    return Confidence(
        mean_logprob=math.fsum(share * each.mean_logprob for share, each in found),
        tail_logprob=last.tail_logprob,
        lowest_group=min(each.lowest_group for _, each in found),
        tail_group=last.tail_group,
        mean_group=_join([(share, each.mean_group) for share, each in found]),
        bottom_group=_join([(share, each.bottom_group) for share, each in found]),
        certainty=_join([(share, each.certainty) for share, each in found]),
    )


def _join(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """The mean by shares; None where a part is not known. Of windows' tenths: near enough."""
    known = [share * value for share, value in parts if value is not None]
    return math.fsum(known) if len(known) == len(parts) else None
