"""A solution under way in a step-wise search."""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.engines.base import Branch
from ttc_cli.types import Finish, Score, Step


@dataclass(slots=True, eq=False)
class Partial:
    """A solution under way. ``finish`` is None while it can go on.

    ``steps`` and ``scores`` are those of the whole path, ``tokens`` the ones it drew itself.
    ``boundaries`` holds, where the tree keeps them, a branch for each step's end. The first
    ``thought`` characters of its text are thinking; ``value`` is the JSON value it ended with.
    """

    id: int
    branch: Branch
    parent: int | None = None
    wave: int = 0
    steps: tuple[Step, ...] = ()
    scores: tuple[Score, ...] = ()
    tokens: int = 0
    finish: Finish | None = None
    draws: int = 0
    boundaries: tuple[Branch, ...] = ()
    thought: int = 0
    value: str | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(step.text for step in self.steps)

    @property
    def length(self) -> int:
        """Tokens of the whole path."""
        return sum(step.tokens for step in self.steps)
