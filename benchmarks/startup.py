#!/usr/bin/env python3
"""How soon ttc answers at all: ``ttc --help``, and the first token of ``ttc solve``.

    benchmarks/startup.py                      ``ttc --help`` alone
    benchmarks/startup.py --model M.gguf       also the first token

The first token is timed from the start of the process to the first ``grew`` event; what loading
the model and reading the prompt took, timed in processes of their own with the library already
imported, is subtracted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from measure import HERE, interleave, median, parser, require_quiet, spread

from ttc_cli.models import hardware

QUESTION = "What is 17 * 23?"

_IMPORTS = """
import sys
from ttc_cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
print(*sorted({"llama_cpp", "numpy", "rich", "huggingface_hub", "sympy"} & set(sys.modules)),
      file=sys.stderr)
"""

_LOAD = """
import asyncio, sys, time
from pathlib import Path
from ttc_cli.solving.choosing import estimate_context
from ttc_cli.engines.base import Span
from ttc_cli.engines.llamacpp import Settings, engine, load, memory, native
from ttc_cli.ledger import Ledger
from ttc_cli.models import gguf, hardware
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.types import AnswerType, Budget, Problem

question, budget = sys.argv[2], Budget()
started = time.perf_counter()
engine = load(
    Path(sys.argv[1]),
    Settings(context=estimate_context(question, budget), answer=budget.tokens_per_candidate),
)
loaded = time.perf_counter() - started
prompt = Chat(engine.info).render(build_messages(Problem(question, AnswerType.NUMBER)))

async def read():
    started = time.perf_counter()
    async with await engine.open(prompt, Ledger(budget)):
        return time.perf_counter() - started

print(loaded + asyncio.run(read()))
engine.close()
"""


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, help="a GGUF file")
    options.set_defaults(rounds=9)
    given = options.parse_args()
    require_quiet(given.force)
    helped = interleave({"python -c pass": _run_nothing, "ttc --help": _run_help}, given.rounds)
    imported = _find_imports()
    milliseconds = [1000 * seconds for seconds in helped["ttc --help"]]
    print(
        f"\n`ttc --help`: median {median(milliseconds):.0f} ms ({spread(milliseconds)} ms), "
        f"target ≤ 150 ms: {'met' if median(milliseconds) <= 150 else 'missed'}. "
        f"An empty Python takes {1000 * median(helped['python -c pass']):.0f} ms. "
        f"Heavy modules imported: {imported or 'none'} "
        f"(target: no llama_cpp: {'missed' if 'llama_cpp' in imported else 'met'})."
    )
    if given.model:
        _first_token(given)


def _run_nothing() -> float:
    return _time([sys.executable, "-c", "pass"])


def _run_help() -> float:
    return _time([sys.executable, "-m", "ttc_cli", "--help"])


def _time(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
    return time.perf_counter() - started


def _find_imports() -> str:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        check=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=HERE.parent,
    )
    return done.stderr.strip()


def _first_token(given: argparse.Namespace) -> None:
    model = str(given.model.resolve())

    def whole() -> float:
        command = [sys.executable, "-m", "ttc_cli", "solve", "--jsonl", "--view", "none"]
        command += ["--model", model, "--max-samples", "1", QUESTION]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=HERE.parent
        )
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                if b'"grew"' in line:
                    seconds = time.perf_counter() - started
                    process.terminate()
                    process.stdout.read()
                    return seconds
        sys.exit(f"ttc solve grew nothing and ended with status {process.returncode}")

    def parts() -> float:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, model, QUESTION],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            cwd=HERE.parent,
        )
        return float(done.stdout)

    whole()  # the first solve after a build tests it in a child process
    found = interleave({"first token": whole, "load and prompt": parts}, given.rounds)
    beyond = median(found["first token"]) - median(found["load and prompt"])
    print(
        f"\nFirst token of {given.model.name} on {hardware.count_cores()} threads: "
        f"{median(found['first token']):.2f} s from the start of the process "
        f"({spread(found['first token'])} s), of which loading and reading the prompt take "
        f"{median(found['load and prompt']):.2f} s: {beyond:.2f} s beyond, target ≤ 0.5 s: "
        f"{'met' if beyond <= 0.5 else 'missed'}."
    )


if __name__ == "__main__":
    main()
