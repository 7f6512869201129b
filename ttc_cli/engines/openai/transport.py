"""Requests to one server: repeated with growing pauses where that may help, else explained.

Nothing is charged here, so that nothing is charged twice: however often it is repeated, a request
is one request to the caller. The caller resumes a stream that breaks off (``Broken``), because it
knows what it has received.

Everything is read within limits: of bytes (after unpacking), of lines and of time.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ttc_cli.engines.openai.address import Address, explain
from ttc_cli.engines.openai.wire import (
    Chunk,
    Reported,
    Unreadable,
    find_message,
    is_stray,
    read_json,
    read_line,
    read_reply,
)
from ttc_cli.errors import NetworkError, ServerFailed, Unreachable, UsageError

if TYPE_CHECKING:
    import httpx2

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Status codes of passing trouble: overload, a model that is still loading, a proxy's time-out."""

_CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0

MOST_BYTES = 16 << 20
"""Of a reply, and of one line of a stream: twice what 16 choices of 768 tokens take, all told."""
_BYTES_A_TOKEN = 2048
"""Of a longer reply that comes whole, its log-probabilities and their rivals included."""
_HINT = "Check the server's own log, then repeat the command."
_PAGE_BYTES, _REFUSAL_BYTES = 4 << 20, 64 << 10
_LINES, _LINES_A_TOKEN = 10_000, 16
"""Of a stream: what may say nothing (a sign of life each 15 seconds: a day), and what may grow."""


