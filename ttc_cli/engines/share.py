"""A part of an engine: one of several runs that share it, each with branches of its own.

An engine grows ``parallel`` branches at once, in the order of the requests. With several questions
at once, one that wants many branches would keep the others waiting, and the order in which a
question's candidates end, which its search goes by, would depend on its neighbours. An
``EngineShare`` grows at most ``most`` branches of each stream at once and holds the others back
itself; while the shares of an engine do not exceed its ``parallel``, no run waits for another.

Not covered: a matrix product may round differently in a larger batch, and a full KV cache is full
for everybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ttc_cli.engines.base import (
    Branch,
    Engine,
    Grow,
    Growth,
    Meter,
    Prompt,
    Session,
    Then,
)
from ttc_cli.engines.wrapped import WrappedSession, leave
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role


class EngineShare:
    """Implements ``engines.base.Engine`` over a part of ``whole``, which it does not own.

    A session may grow ``most`` branches at once.
    """

    def __init__(self, whole: Engine, most: int) -> None:
        self._whole = whole
        self._most = most
        self.info = replace(whole.info, parallel=min(whole.info.parallel, most))

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> SharedSession:
        """Read ``prompt`` once, as ``Engine.open`` says."""
        lines: list[_Line] = []

        def see(event: Grew) -> None:
            assert observe is not None
            observe(replace(event, queued=event.queued + sum(len(line.held) for line in lines)))

        inner = await self._whole.open(prompt, meter, None if observe is None else see, role)
        return SharedSession(inner, self._most, lines)

    def interrupt(self) -> None:
        """End all growing of the whole engine."""
        self._whole.interrupt()

    def close(self) -> None:
        """Do nothing: the engine belongs to its owner, who shares it."""


@dataclass(slots=True, eq=False)
class _Line:
    """The requests of one stream: those held back, how many grow, those cancelled unbegun."""

    most: int
    held: deque[Grow]
    growing: int = 0
    cancelled: list[Growth] = field(default_factory=list)

    def admit(self) -> list[Grow]:
        """Those that may begin now."""
        free = min(self.most - self.growing, len(self.held))
        self.growing += free
        return [self.held.popleft() for _ in range(free)]


class SharedSession(WrappedSession):
    """Implements ``engines.base.Session`` for ``EngineShare``."""

    def __init__(self, inner: Session, most: int, lines: list[_Line]) -> None:
        super().__init__(inner)
        self._most = most
        self._lines = lines

    async def grow(
        self, requests: Sequence[Grow], then: Then | None = None
    ) -> AsyncIterator[Growth]:
        """Grow all, at most ``most`` at once, yielding each as it ends."""
        line, unbegun = _Line(self._most, deque(requests)), deque[Growth]()
        self._lines.append(line)

        def go_on(growth: Growth) -> list[Grow]:
            line.growing -= 1
            # One that is held back waits for one that grows, so that an end of it is still to come.
            gone, line.cancelled = line.cancelled, []
            unbegun.extend(gone)
            if then is not None:
                for each in (growth, *gone):
                    line.held.extend(then(each))
            return line.admit()

        stream = self._inner.grow(line.admit(), go_on)
        try:
            async for growth in stream:
                yield growth
                while unbegun:
                    yield unbegun.popleft()
        finally:
            self._lines.remove(line)
            await leave(stream)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now, also those that have not begun."""
        wanted = set(branches)
        for line in self._lines:
            gone = [each for each in line.held if each.branch in wanted]
            line.held = deque(each for each in line.held if each.branch not in wanted)
            line.cancelled += (
                Growth(each.branch, each.label, "", 0, Finish.CANCELLED) for each in gone
            )
        self._inner.cancel(wanted)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of requests, also of those that have not begun."""
        wanted = set(branches)
        for line in self._lines:
            line.held = deque(
                replace(each, max_tokens=min(each.max_tokens, max_tokens))
                if each.branch in wanted
                else each
                for each in line.held
            )
        self._inner.limit(wanted, max_tokens)

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these; growing ones are cancelled first."""
        gone = list(branches)
        self.cancel(gone)
        self._inner.drop(gone)
