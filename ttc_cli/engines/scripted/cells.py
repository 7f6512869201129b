"""The books of a KV cache that is not there: which tokens a scripted branch would find in it.

Branches of one tree share the cells of what they have in common. A path that nobody grows may be
evicted; going on from it then costs reading its own tokens again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
class Segment:
    """A run of tokens between two forks; held in the cache while ``holders`` need it."""

    tokens: int = 0
    holders: int = 0


@dataclass(slots=True, eq=False)
class Path:
    """Where a branch stands."""

    text: str
    segments: list[Segment]
    plan: Plan | None = None
    resident: bool = False
    used: int = 0

    @property
    def tokens(self) -> int:
        """Tokens from the first of the prompt to the last of the branch."""
        return sum(segment.tokens for segment in self.segments)


class Cache:
    """Cells of KV cache, shared by the branches that run through them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.clock = 0
        self.paths: list[Path] = []

    def missing(self, path: Path) -> int:
        """Tokens of ``path`` that would have to be read again."""
        return sum(segment.tokens for segment in path.segments if not segment.holders)

    def hold(self, path: Path) -> int:
        """Bring ``path`` in; returns how many tokens had to be read."""
        self.clock += 1
        path.used = self.clock
        if path.resident:
            return 0
        read = self.missing(path)
        for segment in path.segments:
            segment.holders += 1
        path.resident = True
        self.paths.append(path)
        self.used += read
        return read

    def release(self, path: Path) -> None:
        """Let ``path`` go; cells that no other path runs through are free."""
        if not path.resident:
            return
        path.resident = False
        self.paths.remove(path)
        for segment in path.segments:
            segment.holders -= 1
            if not segment.holders:
                self.used -= segment.tokens

    def extend(self, path: Path, piece: str) -> None:
        """Add one token."""
        path.text += piece
        path.segments[-1].tokens += 1
        self.used += 1

    def split(self, path: Path) -> Path:
        """A new path over the same tokens; both write to segments of their own from here."""
        child = Path(path.text, list(path.segments))
        for each in (path, child):
            each.segments.append(Segment(holders=1 if each.resident else 0))
        if path.plan is not None:
            plan = path.plan
            child.plan = replace(plan, rest=deque(plan.rest))
        if path.resident:
            self.hold(child)
        return child

    def cut(self, path: Path, text: str, lost: int, paths: Iterable[Path]) -> Path:
        """A new path that holds ``text``: all but the last ``lost`` tokens of ``path``.

        The segment in which it ends is split in two for all ``paths`` that run through it.
        """
        kept = list(path.segments)
        while kept and kept[-1].tokens <= lost:
            lost -= kept.pop().tokens
        if kept and lost:
            front = kept[-1]
            back = Segment(lost, front.holders)
            front.tokens -= lost
            for each in paths:
                places = [i for i, segment in enumerate(each.segments) if segment is front]
                for place in places:
                    each.segments.insert(place + 1, back)
        child = Path(text, [*kept, Segment()])
        if path.resident:
            self.hold(child)
        return child

    def room(self, cells: int, keep: Iterable[Path]) -> bool:
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