class Refused(Exception):
    """An error reply that asking again would not cure."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


class Broken(Exception):
    """A stream that ended before its time."""


class Transport:
    """A connection pool to ``address`` within one event loop.

    Args:
        address: the server.
        patience: seconds for which it may say nothing, and in which it must have said a line of
            a stream, or the whole of another reply.
        tries: how often a request is made before it has failed.
    """

    def __init__(self, address: Address, *, patience: float, tries: int) -> None:
        import httpx2

        self._address = address
        self._patience = patience
        self._tries = tries
        self._client = httpx2.AsyncClient(
            headers=address.headers,
            timeout=httpx2.Timeout(patience, connect=min(_CONNECT_SECONDS, patience)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not address.local,
            # Reading the certificates takes longer than a request; without TLS nobody asks them.
            verify=address.url.startswith("https:"),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def get(self, url: str) -> Any:
        """The JSON at ``url``; None where the page is missing or holds something else.

        Raises:
            TtcError: the server cannot be reached, wants a key, or failed.
        """
        try:
            async with self._open("GET", url, None) as response:
                return read_json(await self._read(response, _PAGE_BYTES), self._address.hide_secret)
        except Refused as refusal:
            if refusal.status in (400, 404, 405, 501):
                return None
            raise explain(refusal.status, refusal.body, self._address) from None
        except (ValueError, Broken):
            return None

    async def complete(self, body: Mapping[str, Any], tries: int | None = None) -> Chunk:
        """The whole reply to a completion.

        Raises:
            Refused: the server does not take it.
            TtcError: the server cannot be reached, or its reply says nothing.
        """
        tries = tries or self._tries
        for attempt in range(tries):
            try:
                async with self._open(
                    "POST", f"{self._address.url}/completions", body, tries
                ) as reply:
                    return read_reply(await self._read(reply), self._address.hide_secret)
            except Reported as report:
                raise self._failed(report) from None
            except Broken as broken:
                await asyncio.sleep(pause(attempt))
                reason = broken
        raise ServerFailed(
            f"The server {self._address.url} breaks off its replies ({reason}).", _HINT
        )

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The messages of a streamed completion, as they come.

        Raises:
            Refused: the server does not take it.
            Broken: the connection ended, or nothing came for too long.
            TtcError: the server cannot be reached, failed in mid-answer, or sends without end.
        """
        asked = body["max_tokens"] * body.get("n", 1)
        try:
            async with self._open("POST", f"{self._address.url}/completions", body) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind in ("application/json", "text/json"):  # it does not stream
                    most = max(MOST_BYTES, _BYTES_A_TOKEN * asked)
                    yield read_reply(await self._read(response, most), self._address.hide_secret)
                    return
                ended: bool | None = None  # None before any choice, True once one has ended
                unknown = ""
                lines = self._read_lines(response, _LINES + _LINES_A_TOKEN * asked)
                async for line in self._join(lines):
                    chunk = read_line(line, self._address.hide_secret)
                    if chunk is None:
                        unknown = unknown or (line if is_stray(line) else "")
                        continue
                    if chunk.pieces:
                        unknown = ""
                        ended = ended or any(each.finish is not None for each in chunk.pieces)
                    elif chunk.last and unknown and not ended:
                        raise Reported(f"no choices: {unknown}")
                    elif chunk.count is None:
                        unknown = unknown or line.removeprefix("data:").strip()
                    yield chunk
                    if chunk.last:
                        return
                if unknown and ended is None:
                    raise Reported(f"no stream of events: {unknown}")
                if unknown and not ended:
                    said = find_message(self._address.hide(unknown))
                    raise Broken(f"the last thing it said is: {said}")
        except Reported as report:
            raise self._failed(report) from None

    @asynccontextmanager
    async def _open(
        self, method: str, url: str, body: Mapping[str, Any] | None, tries: int | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A successful response, its body still unread. Asks again until it has one."""
        import httpx2

        tries = tries or self._tries
        for attempt in range(1, tries + 1):
            try:
                request = self._client.build_request(method, url, json=body)
                async with asyncio.timeout(self._patience + _CONNECT_SECONDS):
                    response = await self._client.send(request, stream=True)
            except httpx2.InvalidURL as error:
                raise UsageError(f"{url} is not the address of a server ({error}).") from None
            except (httpx2.HTTPError, TimeoutError) as error:
                if attempt == tries or isinstance(error, httpx2.UnsupportedProtocol):
                    raise self._unreachable(error) from None
                await asyncio.sleep(pause(attempt - 1))
                continue
            try:
                if response.is_success:
                    yield response
                    return
                text = await self._read(response, _REFUSAL_BYTES, cut=True)
                if response.status_code not in RETRIED or attempt == tries:
                    raise Refused(response.status_code, text)
                wish = response.headers.get("retry-after", "")
            except httpx2.HTTPError as error:
                raise Broken(_name(error)) from None
            finally:
                await response.aclose()
            await asyncio.sleep(pause(attempt - 1, wish))

    async def _read(
        self, response: httpx2.Response, most: int = MOST_BYTES, *, cut: bool = False
    ) -> str:
        """A body of ``most`` bytes at most; ``cut``: of a longer one the beginning is enough."""
        held = bytearray()
        begun = time.monotonic()
        async for part in response.aiter_bytes():
            held += part
            if len(held) > most:
                if not cut:
                    raise self._endless()
                break
            if time.monotonic() - begun > self._patience:
                raise Broken("it takes too long")
        return held[:most].decode(errors="replace")

    async def _read_lines(self, response: httpx2.Response, most: int) -> AsyncIterator[str]:
        """Lines of an event stream, which end at LF, CR or both, and at nothing else (WHATWG)."""
        held = bytearray()
        count, begun = 0, time.monotonic()
        returned = False  # an LF that comes next belongs to the CR before it
        async for whole in response.aiter_bytes():
            part = whole.removeprefix(b"\n") if returned else whole
            returned = whole.endswith(b"\r")
            *ended, rest = re.split(rb"\r\n|[\r\n]", part)
            for end in ended:
                held += end
                yield held.decode(errors="replace")
                held.clear()
                begun = time.monotonic()
            held += rest
            count += len(ended)
            if len(held) > MOST_BYTES or count > most:
                raise self._endless()
            if time.monotonic() - begun > self._patience:
                raise Broken("it takes too long")
        try:
            read_line(held.decode(errors="replace"))
        except Unreadable:
            raise Broken("it ended in the middle of a message") from None
        except Reported:
            pass  # to be told as any other
        yield held.decode(errors="replace")

    async def _join(self, lines: AsyncIterator[str]) -> AsyncIterator[str]:
        """``lines``, an object that goes over several as one: up to the next blank line."""
        held: list[str] = []
        size = 0
        async for line in lines:
            value = line.removeprefix("data:").strip()
            if held and value:
                held.append(value)
                size += len(value)
                if size > MOST_BYTES:
                    raise self._endless()
            elif held:
                yield "\n".join(held)
                held, size = [], 0
            elif value.startswith("{") and not value.endswith("}"):
                held.append(value)
            else:
                yield line
        if held and not held[-1].endswith("}"):
            raise Broken("it ended in the middle of a message")
        if held:
            yield "\n".join(held)

    def _endless(self) -> NetworkError:
        return NetworkError(
            f"The server {self._address.url} sends far more than it was asked for.",
            _HINT,
        )

    def _failed(self, report: Reported) -> ServerFailed:
        said = find_message(self._address.hide(str(report)))
        return ServerFailed(f"The server {self._address.url} reports a failure: {said}", _HINT)

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"The server {self._address.url} does not answer ({_name(error)}).",
            f"Start it, or name another with --server; try: curl {self._address.url}/models",
        )


def pause(attempt: int, wish: str = "") -> float:
    """Seconds until the next try after ``attempt`` (from 0): the server's wish, or doubling."""
    if re.fullmatch(r"[0-9]+", wish):
        return min(float(wish), 2 * _LONGEST_PAUSE)
    return min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE)


def _name(error: Exception) -> str:
    """What went wrong on the wire, in words that hold no address and no header."""
    words = {
        "ConnectError": "no connection",
        "ConnectTimeout": "no connection in time",
        "ReadTimeout": "it says nothing for too long",
        "TimeoutError": "it says nothing for too long",
        "ReadError": "the connection broke",
        "RemoteProtocolError": "the connection broke",
        "DecodingError": "what it sends cannot be decompressed",
    }
    return words.get(type(error).__name__, type(error).__name__)
