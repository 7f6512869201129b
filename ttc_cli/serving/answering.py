"""One request from its question to its reply, whole or in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ttc_cli.errors import EngineError, TtcError
from ttc_cli.events import Event, Grew, RunStarted, Warned
from ttc_cli.serving.protocol import PLAIN, Wanted
from ttc_cli.serving.refusals import Refusal, refuse_because
from ttc_cli.serving.replies import Envelope, LiveText, make_reply
from ttc_cli.serving.seats import Seat
from ttc_cli.serving.service import Service
from ttc_cli.solving.request import Request
from ttc_cli.types import Result
from ttc_cli.views.plain import Milestones

BEAT = 15.0
"""Seconds of silence in a stream after which a comment keeps it open."""
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx passes pieces on as they come
}


class Json(JSONResponse):
    """JSON in ASCII: one line whoever tells lines apart, and harmless on a terminal."""

    def render(self, content: Any) -> bytes:
        """``content`` as bytes."""
        return json.dumps(content, allow_nan=False).encode()


def word(error: Refusal) -> Response:
    """``error`` as a response."""
    return Json(error.body, error.status, error.headers)


class Answer(Response):
    """The reply to ``wanted``. Its search ends with it, and when the client goes away.

    ``seats`` are left at the end; ``tell`` gets a line then.
    """

    def __init__(
        self,
        service: Service,
        wanted: Wanted,
        request: Request,
        seats: Sequence[Seat],
        path: str,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._service = service
        self._wanted = wanted
        self._request = request
        self._seats = seats
        self._path = path
        self._tell = tell
        self._began = time.monotonic()
        self._first: float | None = None
        self._results: dict[int, Result] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply, unless the client goes away first."""
        self._service.metrics.running += 1
        status = None
        work = asyncio.create_task(self._write(scope, receive, send))
        gone = asyncio.create_task(_wait_for_end(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # one that has just sent its last piece is not gone
            if work.done():
                status = 500  # where it raises
                status = work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            for seat in self._seats:
                seat.leave()
            self._service.metrics.running -= 1
            self._book(status)

    def _book(self, status: int | None) -> None:
        metrics, seconds = self._service.metrics, time.monotonic() - self._began
        if status is None:
            metrics.abandoned += 1
        else:
            metrics.count(self._path, status)
        if status == 200:
            metrics.time(seconds, self._first)
        tokens = sum(each.usage.generated_tokens for each in self._results.values())
        what = f"{self._path} {self._wanted.effort}: {tokens:,} tokens, {seconds:.1f} s"
        self._tell(f"{status or 'gone'} {what}")

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Send the reply; returns its status."""
        stream = _Stream(send)
        try:
            if self._wanted.stream:
                await self._write_stream(stream)
            else:
                await Json(await self._make_whole())(scope, receive, send)
        except Refusal as error:
            if stream.begun:
                await stream.send(error.body)
                await stream.end()
            else:
                await word(error)(scope, receive, send)
            return error.status
        return 200

    async def _make_whole(self) -> dict[str, Any]:
        choices = [_Choice(self._wanted, self._request) for _ in self._seats]
        words = [""] * len(choices)
        async with contextlib.aclosing(self._listen()) as heard:
            async for place, item in heard:
                if not isinstance(item, Result):
                    words[place] += choices[place].hear(item)[0]
        results = [self._results[place] for place in range(len(choices))]
        replies = [make_reply(self._wanted, each) for each in results]
        return Envelope(self._wanted).whole(results, replies, words)

    async def _write_stream(self, stream: _Stream) -> None:
        envelope = Envelope(self._wanted)
        choices = [_Choice(self._wanted, self._request) for _ in self._seats]
        async with stream.beating(), contextlib.aclosing(self._listen()) as heard:
            async for place, item in heard:
                choice = choices[place]
                if isinstance(item, Result):
                    reply = make_reply(self._wanted, item)
                    delta = {"content": choice.end(reply.content)}
                else:
                    thought, said = choice.hear(item)
                    delta = {"reasoning_content": thought, "content": said}
                pieces = envelope.pieces(place, delta, begun=choice.begun)
                choice.begun = choice.begun or bool(pieces)
                if isinstance(item, Result):
                    pieces += envelope.end(place, reply, item)
                for piece in pieces:
                    await stream.send(piece)
        if self._wanted.reports_usage:
            await stream.send(envelope.usage(list(self._results.values())))
        await stream.end()

    async def _listen(self) -> AsyncGenerator[tuple[int, Event | Result], None]:
        """As ``Service.run``; nothing comes before it is sure that the question fits.

        Raises:
            Refusal: there is no answer.
        """
        held: list[tuple[int, Event | Result]] = []
        run = self._service.run(self._wanted, self._request, self._seats)
        try:
            async with contextlib.aclosing(run):
                async for place, item in run:
                    held.append((place, item))
                    if isinstance(item, RunStarted | Warned):
                        continue
                    if isinstance(item, Grew) and self._first is None:
                        self._first = time.monotonic() - self._began
                    if isinstance(item, Result):
                        self._results[place] = item
                        if not item.candidates:
                            raise _refuse_empty(item)
                    for each in held:
                        yield each
                    held.clear()
        except TtcError as error:
            self._service.broken |= isinstance(error, EngineError)
            raise refuse_because(error) from error


def _refuse_empty(result: Result) -> Refusal:
    status, code = (503, "shutting_down") if result.interrupted else (504, "timeout")
    return Refusal(f"Nothing was written: {result.stop_reason}.", status=status, code=code)


class _Choice:
    """One choice while it grows; ``begun`` once a piece of it was sent."""

    def __init__(self, wanted: Wanted, request: Request) -> None:
        self.begun = False
        self._said = ""
        self._milestones: Milestones | None = None
        self._text: LiveText | None = None
        if wanted.effort != PLAIN:
            self._milestones = Milestones()
        elif not wanted.tools and "schema" not in wanted.how:
            think = request.thinking
            self._text = LiveText(wanted.stop, (think.opening, think.closing) if think else None)

    def hear(self, event: Event) -> tuple[str, str]:
        """What ``event`` adds to what is thought, and to the reply."""
        if self._milestones is not None:
            return "".join(f"{line}\n" for line in self._milestones.read(event)), ""
        if self._text is not None and isinstance(event, Grew):
            thought, said = self._text.feed("".join(event.texts.values()))
            self._said += said
            return thought, said
        return "", ""

    def end(self, content: str) -> str:
        """What is still to be said of the reply, all of which is ``content``."""
        if content.startswith(self._said):
            return content[len(self._said) :]
        return self._text.rest if self._text is not None else ""  # it reads thoughts otherwise


class _Stream:
    """Server-sent events; begun with the first of them."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send
        self._sent = time.monotonic()
        self._writing = asyncio.Lock()

    async def send(self, piece: dict[str, Any]) -> None:
        """Send one piece."""
        await self._write(b"data: %b\n\n" % json.dumps(piece, allow_nan=False).encode())

    async def end(self) -> None:
        """Say that nothing follows."""
        await self._write(b"data: [DONE]\n\n", last=True)

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncGenerator[None, None]:
        """Send a comment whenever nothing was sent for a while: proxies end silent streams."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(max(0.1, self._sent + BEAT - time.monotonic()))
                if time.monotonic() - self._sent >= BEAT:
                    await self._write(b": thinking\n\n")

        beats = asyncio.create_task(beat())
        try:
            yield
        finally:
            beats.cancel()

    async def _write(self, body: bytes, *, last: bool = False) -> None:
        async with self._writing:
            if not self.begun:
                head = Response(headers=_HEADERS, media_type="text/event-stream")
                headers = [each for each in head.raw_headers if each[0] != b"content-length"]
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
                self.begun = True
            self._sent = time.monotonic()
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})


async def _wait_for_end(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
