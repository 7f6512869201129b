"""The tree of a step-wise search: partial solutions that pause, are scored, forked and pruned.

``Tree.grow`` lets partial solutions write one step each, in one batch, ``Tree.score`` asks the
verifiers for process scores of what is new, ``Tree.fork`` and ``Tree.prune`` shape the tree. A
pause costs nothing: a branch that survives goes on in its own KV, at temperature 0 token for token
as if it had never stopped (at other temperatures each step draws with a seed of its own). What ends
is a candidate of the pool like any other; so is what was pruned, without a vote.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ttc_cli.engines.base import Branch, Grow, Growth, Until
from ttc_cli.errors import UsageError
from ttc_cli.events import (
    CandidateStarted,
    Pruned,
    Stepped,
)
from ttc_cli.forms.base import Written
from ttc_cli.search.conclude import conclude_by_verifier, conclude_by_weight
from ttc_cli.search.context import Pool, SearchContext, SearchOutcome
from ttc_cli.search.sample import (
    ask,
    book_end,
    derive_seed,
    keeping_on,
    verify,
)
from ttc_cli.types import AnswerType, Candidate, Finish, Sampling, Score, Step
from ttc_cli.verifiers.aggregate import Aggregate, join_confidence, join_scores
from ttc_cli.verifiers.base import Leaf

LAST_SHARE = 0.25
"""Share of each hard cap kept for finishing one solution while there is no answer yet."""


@dataclass(slots=True, eq=False)
class Partial:
    """A solution under way. ``finish`` is None while it can go on.

    ``steps`` and ``scores`` are those of the whole path, ``tokens`` the ones it drew itself.
    ``boundaries`` holds, where the tree keeps them, a branch for each step's end. The first
    ``thought`` characters of its text are thinking; ``value`` is the JSON value it ended with.
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
    thought: int = 0
    value: str | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(step.text for step in self.steps)

    @property
    def length(self) -> int:
        """Tokens of the whole path."""
        return sum(step.tokens for step in self.steps)

    def as_candidate(self, finish: Finish) -> Candidate:
        """What it is so far, without an answer."""
        return Candidate(
            id=self.id,
            text=self.text,
            tokens=self.tokens,
            finish=finish,
            scores=self.scores,
            wave=self.wave,
            parent=self.parent,
            steps=self.steps,
            thought=self.thought,
        )


