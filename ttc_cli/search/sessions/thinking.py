"""Models that think before they answer: budget forcing inside the think block.

``ThinkingSession`` stands between a search and its engine and keeps the engine's protocol, so that
every strategy grows thinking candidates without knowing: one request becomes the growth of a
thought, what is forced onto it, and the growth of the answer, all in the batch of its siblings.

* *Cap and end* (Muennighoff et al. 2025, s1, arXiv 2501.19393, § 3): a thought that reaches its
  cap is closed for the model, which then answers. So is one that repeats itself, and one whose
  turn ends inside the block.
* *Wait* (the same): a thought that ends by itself is cut before its end mark and goes on with
  "Wait", a given number of times.
* *Early stop* (Fu et al. 2025, DeepConf, arXiv 2508.15260, § 3.3): once ``WARM_UP`` thoughts of
  the question ended by themselves, later ones are closed when their group confidence falls below
  the threshold that keeps the most confident share of those. DeepConf drops such a trace; here it
  answers with what it has. Windows are 32 tokens, not 2,048: small models' thoughts are short.

The injected words are read, not sampled: they are booked as prompt tokens and stand in the text.
Not covered: marks that a vocabulary holds as control tokens, which no engine writes out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.answers import find_opened, find_thought
from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Prompt,
    ScoreRow,
    Session,
    Span,
    Then,
    Until,
)
from ttc_cli.engines.between import SessionBetween
from ttc_cli.prompts import STOP_THINKING, WAIT
from ttc_cli.search.phases import Growths, Job
from ttc_cli.search.sample import derive_seed
from ttc_cli.types import Finish

ANSWER_ROOM = 256
"""Tokens of a candidate's limit that its thought must leave for the answer, or half of it."""
WARM_UP = 4
"""Thoughts that end by themselves before others are held to their confidence (16 in DeepConf)."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model marks its thoughts, and how far they may go.

    Attributes:
        opening: the mark that begins a thought; where the template does not write it, we do.
        closing: the mark that ends it.
        tokens: cap on the tokens of a thought; 0 is none at all, None what the limit of the
            candidate leaves.
        waits: how often a thought that ended is made to go on.
        keep: the share of thoughts, by their least confident group, that may go on to their
            end, in (0, 1]; None stops none early.
    """

    opening: str = "<think>"
    closing: str = "</think>"
    tokens: int | None = None
    waits: int = 0
    keep: float | None = None

    def __post_init__(self) -> None:
        if not self.opening.strip() or not self.closing.strip():
            raise ValueError("think marks are not empty")
        if (self.tokens or 0) < 0 or self.waits < 0:
            raise ValueError("think tokens and waits are not negative")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError("the share of thoughts to keep is above 0 and at most 1")

    @property
    def forced(self) -> bool:
        """Whether an engine must be able to stop a thought and go on from there."""
        return self.tokens is not None or self.waits > 0 or self.keep is not None


def find_opened_thought(prompt: Prompt) -> tuple[str, str] | None:
    """The marks of the thought that a template opens in ``prompt``, of a model nobody described."""
    if not prompt or not prompt[-1].control:
        return None
    return find_opened("".join(span.text for span in prompt[-2:]))


@dataclass(slots=True)
class _Place:
    """Where a branch stands. ``inner`` is the engine's; ``spent`` are tokens of this thought."""

    inner: Branch
    inside: bool
    spent: int = 0
    waited: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class _Job(Job):
    """One request, and where it stands."""

    place: _Place


