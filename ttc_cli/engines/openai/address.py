"""Where a server is and how it is used, the key it may want, and what its refusals mean."""

from __future__ import annotations

import base64
import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ttc_cli.engines.openai.wire import find_message, read_json
from ttc_cli.errors import (
    AccessDenied,
    NetworkError,
    PromptTooLong,
    ServerFailed,
    TtcError,
    UsageError,
)

OWN_KEY, COMMON_KEY = "TTC_API_KEY", "OPENAI_API_KEY"
_SHORTEST_KEY = 8
_TOO_LONG = re.compile(r"context|too long|max_model_len|maximum.{0,20}(length|tokens)", re.I)


PARALLEL = 16
"""Requests in flight by default, where the server does not say how many it serves at once."""

CONTEXT = 4096
"""What is assumed of a context window that the server does not tell."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a server is and how it is used. None means: what the server says, or a default.

    ``model`` is the server's name for it. ``template`` is a chat template's text and ``tokens``
    the spellings of its ``bos_token`` and ``eos_token``. ``parameters`` reckons FLOPs. ``patience``
    is how many seconds a request may say nothing, ``tries`` how often one is made. ``grammars``
    looks whether it holds completions to a JSON Schema, which takes up to five requests more.
    ``seconds`` are what finding out may take in all.
    """

    url: str
    model: str | None = None
    template: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict)
    parameters: int | None = None
    parallel: int | None = None
    context: int | None = None
    patience: float = 300.0
    tries: int = 5
    grammars: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A server: ``url`` ends in its version (``…/v1``). The key shows in no ``repr``."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def root(self) -> str:
        """The address without the version, where servers keep endpoints of their own."""
        return re.sub(r"/v\d+$", "", self.url)

    @property
    def local(self) -> bool:
        """Whether it is this machine: no proxy then."""
        return _is_loopback(urlsplit(self.url).hostname or "")

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def hide(self, text: str) -> str:
        """``text`` without the key: servers quote what they refuse.

        Also as JSON, an address or base64 may write it.
        """
        return _spellings(self.key).sub("…", text) if self.key and text else text

    def hide_secret(self, text: str) -> str:
        """``text`` without a key that is long enough to be one: "EMPTY" may be a word of it."""
        return self.hide(text) if self.key and len(self.key) >= _SHORTEST_KEY else text


def read_address(url: str, environ: Mapping[str, str] | None = None) -> Address:
    """The address that ``url`` means, with the key from the environment.

    ``TTC_API_KEY`` goes to whatever server is named. ``OPENAI_API_KEY``, which many have set for
    another purpose, is not sent in the clear to another machine.

    Raises:
        UsageError: no http address, or one with a key or password in it.
    """
    environ = os.environ if environ is None else environ
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "The address of a server must not hold a password, a key or a question mark.",
            f"Give the key as {OWN_KEY}=… and the address as http://HOST:PORT/v1.",
        )
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", text):
        raise UsageError(
            f"{url!r} is not the address of a server.",
            "An address looks like http://localhost:8000/v1.",
        )
    path = parts.path.rstrip("/")
    if not re.search(r"/v\d+$", path):
        path += "/v1"
    shown = f"[{host}]" if ":" in host else host
    key = environ.get(OWN_KEY, "").strip()
    if not key and (parts.scheme == "https" or _is_loopback(host)):
        key = environ.get(COMMON_KEY, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise UsageError(f"The key in {OWN_KEY} or {COMMON_KEY} holds a blank or a line break.")
    place = shown if port is None else f"{shown}:{port}"
    return Address(f"{parts.scheme}://{place}{path}", key or None)


def explain(status: int, body: str, address: Address) -> TtcError:
    """The error that a reply with ``status`` means."""
    said = _read_message(body)
    quoted = f": {address.hide(said)[:300]}" if said else "."
    if status in (401, 403):
        what = "another key" if address.key else "a key"
        return AccessDenied(
            f"The server {address.url} wants {what} (HTTP {status}).",
            f"export {OWN_KEY}=… (or {COMMON_KEY}, which is sent to https and to this machine)",
        )
    if status in (400, 413, 422) and _TOO_LONG.search(said):
        return PromptTooLong(
            f"The server has no room for this prompt and its answer{quoted}",
            "Shorten the question, or start the server with a larger context.",
        )
    if status in (404, 405, 501):
        return UsageError(
            f"The server {address.url} does not complete text (HTTP {status}){quoted}",
            f"It must serve POST {address.url}/completions, and the model that --model names.",
        )
    if status in (400, 413, 422):
        return ServerFailed(f"The server refused a request (HTTP {status}){quoted}", None)
    if status == 429:
        return NetworkError(
            f"The server {address.url} asks to slow down (HTTP 429){quoted}",
            "Repeat the command later, or with a lower --parallel.",
        )
    return NetworkError(
        f"The server {address.url} failed (HTTP {status}){quoted}",
        "Check the server's own log, then repeat the command.",
    )


def _read_message(body: str) -> str:
    """What a server says in the body of a refusal, on one line; a page for people says nothing."""
    try:
        return find_message(read_json(body))
    except ValueError:
        return "" if body.lstrip().startswith("<") else find_message(body)


@functools.lru_cache(maxsize=4)
def _spellings(key: str) -> re.Pattern[str]:
    """The ``key`` as it is, with characters escaped as in JSON or an address, or in base64."""
    escaped = "".join(rf"(?:\\?{re.escape(char)}|(?:\\u00|%)(?i:{ord(char):02x}))" for char in key)
    return re.compile("|".join([escaped, *map(re.escape, _in_base64(key))]))


def _in_base64(key: str) -> list[str]:
    """What of ``key`` shows in base64 of any text that holds it, by where in a group it begins."""
    found = []
    for before in range(3):
        data = b"\0" * before + key.encode()
        shown = slice((before * 8 + 5) // 6, len(data) * 8 // 6)
        found += [base64.b64encode(data)[shown], base64.urlsafe_b64encode(data)[shown]]
    return [each.decode() for each in dict.fromkeys(found) if len(each) >= _SHORTEST_KEY]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
