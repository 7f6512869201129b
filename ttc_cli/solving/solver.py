"""Answers questions with loaded models: what the command, batches and Python all go through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, Self, Unpack

from ttc_cli.answers import Comparer
from ttc_cli.engines.base import Engine, EngineInfo
from ttc_cli.errors import TtcError
from ttc_cli.events import Event, EventStream, Warned
from ttc_cli.forms.interpreters import Interpreters
from ttc_cli.policy.cascade import solve_in_turn
from ttc_cli.policy.stage import Stage
from ttc_cli.policy.table import Table
from ttc_cli.prompts import Chat
from ttc_cli.solving import choosing, coding, loading
from ttc_cli.solving.blocking import iterate, wait_for
from ttc_cli.solving.checking import check
from ttc_cli.solving.measured import (
    find_policy,
    find_refused,
    find_table,
    hash_generator,
    make_probe,
    reads_probe,
)
from ttc_cli.solving.options import Asking
from ttc_cli.solving.request import Request
from ttc_cli.types import AnswerType, Problem, Result, Score
from ttc_cli.verifiers import registry
from ttc_cli.verifiers.base import CHECK_SECONDS, Verifier, VerifierContext

Reader = Callable[[Event], None]

BRANCHES = 4
"""Of a question's share of the engine where many are answered: what ``auto`` begins with."""


