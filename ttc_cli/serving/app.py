"""The web application: OpenAI's protocol over a ``Service``, and who may speak to it."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import psutil
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.serving import metrics
from ttc_cli.serving.answering import Answer, word
from ttc_cli.serving.protocol import Wanted, list_names, read_chat, read_completion
from ttc_cli.serving.refusals import Refusal, refuse_because
from ttc_cli.serving.service import Limits, Service
from ttc_cli.views.words import one_line

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")

Tell = Callable[[str], None]
Read = Callable[[bytes, str], Wanted]


def make_app(
    service: Service,
    *,
    key: str | None = None,
    origins: Sequence[str] = (),
    hosts: Collection[str] = LOCAL,
    tell: Tell = lambda line: None,
) -> ASGIApp:
    """The application over ``service``.

    Args:
        service: answers.
        key: what clients must show as a bearer token; None demands none.
        origins: web pages, as ``https://example.org``, whose scripts may ask.
        hosts: names under which the server may be addressed where no key is demanded: a page in a
            browser could otherwise reach it under a name of its own.
        tell: gets a line for each request that was answered.
    """
    pages = _Pages(service, tell)
    chats, texts = partial(pages.answer, read_chat), partial(pages.answer, read_completion)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chats, methods=["POST"]),
            Route("/v1/completions", texts, methods=["POST"]),
            Route("/v1/models", pages.list_models),
            Route("/v1/models/{name:path}", pages.show_model),
            Route("/health", pages.show_health),
            Route("/metrics", pages.show_metrics),
        ],
        exception_handlers={
            Refusal: _word_refusal,
            HTTPException: _word_http_error,
            Exception: _apologise,
        },
    )
    gate: ASGIApp = _Gate(app, key, origins, hosts)
    if origins:
        gate = CORSMiddleware(
            gate,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # OpenAI's own client for browsers sends a dozen of its own
            allow_private_network=True,
            expose_headers=["Retry-After"],
        )
    return gate


def check_origin(origin: str) -> None:
    """Make sure that a browser may send ``origin`` as that of a page.

    Raises:
        UsageError: none would, so that the page would be turned away.
    """
    if not _ORIGIN.fullmatch(origin):
        raise UsageError(
            f"--allow-origin {origin!r} is not what browsers call a site.",
            "name scheme, host and port, in small letters and without a path, such as "
            "https://chat.example.org or http://localhost:3000",
        )


def check_key(key: str) -> None:
    """Make sure that clients can send ``key``.

    Raises:
        UsageError: no header could hold it.
    """
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise UsageError(
            "The key holds a character that no client can send.",
            "use visible ASCII characters, without a blank at either end: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(24))' makes one",
        )


class _Gate:
    """Lets nobody in who may not ask."""

    def __init__(
        self, app: ASGIApp, key: str | None, origins: Sequence[str], hosts: Collection[str]
    ) -> None:
        self._app = app
        self._key = None if key is None else key.encode()
        self._origins = {each.encode() for each in origins}
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check(scope["path"], dict(scope["headers"]))
        except Refusal as error:
            await word(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: dict[bytes, bytes]) -> None:
        origin = headers.get(b"origin")
        if origin is not None and origin not in self._origins:
            raise Refusal("Scripts of web pages may not ask here (--allow-origin).", status=403)
        if self._key is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host[1:].partition("]")[0] if host[:1] == "[" else host.partition(":")[0]
            if name not in self._hosts:
                raise Refusal(
                    "Without a key this server answers to localhost alone. To serve it under "
                    "another name, start it with TTC_SERVE_KEY.",
                    status=421,
                )
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        known = hmac.compare_digest(given.strip(), self._key) and scheme.lower() == b"bearer"
        if path != "/health" and not known:
            raise Refusal(
                "The key is missing or wrong. Send it as: Authorization: Bearer KEY",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


class _Pages:
    """What is found under each path."""

    def __init__(self, service: Service, tell: Tell) -> None:
        self._service = service
        self._tell = tell
        self._since = int(time.time())

    async def list_models(self, request: Request) -> Response:
        names = list_names(self._service.label)
        return JSONResponse({"object": "list", "data": [self._describe(each) for each in names]})

    async def show_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in list_names(self._service.label):
            raise Refusal("This model is not served here.", status=404, code="model_not_found")
        return JSONResponse(self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "ttc"}

    async def show_health(self, request: Request) -> Response:
        service = self._service
        state = "failed" if service.broken else "ending" if service.seats.closed else "ok"
        return JSONResponse({"status": state}, 200 if state == "ok" else 503)

    async def show_metrics(self, request: Request) -> Response:
        seats, told = self._service.seats, self._service.metrics
        now = {
            "requests_running": told.running,
            "requests_waiting": seats.waiting,
            "branches": seats.branches,
            "branches_taken": seats.branches - seats.free,
            "resident_memory_bytes": psutil.Process().memory_info().rss,
            "kv_cells": told.cells,
            "kv_cells_used": told.cells_used,  # as of the last step
        }
        return PlainTextResponse(told.write(now), media_type=metrics.CONTENT_TYPE)

    async def answer(self, read: Read, request: Request) -> Response:
        """Answer a chat or a completion; what cannot be served is refused before it waits."""
        service, path = self._service, request.url.path
        try:
            wanted = read(await _read_body(request, service.limits), service.label)
            try:
                asked = await service.prepare(wanted)
            except TtcError as error:
                raise refuse_because(error) from error
            seats = service.line_up(wanted)
        except Refusal as error:
            service.metrics.count(path, error.status)
            self._tell(f"{error.status} {path}: {one_line(error.message)}")
            raise
        return Answer(service, wanted, asked, seats, path, self._tell)


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The body of ``request``, which must be JSON.

    Raises:
        Refusal: it says that it is something else, is too large, or does not come.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of any web page could send another
        raise Refusal("The body must be sent as Content-Type: application/json.", status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body:
                    raise Refusal(
                        f"The body is longer than {limits.body:,} bytes (--max-body).",
                        status=413,
                        headers={"Connection": "close"},
                    )
    except TimeoutError as error:
        raise Refusal(
            f"The body did not come within {limits.body_seconds:g} s.",
            status=408,
            headers={"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise Refusal("The client went away.", status=499) from error
    return bytes(body)


async def _word_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return word(error)


async def _word_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"
    return word(Refusal(message, status=error.status_code, headers=error.headers))


async def _apologise(request: Request, error: Exception) -> Response:
    return word(Refusal(f"ttc failed unexpectedly: {type(error).__name__}.", status=500))
