#!/usr/bin/env python3
"""``ttc serve`` for a long time, with clients of every kind, of which nothing may be left.

    benchmarks/soak.py --model smollm2-135m.gguf --minutes 30 --rate 120

They ask, whole and in streams, plainly and with effort; hang up in mid-stream and in the line; send
nonsense, too much, or slowly; connect and say nothing; take nothing of their reply; come all at
once. ``--rate`` is how many requests a minute all of them begin, so that the machine can do
something else beside. The exit code says whether what was promised was kept: every answer whole,
every refusal in its form, no branch, connection or memory left, and a last plain question answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import psutil
from measure import add_model, parser
from serving import CHAT, read_questions, run_ttc

LIMITS = ("--max-waiting", "6", "--max-body", "65536", "--max-seconds", "30", "--parallel", "8")
BURST = 24
"""Clients that come at once: more than have room, and than may wait."""
WARM = 0.2
"""The share of the time after which the server should not grow any more."""
GROWS = 1.1
JSON = {"Content-Type": "application/json"}
NONSENSE = (
    b"",
    b"{",
    b"[1]",
    b'{"model": 5}',
    b"\xff\xfe",
    b"[" * 50_000,
    b'{"seed": ' + b"9" * 5000 + b"}",
    b'{"model": "x", "model": "y"}',
)
NOISE = (b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"POST / FTP/1.0\r\n\r\n", b"\x1b[31m" * 100)
SERVED = (200, 429, 503, 504)
"""What a sound request may be answered with: also that there is no room, or was no time."""


@dataclass
class Soak:
    """What is asked, of whom, and what came of it."""

    url: str
    model: str
    questions: Sequence[str]
    dice: random.Random
    client: httpx2.AsyncClient
    told: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def body(self, effort: str = "none", **more: object) -> dict[str, object]:
        """A chat of one question."""
        messages = [{"role": "user", "content": self.dice.choice(self.questions)}]
        name = f"{self.model}:{effort}"
        return {"model": name, "messages": messages, "max_tokens": 64, **more}

    def book(self, response: httpx2.Response, *allowed: int) -> None:
        """Note how a request ended, and whether that is how it should."""
        status, text = response.status_code, response.text
        with contextlib.suppress(ValueError, LookupError):
            if response.headers["content-type"].startswith("text/event-stream"):
                *pieces, done, rest = text.split("\n\n")
                last = json.loads(pieces[-1].removeprefix("data: "))
                ends = (done, rest) == ("data: [DONE]", "")
            else:
                last, ends = response.json(), True
            if "error" in last:
                right = ends and status in allowed and bool(last["error"]["message"])
                self.count("refused", right, str(status))
            else:
                finished = last["choices"][-1]["finish_reason"] in ("stop", "length")
                self.count("answered", ends and status in allowed and finished, str(status))
            return
        self.count("", False, f"{status}: {text[-200:]!r}")

    def count(self, how: str, right: bool, what: str) -> None:
        """One more that ended so."""
        if right:
            self.told[how] += 1
            self.told[f"{how}: {what}"] += 1
        else:
            self.wrong[what] += 1

    @contextlib.asynccontextmanager
    async def connect(self, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
        """A connection of its own, on which ``sent`` was sent."""
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(sent)
            await writer.drain()
            yield reader
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def ask(soak: Soak) -> None:
    """Ask for a reply, whole or in a stream, of one to three choices."""
    more = {"stream": soak.dice.random() < 0.5, "n": soak.dice.choice((1, 1, 3))}
    soak.book(await soak.client.post(CHAT, json=soak.body(**more)), *SERVED)


async def think(soak: Soak) -> None:
    """Ask with an effort."""
    body = soak.body("quick", stream=soak.dice.random() < 0.5, max_tokens=256)
    soak.book(await soak.client.post(CHAT, json=body), *SERVED)


async def fill_in(soak: Soak) -> None:
    """Ask for JSON of a given form."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    response = await soak.client.post(CHAT, json=soak.body(response_format=form))
    soak.book(response, *SERVED)


async def leave(soak: Soak) -> None:
    """Hang up: before the reply begins, or somewhere in it."""
    effort, stream = soak.dice.choice(("none", "normal")), soak.dice.random() < 0.7
    body = soak.body(effort, stream=stream, max_tokens=1000)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2 * soak.dice.random()):
            response = await soak.client.post(CHAT, json=body)
            soak.book(response, *SERVED)
            return
    soak.count("left", True, effort)


async def come_at_once(soak: Soak) -> None:
    """More than may wait: some are served, the others told to come again."""
    await asyncio.gather(*(ask(soak) for _ in range(BURST)))


async def talk_nonsense(soak: Soak) -> None:
    """What is no request."""
    response = await soak.client.post(CHAT, content=soak.dice.choice(NONSENSE), headers=JSON)
    soak.book(response, 400, 404)


async def make_noise(soak: Soak) -> None:
    """What is no HTTP."""
    async with soak.connect(soak.dice.choice(NOISE)) as reader:
        said = await asyncio.wait_for(reader.read(12), 60)
    soak.count("refused", b" 400" in said, "no HTTP" if b" 400" in said else repr(said))


async def send_too_much(soak: Soak) -> None:
    """A body beyond the bound."""
    body = soak.body() | {"user": "x" * 200_000}
    soak.book(await soak.client.post(CHAT, json=body), 413)