class Solver:
    """Loaded models that answer questions, one or many at once. Made by ``ttc_cli.load``.

    Use it as a context manager, or call ``close``: a model holds gigabytes. The methods that begin
    with ``a`` are coroutines of the same meaning. A solver serves one event loop at a time;
    where several models are loaded, it answers one question after the other.
    """

    def __init__(self, request: Request, loaded: loading.Loaded) -> None:
        self._request = request
        self._loaded = loaded
        self._comparer = Comparer()
        self._interpreters = Interpreters(warn=_warn)
        self._writes: dict[int, bool] = {}
        self._turn: int | None = 0
        self._grounds: dict[tuple[int, bool, bool], _Grounds] = {}
        self._running = 0
        self._alone = asyncio.Lock()
        self._testing = asyncio.Lock()

    @classmethod
    async def open(cls, request: Request, work: Future[loading.Loaded]) -> Solver:
        """Wait for the models of ``request``, which ``work`` (``loading.begin``) is loading.

        If this is cancelled, they are closed as soon as they are there.

        Raises:
            TtcError: as ``loading.load``.
        """
        with loading.closing_late(work):
            warm_up(request)
            return cls(request, await asyncio.wrap_future(work))

    # --- questions from Python

    def solve(
        self, question: str | Problem, on_event: Reader | None = None, **how: Unpack[Asking]
    ) -> Result:
        """Answer ``question``.

        Args:
            question: as text, or as a ``Problem``.
            on_event: is called with every event while the search runs, from its thread.
            how: see ``Asking``.

        Returns:
            The best answer found under the caps. ``result.answer`` is None where no candidate
            stated one.

        Raises:
            UsageError: an unknown name, or options that cannot go together.
            PromptTooLong: the question leaves no room to answer.
            EngineError: the engine failed before any candidate had ended.
        """
        return wait_for(self.asolve(question, on_event, **how))

    async def asolve(
        self, question: str | Problem, on_event: Reader | None = None, **how: Unpack[Asking]
    ) -> Result:
        """As ``solve``; cancelling it ends the search at the next token."""
        readers = () if on_event is None else (on_event,)
        return await self.answer(self.ask(question, how), *readers)

    def stream(
        self, question: str | Problem, **how: Unpack[Asking]
    ) -> Generator[Event, None, None]:
        """The events of a search as they happen; the last is ``RunEnded`` with the result.

        Closing the iterator ends the search. Raises as ``solve``.
        """
        return iterate(self.astream(question, **how))

    async def astream(
        self, question: str | Problem, **how: Unpack[Asking]
    ) -> AsyncGenerator[Event, None]:
        """As ``stream``."""
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Event | None] = asyncio.Queue()

        def hear(event: Event) -> None:
            loop.call_soon_threadsafe(found.put_nowait, event)

        task = loop.create_task(self.asolve(question, hear, **how))
        task.add_done_callback(lambda _: loop.call_soon(found.put_nowait, None))
        try:
            while (event := await found.get()) is not None:
                yield event
            await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TtcError):
                await task

    def solve_many(
        self,
        questions: Iterable[str | Problem],
        jobs: int | None = None,
        on_event: Reader | None = None,
        **how: Unpack[Asking],
    ) -> Generator[tuple[int, Result | TtcError], None, None]:
        """Answer many questions, several at once in one batch of the engine.

        Args:
            questions: any number; read as they are needed.
            jobs: questions at once; None is a fourth of the engine's branches.
            on_event: is called with every event of all of them.
            how: see ``Asking``; the same for all.

        Yields:
            Each question's place, from 0, and its result or the error that it ended with, in the
            order in which they end.
        """
        return iterate(self.asolve_many(questions, jobs, on_event, **how))

    async def asolve_many(
        self,
        questions: Iterable[str | Problem],
        jobs: int | None = None,
        on_event: Reader | None = None,
        **how: Unpack[Asking],
    ) -> AsyncGenerator[tuple[int, Result | TtcError], None]:
        """As ``solve_many``."""
        requests = (self.ask(question, how) for question in questions)
        readers = () if on_event is None else (on_event,)
        async with contextlib.aclosing(self.answer_many(requests, jobs, *readers)) as ended:
            async for place, outcome in ended:
                if isinstance(outcome, Exception) and not isinstance(outcome, TtcError):
                    raise outcome
                yield place, outcome

    def check(self, question: str, solution: str) -> tuple[Score, ...]:
        """What is to be said of a ``solution`` that somebody else wrote.

        ``judge`` is the model itself, asked whether that is right: only the ranking of its scores
        means something. ``arithmetic`` works the sums out again, where there are any.

        Raises:
            PromptTooLong: question and solution do not fit.
            TemplateError: the model cannot be asked after an answer.
        """
        return wait_for(self.acheck(question, solution))

    async def acheck(self, question: str, solution: str) -> tuple[Score, ...]:
        """As ``check``."""
        request = self.ask(question, {"answer_type": AnswerType.FREE})
        with self._busy():
            async with self._alone if self._takes_one else contextlib.nullcontext():
                stage = await self._prepare(request, 0, None, None)
                return await check(stage, request, solution)

    @property
    def info(self) -> EngineInfo:
        """What the generator is and can do."""
        return self._loaded.engine.info

    def interrupt(self) -> None:
        """Stop every search at the next token; each gives its best (``result.interrupted``).

        Safe to call from a signal handler or another thread.
        """
        self._loaded.interrupt()

    def close(self) -> None:
        """Free the models. Idempotent; nothing may be running."""
        wait_for(self._interpreters.close())
        self._loaded.close()
        self._comparer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._interpreters.close()  # with what runs on this loop
        await asyncio.to_thread(self.close)

    # --- requests, as the command line makes them

    @property
    def engine(self) -> Engine:
        """The generator's engine; of a cascade, that of the model asked last."""
        return self._loaded.engine

    @property
    def label(self) -> str:
        """What the generator is called in views and results."""
        return self._request.label

    async def answer(
        self, request: Request, *readers: Reader, branches: int | None = None
    ) -> Result:
        """Answer ``request``, which names the models that were loaded here.

        Several may be answered at once, begun at any time; each then says how many ``branches`` of
        the engine it may grow at once. None is all of them.

        Raises:
            TtcError: as ``policy.cascade.solve_in_turn``.
        """
        if branches is None or self._takes_one:
            with self._busy():
                return await self._answer(request, readers)
        from ttc_cli.engines.share import EngineShare
        from ttc_cli.models import hardware

        checks = max(1, hardware.count_cores() * branches // self.info.parallel)
        with self._busy():
            share = EngineShare(self.engine, branches)
            return await self._answer(request, readers, share, checks)

    def ask(self, question: str | Problem, how: Asking) -> Request:
        """The request for ``question``, asked as ``how`` says, on the models of this solver.

        Raises:
            UsageError: an unknown name, or options that cannot go together.
        """
        options: dict[str, Any] = dict(how)
        problem = question if isinstance(question, Problem) else Problem(question)
        keys = how.keys() & {"answer_type", "system", "schema"}
        own = {key: options.pop(key) for key in keys}
        return choosing.ask_again(
            self._request,
            choosing.word(problem, own, served=self._request.server is not None),
            options,
        )

    def count_jobs(self, wanted: int | None = None) -> int:
        """Questions that ``answer_many`` answers at once where ``wanted`` are asked for."""
        if self._takes_one:
            return 1
        parallel = self.info.parallel
        return min(wanted or max(1, parallel // BRANCHES), parallel)

    @property
    def _takes_one(self) -> bool:
        """Whether questions must be answered one after the other.

        An engine decodes when every run waits for it: one that grows on the generator and one that
        asks the verifier's model would wait for each other for ever. In a cascade one run would
        close the model that another grows on.
        """
        return len(self._loaded.engines) > 1 or bool(self._request.larger)

    async def answer_many(
        self, requests: Iterable[Request], jobs: int | None = None, *readers: Reader
    ) -> AsyncGenerator[tuple[int, Result | Exception], None]:
        """As ``asolve_many``, for requests that name the models loaded here.

        Each has a share of the engine's branches. What is found for a question depends on itself,
        its seed and the size of the shares, not on what is asked beside it. After ``interrupt`` no
        more are begun. ``readers`` get the events of all.
        """
        from ttc_cli.engines.share import EngineShare
        from ttc_cli.models import hardware

        count = self.count_jobs(jobs)
        if (jobs or 1) > count and len(self._loaded.engines) > 1:
            for reader in readers:
                reader(Warned("a verifier's own model is asked for one question at once"))
        # In a cascade the engine of one question is not that of the next.
        share = None if self._takes_one else EngineShare(self.engine, self.info.parallel // count)
        checks = max(1, hardware.count_cores() // count)
        waiting = enumerate(requests)
        found: asyncio.Queue[tuple[int, Result | Exception] | None] = asyncio.Queue()

        async def work() -> None:
            try:
                for place, request in waiting:
                    outcome: Result | Exception
                    try:
                        outcome = await self._answer(request, readers, share, checks)
                    except Exception as error:
                        outcome = error
                    if self._loaded.stopped.is_set() and isinstance(outcome, Exception):
                        return
                    found.put_nowait((place, outcome))
                    if self._loaded.stopped.is_set():
                        return
            finally:
                found.put_nowait(None)

        with self._busy():
            tasks = [asyncio.create_task(work()) for _ in range(count)]
            try:
                left = len(tasks)
                while left:
                    ended = await found.get()
                    if ended is None:
                        left -= 1
                    else:
                        yield ended
                await asyncio.gather(*tasks)  # what the iterable of requests raised
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(
        self,
        request: Request,
        readers: Sequence[Reader],
        engine: Engine | None = None,
        checks: int | None = None,
    ) -> Result:
        """Answer on ``engine``, a share of the generator's, with ``checks`` commands at once."""
        turns = enumerate(request.in_turn())
        events = EventStream(list(readers))
        heard = _hearing.set(events)
        try:
            async with self._alone if self._takes_one else contextlib.nullcontext():
                return await solve_in_turn(
                    request.problem,
                    [partial(self._prepare, own, turn, engine, checks) for turn, own in turns],
                    request.search_options,
                    comparer=self._comparer,
                    events=events,
                    stopped=self._loaded.stopped.is_set,
                )
        finally:
            _hearing.reset(heard)

    async def _prepare(
        self, request: Request, turn: int, engine: Engine | None, checks: int | None
    ) -> Stage:
        """What a search for ``request`` goes by; in a cascade its model takes the last one's place.

        ``turn`` is the model's, from 0. ``engine`` and ``checks`` are as for ``_answer``; None is
        all of the engine, and one check a core.
        """
        from ttc_cli.models import hardware

        loaded = self._loaded
        if turn != self._turn:
            loaded.engine.close()
            self._turn = None  # until the next is there: this may be cancelled, or fail
            work = loading.begin(request)
            with loading.closing_late(work):
                loaded.engine = (await asyncio.wrap_future(work)).engine
            self._turn = turn
        key = turn, request.strategy == "auto", reads_probe(request)
        if key not in self._grounds:
            arguments = choosing.choose_template_arguments(request.model, request.thinking)
            chat = Chat(loaded.engine.info, arguments)
            policy = find_policy(request, chat) if any(key[1:]) else None
            states = loaded.engine.info.states
            self._grounds[key] = _Grounds(
                chat,
                find_table(request, chat, policy),
                find_refused(request),
                make_probe(request, policy, states) if reads_probe(request) else None,
            )
        chat, table, refused, probe = self._grounds[key]
        table, notes = await self._choose_forms(request, turn, chat, table, engine)
        means = VerifierContext(
            chat,
            load=loaded.verifying.__getitem__,
            engine=engine or loaded.engine,
            fingerprint=None if request.server else lambda: hash_generator(request),
            check_seconds=request.check_seconds or CHECK_SECONDS,
            sandbox=request.sandbox,
            parallel=checks or hardware.count_cores(),
            stopped=loaded.stopped,
        )
        engines = loaded.engines
        return Stage(
            engine or loaded.engine,
            chat,
            table,
            request.sampling,
            registry.build(request.verifiers, means),
            probe,
            request.thinking,
            refused,
            request.find_known(turn),
            overlaps=len(engines) > 1 and any(each.info.offloaded for each in engines),
            # A temperature that the user chose is that of every form.
            samplings=None if request.sampling == request.model.entry.sampling else {},
            notes=notes,
            interpreter=self._interpreters,
        )

    async def _choose_forms(
        self, request: Request, turn: int, chat: Chat, table: Table, engine: Engine | None
    ) -> tuple[Table, tuple[str, ...]]:
        """``table``, with programs where nothing else is known and a test shows that they run.

        Also what to say of that test, if it was made now: the first question waits for it, and all
        that are asked beside it.
        """
        if not coding.is_open(request, table):
            return table, ()
        said = ""
        async with self._testing:
            if turn not in self._writes:
                own = engine or self._loaded.engine
                self._writes[turn], said = await coding.find_out(
                    request, chat, own, self._interpreters, self._comparer
                )
                if self._loaded.stopped.is_set():  # what was interrupted was the test
                    own.interrupt()
        return table.with_programs() if self._writes[turn] else table, (said,) if said else ()

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """An interruption holds for all that runs now, and for nothing that begins later."""
        if not self._running:
            self._alone, self._testing = asyncio.Lock(), asyncio.Lock()  # of this event loop
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._loaded.stopped.clear()


class _Grounds(NamedTuple):
    """What holds for all questions of one kind that a model is asked."""

    chat: Chat
    table: Table
    refused: Mapping[str, str]
    probe: Verifier | None


_hearing: ContextVar[EventStream] = ContextVar("hearing")
"""The events of the question that is being answered in this context."""


def _warn(message: str) -> None:
    """Say it among the events of the question whose program it is about."""
    _hearing.get().emit(Warned(message))


def warm_up(request: Request) -> None:
    """Import what a search for ``request`` needs, while its models are being loaded."""
    if request.strategy == "auto" and request.server is None:
        from ttc_cli.policy.file import make_reader

        make_reader()
