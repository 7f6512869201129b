"""One request of a search that is several growths to its engine.

Sessions that let a candidate think, or fill in a schema, grow it in phases, with words of their own
between them, all in the batch of its siblings. What a phase comes to decides the next one; the
search sees one growth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ttc_cli.engines.base import Branch, Grow, Growth, Session, Then
from ttc_cli.engines.wrapped import WrappedSession, leave
from ttc_cli.types import Finish, Step
from ttc_cli.verifiers.aggregate import join_confidence


@dataclass(slots=True, eq=False)
class PhasedRequest:
    """One request of the search, as it passes through its phases.

    ``inner`` is the engine's branch on which it grows now; ``outgrown`` are those before, which
    hold the KV that it starts from until the end.
    """

    request: Grow
    limit: int
    inner: Branch
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


R = TypeVar("R", bound=PhasedRequest)


class PhasedSession(WrappedSession, Generic[R]):
    """A session whose requests pass through phases; a subclass says which."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._under_way: dict[Branch, R] = {}
        self._moved: dict[Branch, Branch] = {}

    def begin(self, request: Grow) -> tuple[R, Grow | Growth]:
        """``request`` with its first growth to ask for (or what it came to at once)."""
        raise NotImplementedError

    def advance(self, phased: R, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""
        raise NotImplementedError

    def _room(self, phased: R) -> int:
        """Tokens that the phase under way may still draw."""
        raise NotImplementedError

    def _find(self, branch: Branch) -> Branch:
        return self._moved.get(branch, branch)

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all through their phases."""
        return _Growths(self, self._inner, requests, then)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now, in whatever phase they are."""
        for phased in self._running(branches):
            phased.cancelled = True
            self._inner.cancel([phased.inner])

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the limit of the whole candidate, and of the phase under way with it."""
        for phased in self._running(branches):
            phased.limit = min(phased.limit, max(1, max_tokens))
            self._inner.limit([phased.inner], max(1, self._room(phased)))

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold."""
        gone = [each for each in branches if each is not self.root]
        self.cancel(gone)
        for each in gone:
            self._inner.drop({self._moved.pop(each, each), each})

    def start(self, phased: R) -> None:
        """Note that ``phased`` is under way."""
        self._under_way[phased.request.branch] = phased

    def forget(self, phased: R) -> None:
        """Note that ``phased`` is over."""
        if self._under_way.get(phased.request.branch) is phased:
            del self._under_way[phased.request.branch]
        self._inner.drop(phased.outgrown)

    def _move(self, phased: R, inner: Branch) -> None:
        """Go on from ``inner``."""
        if phased.request.branch is not self.root:
            phased.outgrown.append(phased.inner)
        phased.inner = self._moved[phased.request.branch] = inner

    def _running(self, branches: Iterable[Branch]) -> list[R]:
        return [self._under_way[each] for each in branches if each in self._under_way]


class _Growths(AsyncIterator[Growth], Generic[R]):
    """The iterator of one ``grow``: yields what requests came to, and none of their phases."""

    def __init__(
        self,
        session: PhasedSession[R],
        inner: Session,
        requests: Sequence[Grow],
        then: Then | None,
    ) -> None:
        self._session = session
        self._then = then
        self._growing: dict[Branch, R] = {}
        self._ready: deque[Growth] = deque()
        self._waiting: dict[Branch, Growth] = {}
        self._stream = inner.grow(self._begin(requests), self._go_on)

    async def __anext__(self) -> Growth:
        while not self._ready:
            growth = await anext(self._stream)
            ended = self._waiting.pop(growth.branch, None)
            if ended is not None:
                self._ready.append(ended)
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Cancel what still grows."""
        for phased in self._growing.values():
            self._session.cancel([phased.request.branch])
            self._session.forget(phased)
        await leave(self._stream)

    def _begin(self, requests: Sequence[Grow]) -> list[Grow]:
        first = []
        for request in requests:
            phased, ahead = self._session.begin(request)
            self._session.start(phased)
            if isinstance(ahead, Grow):
                self._growing[ahead.branch] = phased
                first.append(ahead)
            else:
                first += self._finish(phased, ahead)
        return first

    def _go_on(self, growth: Growth) -> list[Grow]:
        """The engine's ``then``."""
        phased = self._growing.pop(growth.branch)
        ahead = self._session.advance(phased, growth)
        if isinstance(ahead, Grow):
            self._growing[ahead.branch] = phased
            return [ahead]
        return self._finish(phased, ahead, growth.branch)

    def _finish(self, phased: R, ended: Growth, last: Branch | None = None) -> list[Grow]:
        self._session.forget(phased)
        if last is None:
            self._ready.append(ended)
        else:
            self._waiting[last] = ended
        return self._begin(self._then(ended)) if self._then is not None else []