class ThinkingSession(SessionBetween):
    """Implements ``engines.base.Session`` over another session whose model thinks.

    Args:
        inner: the session that really grows; closed with this one.
        prompt: what it was opened with.
        thinking: the marks and the budget of thoughts.
        forces: False where the engine cannot pause a candidate: thoughts are then only told
            from answers.
    """

    def __init__(
        self, inner: Session, prompt: Prompt, thinking: Thinking, *, forces: bool = True
    ) -> None:
        super().__init__(inner)
        self._thinking = thinking
        self._forces = forces
        self._lowest: list[float] = []
        self._jobs: dict[Branch, _Job] = {}
        inside, missing = self._open_turn(prompt)
        root = inner.append(inner.root, missing) if missing and forces else inner.root
        self._places = {inner.root: _Place(root, inside)}

    def _find(self, branch: Branch) -> Branch:
        return self._places[branch].inner

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches, inside the thought where ``branch`` is."""
        place = self._places[branch]
        made = self._inner.fork(place.inner, count)
        self._places.update((each, replace(place, inner=each)) for each in made)
        return made

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """As the engine does it; where ``text`` opens a turn of the model, a thought begins."""
        place = self._places[branch]
        turn = bool(text) and text[-1].control
        inside, missing = self._open_turn(text) if turn else (place.inside, ())
        longer = self._inner.append(place.inner, (*text, *(missing if self._forces else ())))
        begun = _Place(longer, inside) if turn else replace(place, inner=longer)
        self._places[longer] = begun
        return longer

    def cut(self, branch: Branch, mark: str) -> Branch:
        """As the engine does it; a cut leaves a branch where its thought or its answer was."""
        place = self._places[branch]
        shorter = self._inner.cut(place.inner, mark)
        self._places[shorter] = replace(place, inner=shorter)
        return shorter

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all through their thoughts to their answers; a thought counts as one step."""
        return Growths(self, self._inner, requests, then)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now, thinking or answering."""
        for job in self._running(branches):
            job.cancelled = True
            self._inner.cancel([job.place.inner])

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the limit of the whole candidate; a thought leaves room for its answer."""
        for job in self._running(branches):
            job.limit = min(job.limit, max(1, max_tokens))
            left = self._room_to_think(job) if job.place.inside else job.left
            self._inner.limit([job.place.inner], max(1, left))

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """As the engine does it, with no thought before the scored token."""
        return await self._inner.score(
            [
                replace(
                    row,
                    branch=self._places[row.branch].inner,
                    suffix=self._skip_thought(row.suffix),
                )
                for row in rows
            ]
        )

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold."""
        gone = [each for each in branches if each in self._places and each is not self.root]
        self.cancel(gone)
        for each in gone:
            self._inner.drop({self._places.pop(each).inner, each})

    # -- what a batch of growths asks -----------------------------------------------------------

    def begin(self, request: Grow) -> tuple[_Job, Grow | Growth]:
        """A job for ``request``, and its first growth to ask for (or what it came to at once)."""
        place = self._places[request.branch]
        job = _Job(request, request.max_tokens, place=place)
        self._jobs[request.branch] = job
        if not place.inside or not self._forces:
            return job, replace(request, branch=place.inner)
        if self._room_to_think(job) < 1:
            return job, self._close_thought(job)
        return job, self._think(job)

    def advance(self, job: _Job, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""
        job.book(growth)
        place, finish = job.place, growth.finish
        if not place.inside:
            return job.end(finish)
        if not self._forces:
            job.thought = find_thought(job.text, self._marks, inside=True)
            place.inside = job.thought == len(job.text)
            return job.end(finish)
        place.spent += growth.tokens
        job.thought = len(job.text)
        if job.cancelled:
            return job.end(Finish.CANCELLED)
        if finish in (Finish.CANCELLED, Finish.BUDGET, Finish.CONTEXT, Finish.CUT):
            return job.end(finish)
        if finish is not Finish.MARK:
            by_step = job.request.until is Until.STEP and finish is Finish.LENGTH
            if by_step and not self._is_spent(place):  # the search's own pause, not the cap
                return job.end(finish)
            return self._close_thought(job)
        if growth.confidence is not None and not place.waited:
            self._lowest.append(growth.confidence.lowest_group)
        if place.waited < self._thinking.waits and self._room_to_think(job) > 0:
            return self._wait(job, growth)
        place.inside = False
        return self._answer(job)

    def forget(self, job: _Job) -> None:
        """The job is over."""
        if self._jobs.get(job.request.branch) is job:
            del self._jobs[job.request.branch]
        self._inner.drop(job.outgrown)

    # -- the phases -----------------------------------------------------------------------------

    def _think(self, job: _Job) -> Grow:
        request = job.request
        return Grow(
            job.place.inner,
            self._room_to_think(job),
            request.sampling,
            self._seed(job),
            request.label,
            marks=(self._thinking.closing,),
            floor=self._find_floor(),
            window=request.window,
        )

    def _wait(self, job: _Job, growth: Growth) -> Grow:
        """Cut the end of the thought off and let it go on."""
        job.place.waited += 1
        lost = len(growth.text) - growth.text.rindex(self._thinking.closing)
        job.text = job.text[:-lost]
        self._move(job, self._inner.cut(job.place.inner, self._thinking.closing))
        words = WAIT if not job.text or job.text[-1].isspace() else f"\n{WAIT}"
        self._inject(job, (Span(words),))
        return self._think(job)

    def _close_thought(self, job: _Job) -> Grow | Growth:
        """End the thought in the model's stead."""
        closing = Span(self._thinking.closing, control=True)
        words = f"\n\n{STOP_THINKING}\n" if job.place.spent else "\n"
        self._inject(job, (Span(words), closing, Span("\n\n")))
        job.place.inside = False
        return self._answer(job)

    def _answer(self, job: _Job) -> Grow | Growth:
        """The growth of the answer; a thought is a step of its own where steps are asked for."""
        job.thought = len(job.text)
        if job.request.until is Until.STEP and job.tokens:
            return job.end(Finish.STEP)
        if job.left < 1:
            return job.end(Finish.LENGTH)
        return replace(
            job.request, branch=job.place.inner, max_tokens=job.left, seed=self._seed(job)
        )

    def _inject(self, job: _Job, words: Prompt) -> None:
        job.text += "".join(span.text for span in words)
        self._move(job, self._inner.append(job.place.inner, words))

    def _move(self, job: _Job, inner: Branch) -> None:
        """Go on from ``inner``. The old branch holds the KV that it starts from until the end."""
        if job.request.branch is not self.root:
            job.outgrown.append(job.place.inner)
        job.place.inner = inner

    def _seed(self, job: _Job) -> int:
        seed, phase = job.request.seed, len(job.parts)
        return derive_seed(seed, "thought", phase) if phase else seed

    def _room_to_think(self, job: _Job) -> int:
        """Tokens that the thought may still take."""
        room = job.left
        if job.request.until is Until.END:
            room -= min(ANSWER_ROOM, job.limit // 2)
        cap = self._thinking.tokens
        return room if cap is None else min(room, cap - job.place.spent)

    def _is_spent(self, place: _Place) -> bool:
        return self._thinking.tokens is not None and place.spent >= self._thinking.tokens

    def _find_floor(self) -> float | None:
        """DeepConf's threshold: the (1 − keep) quantile of the least confident groups so far."""
        keep, ranked = self._thinking.keep, sorted(self._lowest)
        if keep is None or len(ranked) < WARM_UP:
            return None
        place = (1.0 - keep) * (len(ranked) - 1)
        below = int(place)
        above = min(below + 1, len(ranked) - 1)
        return ranked[below] + (place - below) * (ranked[above] - ranked[below])

    # -- marks ----------------------------------------------------------------------------------

    @property
    def _marks(self) -> tuple[str, str]:
        return self._thinking.opening, self._thinking.closing

    def _open_turn(self, text: Prompt) -> tuple[bool, Prompt]:
        """Whether the model thinks behind ``text``, and what must be added for it to do so.

        Templates open the block themselves (DeepSeek R1), leave that to the model (Qwen3), or
        open and close it where thinking is switched off.
        """
        tail = "".join(span.text for span in text[-2:]).rstrip()
        if tail.endswith(self._thinking.closing):
            return False, ()
        if tail.endswith(self._thinking.opening):
            return True, ()
        return True, (Span(f"{self._thinking.opening}\n", control=True),)

    def _skip_thought(self, suffix: Prompt) -> Prompt:
        """``suffix`` with an empty thought at its end, where it opens a turn of the model."""
        if not suffix or not suffix[-1].control:
            return suffix
        inside, missing = self._open_turn(suffix)
        closing = Span(f"\n{self._thinking.closing}\n\n", control=True)
        return (*suffix, *missing, closing) if inside else suffix

    def _running(self, branches: Iterable[Branch]) -> list[_Job]:
        return [self._jobs[each] for each in branches if each in self._jobs]
