"""Who is served when: requests take seats in the batch, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from ttc_cli.serving.refusals import Refusal


class Seats:
    """The branches that an engine grows at once, and a bounded line of those who wait for some.

    Nobody overtakes: one that wants many is not kept waiting by others that want few.
    """

    def __init__(self, branches: int, most_waiting: int) -> None:
        self.branches = branches
        self.free = branches
        self.closed = False
        self._most_waiting = most_waiting
        self._line: deque[Seat] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def join(self, weights: Sequence[int], patience: float) -> list[Seat]:
        """Line up for ``weights`` branches each; every seat must be left.

        ``patience`` is in how many seconds those who are turned away should try again.

        Raises:
            Refusal: too many would wait, or the server is about to end.
        """
        again = {"Retry-After": str(max(1, round(patience)))}
        if self.closed:
            raise _refuse_closed(again)
        idle = self.free == self.branches
        seats = [Seat(self, min(weight, self.branches)) for weight in weights]
        self._line.extend(seats)
        self.call()
        if self.waiting > self._most_waiting:
            for seat in reversed(seats):
                seat.leave()
            if idle:  # nor would there ever be room
                raise Refusal("n is more than can wait here at once (--max-waiting).", param="n")
            raise Refusal(
                "Too many requests wait already. Try again later.",
                status=429,
                code="too_many_requests",
                headers=again,
            )
        return seats

    def call(self) -> None:
        """Let those begin whose turn it is."""
        while self._line and self._line[0].weight <= self.free:
            seat = self._line.popleft()
            self.free -= seat.weight
            seat.taken = True
            seat.called.set()

    def close(self) -> None:
        """Take no more, and turn away those who wait."""
        self.closed = True
        for seat in self._line:
            seat.called.set()
        self._line.clear()

    def leave(self, seat: Seat) -> None:
        """Give ``seat`` back, whether its turn had come or not. Idempotent."""
        if seat.taken:
            seat.taken = False
            self.free += seat.weight
        elif seat in self._line:
            self._line.remove(seat)
        self.call()


class Seat:
    """A place in the line, and then ``weight`` branches of the engine."""

    def __init__(self, seats: Seats, weight: int) -> None:
        self.weight = weight
        self.taken = False
        self.called = asyncio.Event()
        self._seats = seats

    async def wait(self, seconds: float) -> None:
        """Return when its turn has come.

        Raises:
            Refusal: it did not within ``seconds``, or the server is about to end.
        """
        try:
            async with asyncio.timeout(seconds):
                await self.called.wait()
        except TimeoutError as error:
            raise Refusal(
                f"Its turn did not come within {seconds:g} s. Try again later.",
                status=503,
                code="timeout",
                headers={"Retry-After": "10"},
            ) from error
        if not self.taken:
            raise _refuse_closed({})

    def leave(self) -> None:
        """Give it back. Idempotent."""
        self._seats.leave(self)


def _refuse_closed(headers: dict[str, str]) -> Refusal:
    return Refusal("The server is ending.", status=503, code="shutting_down", headers=headers)
