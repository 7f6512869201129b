#!/usr/bin/env python3
r"""``ttc serve`` under load: beside llama-server, and beside its_hub's server.

    benchmarks/build_peers.sh
    benchmarks/serving.py load --model M.gguf             # plain replies, against llama-server
    pip install 'its_hub[iaas]'
    benchmarks/serving.py think --model M.gguf            # effort medium, against its-iaas

*load*: 1, 4, 8 and 16 clients at once, each asking one question after the other, on both servers in
turn; llama-server keeps its default layout. *think*: one question at a time; its-iaas votes among N
replies of llama-server, N being the most that ``auto`` may draw.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import httpx2
from measure import (
    GSM8K,
    Line,
    add_model,
    add_peers,
    find_peer,
    median,
    parser,
    peer_environment,
    print_lines,
    require_quiet,
)

from ttc_cli.policy.table import SHIPPED
from ttc_cli.types import Budget

CHAT = "/v1/chat/completions"


def read_questions(count: int) -> list[str]:
    """The first ``count`` questions of GSM8K's test set."""
    lines = GSM8K.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line)["question"] for line in lines]


@contextlib.contextmanager
def run(command: Sequence[str], port: int, path: str, **environment: str) -> Iterator[str]:
    """The address of a server that ``command`` starts on ``port``, once ``path`` is there."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(url + path, timeout=2).status_code == 200:
                    break
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended with status {process.returncode}")
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def run_ttc(given: argparse.Namespace, *flags: str) -> contextlib.AbstractContextManager[str]:
    """``ttc serve`` on the model."""
    port = find_port()
    command = [sys.executable, "-m", "ttc_cli", "serve", "-m", str(given.model.resolve())]
    command += ["--port", str(port), "--threads", str(given.threads), "--no-save", "-q", *flags]
    return run(command, port, "/health")


def run_llama(given: argparse.Namespace, *flags: str) -> contextlib.AbstractContextManager[str]:
    """llama-server in its default layout."""
    port = find_port()
    command = [find_peer(given, "llama-server"), "-m", str(given.model), "--port", str(port)]
    command += ["-t", str(given.threads), "-tb", str(given.threads), "--offline", "--no-ui"]
    command += ["--log-disable", *flags]
    return run(command, port, "/health", **peer_environment())


def find_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def ask(
    client: httpx2.AsyncClient, url: str, model: str, question: str, tokens: int, seed: int
) -> tuple[float, float]:
    """Seconds to the first token of a streamed reply, and to its end."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0.8,
        "seed": seed,
        "stream": True,
    }
    began, first = time.monotonic(), None
    async with client.stream("POST", url + CHAT, json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if first is None and '"content":' in line and '"content": ""' not in line:
                choices = json.loads(line.removeprefix("data: "))["choices"]
                if choices and choices[0]["delta"].get("content"):
                    first = time.monotonic() - began
    return first or time.monotonic() - began, time.monotonic() - began


async def load(url: str, model: str, clients: int, each: int, tokens: int) -> tuple[float, float]:
    """Requests a minute of ``clients`` at once, and the median time to a first token."""
    questions = read_questions(clients * each)
    firsts: list[float] = []

    async def work(number: int) -> None:
        for place in range(each):
            question = questions[number * each + place]
            first, _ = await ask(client, url, model, question, tokens, seed=place)
            firsts.append(first)

    async with httpx2.AsyncClient(timeout=600) as client:
        began = time.monotonic()
        await asyncio.gather(*map(work, range(clients)))
        return 60 * clients * each / (time.monotonic() - began), median(firsts)


async def warm(url: str, model: str) -> None:
    """Ask something else first: a prompt that was read before is read faster."""
    async with httpx2.AsyncClient(timeout=600) as client:
        await ask(client, url, model, "Say hello.", 4, 0)


def compare_load(given: argparse.Namespace) -> None:
    """Plain replies beside llama-server's."""
    lines = []
    for clients in given.clients:
        found: dict[str, list[tuple[float, float]]] = {"ttc": [], "llama-server": []}
        for _ in range(given.rounds):
            for side, start, model in (
                ("ttc", run_ttc(given), f"{given.model.stem}:none"),
                ("llama-server", run_llama(given), "any"),
            ):
                with start as url:
                    asyncio.run(warm(url, model))
                    rates = asyncio.run(load(url, model, clients, given.each, given.max_tokens))
                    found[side].append(rates)
                    print(f"  {clients} clients, {side}: {rates}", file=sys.stderr, flush=True)
        (ours, first), (theirs, other) = (
            [median(each) for each in zip(*found[side], strict=True)] for side in found
        )
        lines.append(Line(f"{clients} clients", ours, theirs, "requests/min", 1.0))
        lines.append(Line(f"{clients} clients, first token", first, other, "s", 1.2, "low"))
    print_lines("ttc serve and llama-server, plain replies", lines, tell(given))


def compare_thinking(given: argparse.Namespace) -> None:
    """Effort medium beside the vote of its_hub's server."""
    most = SHIPPED.row("normal").cap
    questions = read_questions(given.each)
    with run_ttc(given) as url:
        ours = asyncio.run(ask_all(url, given.model.stem, questions))
    port = find_port()
    command = ["its-iaas", "--port", str(port), "--log-level", "ERROR"]
    longest = str(Budget().tokens_per_candidate)  # its-iaas passes no limit on
    with run_llama(given, "-n", longest) as behind, run(command, port, "/v1/models") as url:
        settings = {
            "endpoint": f"{behind}/v1",
            "api_key": "none",
            "model": "any",
            "alg": "self-consistency",
            "regex_patterns": [r"\\boxed{(.*?)}"],
            "budget": most,
        }
        httpx2.post(f"{url}/configure", json=settings).raise_for_status()
        theirs = asyncio.run(ask_all(url, "any", questions))
    line = Line(f"a question at N = {most}", median(ours), median(theirs), "s", 0.5, "low")
    print_lines("ttc serve and its_hub's server", [line], tell(given))


async def ask_all(url: str, model: str, questions: Sequence[str]) -> list[float]:
    """Seconds of each question, one after the other."""
    seconds = []
    async with httpx2.AsyncClient(timeout=3600) as client:
        for question in questions:
            hint = r" Put the final answer into \boxed{}."
            messages = [{"role": "user", "content": question + hint}]
            began = time.monotonic()
            response = await client.post(url + CHAT, json={"model": model, "messages": messages})
            response.raise_for_status()
            seconds.append(time.monotonic() - began)
    return seconds


def tell(given: argparse.Namespace) -> dict[str, object]:
    """What was measured with."""
    return {"model": given.model.name, "threads": given.threads, "tokens": given.max_tokens}


def main() -> None:
    """Run what the command line names."""
    options = parser(__doc__)
    add_model(options)
    add_peers(options)
    options.add_argument("what", choices=("load", "think"))
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8, 16])
    options.add_argument("--each", type=int, default=4, help="questions of each client, or in all")
    options.add_argument("--max-tokens", type=int, default=128)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # servers end too
    require_quiet(given.force)
    compare_load(given) if given.what == "load" else compare_thinking(given)


if __name__ == "__main__":
    main()
