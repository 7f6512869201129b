"""Sessions over one server: requests in flight up to a limit, and what comes back, booked.

Everything happens on the event loop. A batch of jobs is one task that streams one request; it
ends its jobs one by one, and a job that ends from outside (cancelled, limit lowered, a cap)
closes the request once nobody is left on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence

from ttc_cli.engines.base import EngineInfo, Meter, Prompt
from ttc_cli.engines.openai import CONTEXT, PARALLEL, Settings
from ttc_cli.engines.openai.address import Address, explain
from ttc_cli.engines.openai.probe import Abilities, explain_silence
from ttc_cli.engines.openai.session import OpenAISession
from ttc_cli.engines.openai.transport import Broken, Refused, Transport, pause
from ttc_cli.engines.openai.wire import Count, Piece
from ttc_cli.engines.openai.work import (
    Batch,
    Job,
    bundle,
    spell,
    write_body,
)
from ttc_cli.errors import EngineError, NetworkError, PromptTooLong, ServerFailed, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

_TOKEN = 4.0
"""Characters in a token, until the server has counted some."""
_ADDED = 64
"""Tokens that a server may put around a prompt; each of the prompt's own is a byte at least."""


class OpenAIEngine:
    """A model on a server. Made by ``openai.connect``."""

    def __init__(self, address: Address, settings: Settings, abilities: Abilities) -> None:
        served = abilities.served
        self.address = address
        self.abilities = abilities
        tokens = {"bos_token": served.begin, "eos_token": served.end, **settings.tokens}
        self.begin = tokens["bos_token"] if abilities.added else ""
        self._settings = settings
        self._info = EngineInfo(
            name="server",
            model=served.model,
            parameters=settings.parameters or served.parameters,
            context=settings.context or served.context or CONTEXT,
            parallel=1 if abilities.alone else settings.parallel or served.slots or PARALLEL,
            chat_template=settings.template or served.template or None,
            control_tokens=tokens,
            forks=False,
            scores=bool(abilities.logprobs),
            steps=bool(abilities.logprobs) and abilities.streams,
            grammars=bool(abilities.grammar),
            offloaded=True,
        )
        self._sessions: list[OpenAISession] = []
        self._queue: deque[Batch] = deque()
        self._running: list[Job] = []
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scores = asyncio.Semaphore(self._info.parallel)
        self._single: dict[str, bool] = {}
        self._characters = _TOKEN
        self._heard = False
        self._cut: Counter[str] = Counter()
        self.interrupted = False

    @property
    def info(self) -> EngineInfo:
        """What it is and can do. ``forks`` False: what the server re-uses is not ours to know."""
        return self._info

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> OpenAISession:
        """Open a session on ``prompt``. Nothing is sent before a branch grows or is scored.

        A prompt beyond the server's context is therefore refused (``PromptTooLong``) by the first
        ``grow`` or ``score``.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to the loop that made them
            self._loop, self._transport = loop, None
            self._sessions.clear()
            self._queue.clear()
            self._running.clear()
            self._scores = asyncio.Semaphore(self._info.parallel)
        if self._transport is None:
            settings = self._settings
            self._transport = Transport(
                self.address, patience=settings.patience, tries=settings.tries
            )
        session = OpenAISession(self, spell(prompt, self.begin), meter, observe, role)
        self._sessions.append(session)
        return session

    def tell_trouble(self) -> list[str]:
        """What the user should know of what the server did since this was last asked."""
        cut, self._cut = self._cut, Counter()
        if not cut:
            return []
        reasons = ", ".join(repr(word) if word else "none told" for word in cut)
        return [
            f"It cut off {cut.total()} texts before they had ended (finish reason: {reasons}): "
            "they state no answer."
        ]

    def interrupt(self) -> None:
        """Close every request; everything ends as cancelled until every session is closed."""
        self.interrupted = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_everything)

    def close(self) -> None:
        """Nothing to free: the connections went with the last session."""

    # What follows is for this module's session.

    @property
    def transport(self) -> Transport:
        """The connections of this loop."""
        if self._transport is None:
            raise EngineError("The session is closed.")
        return self._transport

    def count_running(self, session: OpenAISession) -> tuple[int, int]:
        """How many jobs of ``session`` grow, and how many wait."""
        queued = [job for batch in self._queue for job in batch.jobs if not job.over]
        return (
            sum(job.session is session for job in self._running),
            sum(job.session is session for job in queued),
        )

    def submit(self, jobs: Sequence[Job]) -> list[Batch]:
        """Queue ``jobs``; those that may not start end at once."""
        for job in jobs:
            if self.interrupted:
                self.end(job, Finish.CANCELLED)
            elif job.session.meter.exhausted():
                self.end(job, Finish.BUDGET)
            elif job.limit <= 0:
                self.end(job, Finish.LENGTH)
        batches = bundle([job for job in jobs if not job.over], self.abilities, self._info.parallel)
        self._queue += batches
        self._fill()
        return batches

    def end(self, job: Job, finish: Finish) -> None:
        """End ``job`` now, and its request with the last of its jobs."""
        if job.over:
            return
        if finish is Finish.CUT:
            self._cut[self.address.hide(job.word or "")] += 1
        job.finish = finish
        self._hand_over(job)

    def estimate(self, text: str) -> int:
        """Tokens of ``text``, going by what the server counted before."""
        return max(1, round(len(text) / self._characters))

    def believe(self, count: Count | None, prompt: str, generated: int) -> Count:
        """The server's count of a request for ``prompt``, as far as it can be, or an estimate."""
        if count is None:
            return Count(self.estimate(prompt), generated)
        return count.within(len(prompt.encode()) + _ADDED, generated)

    def _learn(self, text: str, count: Count) -> None:
        """Remember how long the server's tokens are."""
        if count.prompt > 16:
            self._characters = max(1.0, len(text) / count.prompt)

    async def require_labels(self, groups: Sequence[Sequence[str]], meter: Meter) -> None:
        """Make sure that each group holds a text that is one token, as the server counts."""
        for group in groups:
            for label in group:
                if self.abilities.counts and label not in self._single:
                    body = {"model": self.abilities.served.model, "prompt": label, "max_tokens": 1}
                    reply = await self.transport.complete(body)
                    count = self.believe(reply.count, label, 1)
                    self.charge(meter, Role.VERIFIER, count)
                    self._single[label] = count.prompt - self.abilities.added <= 1
                if self._single.get(label, True):
                    break
            else:
                raise UsageError(
                    f"None of {', '.join(map(repr, group))} is a single token of "
                    f"{self._info.model}: it cannot be used with this verifier.",
                    "ttc solve --verifier confidence …",
                )

    def charge(self, meter: Meter, role: Role, count: Count, *, calls: int = 1) -> None:
        """Book one request, or a part of it."""
        read = max(0, count.prompt - count.cached)
        meter.charge(
            role,
            prompt_tokens=read,
            generated_tokens=count.generated,
            reused_tokens=count.cached,
            decode_calls=calls,
            flops=2.0 * self._info.parameters * (read + count.generated),
        )

    async def leave(self, session: OpenAISession) -> None:
        """Take a closed session out, and the connections with the last one."""
        if session in self._sessions:
            self._sessions.remove(session)
        if not self._sessions:
            self.interrupted = False
            transport, self._transport = self._transport, None
            if transport is not None:
                await transport.close()

    def scoring(self) -> asyncio.Semaphore:
        """Held by each score under way: a few beside what grows, not all of them at once."""
        return self._scores

    def _end_everything(self) -> None:
        for session in list(self._sessions):
            session.end_all(Finish.CANCELLED)

    def _fill(self) -> None:
        """Start batches, in their order, while there is room for all of their jobs."""
        while self._queue:
            batch = self._queue[0]
            jobs = [job for job in batch.jobs if not job.over]
            if self._running and len(self._running) + len(jobs) > self._info.parallel:
                return
            self._queue.popleft()
            for job in jobs:
                job.started = True
                self._running.append(job)
            self._start(batch)

    def _hand_over(self, job: Job) -> None:
        """Give a job that is over to who waits for it, and start what waits for its place."""
        job.ended.put_nowait(job)
        if job.started:
            self._running.remove(job)
        batch = job.session.batches.get(job)
        if batch is not None and not batch.open:
            if batch in self._queue:
                self._queue.remove(batch)
            if batch.task is not None and batch.task is not asyncio.current_task():
                batch.task.cancel()
        self._fill()

    def _start(self, batch: Batch) -> None:
        batch.task = asyncio.get_running_loop().create_task(self._serve(batch))

    async def _serve(self, batch: Batch) -> None:
        """Let a batch grow until all of its jobs are over."""
        jobs = [job for job in batch.jobs if not job.over]
        try:
            if len(jobs) == 1:
                await self._serve_alone(jobs[0])
            elif jobs:
                await self._request(jobs)
        except (Broken, Refused):  # then each goes on by itself
            for job in jobs:
                if not job.over:
                    alone = job.session.batches[job] = Batch([job])
                    self._start(alone)
        except Exception as error:
            if isinstance(error, NetworkError) and not isinstance(error, EngineError):
                error = ServerFailed(error.message, error.hint)
            for job in jobs:
                if not job.over:
                    job.failure = error
                    self._hand_over(job)

    async def _serve_alone(self, job: Job) -> None:
        broken = 0
        while not job.over:
            try:
                await self._request([job])
            except Broken as error:
                broken += 1
                job.start_over()
                if broken >= self._settings.tries:
                    raise ServerFailed(
                        f"The server {self.address.url} breaks off its answers ({error}).",
                        "Look into the server's own log; a lower --parallel asks less of it.",
                    ) from None
                await asyncio.sleep(pause(broken - 1))
            except Refused as refusal:
                self._take_refusal(job, refusal)

    def _take_refusal(self, job: Job, refusal: Refused) -> None:
        """A request beyond the context is made again for less; all else is an error."""
        error = explain(refusal.status, refusal.body, self.address)
        if not isinstance(error, PromptTooLong):
            raise error
        if job.granted > 1:
            job.granted, job.squeezed = max(1, job.granted // 2), True
        elif job.path.grown or job.text:
            self.end(job, Finish.CONTEXT)
        else:
            raise error

    async def _request(self, jobs: list[Job]) -> None:
        """One request for ``jobs``, from where they stand.

        Raises:
            Broken: it ended before all of them had.
            Refused: the server does not take it.
        """
        session, prompt = jobs[0].session, jobs[0].prompt
        for job in jobs:
            left = job.limit - job.drawn
            job.granted = min(left, job.granted) if job.squeezed else left
            job.base, job.word, job.resumes = job.drawn, None, False
        granted = sum(job.granted for job in jobs)
        count: Count | None = None
        begun = ended = False
        try:
            chunks = self.transport.stream(write_body(jobs, self.abilities))
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    begun = True
                    ended = ended or chunk.last
                    if chunk.count is not None:
                        count = self.believe(chunk.count, prompt, granted)
                    for piece in chunk.pieces if len(jobs) > 1 else chunk.pieces[:1]:
                        index = piece.index if len(jobs) > 1 else 0
                        if not 0 <= index < len(jobs):
                            raise Broken("it does not tell its choices apart")
                        self._take(jobs[index], piece, waits=len(jobs) == 1)
                    if all(job.over for job in jobs):
                        return
            alone = len(jobs) == 1
            for job in jobs:  # of several, one that never came is asked for by itself
                over = ended and (alone or job.drawn > job.base)
                self._reconcile(job, count if alone else None, ended=over)
        finally:
            if begun:
                read = count or self.believe(None, prompt, 0)
                self._learn(prompt, read)
                session.charge(Count(read.prompt, 0, read.cached))
        if not all(job.over or job.resumes for job in jobs):
            raise Broken("the stream ended in mid-answer")

    def _take(self, job: Job, piece: Piece, *, waits: bool) -> None:
        """Book one piece. ``waits``: the server's count, which comes behind its word, decides."""
        if job.over:  # computed for nobody, but paid
            job.session.charge(Count(0, min(piece.tokens, job.room)), calls=0)
            return
        before = job.drawn
        gained = job.take(piece)
        self._heard = self._heard or bool(gained)
        job.session.report(job, job.drawn - before, gained)
        if piece.finish is None:
            if job.verdict is not None:
                self.end(job, job.verdict)
        elif not waits and not job.resumes:
            self._conclude(job, counted=False)
        if job.session.meter.exhausted():
            job.session.end_all(Finish.BUDGET)

    def _reconcile(self, job: Job, count: Count | None, *, ended: bool) -> None:
        """Correct the tokens of a request by the server's own count, and end its job.

        ``ended``: nothing more comes, whether or not the server said why.
        """
        if job.over:
            return
        if ended and not job.resumes:
            job.word = job.word or ""
        if job.word is None and not job.resumes:
            return
        extra = 0 if count is None else count.generated - (job.drawn - job.base)
        if job.resumes and job.drawn + max(0, extra) == job.base:
            extra = 1  # it came to a stop text, which is a token, and may do so for ever
        if extra > 0:
            job.drawn += extra
            job.session.charge(Count(0, extra), calls=0)
        if not job.resumes:
            self._conclude(job, counted=count is not None)
        elif job.drawn >= job.limit:
            self.end(job, Finish.LENGTH)

    def _conclude(self, job: Job, *, counted: bool) -> None:
        """End ``job`` for the server's reason, unless all that it wrote is out of place."""
        if job.elsewhere and not self._heard:
            raise explain_silence(self.address, job.elsewhere)
        self.end(job, job.conclude(counted=counted))
