"""What sessions of every engine have in common: a table of their branches, and an end."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from ttc_cli.engines.base import Branch, Meter
from ttc_cli.errors import EngineError

P = TypeVar("P")


class BranchedSession(Generic[P]):
    """The part of ``engines.base.Session`` that knows, for each branch, the engine's path to it.

    Args:
        meter: where the session books.
        root: the path that is the prompt itself.
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
