"""An engine without a model: it says what a script tells it to, through the ordinary protocol.

For tests, demonstrations and the live view's own development. Everything but the text is as a
real engine does it: one token a decode step for each of ``parallel`` branches, slots refilled,
step boundaries at blank lines, limits, cancellation, a KV cache of a given size from which
branches are evicted and read again, usage charged to the meter, ``Grew`` events.

A script is a function from an ``Ask`` to what the model says next, or a list of texts::

    engine = ScriptedEngine(["The final answer is 4.", "The final answer is 5."])

Candidate *i* then says text *i* (cyclically), and goes on where it was paused. Not covered: a
tokenizer (a token is a short piece of a word) and a chat model's behaviour (the prompt means only
what the script makes of it).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ttc_cli.engines.base import (
    Branch,
    EngineInfo,
    Grow,
    Growth,
    Meter,
    Prompt,
    ScoreRow,
    Then,
    Until,
)
from ttc_cli.engines.cells import Cache, Path, Plan, Segment
from ttc_cli.engines.script import (
    CHATML,
    Ask,
    Reply,
    Script,
    babble,
    imagine_state,
    pieces,
    recite,
)
from ttc_cli.errors import EngineError, PromptTooLong, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

__all__ = ["CHATML", "Ask", "Reply", "Script", "ScriptedEngine", "babble", "pieces"]


@dataclass(slots=True, eq=False)
class _Request:
    grow: Grow
    path: Path
    limit: int
    said: list[str] = field(default_factory=list)
    finish: Finish | None = None
    ended: int = 0


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
        self._yes = yes
        self._state = state or imagine_state
        self._pause = pause
        self._info = EngineInfo(
            name="scripted",
            model="script",
            parameters=parameters,
            context=context,
            parallel=parallel,
            chat_template=CHATML,
            control_tokens={"bos_token": "", "eos_token": "<|im_end|>"},
            states=len(self._state("")),
        )
        self._cache = Cache(kv_cells if kv_cells is not None else context * 1024)
        self._sessions: list[ScriptedSession] = []
        self._running: list[_Request] = []
        self._queue: list[_Request] = []
        self._steps = 0
        self._ends = 0
        self._woken = asyncio.Event()
        self._interrupted = False

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
        room = min(self._info.context, self._cache.size)
        if size >= room:
            raise PromptTooLong(
                f"The prompt has {size:,} tokens; the context window holds {room:,}.",
                "Shorten the question.",
            )
        root = Path(text, [Segment(size)])
        session = ScriptedSession(self, root, meter, observe, role)
        self._cache.room(size, session.pinned())
        self._cache.hold(root)
        self._sessions.append(session)
        session.charge(role, read=size)
        return session

    def interrupt(self) -> None:
        """End all growing at the next token, until every session is closed."""
        self._interrupted = True

    def close(self) -> None:
        """Nothing to free."""

    # What follows is for this module's session.

    def _end(self, request: _Request, finish: Finish) -> None:
        if request.finish is None:
            self._ends += 1
            request.finish, request.ended = finish, self._ends
            for line in (self._running, self._queue):
                if request in line:
                    line.remove(request)

    def _submit(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            if request.limit <= 0:
                self._end(request, Finish.LENGTH)
            else:
                self._queue.append(request)

    def _leave(self, session: ScriptedSession) -> None:
        self._sessions.remove(session)
        if not self._sessions:
            self._interrupted = False
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    async def _wait(self, session: ScriptedSession) -> None:
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
            if self._interrupted:
                session.end_all(Finish.CANCELLED)
            elif session.outstanding and session.meter.exhausted():
                session.end_all(Finish.BUDGET)
        self._fill()
        self._spill()
        drawn: dict[int, str] = {}
        for request in list(self._running):
            piece = self._draw(request)
            if piece is not None:
                drawn[id(request)] = piece
        for session in self._sessions:
            session.report(drawn)

    def _busy(self) -> list[Path]:
        """Paths that must stay in the cache."""
        roots = [path for session in self._sessions for path in session.pinned()]
        return roots + [request.path for request in self._running]

    def _fill(self) -> None:
        """Start queued requests while slots and cells last."""
        while self._queue and len(self._running) < self._info.parallel:
            request = self._queue[0]
            keep = [*self._busy(), request.path]
            cells = self._cache.missing(request.path) + len(self._running) + 1
            if self._cache.room(cells, keep):
                self._queue.pop(0)
                session = self._session_of(request)
                session.charge(session.role, read=self._cache.hold(request.path))
                self._running.append(request)
            elif self._running:
                return
            else:
                self._end(request, Finish.CONTEXT)

    def _spill(self) -> None:
        """Send the latest branches back to the queue when the next step would not fit."""
        while self._running and not self._cache.room(len(self._running), self._busy()):
            latest = self._running.pop()
            if not self._running:
                self._end(latest, Finish.CONTEXT)
                return
            self._cache.release(latest.path)
            self._queue.insert(0, latest)

    def _draw(self, request: _Request) -> str | None:
        """Let one request say one more piece, and end it where it must end."""
        path, grow = request.path, request.grow
        if path.tokens >= self._info.context:
            self._end(request, Finish.CONTEXT)
            return None
        plan = self._plan(path, grow)
        if not plan.rest:
            return self._draw_end(request, plan.finish)
        piece = plan.rest.popleft()
        if plan.finish is Finish.LENGTH:
            plan.rest.append(piece)
        self._cache.extend(path, piece)
        request.said.append(piece)
        if len(request.said) >= request.limit:
            self._end(request, Finish.LENGTH)
        elif grow.marks and any(mark in "".join(request.said) for mark in grow.marks):
            self._end(request, Finish.MARK)
        elif grow.until is Until.STEP and "\n\n" in piece:
            self._end(request, Finish.STEP)
        elif _is_unsure(request, plan):
            self._end(request, Finish.UNSURE)
        return piece

    def _draw_end(self, request: _Request, finish: Finish) -> str | None:
        """End a request that has said all; the token that ends a turn is drawn and charged too."""
        piece = "" if finish is Finish.STOP else None
        if piece is not None:
            request.said.append(piece)
        self._end(request, finish)
        return piece

    def _plan(self, path: Path, grow: Grow) -> Plan:
        greedy = grow.sampling.temperature == 0
        key = (0, 0) if greedy else (grow.seed, grow.label)
        if path.plan is None or path.plan.key != key:
            reply = self._script(Ask(path.text, *key))
            if isinstance(reply, str):
                reply = Reply(reply)
            path.plan = Plan(key, deque(pieces(reply.text)), reply.finish, reply.confidence)
        return path.plan

    def _session_of(self, request: _Request) -> ScriptedSession:
        return next(each for each in self._sessions if request in each.outstanding)


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
        self.outstanding: list[_Request] = []
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
            self._engine._cache.release(path)
            path.plan = None
            path.text += said
            path.segments.append(Segment(len(pieces(said))))
        return longer

    async def read_states(self, branches: Sequence[Branch]) -> list[tuple[float, ...]]:
        """What the script's ``state`` makes of the text of each branch."""
        found: list[tuple[float, ...]] = []
        cache = self._engine._cache
        for branch in branches:
            path = self._path(branch)
            if self._engine._interrupted or self.meter.exhausted():
                found.append(())
                continue
            cache.room(cache.missing(path), [*self._engine._busy(), path])
            self.charge(Role.VERIFIER, read=cache.hold(path) + 1)
            found.append(self._engine._state(path.text))
        return found

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches that continue from where ``branch`` stands."""
        path = self._path(branch)
        made = [Branch(len(self._paths) + i) for i in range(count)]
        for child in made:
            self._paths[child] = self._engine._cache.split(path)
        return made

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written."""
        path, prompt = self._path(branch), self._paths[self._root].text
        place = path.text.rfind(mark, len(prompt))
        if place < 0:
            raise UsageError(f"Nothing that was written here spells {mark!r}.")
        shorter = Branch(len(self._paths))
        gone = pieces(path.text[place:])
        child = self._engine._cache.cut(path, path.text[:place], len(gone), self._paths.values())
        if path.plan is not None:  # the same draw says the same again
            plan = path.plan
            child.plan = Plan(plan.key, deque([*gone, *plan.rest]), plan.finish, plan.confidence)
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
                    await self._engine._wait(self)
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
                self._engine._end(request, Finish.CANCELLED)
                self.outstanding.remove(request)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now."""
        for request in self._growing(branches):
            self._engine._end(request, Finish.CANCELLED)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of requests that still grow."""
        for request in self._growing(branches):
            request.limit = min(request.limit, max_tokens)
            if len(request.said) >= request.limit:
                self._engine._end(request, Finish.LENGTH)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """The probability of each label group after each row's suffix; ``()`` where too late."""
        for row in rows:
            for group in row.labels:
                if not any(len(pieces(label)) == 1 for label in group):
                    raise UsageError(
                        f"None of the labels {', '.join(map(repr, group))} is one token here."
                    )
        scored: list[tuple[float, ...]] = []
        cache, read, reused = self._engine._cache, 0, 0
        for row in rows:
            path = self._path(row.branch)
            if self._engine._interrupted or self.meter.exhausted():
                scored.append(())
                continue
            suffix = "".join(span.text for span in row.suffix)
            size, missing = len(pieces(suffix)), cache.missing(path)
            cache.room(missing + size, [*self._engine._busy(), path])
            reused += path.tokens - missing
            read += cache.hold(path) + size
            first = self._engine._yes(path.text + suffix)
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
                self._engine._cache.release(path)

    async def close(self) -> None:
        """Drop everything."""
        if self._closed:
            return
        self.drop(self._paths)
        self._closed = True
        self._engine._cache.release(self._paths[self._root])
        self._engine._leave(self)

    async def __aenter__(self) -> ScriptedSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # What follows is for this module's engine.

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
            self._engine._end(request, finish)

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
                    live=len(engine._running),
                    queued=len(engine._queue),
                    kv_used=engine._cache.used,
                    kv_cells=engine._cache.size,
                )
            )

    def _submit(self, requests: Sequence[Grow]) -> list[_Request]:
        wanted = [_Request(each, self._path(each.branch), each.max_tokens) for each in requests]
        self.outstanding += wanted
        self._engine._submit(wanted)
        return wanted

    def _path(self, branch: Branch) -> Path:
        path = self._paths.get(branch)
        if self._closed or path is None or path.dropped:
            raise EngineError(f"Branch {branch.id} was dropped, or its session is closed.")
        return path

    def _growing(self, branches: Iterable[Branch]) -> list[_Request]:
        wanted = set(branches)
        return [
            request
            for request in self.outstanding
            if request.grow.branch in wanted and request.finish is None
        ]


def _is_unsure(request: _Request, plan: Plan) -> bool:
    """A reply that is to be less sure than the floor is so from its first full window on."""
    floor, known = request.grow.floor, plan.confidence
    if floor is None or known is None:
        return False
    return len(request.said) >= request.grow.window and known.lowest_group < floor


def _growth(request: _Request) -> Growth:
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
