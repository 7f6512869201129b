"""Candidates whose answer is held to a JSON Schema: they think freely, and then fill it in.

``StructuredSession`` stands between a search and its engine as ``ThinkingSession`` does, so that
every strategy grows such candidates without knowing. A candidate writes what it likes until it
opens a block of JSON; where it ends without one, or comes near its limit, the block is opened for
it. What follows grows under a grammar of the schema (``Grow.grammar``), so that it conforms, and
the block is closed. Constraining the thinking as well would cost accuracy (Tam et al. 2024,
arXiv 2408.02442).

The words between are read, not sampled: they are booked as prompt tokens and stand in the text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Session,
    Span,
    Then,
    Until,
)
from ttc_cli.engines.between import SessionBetween
from ttc_cli.search.phases import Growths, Job
from ttc_cli.search.sample import derive_seed
from ttc_cli.types import Finish

OPENING = "```json"
CLOSING = "\n```"
VALUE_ROOM = 256
"""Tokens of a candidate's limit that its thinking must leave for the value, or half of it."""

_OVER = (
    Finish.CANCELLED,
    Finish.BUDGET,
    Finish.CONTEXT,
    Finish.CUT,
    Finish.STEP,
    Finish.UNSURE,
)
"""Ends of free text behind which no value is asked for."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Job(Job):
    """One request. ``inner`` is the engine's branch; ``filling``: the value has begun."""

    inner: Branch
    filling: bool = False


class StructuredSession(SessionBetween):
    """Implements ``engines.base.Session`` over another session, of an engine with grammars.

    Args:
        inner: the session that really grows; closed with this one.
        schema: a JSON Schema, as JSON text.
    """

    def __init__(self, inner: Session, schema: str) -> None:
        super().__init__(inner)
        self._schema = schema
        self._jobs: dict[Branch, _Job] = {}
        self._moved: dict[Branch, Branch] = {}

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all through what they think to their value; a step is one of the thinking."""
        return Growths(self, self._inner, requests, then)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        for job in self._running(branches):
            job.cancelled = True
            self._inner.cancel([job.inner])

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the limit of the whole candidate; what it thinks leaves room for its value."""
        for job in self._running(branches):
            job.limit = min(job.limit, max(1, max_tokens))
            left = job.left if job.filling else _room_to_think(job)
            self._inner.limit([job.inner], max(1, left))

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold."""
        gone = [each for each in branches if each is not self.root]
        self.cancel(gone)
        for each in gone:
            self._inner.drop({self._moved.pop(each, each), each})

    # -- what a batch of growths asks -----------------------------------------------------------

    def begin(self, request: Grow) -> tuple[_Job, Grow | Growth]:
        """A job for ``request``, and its first growth to ask for."""
        job = _Job(request, request.max_tokens, inner=self._find(request.branch))
        self._jobs[request.branch] = job
        room = _room_to_think(job)
        if room < 1:
            return job, self._fill(job, f"{OPENING}\n")
        marks = (*request.marks, OPENING)
        return job, replace(request, branch=job.inner, max_tokens=room, marks=marks)

    def advance(self, job: _Job, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""
        job.book(growth)
        finish = growth.finish
        if job.cancelled:
            return job.end(Finish.CANCELLED)
        if job.filling:
            if finish is Finish.STOP:  # for the reader: to the model the value ends its turn
                job.text = job.text.rstrip(" ") + CLOSING
                job.value = growth.text
            return job.end(finish)
        job.thought = growth.thought
        if finish in _OVER:
            return job.end(finish)
        if finish is Finish.MARK:
            return self._fill_opened(job)
        return self._fill(job, f"\n\n{OPENING}\n" if job.text.strip() else f"{OPENING}\n")

    def forget(self, job: _Job) -> None:
        """The job is over."""
        if self._jobs.get(job.request.branch) is job:
            del self._jobs[job.request.branch]
        self._inner.drop(job.outgrown)

    # -- the phases -----------------------------------------------------------------------------

    def _fill_opened(self, job: _Job) -> Grow | Growth:
        """Go on behind a block that the model has opened itself."""
        before, opening, behind = job.text.rpartition(OPENING)
        if not opening:  # it was a mark of the search's own
            return job.end(Finish.MARK)
        if not behind:
            return self._fill(job, "\n")
        # The token that completed the mark went on behind it, where the grammar begins.
        job.text = before
        self._move(job, self._inner.cut(job.inner, OPENING))
        return self._fill(job, f"{OPENING}\n")

    def _fill(self, job: _Job, words: str) -> Grow | Growth:
        """The growth of the value, behind ``words``."""
        job.filling = True
        job.text += words
        self._move(job, self._inner.append(job.inner, (Span(words),)))
        if job.left < 1:
            return job.end(Finish.LENGTH)
        request = job.request
        return Grow(
            job.inner,
            job.left,
            request.sampling,
            derive_seed(request.seed, "value"),
            request.label,
            Until.END,
            grammar=self._schema,
        )

    def _move(self, job: _Job, inner: Branch) -> None:
        """Go on from ``inner``. The old branch holds the KV that it starts from until the end."""
        if job.inner is not self.root:
            job.outgrown.append(job.inner)
        job.inner = self._moved[job.request.branch] = inner

    def _find(self, branch: Branch) -> Branch:
        return self._moved.get(branch, branch)

    def _running(self, branches: Iterable[Branch]) -> list[_Job]:
        return [self._jobs[each] for each in branches if each in self._jobs]


def _room_to_think(job: _Job) -> int:
    """Tokens that it may draw before its value."""
    return job.left - min(VALUE_ROOM, job.limit // 2)
