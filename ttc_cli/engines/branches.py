"""What sessions of several engines share: a table of branches, and growths as they end."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Generic, Protocol, Self, TypeVar

from ttc_cli.engines.base import Branch, Grow, Growth, Meter, Then
from ttc_cli.errors import EngineError
from ttc_cli.types import Finish

P = TypeVar("P")


class BranchedSession(Generic[P]):
    """The part of ``engines.base.Session`` that knows, for each branch, the engine's path to it.

    The path of ``root`` is the prompt itself; the session books on ``meter``.
    """

    def __init__(self, meter: Meter, root: P) -> None:
        self.root = Branch(0)
        self.meter = meter
        self._paths: dict[Branch, P] = {self.root: root}
        self._count = 0
        self._closed = False

    async def close(self) -> None:
        """Drop everything. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._leave()

    async def _leave(self) -> None:
        """Free what the session holds, and take it out of its engine."""
        raise NotImplementedError

    def _keep(self, path: P) -> Branch:
        """A new branch at the end of ``path``."""
        self._count += 1
        branch = Branch(self._count)
        self._paths[branch] = path
        return branch

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("The session is closed.")

    def _path(self, branch: Branch) -> P:
        self._check_open()
        if branch not in self._paths:
            raise EngineError(f"Branch {branch.id} was dropped.")
        return self._paths[branch]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Submitted(Protocol):
    """A request that was taken; ``finish`` is None while it waits or grows."""

    @property
    def request(self) -> Grow:
        """What was asked."""

    @property
    def finish(self) -> Finish | None:
        """How it ended."""


class GrowthStream(AsyncIterator[Growth]):
    """Yields growths as they end; left early, closed or dropped, it cancels the rest.

    Args:
        requests: what is to grow.
        then: as ``Session.grow`` takes it.
        submit: takes requests; their growths go to the given queue as they end.
        wait: lets the engine step until the queue holds one.
        cancel: as ``Session.cancel``.
    """

    def __init__(
        self,
        requests: Sequence[Grow],
        then: Then | None,
        submit: Callable[[Sequence[Grow], deque[Growth]], Sequence[Submitted]],
        wait: Callable[[deque[Growth]], Awaitable[None]],
        cancel: Callable[[Iterable[Branch]], None],
    ) -> None:
        self._then = then
        self._submit = submit
        self._wait = wait
        self._cancel = cancel
        self._ended: deque[Growth] = deque()
        self._taken: list[Submitted] = []
        self._taken += submit(requests, self._ended)

    async def __anext__(self) -> Growth:
        if not self._ended and all(each.finish is not None for each in self._taken):
            raise StopAsyncIteration
        await self._wait(self._ended)
        growth = self._ended.popleft()
        if self._then is not None:
            self._taken += self._submit(self._then(growth), self._ended)
        return growth

    async def aclose(self) -> None:
        """Cancel what still grows."""
        self._cancel([each.request.branch for each in self._taken if each.finish is None])

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._cancel([each.request.branch for each in self._taken if each.finish is None])
