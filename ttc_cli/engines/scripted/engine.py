"""The engine that says what its script says: queues, slots and one token a step."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ttc_cli.engines.base import (
    EngineInfo,
    Grow,
    Meter,
    Prompt,
    Until,
)
from ttc_cli.engines.scripted.cells import Cache, Path, Plan, Segment
from ttc_cli.engines.scripted.script import (
    CHATML,
    Ask,
    Reply,
    Script,
    babble,
    imagine_state,
    pieces,
    recite,
)
from ttc_cli.engines.scripted.session import Request, ScriptedSession
from ttc_cli.engines.scripted.values import hold_to
from ttc_cli.errors import PromptTooLong
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role


class ScriptedEngine:
    """Implements ``engines.base.Engine`` over a script."""

    def __init__(
        self,
        script: Script | Sequence[Reply | str] = babble,
        *,
        yes: Callable[[str], float] = lambda text: 0.5,
        state: Callable[[str], tuple[float, ...]] | None = None,
        parallel: int = 4,
        context: int = 4096,
        kv_cells: int | None = None,
        parameters: int = 1_000_000,
        pause: float = 0.0,
    ) -> None:
        """Make an engine that says what ``script`` says.

        Args:
            script: a function, or texts that candidates say in turn.
            yes: from everything before the scored token to the probability of the first label
                group, in [0, 1]; the other groups share the rest.
            state: from everything a branch holds to its hidden state; None gives a few numbers
                that depend on that text alone.
            parallel: branches that grow at once.
            context: tokens of prompt and completion that fit one branch.
            kv_cells: cells that all branches share; None is room for all.
            parameters: what FLOPs are reckoned with.
            pause: seconds a decode step takes.
        """
        self._script: Script
        if callable(script):
            self._script = script
        else:
            self._script = recite(script)
        self.yes = yes
        self.state = state or imagine_state
        self._pause = pause
        self._info = EngineInfo(
            name="scripted",
            model="script",
            parameters=parameters,
            context=context,
            parallel=parallel,
            chat_template=CHATML,
            control_tokens={"bos_token": "", "eos_token": "<|im_end|>"},
            grammars=True,
            states=len(self.state("")),
        )
        self.cache = Cache(kv_cells if kv_cells is not None else context * 1024)
        self._sessions: list[ScriptedSession] = []
        self.running: list[Request] = []
        self.queue: list[Request] = []
        self._steps = 0
        self._ends = 0
        self._woken = asyncio.Event()
        self.interrupted = False

    @property
    def info(self) -> EngineInfo:
        """What it is and can do."""
        return self._info

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> ScriptedSession:
        """Read ``prompt`` once."""
        text = "".join(span.text for span in prompt)
        size = len(pieces(text))
        room = min(self._info.context, self.cache.size)
        if size >= room:
            raise PromptTooLong(
                f"The prompt has {size:,} tokens; the context window holds {room:,}.",
                "Shorten the question.",
            )
        root = Path(text, [Segment(size)])
        session = ScriptedSession(self, root, meter, observe, role)
        self.cache.room(size, session.pinned())
        self.cache.hold(root)
        self._sessions.append(session)
        session.charge(role, read=size)
        return session

    def interrupt(self) -> None:
        """End all growing at the next token, until every session is closed."""
        self.interrupted = True

    def close(self) -> None:
        """Nothing to free."""

    # -- for sessions --------------------------------------------------------------------

    def end(self, request: Request, finish: Finish) -> None:
        """End one request, unless it has ended."""
        if request.finish is None:
            self._ends += 1
            request.finish, request.ended = finish, self._ends
            for line in (self.running, self.queue):
                if request in line:
                    line.remove(request)

    def submit(self, requests: Iterable[Request]) -> None:
        """Queue ``requests``."""
        for request in requests:
            if request.limit <= 0:
                self.end(request, Finish.LENGTH)
            else:
                self.queue.append(request)

    def leave(self, session: ScriptedSession) -> None:
        """Called by a session that closes."""
        self._sessions.remove(session)
        if not self._sessions:
            self.interrupted = False
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    async def wait(self, session: ScriptedSession) -> None:
        """Return after the next decode step, which is made when every run waits for it."""
        seen, session.waiting = self._steps, True
        while self._steps == seen:
            if self._everyone_waits():
                await asyncio.sleep(self._pause)
                if self._steps == seen and self._everyone_waits():
                    self._step()
                    for each in self._sessions:
                        each.waiting = False
                    self._steps += 1
                    self._wake()
            else:
                await self._woken.wait()

    def _everyone_waits(self) -> bool:
        """Whether each run, that is all sessions of one meter, waits with at least one of them."""
        waiting = {id(each.meter) for each in self._sessions if each.waiting}
        return all(id(each.meter) in waiting for each in self._sessions)

    def _step(self) -> None:
        for session in self._sessions:
            if self.interrupted:
                session.end_all(Finish.CANCELLED)
            elif session.outstanding and session.meter.exhausted():
                session.end_all(Finish.BUDGET)
        self._fill()
        self._spill()
        drawn: dict[int, str] = {}
        for request in list(self.running):
            piece = self._draw(request)
            if piece is not None:
                drawn[id(request)] = piece
        for session in self._sessions:
            session.report(drawn)

    def busy(self) -> list[Path]:
        """Paths that must stay in the cache."""
        roots = [path for session in self._sessions for path in session.pinned()]
        return roots + [request.path for request in self.running]

    def _fill(self) -> None:
        """Start queued requests while slots and cells last."""
        while self.queue and len(self.running) < self._info.parallel:
            request = self.queue[0]
            keep = [*self.busy(), request.path]
            cells = self.cache.missing(request.path) + len(self.running) + 1
            if self.cache.room(cells, keep):
                self.queue.pop(0)
                session = self._session_of(request)
                session.charge(session.role, read=self.cache.hold(request.path))
                self.running.append(request)
            elif self.running:
                return
            else:
                self.end(request, Finish.CONTEXT)

    def _spill(self) -> None:
        """Send the latest branches back to the queue when the next step would not fit."""
        while self.running and not self.cache.room(len(self.running), self.busy()):
            latest = self.running.pop()
            if not self.running:
                self.end(latest, Finish.CONTEXT)
                return
            self.cache.release(latest.path)
            self.queue.insert(0, latest)

    def _draw(self, request: Request) -> str | None:
        """Let one request say one more piece, and end it where it must end."""
        path, grow = request.path, request.grow
        if path.tokens >= self._info.context:
            self.end(request, Finish.CONTEXT)
            return None
        plan = self._plan(path, grow)
        if not plan.rest:
            return self._draw_end(request, plan.finish)
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

    def _draw_end(self, request: Request, finish: Finish) -> str | None:
        """End a request that has said all; the token that ends a turn is drawn and charged too."""
        piece = "" if finish is Finish.STOP else None
        if piece is not None:
            request.said.append(piece)
        self.end(request, finish)
        return piece

    def _plan(self, path: Path, grow: Grow) -> Plan:
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

    def _session_of(self, request: Request) -> ScriptedSession:
        return next(each for each in self._sessions if request in each.outstanding)


def _is_unsure(request: Request, plan: Plan) -> bool:
    """A reply that is to be less sure than the floor is so from its first full window on."""
    floor, known = request.grow.floor, plan.confidence
    if floor is None or known is None:
        return False
    return len(request.said) >= request.grow.window and known.lowest_group < floor
