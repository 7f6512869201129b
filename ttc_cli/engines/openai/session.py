"""One prompt on a server, and the texts that are its branches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from ttc_cli.engines.base import Branch, Grow, Growth, Prompt, ScoreRow, States, Then
from ttc_cli.engines.branches import BranchedSession
from ttc_cli.engines.openai.address import explain
from ttc_cli.engines.openai.dispatcher import Dispatcher
from ttc_cli.engines.openai.transport import Refused
from ttc_cli.engines.openai.work import Account, BranchText, Job, add_labels, disarm, spell
from ttc_cli.errors import EngineError, NetworkError, ServerFailed, UsageError
from ttc_cli.types import Finish, Role


def _begin(prompt: Prompt, begin: str) -> BranchText:
    text = spell(prompt, begin)
    return BranchText(text, len(text))


class OpenAISession(BranchedSession[BranchText]):
    """One prompt on an ``OpenAIEngine``; see ``engines.base.Session``.

    The server writes ``begin`` before a prompt by itself.
    """

    def __init__(
        self, dispatcher: Dispatcher, account: Account, prompt: Prompt, begin: str
    ) -> None:
        super().__init__(account.meter, _begin(prompt, begin))
        self._dispatcher = dispatcher
        self._account = account
        self._begin = begin

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """A further prompt. Nothing is sent before a branch of it grows or is scored."""
        self._check_open()
        return self._keep(_begin(prompt, self._begin))

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches with the text of ``branch``."""
        path = self._path(branch)
        return [self._keep(path) for _ in range(count)]

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: the text of ``branch``, then ``text``."""
        path = self._path(branch)
        return self._keep(BranchText(path.text + spell(text), path.root))

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch with the text of ``branch`` before the last ``mark``."""
        path = self._path(branch)
        if self._growing([branch]):
            raise UsageError("A branch that grows cannot be cut.")
        place = path.text.rfind(disarm(mark), path.root)
        if place < 0:
            raise UsageError(f"The branch does not hold {mark!r}.")
        return self._keep(BranchText(path.text[:place], path.root))

    async def grow(
        self, requests: Sequence[Grow], then: Then | None = None
    ) -> AsyncIterator[Growth]:
        """Grow all, yielding each as it ends. Others go on while the caller looks at one."""
        self._check_open()
        ended: asyncio.Queue[Job] = asyncio.Queue()
        jobs: list[Job] = []
        try:
            self._submit(requests, ended, jobs)
            seen = 0
            while seen < len(jobs):
                job = await self._next(ended)
                seen += 1
                if job.failure is not None:
                    raise job.failure
                growth = self._growth(job)
                if then is not None:
                    self._submit(then(growth), ended, jobs)
                yield growth
        finally:
            await self._dispatcher.stop(jobs)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Close the requests of these."""
        for job in self._growing(branches):
            self._dispatcher.end(job, Finish.CANCELLED)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of what still grows."""
        for job in self._growing(branches):
            job.limit = min(job.limit, max(1, max_tokens))
            if job.drawn >= job.limit:
                self._dispatcher.end(job, Finish.LENGTH)

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """One drawn token for each row, and the labels among its likeliest tokens.

        A label beyond those that the server tells counts as impossible. The token that the server
        draws is charged too.
        """
        self._check_open()
        if not self._dispatcher.info.scores:
            raise UsageError(
                f"The server {self._dispatcher.address.url} gives no log-probabilities, which this "
                "verifier needs.",
                "Use a strategy of whole answers: --strategy majority.",
            )
        if any(row.since is not None for row in rows):
            raise UsageError(
                "A server does not tell how likely a given text is, which this verifier reads.",
                "Use another verifier, or the models on this machine.",
            )
        tasks = [asyncio.get_running_loop().create_task(self._score(row)) for row in rows]
        self._account.scores |= set(tasks)
        try:
            async with asyncio.timeout(self.meter.remaining_seconds()):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        except TimeoutError:
            pass
        finally:
            self._account.scores -= set(tasks)
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        for each in found:
            if isinstance(each, Exception):
                raise each
        return [each if isinstance(each, tuple) else () for each in found]

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """Refused: a server gives no hidden states."""
        raise UsageError(
            "A server gives no hidden states, which this verifier reads.",
            "Use another verifier, or the model on this machine.",
        )

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these."""
        gone = list(branches)
        self.cancel(gone)
        for branch in gone:
            if branch is not self.root:
                self._paths.pop(branch, None)
                self._account.jobs.pop(branch, None)

    async def _leave(self) -> None:
        for task in self._account.scores:
            task.cancel()
        await self._dispatcher.stop(list(self._account.batches))
        self._paths.clear()
        await self._dispatcher.leave(self._account)

    def _submit(self, requests: Sequence[Grow], ended: asyncio.Queue[Job], jobs: list[Job]) -> None:
        """Let ``requests`` grow as further ``jobs`` of one iteration."""
        fresh: list[Job] = []
        for request in requests:
            path = self._path(request.branch)
            twice = any(job.request.branch == request.branch for job in fresh)
            if twice or self._growing([request.branch]):
                raise UsageError("A branch can only grow once at a time.")
            if request.floor is not None and not self._dispatcher.info.scores:
                raise UsageError(
                    "The server gives no log-probabilities, which confidence is computed from."
                )
            if request.grammar is not None and not self._dispatcher.info.grammars:
                raise UsageError("The server does not hold its output to a schema.")
            fresh.append(Job(self._account, request, path, request.max_tokens, ended))
        self._account.jobs |= {job.request.branch: job for job in fresh}
        jobs += fresh
        self._dispatcher.submit(fresh)

    async def _next(self, ended: asyncio.Queue[Job]) -> Job:
        """The next job to end; when the time is up, all do."""
        while True:
            try:
                async with asyncio.timeout(self.meter.remaining_seconds()):
                    return await ended.get()
            except TimeoutError:
                self._dispatcher.end_all(self._account, Finish.BUDGET)

    def _growth(self, job: Job) -> Growth:
        assert job.finish is not None
        text = self._dispatcher.address.hide_secret("".join(job.text))  # it may come in pieces
        if job.request.branch in self._paths and job.drawn:
            path = BranchText(job.path.text + disarm(text), job.path.root)
            self._paths[job.request.branch] = path
        return Growth(
            job.request.branch,
            job.request.label,
            text,
            job.drawn,
            job.finish,
            job.trace.summarise(),
        )

    async def _score(self, row: ScoreRow) -> tuple[float, ...]:
        server = self._dispatcher
        prompt = self._path(row.branch).text + spell(row.suffix)
        async with server.scoring:
            if server.interrupted or self.meter.exhausted():
                return ()
            await server.require_labels(row.labels, self.meter)
            body = {
                "model": server.abilities.served.model,
                "prompt": prompt,
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": server.abilities.logprobs,
            }
            try:
                reply = await server.transport.complete(body)
            except Refused as refusal:
                raise explain(refusal.status, refusal.body, server.address) from None
            except NetworkError as error:
                if isinstance(error, EngineError):
                    raise
                raise ServerFailed(error.message, error.hint) from None
        server.charge(self.meter, Role.VERIFIER, server.believe(reply.count, prompt, 1))
        draws = reply.pieces[0].draws if reply.pieces else ()
        return add_labels(draws[0], row.labels) if draws else ()

    def _growing(self, branches: Iterable[Branch]) -> list[Job]:
        jobs = (self._account.jobs.get(branch) for branch in branches)
        return [job for job in jobs if job is not None and not job.over]
