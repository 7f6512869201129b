"""One open prompt on a ``ScriptedEngine``, and the branches that grow from it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ttc_cli.engines.base import Branch, Grow, Growth, Prompt, ScoreRow, States, Then
from ttc_cli.engines.branches import BranchedSession, GrowthStream
from ttc_cli.engines.pooling import StatePool
from ttc_cli.engines.scripted.cells import ScriptedPath
from ttc_cli.engines.scripted.script import pieces
from ttc_cli.engines.scripted.slots import Account, ScriptedGrowth, Slots
from ttc_cli.errors import UsageError
from ttc_cli.types import Finish, Role


class ScriptedSession(BranchedSession[ScriptedPath]):
    """Implements ``engines.base.Session`` for ``ScriptedEngine``."""

    def __init__(
        self,
        slots: Slots,
        account: Account,
        root: ScriptedPath,
        yes: Callable[[str], float],
        state: Callable[[str], tuple[float, ...]],
    ) -> None:
        super().__init__(account.meter, root)
        self._slots = slots
        self._account = account
        self._yes = yes
        self._state = state

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """Read a further prompt, and return where it ends."""
        self._check_open()
        said = "".join(span.text for span in prompt)
        return self._keep(self._slots.enter(self._account, said))

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: ``branch``, then ``text``; the text is read when it is first used."""
        said = "".join(span.text for span in text)
        (longer,) = self.fork(branch)
        if said:
            path = self._path(longer)
            self._slots.cache.release(path)
            path.plan, path.pooled = None, False
            path.read(said)
        return longer

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """What the script's ``state`` makes of all that stands before each token, pooled."""
        found: list[States | None] = []
        for branch in branches:
            path = self._path(branch)
            drawn = pieces(path.text[path.root :])
            if not path.pooled or not drawn:
                if self._too_late():
                    found.append(None)
                    continue
                read = self._slots.keep(path, 0) + max(1, len(drawn))
                self._slots.charge(self._account, Role.VERIFIER, read=read)
            pool = StatePool(len(self._state("")), 0)
            text = path.text[: path.root]
            for piece in drawn or [""]:
                text += piece
                pool.step_ends = "\n\n" in piece
                pool.add(np.asarray(self._state(text), np.float32))
            found.append(pool.summarise())
        return found

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches that continue from where ``branch`` stands."""
        path = self._path(branch)
        forks = [self._slots.cache.split(path) for _ in range(count)]
        for child in forks:  # the same draw says the same again
            child.plan = path.plan and replace(path.plan, rest=deque(path.plan.rest))
        return [self._keep(child) for child in forks]

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written."""
        path = self._path(branch)
        place = path.text.rfind(mark, path.root)
        if place < 0:
            raise UsageError(f"The branch does not hold {mark!r}.")
        gone = pieces(path.text[place:])
        child = self._slots.cache.split(path, len(gone))
        child.text = path.text[:place]
        child.plan = path.plan and replace(path.plan, rest=deque([*gone, *path.plan.rest]))
        return self._keep(child)

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all, yielding each as it ends."""
        return GrowthStream(requests, then, self._submit, self._wait, self.cancel)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        for request in self._growing(branches):
            self._slots.end(request, Finish.CANCELLED)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of requests that still grow."""
        for request in self._growing(branches):
            request.limit = min(request.limit, max_tokens)
            if len(request.said) >= request.limit:
                self._slots.end(request, Finish.LENGTH)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """The probability of each label group after each row's suffix; ``()`` where too late.

        With ``since`` each token is as likely as the first label group would be in its place.
        """
        for row in rows:
            for group in row.labels:
                if not any(len(pieces(label)) == 1 for label in group):
                    raise UsageError(
                        f"None of the labels {', '.join(map(repr, group))} is one token here."
                    )
        scored: list[tuple[float, ...]] = []
        read = reused = 0
        for row in rows:
            path = self._path(row.branch)
            if self._too_late():
                scored.append(())
                continue
            if row.since is not None:
                scored.append((self._measure(path, self._path(row.since)),))
                reused += len(path.cells) - self._slots.cache.missing(path)
                read += self._slots.keep(path, 0)
                continue
            suffix = "".join(span.text for span in row.suffix)
            size = len(pieces(suffix))
            reused += len(path.cells) - self._slots.cache.missing(path)
            read += self._slots.keep(path, size) + size
            first = self._yes(path.text + suffix)
            others = len(row.labels) - 1
            scored.append((first, *((1 - first) / others for _ in range(others))))
        self._slots.charge(self._account, Role.VERIFIER, read=read, reused=reused)
        return scored

    def _measure(self, path: ScriptedPath, since: ScriptedPath) -> float:
        """The log-probability of all of ``path`` after ``since``."""
        value, text = 0.0, since.text
        for piece in pieces(path.text[len(text) :]):
            value += math.log(max(self._yes(text), 1e-9))
            text += piece
        return value

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free their cells."""
        gone = [each for each in branches if each in self._paths and each is not self.root]
        self.cancel(gone)
        for branch in gone:
            self._slots.cache.release(self._paths.pop(branch))

    async def _leave(self) -> None:
        self.cancel(self._paths)
        self.drop(list(self._paths))
        self._slots.leave(self._account)

    def _submit(self, requests: Sequence[Grow], ended: deque[Growth]) -> list[ScriptedGrowth]:
        branches = [each.branch for each in requests]
        if self._growing(branches) or len(set(branches)) < len(branches):
            raise UsageError("A branch can only grow once at a time.")
        wanted = [
            ScriptedGrowth(self._account, each, self._path(each.branch), each.max_tokens, ended)
            for each in requests
        ]
        for each in wanted:
            each.path.pooled = each.path.pooled and each.request.pool
        self._slots.submit(self._account, wanted)
        return wanted

    async def _wait(self, ended: deque[Growth]) -> None:
        while not ended:
            await self._slots.wait(self._account)

    def _too_late(self) -> bool:
        return self._slots.interrupted or bool(self.meter.exhausted())

    def _growing(self, branches: Iterable[Branch]) -> list[ScriptedGrowth]:
        wanted = set(branches)
        return [each for each in self._account.outstanding if each.request.branch in wanted]
