"""Serves until it is told to end: the socket, the web server, signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ttc_cli.errors import UsageError
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
    except OSError as error:
        raise UsageError(
            f"{host}, port {port}, cannot be served on: {error.strerror or error}.",
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
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=round(service.limits.grace + _BEHIND),
    )
    server = _Server(config)
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
