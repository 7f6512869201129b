"""What sessions that stand between a search and its engine share: they pass on what they do not do.

``thinking`` and ``structured`` let a candidate grow in phases, ``known`` gives what grew before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from ttc_cli.engines.base import Branch, Meter, Prompt, ScoreRow, Session


class SessionBetween:
    """The part of ``engines.base.Session`` that is passed on, at the branch it stands for.

    Args:
        inner: the session that really grows; closed with this one.
    """

    def __init__(self, inner: Session) -> None:
        self._inner = inner

    def _find(self, branch: Branch) -> Branch:
        """The inner session's branch for ``branch``."""
        raise NotImplementedError

    @property
    def root(self) -> Branch:
        """The prompt itself."""
        return self._inner.root

    @property
    def meter(self) -> Meter:
        """Where the engine books."""
        return self._inner.meter

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """As the engine does it."""
        return self._inner.fork(self._find(branch), count)

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """As the engine does it."""
        return self._inner.append(self._find(branch), text)

    def cut(self, branch: Branch, mark: str) -> Branch:
        """As the engine does it."""
        return self._inner.cut(self._find(branch), mark)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """As the engine does it."""
        return await self._inner.score(
            [replace(row, branch=self._find(row.branch)) for row in rows]
        )

    async def read_states(self, branches: Sequence[Branch]) -> list[tuple[float, ...]]:
        """As the engine does it."""
        return await self._inner.read_states([self._find(each) for each in branches])

    async def close(self) -> None:
        """Drop everything."""
        await self._inner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