async def send_slowly(soak: Soak) -> None:
    """A body that never comes to its end."""

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(soak.dice.randrange(1, 20)):
            yield b" "
            await asyncio.sleep(0.2)
        raise EOFError

    with contextlib.suppress(EOFError):
        soak.book(await soak.client.post(CHAT, content=drip(), headers=JSON), 408)
        return
    soak.count("left", True, "before all was sent")


async def say_nothing(soak: Soak) -> None:
    """A connection on which no request comes: it is ended from the other side."""
    began = time.monotonic()
    async with soak.connect(soak.dice.choice((b"", b"GET /health HTTP/1.1\r\nHost: "))) as reader:
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            await asyncio.wait_for(reader.read(1), 60)
    took = time.monotonic() - began
    soak.count("cut off", took < 50, "said nothing" if took < 50 else f"only after {took:.0f} s")


async def take_nothing(soak: Soak) -> None:
    """A stream that nobody reads, and then nobody is there."""
    body = json.dumps(soak.body("none", stream=True, max_tokens=1000)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with soak.connect(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body):
        await asyncio.sleep(5 * soak.dice.random())
    soak.count("left", True, "took nothing")


KINDS: dict[Callable[[Soak], Awaitable[None]], int] = {
    ask: 6,
    think: 3,
    fill_in: 1,
    leave: 6,
    come_at_once: 1,
    talk_nonsense: 2,
    make_noise: 1,
    send_too_much: 1,
    send_slowly: 1,
    say_nothing: 1,
    take_nothing: 1,
}
"""What clients do, and how often in comparison."""


async def bother(soak: Soak, minutes: float, rate: float) -> None:
    """Begin ``rate`` requests a minute, whatever becomes of them; return when all have ended."""
    end = time.monotonic() + 60 * minutes
    async with asyncio.TaskGroup() as running:
        while time.monotonic() < end:
            (kind,) = soak.dice.choices(list(KINDS), KINDS.values())
            running.create_task(do(kind, soak))
            size = BURST if kind is come_at_once else 1
            await asyncio.sleep(size * soak.dice.expovariate(rate / 60))


async def do(kind: Callable[[Soak], Awaitable[None]], soak: Soak) -> None:
    """One client; an error that it was not to meet is wrong."""
    try:
        await kind(soak)
    except (httpx2.HTTPError, OSError) as error:
        soak.count("", False, f"{kind.__name__}: {type(error).__name__} {error}")


async def read_metrics(client: httpx2.AsyncClient) -> dict[str, float]:
    """The gauges and counters without labels, by name."""
    text = (await client.get("/metrics")).text
    rows = (line.split() for line in text.splitlines() if line[:1] != "#" and "{" not in line)
    return {name.removeprefix("ttc_"): float(value) for name, value in rows}


async def measure(client: httpx2.AsyncClient, server: psutil.Process) -> dict[str, float]:
    """The server as it is now."""
    now = await read_metrics(client)
    return {
        "memory_mib": round(now["resident_memory_bytes"] / 2**20, 1),
        "descriptors": server.num_fds() - len(server.net_connections()),
        "connections": len(server.net_connections("tcp")),
        "branches": now["branches_taken"],
        "running": now["requests_running"],
        "waiting": now["requests_waiting"],
        "kv_cells": now["kv_cells_used"],
    }


async def work(given: argparse.Namespace, url: str) -> dict[str, object]:
    """All of it; what came of it."""
    (server,) = psutil.Process().children()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        dice = random.Random(given.seed)
        soak = Soak(url, given.model.stem, read_questions(100), dice, client)
        seen: dict[str, dict[str, float]] = {}

        async def look(name: str, minutes: float = 0) -> None:
            await asyncio.sleep(60 * minutes)
            seen[name] = await measure(client, server)

        plain = soak.body() | {"seed": 0, "temperature": 0}
        (await client.post(CHAT, json=plain)).raise_for_status()
        await look("first")
        warm = asyncio.create_task(look("warm", WARM * given.minutes))
        await bother(soak, given.minutes, given.rate)
        await warm
    await asyncio.sleep(10)  # connections that rest end after 5 s
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        seen["last"] = await measure(client, server)
        last = (await client.post(CHAT, json=plain)).status_code
    told = {name: soak.told[name] for name in ("answered", "refused", "left", "cut off")}
    return {
        "requests": soak.told.total() // 2 + soak.wrong.total(),
        **told,
        "in_detail": {name: soak.told[name] for name in sorted(soak.told.keys() - told.keys())},
        "wrong": dict(soak.wrong),
        **seen,
        "last_question": last,
    }


def find_left(found: dict) -> list[str]:
    """What is left at the end that should not be."""
    first, warm, last = found["first"], found["warm"], found["last"]
    left = [name for name in ("branches", "running", "waiting") if last[name]]
    left += ["connections"] if last["connections"] > first["connections"] else []
    left += ["descriptors"] if last["descriptors"] > warm["descriptors"] else []
    left += ["memory"] if last["memory_mib"] > GROWS * warm["memory_mib"] else []
    left += ["wrong answers"] if found["wrong"] else []
    return left + (["the last question"] if found["last_question"] != 200 else [])


def main() -> None:
    """Run what the command line names."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--rate", type=float, default=120.0, help="requests begun in a minute")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the server too
    with run_ttc(given, *LIMITS) as url:
        found = asyncio.run(work(given, url))
    print(json.dumps(found, indent=2))
    if left := find_left(found):
        sys.exit(f"left: {', '.join(left)}")


if __name__ == "__main__":
    main()