@dataclass(slots=True)
class Tree:
    """The partial solutions of a run, and the pool of what has ended.

    ``aggregate`` makes one value of the process scores along a path; ``keep_boundaries`` keeps
    a branch at the end of each step, from which ``fork`` can then start again, and the branches of
    what has ended with them: the KV cache evicts what it has no room for.

    Raises:
        UsageError: no verifier grades steps, so nothing would guide the search.
    """

    context: SearchContext
    aggregate: Aggregate = "last"
    keep_boundaries: bool = False
    partials: dict[int, Partial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(each.grades_steps for each in self.context.verifiers):
            return
        names = ", ".join(each.name for each in self.context.verifiers) or "nothing"
        raise UsageError(
            f"A step-wise search is guided by scores of single steps, and {names} gives none.",
            "Add --verifier judge, or use --strategy best-of-n, which scores whole candidates.",
        )

    @property
    def pool(self) -> Pool:
        """What has ended."""
        return self.context.pool

    @property
    def paused(self) -> list[Partial]:
        """Those that can go on, by id."""
        return [each for _, each in sorted(self.partials.items()) if each.finish is None]

    @property
    def halted(self) -> bool:
        """Whether the search is over: by a cap, an interruption, a failure, or a cap that runs out.

        While nothing has been answered, the last quarter of each hard cap is left to ``conclude``,
        which brings the best partial solution to its end with it.
        """
        return self._stopped() or bool(self._running_out())

    def plant(self, count: int, *, wave: int = 0) -> list[Partial]:
        """New partial solutions at the prompt, as many of ``count`` as the ledger admits."""
        granted = self.context.ledger.admit(count)
        if not granted and count:
            self.pool.halted = self.context.ledger.exhausted() or "sample cap reached"
        session = self.context.session
        return [self._start(branch, wave) for branch in session.fork(session.root, granted)]

    def fork(
        self, partial: Partial, count: int, *, at: int | None = None, wave: int | None = None
    ) -> list[Partial]:
        """``count`` new partial solutions that go on from ``partial``, which stays as it is.

        Forks replace what a step-wise search prunes, so that they are not admitted as further
        samples: the ledger's caps on tokens, FLOPs and seconds hold them. They go on after the
        first ``at`` steps (None: all; less needs ``keep_boundaries``), in ``wave`` (None: its own).
        """
        steps = len(partial.steps) if at is None else at
        origin = partial.branch
        if steps < len(partial.steps):
            origin = partial.boundaries[steps - 1] if steps else self.context.session.root
        made = []
        wave = partial.wave if wave is None else wave
        for branch in self.context.session.fork(origin, count):
            child = self._start(branch, wave, partial.id, steps)
            child.steps = partial.steps[:steps]
            child.thought = min(partial.thought, len(child.text))
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
        grown: Callable[[Partial], None] | None = None,
    ) -> None:
        """Let each write one step (or all the rest), in one batch; those that end are candidates.

        Where a cap is reached already, nothing is asked for and all stay as they are. ``sampling``
        is the run's where None; ``grown`` is called with each that has paused or ended.

        Raises:
            EngineError: the engine failed before any candidate of the run had ended.
        """
        if self._stopped():
            self._halt()
            return
        limit = self.context.budget.tokens_per_candidate
        asked = {each.id: each for each in partials if each.finish is None}
        requests = []
        for each in asked.values():
            seed = derive_seed(
                self.context.seed, *((each.id, each.draws) if each.draws else (each.id,))
            )
            each.draws += 1
            left = max(1, limit - each.length)
            form = self.context.forms.first
            drawn = sampling or self.context.find_sampling(form.name)
            wanted = Grow(each.branch, left, drawn, seed, each.id, until, form.marks)
            requests.append(replace(wanted, pool=self.context.pools_states))
        with keeping_on(self.context):
            async for growth in self.context.session.grow(requests):
                await self._take(asked[growth.label], growth)
                if grown is not None:
                    grown(asked[growth.label])

    async def advance(self, partials: Sequence[Partial], *, until: Until = Until.STEP) -> None:
        """``grow``, then ``score``; where the context says so each is scored while others grow.

        It is then scored by itself, in the order in which they paused, not in one batch: what the
        verifier reads together would else depend on which of two processors was faster.
        """
        if self.context.overlaps:
            await self._score_beside(partials, until)
        else:
            await self.grow(partials, until=until)
        await self.score(partials)

    async def _score_beside(self, partials: Sequence[Partial], until: Until) -> None:
        waiting: asyncio.Queue[Partial | None] = asyncio.Queue()

        async def score() -> None:
            while (partial := await waiting.get()) is not None:
                await self.score([partial])

        scoring = asyncio.ensure_future(score())
        try:
            await self.grow(partials, until=until, grown=waiting.put_nowait)
            waiting.put_nowait(None)
            await scoring
        finally:
            scoring.cancel()
            await asyncio.gather(scoring, return_exceptions=True)

    async def score(self, partials: Sequence[Partial]) -> None:
        """Ask the verifiers for the process score of the last step of each, where it is new."""
        for verifier in self.context.verifiers:
            if not verifier.grades_steps or verifier.name in self.pool.failed:
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
            costs = verifier.needs_branch and not verifier.reads_states
            if not new or (costs and self.context.ledger.exhausted()):
                continue
            leaves = [self._leaf(each) for each in new]
            for leaf, score in await ask(self.context, verifier, leaves, steps=True):
                self.partials[leaf.candidate.id].scores += (score,)
                self.context.add_score(leaf.candidate.id, score)
        self.context.show_spent()

    def value(self, partial: Partial) -> float | None:
        """One number for a path: its process scores, joined as ``aggregate`` says."""
        return join_scores(partial.scores, self.aggregate)

    def prune(self, partials: Iterable[Partial], reason: str) -> None:
        """End these at their step boundary, as candidates without a vote."""
        for each in partials:
            if each.finish is None:
                self.context.events.emit(Pruned(each.id, reason))
                self._book(each, each.as_candidate(Finish.PRUNED))

    async def conclude(self, reason: str) -> SearchOutcome:
        """Prune what is still under way and choose among what has ended.

        The answer whose candidates' values add up to the most wins (best-of-N weighted, arXiv
        2408.03314); of a free-form question the best single candidate.

        Where a cap is running out and nothing was answered, the best partial solutions grow to
        their end first, one after the other, until one states an answer. Verifiers that grade no
        steps then score the candidates that stated one; their scores count beside the process
        scores, by their weights.
        """
        short = await self._finish_best()
        if self.paused and not short:
            self._halt()
        ending = self.pool.halted or short
        self.prune(self.paused, "the search ended" + (f": {ending}" if ending else ""))
        await self._score_whole()
        self._carry_values()
        reason = ending or reason
        if self.context.problem.answer_type is AnswerType.FREE:
            return conclude_by_verifier(self.context, (), reason)
        return await conclude_by_weight(self.context, reason)

    async def _finish_best(self) -> str:
        """Spend the rest of a cap that runs out on one answer; return why, if it does."""
        reason = self._running_out() if self.paused else ""
        if reason:
            await self.score(self.paused)
        while reason and self.paused and not self.pool.answered and not self._stopped():
            best = min(
                self.paused, key=lambda each: (-(self.value(each) or 0.0), -each.length, each.id)
            )
            await self.grow([best], until=Until.END)
            await self.score([best])
        return reason

    def _stopped(self) -> bool:
        """Whether nothing more can be grown at all."""
        return self.pool.halted is not None or self.context.ledger.exhausted() is not None

    def _running_out(self) -> str:
        """Which cap is running out while nothing has been answered, in words; else empty."""
        if self.pool.answered:
            return ""
        share, cap = self.context.ledger.spent()
        if share < 1.0 - LAST_SHARE:
            return ""
        return f"no answer at {1.0 - LAST_SHARE:.0%} of the {cap}: the best alone went on"

    def _halt(self) -> None:
        """Note a cap that is reached as the reason why the search ends."""
        self.pool.halted = self.pool.halted or self.context.ledger.exhausted()

    def _start(
        self, branch: Branch, wave: int, parent: int | None = None, steps: int = 0
    ) -> Partial:
        made = Partial(self.pool.started, branch, parent, wave)
        self.pool.started += 1
        self.pool.waves = max(self.pool.waves, wave + 1)
        self.partials[made.id] = made
        form = self.context.forms.first.name
        self.context.events.emit(CandidateStarted(made.id, wave, parent, steps, form))
        return made

    async def _take(self, partial: Partial, growth: Growth) -> None:
        """Book one growth."""
        partial.tokens += growth.tokens
        partial.thought += growth.thought
        partial.value = growth.value
        if growth.text or growth.finish is Finish.STEP:
            partial.steps += (Step(growth.text, growth.tokens, growth.confidence),)
        elif partial.steps and growth.tokens:  # the token that ends the turn, by itself
            *before, last = partial.steps
            partial.steps = (*before, replace(last, tokens=last.tokens + growth.tokens))
        limit = self.context.budget.tokens_per_candidate
        paused = growth.finish is Finish.STEP
        if paused and partial.length < limit:
            if self.keep_boundaries:
                partial.boundaries += tuple(self.context.session.fork(partial.branch))
            event = Stepped(partial.id, len(partial.steps) - 1, growth.text, growth.tokens)
            self.context.events.emit(event)
            self.context.show_spent()
            return
        book_end(self.context, growth.finish)
        finish = Finish.LENGTH if paused else growth.finish
        if finish is Finish.MARK:  # its form's own
            finish = Finish.STOP
        problem, forms = self.context.problem, self.context.forms
        written = Written(problem, partial.text, finish, partial.thought, partial.value)
        reading = await forms.read(forms.first.name, written)
        candidate = replace(partial.as_candidate(finish), answer=reading.answer, ran=reading.ran)
        self._book(partial, candidate)

    def _book(self, partial: Partial, candidate: Candidate) -> None:
        """Note that ``partial`` has ended as ``candidate``."""
        partial.finish = candidate.finish
        read = self.context.reads_branches or self.context.pools_states  # its last step is to be
        keep = candidate.answer is not None and read
        if not keep and not self.keep_boundaries:
            self.context.session.drop([partial.branch])
        confidence, form = join_confidence(partial.steps), self.context.forms.first.name
        self.context.book(
            replace(candidate, confidence=confidence, form=form), partial.branch if keep else None
        )

    def _leaf(self, partial: Partial) -> Leaf:
        """``partial`` as a verifier sees it."""
        ended = self.pool.leaves.get(partial.id)
        return ended or Leaf(partial.as_candidate(Finish.STEP), partial.branch)

    async def _score_whole(self) -> None:
        """Let the verifiers that grade no steps score the answers."""
        whole = tuple(each for each in self.context.verifiers if not each.grades_steps)
        if whole and not self.pool.interrupted:
            ids = [each.id for each in self.pool.answered]
            await verify(replace(self.context, verifiers=whole), ids)

    def _carry_values(self) -> None:
        """Give each candidate with an answer its value as a score of the whole."""
        for id, partial in self.partials.items():
            leaf, value = self.pool.leaves[id], self.value(partial)
            if value is None or leaf.candidate.answer is None:
                continue
            graded = {s.verifier: s.weight for s in partial.scores if s.step is not None}
            score = Score(f"process ({self.aggregate})", value, weight=math.fsum(graded.values()))
            self.context.add_score(id, score)
