"""Growing whole candidates from the prompt: what all sampling strategies share.

``context.pool`` holds the candidates of a run; ``sample_wave`` adds some. While a wave grows, a
watcher may look at each candidate that ends and cancel the others or lower their token limit.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ttc_cli.answers import find_thought
from ttc_cli.engines.base import Branch, Grow, Growth
from ttc_cli.errors import EngineError, PromptTooLong, UsageError
from ttc_cli.events import (
    CandidateStarted,
    Pruned,
    Voted,
    Warned,
)
from ttc_cli.forms.base import Reading, Written
from ttc_cli.search.context import SearchContext
from ttc_cli.search.vote import Weigh, count_one, count_votes
from ttc_cli.types import AnswerClass, AnswerType, Candidate, Finish, Sampling, Score
from ttc_cli.verifiers.base import Graded, Leaf, Verifier

Keep = Callable[[Candidate], bool]


@dataclass(slots=True)
class Wave:
    """What still grows of a batch; for its watcher."""

    context: SearchContext
    number: int
    growing: dict[int, Branch]
    starts: Mapping[int, Start]
    keep: Keep
    """Whether the branch of one that ended stays, for others to start from."""
    cancelled: str | None = None
    """Why the others were cancelled, once they were."""

    def cancel(self, reason: str) -> None:
        """Stop all that still grow or wait. One that ended in the same step counts as ended."""
        self.cancelled = reason
        self.context.session.cancel(self.growing.values())

    def limit(self, max_tokens: int, form: str) -> None:
        """Lower the token limit of all of ``form`` that still grow or wait."""
        these = [each for id, each in self.growing.items() if self.starts[id].form == form]
        self.context.session.limit(these, max_tokens)


Watcher = Callable[[Wave, Candidate], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a candidate starts: at ``branch``, made for it alone, on from ``parent`` if given.

    ``written`` is what of its solution that branch holds already, in about ``tokens`` tokens.
    ``form`` is that of the candidate; "" is the run's first.
    """

    branch: Branch
    parent: int | None = None
    written: str = ""
    tokens: int = 0
    form: str = ""

    def limit(self, max_tokens: int) -> int:
        """What is left of the limit of a candidate."""
        return max(1, max_tokens - self.tokens)


def derive_seed(seed: int, *path: int | str) -> int:
    """A seed in [0, 2³¹) for one use: the same for the same ``seed`` and ``path``, else unlike."""
    words = ":".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=4).digest()) >> 1


def book_end(context: SearchContext, finish: Finish) -> None:
    """Note that nothing more can be grown, if ``finish`` means that."""
    pool = context.pool
    if finish is Finish.BUDGET:
        pool.halted = context.ledger.exhausted() or "a cap was reached"
    elif finish is Finish.CANCELLED:
        pool.halted, pool.interrupted = "interrupted", True


@contextlib.contextmanager
def keeping_on(context: SearchContext) -> Iterator[None]:
    """A failure of the engine in here ends the run with what it has, if a candidate has ended.

    Raises:
        EngineError: none has.
    """
    try:
        yield
    except EngineError as error:
        if not context.pool.leaves:
            raise
        context.pool.halted = "the engine failed"
        message = f"The engine failed; going on with what was grown: {error.message}"
        context.events.emit(Warned(message))


async def sample_wave(
    context: SearchContext,
    count: int,
    *,
    wave: int = 0,
    max_tokens: Mapping[str, int] | None = None,
    sampling: Sampling | None = None,
    watch: Watcher | None = None,
    starts: Sequence[Start] | None = None,
    mix: Mapping[str, int] | None = None,
    keep: Keep = lambda ended: False,
) -> None:
    """Grow up to ``count`` further candidates, as many as the ledger admits.

    ``mix`` says how many of them have another form than the run's first; those begin first.
    ``max_tokens`` are limits of candidates by form, beside that of the budget.

    Candidate ids go on from those of the pool; the seed of each follows from its id alone, so
    that two strategies with the same run seed see the same candidates. They start at the prompt,
    or at ``starts``, one each; the branches of those that ``keep`` says stay for others to start
    from.

    Raises:
        EngineError: the engine failed before any candidate of the run had ended.
    """
    pool = context.pool
    granted = context.ledger.admit(count)
    if granted < count:
        pool.halted = context.ledger.exhausted() or "sample cap reached"
    if not granted:
        return
    session = context.session
    if starts is None:
        with keeping_on(context):
            starts = await _begin(context, granted, mix or {})
        if starts is None:
            return
    ids = range(pool.started, pool.started + granted)
    pool.started += granted
    session.drop(start.branch for start in starts[granted:])
    first = context.forms.first.name
    begun = {
        id: replace(start, form=start.form or first) for id, start in zip(ids, starts, strict=False)
    }
    growing = {id: start.branch for id, start in begun.items()}
    for id, start in begun.items():
        context.events.emit(CandidateStarted(id, wave, start.parent, form=start.form))
    limit = context.budget.tokens_per_candidate
    limits = max_tokens or {}
    requests = [
        Grow(
            start.branch,
            start.limit(min(limit, limits.get(start.form, limit))),
            sampling or context.find_sampling(start.form),
            derive_seed(context.seed, id),
            id,
            marks=context.forms.entries[start.form].marks,
            pool=context.pools_states,
        )
        for id, start in begun.items()
    ]
    state = Wave(context, wave, growing, begun, keep)
    try:
        with keeping_on(context):
            async for growth in session.grow(requests):
                growing.pop(growth.label)
                candidate = await _end(context, state, growth)
                if watch is not None:
                    await watch(state, candidate)
    finally:
        session.cancel(growing.values())


