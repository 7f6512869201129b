"""Serves until it is told to end: the socket, the web server, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ttc_cli.errors import UsageError
from ttc_cli.output import print_error
from ttc_cli.serving.service import Service
from ttc_cli.signals import handle, leave

_CONNECTIONS = 512
_BEHIND = 10.0
"""Seconds after the grace period within which the last answers must have been sent."""


def take_port(host: str, port: int) -> socket.socket:
    """A socket that holds ``port`` (0: any) of ``host``; nothing is accepted yet.

    Raises:
        UsageError: there is no such address here, or another program has the port.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
        except OSError:
            taken.close()
            raise
    except (OSError, UnicodeError) as error:  # a name of a host may be none at all
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{host}, port {port}, cannot be served on: {why}.",
            "name another with --port, or --port 0 for any that is free",
        ) from error
    return taken


async def serve(
    service: Service, app: ASGIApp, taken: socket.socket, ready: Callable[[], None]
) -> None:
    """Serve ``app`` on ``taken`` until SIGINT or SIGTERM; then drain ``service``.

    ``ready`` is called when the first request may come. A second signal ends the process.
    """
    config = uvicorn.Config(
        app,
        http=partial(_Connection, service.limits.body_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=round(service.limits.grace + _BEHIND),
    )
    server = _Server(config)
    log = logging.getLogger("uvicorn.error")
    log.handlers, log.propagate = [_Log(logging.ERROR)], False
    loop = asyncio.get_running_loop()

    def end(number: int, frame: FrameType | None) -> None:
        if server.should_exit:
            leave(128 + number)
        server.should_exit = True
        loop.call_soon_threadsafe(service.drain)

    with handle({signal.SIGINT: end, signal.SIGTERM: end}):
        taken.listen()
        loop.call_soon(ready)
        await server.serve([taken])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: ``serve`` hears them, and ends without another signal to the process."""
        yield


class _Connection(H11Protocol):
    """A connection that waits for its client at most ``seconds`` at a time.

    uvicorn itself waits for ever: for a request's head, and for a client that takes nothing of its
    reply. How long a body may take is up to the application.
    """

    def __init__(self, seconds: float, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = _Deadline(self.loop, self._seconds, transport.abort)
        self._taking = _Deadline(self.loop, self._seconds, transport.abort)
        self._head.begin()
        transport.set_write_buffer_limits(high=0)  # so that ``pause_writing`` tells of any delay

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._head.begin()
        else:
            self._head.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking.end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head.end()
        self._taking.end()


class _Deadline:
    """Calls ``act`` unless what has begun ends within ``seconds``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], None]
    ) -> None:
        self._begin = partial(loop.call_later, seconds, act)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Count the seconds, from the first call on."""
        self._timer = self._timer or self._begin()

    def end(self) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Log(logging.Handler):
    """What goes wrong in the server itself, without what strange clients do to it."""

    def emit(self, record: logging.LogRecord) -> None:
        print_error(self.format(record))
