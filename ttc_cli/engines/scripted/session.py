"""One open prompt on a ``ScriptedEngine``, and the branches that grow from it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Meter,
    Prompt,
    ScoreRow,
    Then,
)
from ttc_cli.engines.scripted.cells import Path, Segment
from ttc_cli.engines.scripted.script import (
    pieces,
)
from ttc_cli.errors import EngineError, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

if TYPE_CHECKING:
    from ttc_cli.engines.scripted.engine import ScriptedEngine


@dataclass(slots=True, eq=False)
class Request:
    """A growth under way: what it has ``said``, and at which of all ends it ``ended``."""

    grow: Grow
    path: Path
    limit: int
    said: list[str] = field(default_factory=list)
    finish: Finish | None = None
    ended: int = 0


class ScriptedSession:
    """Implements ``engines.base.Session`` for ``ScriptedEngine``."""

    def __init__(
        self,
        engine: ScriptedEngine,
        root: Path,
        meter: Meter,
        observe: Callable[[Grew], None] | None,
        role: Role,
    ) -> None:
        self.meter = meter
        self.role = role
        self.waiting = False
        self.outstanding: list[Request] = []
        self._engine = engine
        self._observe = observe
        self._root = Branch(0)
        self._paths = {self._root: root}
        self._closed = False

    @property
    def root(self) -> Branch:
        """The prompt itself."""
        return self._root

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: ``branch``, then ``text``; the text is read when it is first used."""
        said = "".join(span.text for span in text)
        (longer,) = self.fork(branch)
        if said:
            path = self._paths[longer]
            self._engine.cache.release(path)
            path.plan = None
            path.text += said
            path.segments.append(Segment(len(pieces(said))))
        return longer

    async def read_states(self, branches: Sequence[Branch]) -> list[tuple[float, ...]]:
        """What the script's ``state`` makes of the text of each branch."""
        found: list[tuple[float, ...]] = []
        cache = self._engine.cache
        for branch in branches:
            path = self._path(branch)
            if self._engine.interrupted or self.meter.exhausted():
                found.append(())
                continue
            cache.room(cache.missing(path), [*self._engine.busy(), path])
            self.charge(Role.VERIFIER, read=cache.hold(path) + 1)
            found.append(self._engine.state(path.text))
        return found

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches that continue from where ``branch`` stands."""
        path = self._path(branch)
        made = [Branch(len(self._paths) + i) for i in range(count)]
        for child in made:
            self._paths[child] = self._engine.cache.split(path)
        return made

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written."""
        path, prompt = self._path(branch), self._paths[self._root].text
        place = path.text.rfind(mark, len(prompt))
        if place < 0:
            raise UsageError(f"Nothing that was written here spells {mark!r}.")
        shorter = Branch(len(self._paths))
        gone = pieces(path.text[place:])
        child = self._engine.cache.cut(path, path.text[:place], len(gone), self._paths.values())
        if path.plan is not None:  # the same draw says the same again
            plan = path.plan
            child.plan = replace(plan, rest=deque([*gone, *plan.rest]))
        self._paths[shorter] = child
        return shorter

    async def grow(
        self, requests: Sequence[Grow], then: Then | None = None
    ) -> AsyncIterator[Growth]:
        """Grow all, yielding each as it ends."""
        waiting = self._submit(requests)
        try:
            while waiting:
                ended = [request for request in waiting if request.finish is not None]
                if not ended:
                    await self._engine.wait(self)
                    continue
                first = min(ended, key=lambda request: request.ended)
                waiting.remove(first)
                self.outstanding.remove(first)
                growth = _growth(first)
                if then is not None:
                    waiting += self._submit(then(growth))
                yield growth
        finally:
            for request in waiting:
                self._engine.end(request, Finish.CANCELLED)
                self.outstanding.remove(request)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        for request in self._growing(branches):
            self._engine.end(request, Finish.CANCELLED)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of requests that still grow."""
        for request in self._growing(branches):
            request.limit = min(request.limit, max_tokens)
            if len(request.said) >= request.limit:
                self._engine.end(request, Finish.LENGTH)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """The probability of each label group after each row's suffix; ``()`` where too late."""
        for row in rows:
            for group in row.labels:
                if not any(len(pieces(label)) == 1 for label in group):
                    raise UsageError(
                        f"None of the labels {', '.join(map(repr, group))} is one token here."
                    )
        scored: list[tuple[float, ...]] = []
        cache, read, reused = self._engine.cache, 0, 0
        for row in rows:
            path = self._path(row.branch)
            if self._engine.interrupted or self.meter.exhausted():
                scored.append(())
                continue
            suffix = "".join(span.text for span in row.suffix)
            size, missing = len(pieces(suffix)), cache.missing(path)
            cache.room(missing + size, [*self._engine.busy(), path])
            reused += path.tokens - missing
            read += cache.hold(path) + size
            first = self._engine.yes(path.text + suffix)
            others = len(row.labels) - 1
            scored.append((first, *((1 - first) / others for _ in range(others))))
        self.charge(Role.VERIFIER, read=read, reused=reused)
        return scored

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free their cells."""
        branches = list(branches)
        self.cancel(branches)
        for branch in branches:
            path = self._paths.get(branch)
            if path is not None and branch is not self._root and not path.dropped:
                path.dropped = True
                self._engine.cache.release(path)

    async def close(self) -> None:
        """Drop everything."""
        if self._closed:
            return
        self.drop(self._paths)
        self._closed = True
        self._engine.cache.release(self._paths[self._root])
        self._engine.leave(self)

    async def __aenter__(self) -> ScriptedSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # -- for the engine ------------------------------------------------------------------

    def pinned(self) -> list[Path]:
        """What must stay in the cache while this is open."""
        return [self._paths[self._root]]

    def charge(self, role: Role, *, read: int = 0, drawn: int = 0, reused: int = 0) -> None:
        """Book one decode."""
        if read or drawn:
            self.meter.charge(
                role,
                prompt_tokens=read,
                generated_tokens=drawn,
                reused_tokens=reused,
                decode_calls=1,
                flops=2.0 * self._engine.info.parameters * (read + drawn),
            )

    def end_all(self, finish: Finish) -> None:
        """End everything that grows or waits."""
        for request in self.outstanding:
            self._engine.end(request, finish)

    def report(self, drawn: dict[int, str]) -> None:
        """Book and announce this session's part of a step; ``drawn`` is by ``id`` of request."""
        mine = [request for request in self.outstanding if id(request) in drawn]
        if not mine:
            return
        self.charge(self.role, drawn=len(mine))
        if self._observe is not None:
            engine = self._engine
            self._observe(
                Grew(
                    {request.grow.label: drawn[id(request)] for request in mine},
                    live=len(engine.running),
                    queued=len(engine.queue),
                    kv_used=engine.cache.used,
                    kv_cells=engine.cache.size,
                )
            )

    def _submit(self, requests: Sequence[Grow]) -> list[Request]:
        branches = [each.branch for each in requests]
        if self._growing(branches) or len(set(branches)) < len(branches):
            raise UsageError("A branch can only grow once at a time.")
        wanted = [Request(each, self._path(each.branch), each.max_tokens) for each in requests]
        self.outstanding += wanted
        self._engine.submit(wanted)
        return wanted

    def _path(self, branch: Branch) -> Path:
        path = self._paths.get(branch)
        if self._closed or path is None or path.dropped:
            raise EngineError(f"Branch {branch.id} was dropped, or its session is closed.")
        return path

    def _growing(self, branches: Iterable[Branch]) -> list[Request]:
        wanted = set(branches)
        return [
            request
            for request in self.outstanding
            if request.grow.branch in wanted and request.finish is None
        ]


def _growth(request: Request) -> Growth:
    assert request.finish is not None
    plan = request.path.plan
    return Growth(
        request.grow.branch,
        request.grow.label,
        "".join(request.said),
        len(request.said),
        request.finish,
        plan.confidence if plan is not None else None,
    )
