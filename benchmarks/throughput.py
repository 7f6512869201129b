#!/usr/bin/env python3
"""Tokens a second of N candidates of one prompt, against llama.cpp's own programs.

    benchmarks/throughput.py bench  --model M.gguf        against llama-batched-bench
    benchmarks/throughput.py server --model M.gguf        against llama-server

Both peers compute with the wheel's own libggml. All candidates have the same number of tokens: the
prompt asks for more than the limit, the server is told to ignore the end of the turn. Only decode
steps are timed: the prompt is read before (by the server in a first round, into its cache).
llama-batched-bench draws no tokens, ours and the server do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from measure import (
    Line,
    add_model,
    add_peers,
    find_peer,
    interleave,
    median,
    parser,
    peer_environment,
    print_lines,
    require_quiet,
    spread,
)

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine, Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Finish, Sampling

SAMPLING = Sampling(temperature=0.7, top_p=0.95, top_k=40)
TOPIC = "Chapter one. It was late in the autumn when the old ship finally left the harbour, and "


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("peer", choices=("bench", "server"))
    add_model(options)
    add_peers(options)
    options.add_argument("--streams", type=int, nargs="+", help="candidates at once")
    options.add_argument("--prompt", type=int, default=128, help="about how many prompt tokens")
    options.add_argument("--tokens", type=int, default=64, help="tokens a candidate")
    options.add_argument("--split-kv", action="store_true", help="one KV buffer a stream")
    given = options.parse_args()
    require_quiet(given.force)
    target = 0.95 if given.peer == "bench" else 1.0
    streams = given.streams or ([1, 8, 16, 32] if given.peer == "bench" else [8, 16])
    lines = [_compare(given, count, target) for count in streams]
    layout = "split" if given.split_kv else "unified"
    print_lines(
        f"tokens a second against llama-{'batched-bench' if given.peer == 'bench' else 'server'}",
        lines,
        {
            "model": given.model.name,
            "KV": layout,
            "threads": given.threads,
            "tokens": f"{given.prompt} + {given.tokens}",
            "rounds": given.rounds,
        },
    )


def _compare(given: argparse.Namespace, count: int, target: float) -> Line:
    engine = llamacpp.load(
        given.model,
        llamacpp.Settings(
            threads=given.threads,
            parallel=count,
            context=given.prompt + given.tokens + 64,
            answer=given.tokens,
            kv_unified=not given.split_kv,
        ),
    )
    try:
        prompt, prompt_tokens = asyncio.run(_fit_prompt(engine, given.prompt))

        def ours() -> float:
            return asyncio.run(_decode(engine, prompt, count, given.tokens))

        if given.peer == "bench":
            sides = {"ttc": ours, "peer": lambda: _bench(given, count, prompt_tokens)}
            found = interleave(sides, given.rounds)
        else:
            window = prompt_tokens + given.tokens + 16
            with run_server(given, count, window, [] if given.split_kv else ["-kvu"]) as server:
                url = f"{server}/completion"
                _request_all(url, prompt, count, 1)
                sides = {
                    "ttc": ours,
                    "peer": lambda: _request_all(url, prompt, count, given.tokens),
                }
                found = interleave(sides, given.rounds)
    finally:
        engine.close()
    note = f"ours {spread(found['ttc'])}, theirs {spread(found['peer'])}"
    pair = median(found["ttc"]), median(found["peer"])
    return Line(f"{count} candidates", *pair, "tok/s", target, note=note)


async def _fit_prompt(engine: Engine, tokens: int) -> tuple[str, int]:
    """A text of at least ``tokens`` tokens, and how many it has."""
    text = TOPIC
    while True:
        ledger = Ledger(Budget())
        async with await engine.open((Span(text),), ledger):
            usage = ledger.usage().generator
        count = usage.prompt_tokens + usage.reused_tokens
        if count >= tokens:
            return text, count
        text += TOPIC


async def _decode(engine: Engine, prompt: str, count: int, tokens: int) -> float:
    """Tokens decoded a second. The first of each comes from the prompt's own row, uncounted."""
    ledger = Ledger(Budget())
    async with await engine.open((Span(prompt),), ledger) as session:
        branches = session.fork(session.root, count)
        requests = [Grow(b, tokens, SAMPLING, 1000 + i, i) for i, b in enumerate(branches)]
        before, started = ledger.usage().generator.decode_calls, time.perf_counter()
        growths = [growth async for growth in session.grow(requests)]
        seconds = time.perf_counter() - started
        steps = ledger.usage().generator.decode_calls - before
    early = [growth for growth in growths if growth.finish is not Finish.LENGTH]
    if early:
        print(f"  {len(early)} of {count} candidates ended early", file=sys.stderr)
    decoded = sum(growth.tokens for growth in growths) * steps / max(g.tokens for g in growths)
    return decoded / seconds


def _bench(given: argparse.Namespace, count: int, prompt_tokens: int) -> float:
    cells = (
        count * (prompt_tokens + given.tokens)
        if given.split_kv
        else (prompt_tokens + count * given.tokens)
    )
    command = [
        find_peer(given, "llama-batched-bench"),
        *("-m", str(given.model)),
        *("-npp", str(prompt_tokens), "-ntg", str(given.tokens), "-npl", str(count)),
        *("-c", str(-(-cells // 256) * 256 + (256 * count if given.split_kv else 256))),
        *("-t", str(given.threads), "-tb", str(given.threads)),
        *("-pps", "--output-format", "jsonl"),
        *([] if given.split_kv else ["-kvu"]),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=peer_environment(), check=False
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not rows:
        sys.exit(f"llama-batched-bench failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return float(json.loads(rows[-1])["speed_tg"])


@contextmanager
def run_server(
    given: argparse.Namespace, count: int, window: int, flags: Sequence[str] = ()
) -> Iterator[str]:
    """The address of a llama-server with ``count`` slots of ``window`` tokens, on a free port."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    window = -(-window // 256) * 256
    command = [
        find_peer(given, "llama-server"),
        *("-m", str(given.model), "--host", "127.0.0.1", "--port", str(port)),
        *("-np", str(count), "-c", str(window * count)),
        *("-t", str(given.threads), "-tb", str(given.threads)),
        *flags,
        *("--offline", "--no-ui"),
    ]
    process = subprocess.Popen(
        command, env=peer_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_health(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await_health(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"llama-server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    sys.exit("llama-server did not become ready within two minutes")


def _request_all(url: str, prompt: str, count: int, tokens: int) -> float:
    """Tokens a second of ``count`` concurrent requests, from the first sent to the last served."""

    def one(seed: int) -> dict[str, Any]:
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "ignore_eos": True,
            "cache_prompt": True,
            "id_slot": seed,
            "seed": seed,
            "temperature": SAMPLING.temperature,
            "top_p": SAMPLING.top_p,
            "top_k": SAMPLING.top_k,
            "min_p": 0.0,
            "samplers": ["top_k", "top_p", "temperature"],
        }
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as reply:
            found: dict[str, Any] = json.load(reply)
            return found

    with ThreadPoolExecutor(count) as pool:
        started = time.perf_counter()
        replies = list(pool.map(one, range(count)))
        seconds = time.perf_counter() - started
    return sum(int(reply["tokens_predicted"]) for reply in replies) / seconds


if __name__ == "__main__":
    main()
