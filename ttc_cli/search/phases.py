"""One request of a search that is several growths to its engine.

A session that stands between a search and its engine (``thinking``, ``structured``) lets a
candidate grow in phases, with words of its own between them, all in the batch of its siblings.
What a phase comes to decides the next one; the search sees one growth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ttc_cli.engines.base import Branch, Grow, Growth, Session, Then
from ttc_cli.types import Finish, Step
from ttc_cli.verifiers.aggregate import join_confidence


@dataclass(slots=True, eq=False)
class Job:
    """One request of the search, as it passes through its phases."""

    request: Grow
    limit: int
    parts: list[Step] = field(default_factory=list)
    text: str = ""
    tokens: int = 0
    thought: int = 0
    value: str | None = None
    cancelled: bool = False
    outgrown: list[Branch] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Tokens that it may still draw."""
        return self.limit - self.tokens

    def book(self, growth: Growth) -> None:
        """Add what one phase came to."""
        self.parts.append(Step(growth.text, growth.tokens, growth.confidence))
        self.text += growth.text
        self.tokens += growth.tokens

    def end(self, finish: Finish) -> Growth:
        """All phases as the one growth that the search asked for."""
        return Growth(
            self.request.branch,
            self.request.label,
            self.text,
            self.tokens,
            finish,
            join_confidence(self.parts),
            self.thought,
            self.value,
        )


J = TypeVar("J", bound=Job)


class Phased(Protocol[J]):
    """What a session of phases tells ``Growths``."""

    def begin(self, request: Grow) -> tuple[J, Grow | Growth]:
        """A job for ``request``, and its first growth to ask for (or what it came to at once)."""

    def advance(self, job: J, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""

    def forget(self, job: J) -> None:
        """The job is over."""

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""


class Growths(AsyncIterator[Growth], Generic[J]):
    """The iterator of one ``grow``: yields what requests came to, and none of their phases."""

    def __init__(
        self,
        session: Phased[J],
        inner: Session,
        requests: Sequence[Grow],
        then: Then | None,
    ) -> None:
        self._session = session
        self._then = then
        self._jobs: dict[Branch, J] = {}
        self._ready: deque[Growth] = deque()
        self._waiting: dict[Branch, Growth] = {}
        self._stream = inner.grow(self._begin(requests), self._go_on)

    def __aiter__(self) -> Growths[J]:
        return self

    async def __anext__(self) -> Growth:
        while not self._ready:
            growth = await anext(self._stream)
            ended = self._waiting.pop(growth.branch, None)
            if ended is not None:
                self._ready.append(ended)
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Cancel what still grows."""
        for job in self._jobs.values():
            self._session.cancel([job.request.branch])
            self._session.forget(job)
        if (close := getattr(self._stream, "aclose", None)) is not None:
            await close()

    def _begin(self, requests: Sequence[Grow]) -> list[Grow]:
        first = []
        for request in requests:
            job, step = self._session.begin(request)
            if isinstance(step, Grow):
                self._jobs[step.branch] = job
                first.append(step)
            else:
                first += self._finish(job, step)
        return first

    def _go_on(self, growth: Growth) -> list[Grow]:
        """The engine's ``then``."""
        job = self._jobs.pop(growth.branch)
        step = self._session.advance(job, growth)
        if isinstance(step, Grow):
            self._jobs[step.branch] = job
            return [step]
        return self._finish(job, step, growth.branch)

    def _finish(self, job: J, ended: Growth, last: Branch | None = None) -> list[Grow]:
        self._session.forget(job)
        if last is None:
            self._ready.append(ended)
        else:
            self._waiting[last] = ended
        return self._begin(self._then(ended)) if self._then is not None else []
