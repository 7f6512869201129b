#!/usr/bin/env python3
"""N candidates grown to some length and judged, with two builds of llama.cpp in turn.

    benchmarks/builds.py --model M.gguf --other llama_cpp_python-….whl

Ours is the one that is installed, the other a wheel (``install.sh`` keeps those it built in ttc's
cache folder) or a folder that one was unpacked into. Reading the prompt is not timed. It says
whether both wrote the same texts, and how far their judgements are apart.
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
from typing import Any

from measure import Line, add_model, interleave, median, parser, print_lines, require_quiet, spread

from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Grow, Span
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Candidate, Problem, Sampling
from ttc_cli.verifiers.base import Leaf
from ttc_cli.verifiers.judge import JudgeVerifier

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
    options.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.measure:
        print(json.dumps(asyncio.run(_measure(given, given.measure))))
        return
    require_quiet(given.force)
    with tempfile.TemporaryDirectory(prefix="ttc-build-") as unpacked:
        other = given.other
        if other.is_file():
            with zipfile.ZipFile(other) as wheel:
                wheel.extractall(unpacked)
            other = Path(unpacked)
        lines = [line for count in given.streams for line in _compare(given, other, count)]
    facts = {"model": given.model.name, "threads": given.threads, "tokens": f"≤ {given.tokens}"}
    print_lines("two builds", lines, {**facts, "rounds": given.rounds})


def _compare(given: argparse.Namespace, other: Path, count: int) -> list[Line]:
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "other": []}

    def run(side: str, path: str) -> float:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--measure", str(count)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[side].append(json.loads(done.stdout))
        return float(found[side][-1]["rate"])

    own = os.environ.get("PYTHONPATH", "")
    theirs = os.pathsep.join(filter(None, (str(other), own)))
    interleave(
        {"ours": lambda: run("ours", own), "other": lambda: run("other", theirs)}, given.rounds
    )
    ours, others = found["ours"], found["other"]
    same = len({run["texts"] for run in ours + others}) == 1
    apart = max(abs(a - b) for a, b in zip(ours[0]["scores"], others[0]["scores"], strict=True))

    def line(what: str, key: str, unit: str, better: str, note: str) -> Line:
        pair = [run[key] for run in ours], [run[key] for run in others]
        spreads = f"ours {spread(pair[0])}, other {spread(pair[1])}"
        medians = median(pair[0]), median(pair[1])
        return Line(f"{count} {what}", *medians, unit, 1.0, better, f"{spreads}, {note}")

    texts = "same texts" if same else "texts differ"
    scores = f"scores at most {apart:.4f} apart"
    return [
        line("candidates grown", "rate", "tok/s", "high", texts),
        line("candidates judged", "judging", "s", "low", scores),
    ]


async def _measure(given: argparse.Namespace, count: int) -> dict[str, Any]:
    """Tokens decoded a second, seconds of judging, a hash of all texts, and the scores."""
    context = 512 + given.tokens
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
            growths.sort(key=lambda growth: branches.index(growth.branch))
            leaves = [
                Leaf(Candidate(g.label, g.text, g.tokens, g.finish), g.branch) for g in growths
            ]
            rate = ledger.usage().generator.generated_tokens / seconds
            judge = JudgeVerifier(Chat(engine.info, {}))
            started = time.perf_counter()
            judged = await judge.score(session, Problem("Go on counting."), leaves)
            judging = time.perf_counter() - started
            scores = [score.value for score in judged if score is not None]
    finally:
        engine.close()
    texts = hashlib.sha256("\0".join(growth.text for growth in growths).encode()).hexdigest()
    return {"rate": rate, "judging": judging, "texts": texts, "scores": scores}


if __name__ == "__main__":
    main()
