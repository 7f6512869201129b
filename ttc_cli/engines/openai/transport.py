"""Requests to one server: asked again with growing pauses where that may help, else explained.

Nothing is charged in here, so that nothing is charged twice: a request that was asked again is
the caller's one request. A stream that breaks off is the caller's to take up (``Broken``): it
knows what it has received.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ttc_cli.engines.openai.address import Address, explain
from ttc_cli.engines.openai.wire import Chunk, read_line, read_reply
from ttc_cli.errors import ServerFailed, Unreachable

if TYPE_CHECKING:
    import httpx2

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Status codes of passing trouble: overload, a model that is still loading, a proxy's time-out."""

_CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Refused(Exception):
    """A reply that is no success, and that asking again does not cure."""

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
        patience: seconds for which it may say nothing.
        tries: how often a request is made before it has failed.
    """

    def __init__(self, address: Address, *, patience: float, tries: int) -> None:
        import httpx2

        self._address = address
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
        """The JSON at ``url``, or None where there is none.

        Raises:
            TtcError: the server cannot be reached, wants a key, or failed; a missing page is none.
        """
        try:
            async with self._open("GET", url, None) as response:
                return json.loads(await response.aread())
        except Refused as refusal:
            if refusal.status in (400, 404, 405, 501):
                return None
            raise explain(refusal.status, refusal.body, self._address) from None
        except (ValueError, Broken):
            return None

    async def complete(self, body: Mapping[str, Any], tries: int | None = None) -> Chunk:
        """The whole reply to a completion.

        Raises:
            Refused: it is not to be had so.
            TtcError: the server cannot be reached, or its reply says nothing.
        """
        tries = tries or self._tries
        for attempt in range(tries):
            try:
                async with self._open(
                    "POST", f"{self._address.url}/completions", body, tries
                ) as reply:
                    return read_reply((await reply.aread()).decode(errors="replace"))
            except Broken as broken:
                await asyncio.sleep(pause(attempt))
                reason = broken
        raise ServerFailed(f"The server {self._address.url} breaks off its replies ({reason}).")

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The messages of a streamed completion, as they come.

        Raises:
            Refused: it is not to be had so.
            Broken: the connection ended, or nothing came for too long.
            TtcError: the server cannot be reached, or failed in mid-answer.
        """
        async with self._open("POST", f"{self._address.url}/completions", body) as response:
            if "json" in response.headers.get("content-type", ""):  # it does not stream
                yield read_reply((await response.aread()).decode(errors="replace"))
                return
            async for line in response.aiter_lines():
                chunk = read_line(line)
                if chunk is not None:
                    yield chunk

    @asynccontextmanager
    async def _open(
        self, method: str, url: str, body: Mapping[str, Any] | None, tries: int | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A successful response, its body still unread. Asks again until it has one."""
        import httpx2

        tries = tries or self._tries
        for attempt in range(1, tries + 1):
            request = self._client.build_request(method, url, json=body)
            try:
                response = await self._client.send(request, stream=True)
            except httpx2.TransportError as error:
                if attempt == tries or isinstance(error, httpx2.UnsupportedProtocol):
                    raise self._unreachable(error) from None
                await asyncio.sleep(pause(attempt - 1))
                continue
            try:
                if response.is_success:
                    yield response
                    return
                text = (await response.aread()).decode(errors="replace")
                if response.status_code not in RETRIED or attempt == tries:
                    raise Refused(response.status_code, text)
                wish = response.headers.get("retry-after", "")
            except httpx2.TransportError as error:
                raise Broken(_name(error)) from None
            finally:
                await response.aclose()
            await asyncio.sleep(pause(attempt - 1, wish))

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"The server {self._address.url} does not answer ({_name(error)}).",
            f"Start it, or name another with --server; try: curl {self._address.url}/models",
        )


def pause(attempt: int, wish: str = "") -> float:
    """Seconds until the next try after ``attempt`` (from 0): the server's wish, or doubling."""
    if wish.isdigit():
        return min(float(wish), 2 * _LONGEST_PAUSE)
    return min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE)


def _name(error: Exception) -> str:
    """What went wrong on the wire, in words that hold no address and no header."""
    words = {
        "ConnectError": "no connection",
        "ConnectTimeout": "no connection in time",
        "ReadTimeout": "it says nothing for too long",
        "ReadError": "the connection broke",
        "RemoteProtocolError": "the connection broke",
    }
    return words.get(type(error).__name__, type(error).__name__)
