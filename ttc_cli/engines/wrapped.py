"""A session around another one: it passes on whatever it does not do itself.

Shares of an engine, thoughts, schemas and candidates of an earlier run are such wrappers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Self

from ttc_cli.engines.base import Branch, Grow, Growth, Prompt, ScoreRow, Session, States, Then


class WrappedSession:
    """Implements ``engines.base.Session`` by another session, which is closed with this one.

    A subclass whose branches stand for others of ``inner`` overrides ``_find``, and ``grow``,
    ``cancel``, ``limit`` and ``drop`` with it.
    """

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.root = inner.root
        self.meter = inner.meter

    def _find(self, branch: Branch) -> Branch:
        """The inner session's branch for ``branch``."""
        return branch

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """As the inner session."""
        return await self._inner.add_prompt(prompt)

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """As the inner session."""
        return self._inner.fork(self._find(branch), count)

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """As the inner session."""
        return self._inner.append(self._find(branch), text)

    def cut(self, branch: Branch, mark: str) -> Branch:
        """As the inner session."""
        return self._inner.cut(self._find(branch), mark)

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """As the inner session."""
        return self._inner.grow(requests, then)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """As the inner session."""
        self._inner.cancel(branches)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """As the inner session."""
        self._inner.limit(branches, max_tokens)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """As the inner session."""
        return await self._inner.score(
            [
                replace(
                    row, branch=self._find(row.branch), since=row.since and self._find(row.since)
                )
                for row in rows
            ]
        )

    def drop(self, branches: Iterable[Branch]) -> None:
        """As the inner session."""
        self._inner.drop(branches)

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """As the inner session."""
        return await self._inner.read_states([self._find(each) for each in branches])

    async def close(self) -> None:
        """Close the inner session."""
        await self._inner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def leave(stream: AsyncIterator[Growth]) -> None:
    """Leave ``stream``, an iterator that ``grow`` gave, so that nothing of it grows on."""
    if (close := getattr(stream, "aclose", None)) is not None:
        await close()