async def sample_all(context: SearchContext) -> None:
    """The one wave of a strategy with a fixed number of candidates; shows the vote as it grows."""
    size = context.samples
    context.begin_wave(0, "sample", size, f"{size} independent candidates")

    async def watch(wave: Wave, candidate: Candidate) -> None:
        await show_vote(context)

    await sample_wave(context, size, watch=watch)


async def count_pool(context: SearchContext, weigh: Weigh = count_one) -> tuple[AnswerClass, ...]:
    """The vote of all candidates; a free-form question has none."""
    if context.problem.answer_type is AnswerType.FREE:
        return ()
    seconds = context.ledger.remaining_seconds()
    return await count_votes(context.pool.answered, context.comparer, weigh, seconds)


async def show_vote(context: SearchContext, weigh: Weigh = count_one) -> tuple[AnswerClass, ...]:
    """Emit the vote as it stands, and return it."""
    classes = await count_pool(context, weigh)
    if classes:
        context.events.emit(Voted(classes, len(context.pool.leaves)))
    return classes


async def _begin(context: SearchContext, count: int, mix: Mapping[str, int]) -> list[Start]:
    """``count`` starts at the prompts of the forms that ``mix`` gives, and then of the first.

    A form whose prompt does not fit gives way to the first.
    """
    forms = context.forms
    names = [name for name, number in mix.items() for _ in range(number)][:count]
    names += [forms.first.name] * (count - len(names))
    begun = {}
    for name in dict.fromkeys(names):
        try:
            begun[name] = name, await forms.find_root(name)
        except PromptTooLong as error:
            context.events.emit(Warned(f"Going on without form {name}: {error.message}"))
            begun[name] = forms.first.name, context.session.root
    starts = []
    for name, root in (begun[name] for name in names):
        (branch,) = context.session.fork(root)
        starts.append(Start(branch, form=name))
    return starts


async def _end(context: SearchContext, wave: Wave, growth: Growth) -> Candidate:
    """Book one growth as a candidate."""
    cancelled = growth.finish is Finish.CANCELLED and wave.cancelled is not None
    finish = Finish.STOP if growth.finish is Finish.MARK else growth.finish  # its form's own mark
    start, text = wave.starts[growth.label], growth.text
    if not text.startswith(start.written):  # one that an earlier run knew comes whole
        text = start.written + text
    reading = Reading(None)
    if not cancelled:
        written = Written(context.problem, text, finish, growth.thought, growth.value)
        reading = await context.forms.read(start.form, written)
    candidate = Candidate(
        id=growth.label,
        text=text,
        tokens=growth.tokens,
        finish=finish,
        answer=reading.answer,
        confidence=growth.confidence,
        wave=wave.number,
        parent=start.parent,
        thought=growth.thought or find_thought(text),
        form=start.form,
        ran=reading.ran,
    )
    if cancelled:
        context.events.emit(Pruned(candidate.id, wave.cancelled or "", cancelled=True))
    else:
        book_end(context, finish)
    context.book(candidate, growth.branch)
    if candidate.answer is not None:
        await verify_by_states(context, candidate.id)
    if not (wave.keep(candidate) or (candidate.answer is not None and context.reads_branches)):
        context.free(candidate.id)
    return context.pool.leaves[candidate.id].candidate


async def verify_by_states(context: SearchContext, id: int) -> None:
    """Let verifiers that read hidden states score candidate ``id``, which has just ended."""
    reading = tuple(each for each in context.verifiers if each.reads_states)
    if reading:
        await verify(replace(context, verifiers=reading), [id])


async def verify(context: SearchContext, ids: Iterable[int]) -> None:
    """Let every verifier score those of ``ids`` that it has not scored, unless a cap is reached.

    A verifier that fails is left out with a warning: the candidates matter more.
    """
    wanted = sorted(ids)
    for verifier in context.verifiers:
        costs = verifier.needs_branch and not verifier.reads_states
        if verifier.name in context.pool.failed or (costs and context.ledger.exhausted()):
            continue
        leaves = [
            leaf
            for leaf in (context.pool.leaves[id] for id in wanted)
            if all(score.verifier != verifier.name for score in leaf.candidate.scores)
            and (leaf.branch is not None or not verifier.needs_branch)
        ]
        if not leaves:
            continue
        for leaf, score in await ask(context, verifier, leaves):
            context.add_score(leaf.candidate.id, score)
        context.show_spent()


async def ask(
    context: SearchContext, verifier: Verifier, leaves: Sequence[Leaf], *, steps: bool = False
) -> list[tuple[Leaf, Score]]:
    """The scores that ``verifier`` gives to ``leaves``, of the whole or of their last ``steps``.

    What it tells of the steps beside the whole comes before that.
    One that fails gives none, with a warning, and is not asked again.
    """
    score = verifier.score_steps if steps else verifier.score
    try:
        scores = await score(context.session, context.problem, leaves)
    except (EngineError, UsageError) as error:
        context.events.emit(Warned(f"Going on without {verifier.name}: {error.message}"))
        context.pool.failed.add(verifier.name)
        return []
    return [
        (leaf, part)
        for leaf, given in zip(leaves, scores, strict=True)
        if given is not None
        for part in (given.part() if isinstance(given, Graded) else (given,))
    ]
