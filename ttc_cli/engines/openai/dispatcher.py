"""Sends requests to a server, up to a limit at once, and books what comes back.

Everything happens on the event loop. A batch of jobs is one task that streams one request; it
ends its jobs one by one, and a job that ends from outside (cancelled, limit lowered, a cap)
closes the request once nobody is left on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Sequence

from ttc_cli.engines.base import EngineInfo, Meter
from ttc_cli.engines.openai.address import Address, Settings, explain
from ttc_cli.engines.openai.probe import Abilities, explain_silence
from ttc_cli.engines.openai.transport import Broken, Refused, Transport, pause
from ttc_cli.engines.openai.wire import Count, Piece
from ttc_cli.engines.openai.work import Account, Bundle, Job, bundle, write_body
from ttc_cli.errors import EngineError, NetworkError, PromptTooLong, ServerFailed, UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

_TOKEN = 4.0
"""Characters in a token, until the server has counted some."""
_ADDED = 64
"""Tokens that a server may put around a prompt; each of the prompt's own is a byte at least."""


class Dispatcher:
    """Sends what the sessions of one engine ask for, and knows what the server has told so far.

    ``scoring`` is held by each score under way: a few beside what grows, not all of them at once.
    ``cut`` counts texts that the server cut off, by its word for why.
    """

    def __init__(
        self, address: Address, settings: Settings, abilities: Abilities, info: EngineInfo
    ) -> None:
        self.address = address
        self.abilities = abilities
        self.info = info
        self.cut: Counter[str] = Counter()
        self.interrupted = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.scoring = asyncio.Semaphore(info.parallel)
        self._settings = settings
        self._accounts: list[Account] = []
        self._queue: deque[Bundle] = deque()
        self._running: list[Job] = []
        self._transport: Transport | None = None
        self._single: dict[str, bool] = {}
        self._characters = _TOKEN
        self._heard = False

    def enter(self, account: Account) -> None:
        """Make room for a session of the running event loop."""
        loop = asyncio.get_running_loop()
        if self.loop is not loop:  # connections belong to the loop that made them
            self.loop, self._transport = loop, None
            self._accounts.clear()
            self._queue.clear()
            self._running.clear()
            self.scoring = asyncio.Semaphore(self.info.parallel)
        if self._transport is None:
            settings = self._settings
            self._transport = Transport(
                self.address, patience=settings.patience, tries=settings.tries
            )
        self._accounts.append(account)

    async def leave(self, account: Account) -> None:
        """Take a closed session out, and the connections with the last one."""
        if account in self._accounts:
            self._accounts.remove(account)
        if not self._accounts:
            self.interrupted = False
            transport, self._transport = self._transport, None
            if transport is not None:
                await transport.close()

    @property
    def transport(self) -> Transport:
        """The connections of this loop."""
        if self._transport is None:
            raise EngineError("The session is closed.")
        return self._transport

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue ``jobs``; those that may not start end at once."""
        for job in jobs:
            if self.interrupted:
                self.end(job, Finish.CANCELLED)
            elif job.account.meter.exhausted():
                self.end(job, Finish.BUDGET)
            elif job.limit <= 0:
                self.end(job, Finish.LENGTH)
        batches = bundle([job for job in jobs if not job.over], self.abilities, self.info.parallel)
        self._queue += batches
        self._fill()
        for batch in batches:
            batch.jobs[0].account.batches |= dict.fromkeys(batch.jobs, batch)

    def end(self, job: Job, finish: Finish) -> None:
        """End ``job`` now, and its request with the last of its jobs."""
        if job.over:
            return
        if finish is Finish.CUT:
            self.cut[self.address.hide(job.word or "")] += 1
        job.finish = finish
        self._hand_over(job)

    def end_all(self, account: Account, finish: Finish) -> None:
        """End everything of a session that grows, waits or is scored."""
        for job in list(account.jobs.values()):
            self.end(job, finish)
        for task in account.scores:
            task.cancel()

    def cancel_everything(self) -> None:
        """End everything that any session has under way."""
        for account in list(self._accounts):
            self.end_all(account, Finish.CANCELLED)

    async def stop(self, jobs: Sequence[Job]) -> None:
        """Cancel what of ``jobs`` still grows, and wait until its requests are closed."""
        for job in jobs:
            if job.failure is None:
                self.end(job, Finish.CANCELLED)
        batches = [job.account.batches.pop(job, None) for job in jobs]
        tasks = {batch.task for batch in batches if batch is not None and batch.task is not None}
        tasks -= {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    def believe(self, count: Count | None, prompt: str, generated: int) -> Count:
        """The server's count of a request for ``prompt``, as far as it can be, or an estimate."""
        if count is None:
            return Count(max(1, round(len(prompt) / self._characters)), generated)
        return count.within(len(prompt.encode()) + _ADDED, generated)

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
                    f"{self.info.model}: it cannot be used with this verifier.",
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
            flops=2.0 * self.info.parameters * (read + count.generated),
        )

    def _charge(self, account: Account, count: Count, *, calls: int = 0) -> None:
        self.charge(account.meter, account.role, count, calls=calls)

    def _report(self, job: Job, tokens: int, gained: str) -> None:
        """Book and announce what ``job`` gained."""
        account = job.account
        if tokens:
            self._charge(account, Count(0, tokens))
        if account.observe is not None and (tokens or gained):
            queued = [each for batch in self._queue for each in batch.jobs if not each.over]
            account.observe(
                Grew(
                    {job.request.label: gained},
                    live=sum(each.account is account for each in self._running),
                    queued=sum(each.account is account for each in queued),
                    kv_used=0,
                    kv_cells=0,
                )
            )

    def _fill(self) -> None:
        """Start batches, in their order, while there is room for all of their jobs."""
        while self._queue:
            batch = self._queue[0]
            jobs = [job for job in batch.jobs if not job.over]
            if self._running and len(self._running) + len(jobs) > self.info.parallel:
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
        batch = job.account.batches.get(job)
        if batch is not None and not batch.open:
            if batch in self._queue:
                self._queue.remove(batch)
            if batch.task is not None and batch.task is not asyncio.current_task():
                batch.task.cancel()
        self._fill()

    def _start(self, batch: Bundle) -> None:
        batch.task = asyncio.get_running_loop().create_task(self._serve(batch))

    async def _serve(self, batch: Bundle) -> None:
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
                    alone = job.account.batches[job] = Bundle([job])
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
                        "Check the server's own log; a lower --parallel asks less of it.",
                    ) from None
                await asyncio.sleep(pause(broken - 1))
            except Refused as refusal:
                self._take_refusal(job, refusal)

    def _take_refusal(self, job: Job, refusal: Refused) -> None:
        """Repeats a request beyond the context for less; anything else is an error."""
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
        account, prompt = jobs[0].account, jobs[0].prompt
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
                if read.prompt > 16:
                    self._characters = max(1.0, len(prompt) / read.prompt)
                self._charge(account, Count(read.prompt, 0, read.cached), calls=1)
        if not all(job.over or job.resumes for job in jobs):
            raise Broken("the stream ended in mid-answer")

    def _take(self, job: Job, piece: Piece, *, waits: bool) -> None:
        """Book one piece. ``waits``: the server's count, which comes after its word, decides."""
        if job.over:  # computed for nobody, but paid
            self._charge(job.account, Count(0, min(piece.tokens, job.room)))
            return
        before = job.drawn
        gained = job.take(piece)
        self._heard = self._heard or bool(gained)
        self._report(job, job.drawn - before, gained)
        if piece.finish is None:
            if job.verdict is not None:
                self.end(job, job.verdict)
        elif not waits and not job.resumes:
            self._conclude(job, counted=False)
        if job.account.meter.exhausted():
            self.end_all(job.account, Finish.BUDGET)

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
            self._charge(job.account, Count(0, extra))
        if not job.resumes:
            self._conclude(job, counted=count is not None)
        elif job.drawn >= job.limit:
            self.end(job, Finish.LENGTH)

    def _conclude(self, job: Job, *, counted: bool) -> None:
        """End ``job`` for the server's reason, unless all that it wrote is out of place."""
        if job.elsewhere and not self._heard:
            raise explain_silence(self.address, job.elsewhere)
        self.end(job, job.conclude(counted=counted))
