"""Answers what clients want with one solver, all of them in one batch."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ttc_cli.events import Event, Grew
from ttc_cli.output import Output
from ttc_cli.serving.metrics import Metrics
from ttc_cli.serving.protocol import PLAIN, Wanted
from ttc_cli.serving.seats import Seat, Seats
from ttc_cli.serving.ways import check_ways
from ttc_cli.solving.keeping import keep_run
from ttc_cli.solving.request import Request
from ttc_cli.solving.solver import BRANCHES, Solver
from ttc_cli.types import Result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, or all together, may take.

    Attributes:
        waiting: choices that may wait for their turn.
        seconds: from a request to its answer; what was found by then is the answer.
        body: bytes of a request.
        body_seconds: to send them; also to send what comes before, and to take what is sent.
        grace: seconds that running searches may still take when the server ends.
    """

    waiting: int = 64
    seconds: float = 300.0
    body: int = 1 << 20
    body_seconds: float = 30.0
    grace: float = 20.0


class Service:
    """One solver, and the clients that share it. Everything here runs on one event loop.

    ``keeps`` is whether runs are kept in the log.
    """

    def __init__(self, solver: Solver, limits: Limits, *, keeps: bool = False) -> None:
        self.solver = solver
        self.limits = limits
        self.metrics = Metrics()
        self.seats = Seats(solver.info.parallel, limits.waiting)
        self.broken = False
        self._keeps = keeps
        self._reading = asyncio.Lock()

    @property
    def label(self) -> str:
        """The model's name."""
        return self.solver.label

    def drain(self) -> None:
        """Take nothing more; what runs is answered with its best after the grace period."""
        if not self.seats.closed:
            self.seats.close()
            asyncio.get_running_loop().call_later(self.limits.grace, self.solver.interrupt)

    async def prepare(self, wanted: Wanted) -> Request:
        """The request that ``wanted`` comes to; caps of time are set when its turn has come.

        Raises:
            UsageError: it asks for what cannot be done together.
        """
        if "schema" not in wanted.how:
            return self._prepare(wanted)
        async with self._reading:  # it becomes a grammar, which may take seconds
            return await asyncio.to_thread(self._prepare, wanted)

    def _prepare(self, wanted: Wanted) -> Request:
        if "schema" in wanted.how:
            check_ways(wanted.how["schema"])
        request = self.solver.ask(wanted.problem, wanted.how)  # type: ignore[arg-type]
        budget, most = request.budget, wanted.max_tokens
        if wanted.effort == PLAIN:  # one reply, as long as it likes
            longest = self.solver.info.context if most is None else most
            budget = replace(budget, tokens_per_candidate=longest)
        elif most is not None:
            budget = replace(budget, max_tokens=most)
        sampling = request.sampling
        if wanted.top_p is not None:
            sampling = replace(sampling, top_p=wanted.top_p)
        return replace(request, budget=budget, sampling=sampling)

    def line_up(self, wanted: Wanted) -> list[Seat]:
        """A place for each choice; each must be left.

        Raises:
            Refusal: too many wait.
        """
        weight = 1 if wanted.effort == PLAIN else BRANCHES
        return self.seats.join([weight] * wanted.count, self.metrics.average)

    async def run(
        self, wanted: Wanted, request: Request, seats: Sequence[Seat]
    ) -> AsyncGenerator[tuple[int, Event | Result], None]:
        """The events of each choice, by its place, and its result as the last of them.

        Leaving the iterator ends what still grows, at the next token.

        Raises:
            Refusal: its turn did not come in time.
            TtcError: as ``Solver.answer``; the other choices are ended then.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[tuple[int, Event | Result | Exception]] = asyncio.Queue()
        began = time.monotonic()

        async def find(place: int, seat: Seat) -> None:
            def tell(item: Event | Result | Exception) -> None:
                loop.call_soon_threadsafe(found.put_nowait, (place, item))

            own = replace(request, seed=wanted.seed + place)
            try:
                tell(await self._find(own, seat, began, tell))
            except Exception as error:
                tell(error)
            finally:
                seat.leave()

        tasks = [loop.create_task(find(*each)) for each in enumerate(seats)]
        try:
            left = len(tasks)
            while left:
                place, item = await found.get()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Result):
                    left -= 1
                    self.metrics.book(item)
                elif isinstance(item, Grew):
                    self.metrics.cells_used, self.metrics.cells = item.kv_used, item.kv_cells
                yield place, item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(
        self, request: Request, seat: Seat, began: float, hear: Callable[[Event], None]
    ) -> Result:
        seconds = self.limits.seconds
        await seat.wait(seconds)
        left = max(0.1, seconds - (time.monotonic() - began))
        request = replace(request, budget=replace(request.budget, max_seconds=left))
        if not self._keeps:
            return await self.solver.answer(request, hear, branches=seat.weight)
        flags = {"served": True, "seed": request.seed, "budget": request.budget.level}
        out = Output(quiet=True)
        async with in_threads(keep_run(request, flags, [], out, wanted=True)) as kept:
            readers = () if kept.recorder is None else (kept.recorder,)
            result = await self.solver.answer(request, hear, *readers, branches=seat.weight)
            kept.conclude(result, out)
            return result


@contextlib.asynccontextmanager
async def in_threads(manager: contextlib.AbstractContextManager[T]) -> AsyncIterator[T]:
    """``manager``, entered and left in threads, as it waits for a disk; left whatever happens."""
    entering = asyncio.ensure_future(asyncio.to_thread(manager.__enter__))
    try:
        yield await asyncio.shield(entering)
    except BaseException as error:
        await asyncio.wait([entering])
        if entering.exception() is None:
            await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(manager.__exit__, None, None, None)
