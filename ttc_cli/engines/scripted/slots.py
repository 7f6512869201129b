"""The decode loop of a scripted engine: a queue, slots, and one token a step for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ttc_cli.engines.base import EngineInfo, Grow, Growth, Meter, Until
from ttc_cli.engines.scripted.cells import Plan, ScriptedCache, ScriptedPath
from ttc_cli.engines.scripted.script import Ask, Reply, Script, pieces
from ttc_cli.engines.scripted.values import hold_to
from ttc_cli.errors import PromptTooLong
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role


@dataclass(slots=True, eq=False)
class Account:
    """Who pays and who watches, one per session; ``roots`` are its prompts."""

    meter: Meter
    observe: Callable[[Grew], None] | None
    role: Role
    roots: list[ScriptedPath] = field(default_factory=list)
    waiting: bool = False
    outstanding: list[ScriptedGrowth] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ScriptedGrowth:
    """A growth under way, and what it has ``said``; ``ended`` receives what it came to."""

    account: Account
    request: Grow
    path: ScriptedPath
    limit: int
    ended: deque[Growth]
    said: list[str] = field(default_factory=list)
    finish: Finish | None = None


class Slots:
    """What grows and what waits for its turn, over all sessions of one engine."""

    def __init__(
        self, info: EngineInfo, script: Script, cache: ScriptedCache, pause: float
    ) -> None:
        self.info = info
        self.cache = cache
        self.interrupted = False
        self._script = script
        self._pause = pause
        self._accounts: list[Account] = []
        self._running: list[ScriptedGrowth] = []
        self._queue: list[ScriptedGrowth] = []
        self._steps = 0
        self._woken = asyncio.Event()

    def enter(self, account: Account, prompt: str) -> ScriptedPath:
        """Read a prompt of a session, which may just open.

        Raises:
            PromptTooLong: it fills the context window.
        """
        root = ScriptedPath("", [], root=len(prompt))
        root.read(prompt)
        size, room = len(root.cells), min(self.info.context, self.cache.size)
        if size >= room:
            raise PromptTooLong(
                f"The prompt has {size:,} tokens; the context window holds {room:,}.",
                "Shorten the question.",
            )
        self.cache.room(size, [*self._busy(), root])
        read = self.cache.hold(root)
        account.roots.append(root)
        if account not in self._accounts:
            self._accounts.append(account)
        self.charge(account, account.role, read=read)
        return root

    def end(self, request: ScriptedGrowth, finish: Finish) -> None:
        """End one request, unless it has ended."""
        if request.finish is not None:
            return
        request.finish = finish
        for line in (self._running, self._queue, request.account.outstanding):
            if request in line:
                line.remove(request)
        plan, asked = request.path.plan, request.request
        sure = plan.confidence if plan is not None else None
        said = "".join(request.said)
        request.ended.append(
            Growth(asked.branch, asked.label, said, len(request.said), finish, sure)
        )

    def end_all(self, account: Account, finish: Finish) -> None:
        """End everything of a session that grows or waits."""
        for request in list(account.outstanding):
            self.end(request, finish)

    def submit(self, account: Account, requests: Sequence[ScriptedGrowth]) -> None:
        """Queue ``requests`` of a session."""
        account.outstanding += requests
        for request in requests:
            if request.limit <= 0:
                self.end(request, Finish.LENGTH)
            else:
                self._queue.append(request)

    def leave(self, account: Account) -> None:
        """Let go of a session that closes."""
        for root in account.roots:
            self.cache.release(root)
        self._accounts.remove(account)
        if not self._accounts:
            self.interrupted = False
        self._wake()

    def keep(self, path: ScriptedPath, cells: int) -> int:
        """Make room for ``cells`` after ``path`` and bring it in; the tokens that were read."""
        self.cache.room(self.cache.missing(path) + cells, [*self._busy(), path])
        return self.cache.hold(path)

    def charge(
        self, account: Account, role: Role, *, read: int = 0, drawn: int = 0, reused: int = 0
    ) -> None:
        """Book one decode."""
        if read or drawn:
            account.meter.charge(
                role,
                prompt_tokens=read,
                generated_tokens=drawn,
                reused_tokens=reused,
                decode_calls=1,
                flops=2.0 * self.info.parameters * (read + drawn),
            )

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    async def wait(self, account: Account) -> None:
        """Return after the next decode step, which is made when every run waits for it."""
        seen, account.waiting = self._steps, True
        while self._steps == seen:
            if self._everyone_waits():
                await asyncio.sleep(self._pause)
                if self._steps == seen and self._everyone_waits():
                    self._step()
                    for each in self._accounts:
                        each.waiting = False
                    self._steps += 1
                    self._wake()
            else:
                await self._woken.wait()

    def _everyone_waits(self) -> bool:
        """Whether each run, that is all sessions of one meter, waits with at least one of them."""
        waiting = {id(each.meter) for each in self._accounts if each.waiting}
        return all(id(each.meter) in waiting for each in self._accounts)

    def _step(self) -> None:
        for account in self._accounts:
            if self.interrupted:
                self.end_all(account, Finish.CANCELLED)
            elif account.outstanding and account.meter.exhausted():
                self.end_all(account, Finish.BUDGET)
        self._fill()
        self._spill()
        drawn = {request: self._draw(request) for request in list(self._running)}
        for account in self._accounts:
            self._report(
                account,
                {
                    request.request.label: piece
                    for request, piece in drawn.items()
                    if piece is not None and request.account is account
                },
            )

    def _report(self, account: Account, drawn: dict[int, str]) -> None:
        """Book and announce a session's part of a step; ``drawn`` is by label."""
        if not drawn:
            return
        self.charge(account, account.role, drawn=len(drawn))
        if account.observe is not None:
            live, queued = len(self._running), len(self._queue)
            account.observe(Grew(drawn, live, queued, self.cache.used, self.cache.size))

    def _busy(self) -> list[ScriptedPath]:
        """Paths that must stay in the cache."""
        roots = [root for account in self._accounts for root in account.roots]
        return roots + [request.path for request in self._running]

    def _fill(self) -> None:
        """Start queued requests while slots and cells last."""
        while self._queue and len(self._running) < self.info.parallel:
            request, account = self._queue[0], self._queue[0].account
            cells = self.cache.missing(request.path) + len(self._running) + 1
            if self.cache.room(cells, [*self._busy(), request.path]):
                self._queue.pop(0)
                self.charge(account, account.role, read=self.cache.hold(request.path))
                self._running.append(request)
            elif self._running:
                return
            else:
                self.end(request, Finish.CONTEXT)

    def _spill(self) -> None:
        """Send the latest branches back to the queue when the next step would not fit."""
        while self._running and not self.cache.room(len(self._running), self._busy()):
            latest = self._running.pop()
            if not self._running:
                self.end(latest, Finish.CONTEXT)
                return
            self.cache.release(latest.path)
            self._queue.insert(0, latest)

    def _draw(self, request: ScriptedGrowth) -> str | None:
        """Let one request say one more piece, and end it where it must end."""
        path, grow = request.path, request.request
        if len(path.cells) >= self.info.context:
            self.end(request, Finish.CONTEXT)
            return None
        plan = self._plan(path, grow)
        if not plan.rest:  # the token that ends a turn is drawn and charged too
            ends_turn = plan.finish is Finish.STOP
            request.said += [""] * ends_turn
            self.end(request, plan.finish)
            return "" if ends_turn else None
        piece = plan.rest.popleft()
        if plan.finish is Finish.LENGTH:
            plan.rest.append(piece)
        self.cache.extend(path, piece)
        request.said.append(piece)
        if len(request.said) >= request.limit:
            self.end(request, Finish.LENGTH)
        elif grow.marks and any(mark in "".join(request.said) for mark in grow.marks):
            self.end(request, Finish.MARK)
        elif grow.until is Until.STEP and "\n\n" in piece:
            self.end(request, Finish.STEP)
        elif _is_unsure(request, plan):
            self.end(request, Finish.UNSURE)
        return piece

    def _plan(self, path: ScriptedPath, grow: Grow) -> Plan:
        greedy = grow.sampling.temperature == 0
        key = (0, 0) if greedy else (grow.seed, grow.label)
        if path.plan is None or path.plan.key != key or grow.grammar != path.plan.grammar:
            reply = self._script(Ask(path.text, *key))
            if isinstance(reply, str):
                reply = Reply(reply)
            if grow.grammar is not None:
                value = hold_to(grow.grammar, reply.text, grow.seed)
                reply = Reply(value, Finish.STOP, reply.confidence)
            path.plan = Plan(
                key, deque(pieces(reply.text)), reply.finish, reply.confidence, grow.grammar
            )
        return path.plan


def _is_unsure(request: ScriptedGrowth, plan: Plan) -> bool:
    """A reply that is to be less sure than the floor is so from its first full window on."""
    floor, known = request.request.floor, plan.confidence
    if floor is None or known is None:
        return False
    return len(request.said) >= request.request.window and known.lowest_group < floor
