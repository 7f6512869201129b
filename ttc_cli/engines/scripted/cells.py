"""The books of a KV cache that is not there: which tokens a scripted branch would find in it.

Branches of one tree share the cells of what they have in common. A path that nobody grows may be
evicted; going on from it then costs reading its own tokens again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ttc_cli.engines.scripted.script import pieces
from ttc_cli.types import Confidence, Finish


@dataclass(slots=True)
class Plan:
    """What a branch will say if it goes on with the same draw."""

    key: tuple[int, int]
    rest: deque[str]
    finish: Finish
    confidence: Confidence | None
    grammar: str | None = None


@dataclass(slots=True)
class Cell:
    """One token; it is in the cache while any of its ``holders`` needs it."""

    holders: int = 0


@dataclass(slots=True, eq=False)
class ScriptedPath:
    """Where a branch stands. Paths of one tree share the cells of what they have in common.

    The first ``root`` characters are its prompt; ``pooled`` as long as all that was drawn since
    was drawn with ``Grow.pool``.
    """

    text: str
    cells: list[Cell]
    plan: Plan | None = None
    resident: bool = False
    used: int = 0
    root: int = 0
    pooled: bool = True

    def read(self, text: str) -> None:
        """Add ``text``, which is not in the cache yet."""
        self.text += text
        self.cells += (Cell() for _ in pieces(text))


class ScriptedCache:
    """A number of cells, shared by the branches that run through them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.clock = 0
        self.paths: list[ScriptedPath] = []

    def missing(self, path: ScriptedPath) -> int:
        """Tokens of ``path`` that would have to be read again."""
        return sum(not cell.holders for cell in path.cells)

    def hold(self, path: ScriptedPath) -> int:
        """Bring ``path`` in; returns how many tokens had to be read."""
        self.clock += 1
        path.used = self.clock
        if path.resident:
            return 0
        read = self.missing(path)
        for cell in path.cells:
            cell.holders += 1
        path.resident = True
        self.paths.append(path)
        self.used += read
        return read

    def release(self, path: ScriptedPath) -> None:
        """Let ``path`` go; cells that no other path runs through are free."""
        if not path.resident:
            return
        path.resident = False
        self.paths.remove(path)
        for cell in path.cells:
            cell.holders -= 1
            self.used -= not cell.holders

    def extend(self, path: ScriptedPath, piece: str) -> None:
        """Add one token to ``path``, which is in the cache."""
        path.text += piece
        path.cells.append(Cell(holders=1))
        self.used += 1

    def split(self, path: ScriptedPath, lost: int = 0) -> ScriptedPath:
        """A new path over all tokens of ``path`` but the last ``lost``."""
        kept = path.cells[: max(0, len(path.cells) - lost)]
        child = ScriptedPath(path.text, kept, root=path.root, pooled=path.pooled and not lost)
        if path.resident:
            self.hold(child)
        return child

    def room(self, cells: int, keep: Iterable[ScriptedPath]) -> bool:
        """Evict the longest unused paths, but those in ``keep``, until ``cells`` are free."""
        if self.used + cells <= self.size:
            return True
        kept = set(map(id, keep))
        for path in sorted(self.paths, key=lambda path: path.used):
            if self.used + cells <= self.size:
                break
            if id(path) not in kept:
                self.release(path)
        return self.used + cells <= self.size
