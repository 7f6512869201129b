#!/usr/bin/env python3
"""Tokens a second of N candidates grown to some length, with two builds of llama.cpp in turn.

    benchmarks/builds.py --model M.gguf --other llama_cpp_python-….whl

Ours is the one that is installed, the other a wheel (``install.sh`` keeps those it built in ttc's
cache folder) or a folder that one was unpacked into. Only decoding is timed. It says whether both
wrote the same texts.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from measure import Line, add_model, interleave, median, parser, print_lines, require_quiet, spread

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.types import Budget, Sampling

PROMPT = "".join(f"{number}\n" for number in range(1, 61))
"""A model goes on counting to the limit, whatever is drawn."""

SAMPLING = Sampling(temperature=0.7, top_p=0.95, top_k=40)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--other", type=Path, required=True, help="a wheel, or one unpacked")
    options.add_argument("--streams", type=int, nargs="+", default=[16, 32], help="candidates")
    options.add_argument("--tokens", type=int, default=384, help="tokens a candidate, at most")
    options.add_argument("--decode", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.decode:
        print(json.dumps(asyncio.run(_decode(given, given.decode))))
        return
    require_quiet(given.force)
    with tempfile.TemporaryDirectory(prefix="ttc-build-") as unpacked:
        other = given.other
        if other.is_file():
            zipfile.ZipFile(other).extractall(unpacked)
            other = Path(unpacked)
        lines = [_compare(given, other, count) for count in given.streams]
    facts = {"model": given.model.name, "threads": given.threads, "tokens": f"≤ {given.tokens}"}
    print_lines("tokens a second, two builds", lines, {**facts, "rounds": given.rounds})


def _compare(given: argparse.Namespace, other: Path, count: int) -> Line:
    texts: set[str] = set()

    def run(path: str) -> float:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--decode", str(count)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        texts.add(found["texts"])
        return float(found["rate"])

    own = os.environ.get("PYTHONPATH", "")
    theirs = os.pathsep.join(filter(None, (str(other), own)))
    found = interleave({"ours": lambda: run(own), "other": lambda: run(theirs)}, given.rounds)
    same = "same texts" if len(texts) == 1 else "texts differ"
    note = f"ours {spread(found['ours'])}, other {spread(found['other'])}, {same}"
    pair = median(found["ours"]), median(found["other"])
    return Line(f"{count} candidates", *pair, "tok/s", 1.0, note=note)


async def _decode(given: argparse.Namespace, count: int) -> dict[str, float | str]:
    """Tokens decoded a second, and a hash of all texts."""
    context = 256 + given.tokens
    settings = llamacpp.Settings(
        threads=given.threads, parallel=count, context=context, answer=given.tokens
    )
    engine = llamacpp.load(given.model, settings)
    try:
        ledger = Ledger(Budget())
        async with await engine.open((Span(PROMPT),), ledger) as session:
            branches = session.fork(session.root, count)
            requests = [
                Grow(b, given.tokens, SAMPLING, 1000 + i, i) for i, b in enumerate(branches)
            ]
            started = time.perf_counter()
            growths = [growth async for growth in session.grow(requests)]
            seconds = time.perf_counter() - started
    finally:
        engine.close()
    growths.sort(key=lambda growth: branches.index(growth.branch))
    texts = hashlib.sha256("\0".join(growth.text for growth in growths).encode()).hexdigest()
    return {"rate": ledger.usage().generator.generated_tokens / seconds, "texts": texts}


if __name__ == "__main__":
    main()
