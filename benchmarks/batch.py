#!/usr/bin/env python3
"""How much faster a batch is than its questions one after the other: tokens a second.

    benchmarks/batch.py --model M.gguf

``ttc solve --batch`` answers the first questions of GSM8K with several of them sharing the engine,
and with ``--jobs 1``, the model loaded once on both sides. Each question has the same number of
branches to grow on at once, so that what differs is only how full the batches of the engine are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import (
    GSM8K,
    HERE,
    Line,
    add_model,
    interleave,
    median,
    parser,
    print_lines,
    require_quiet,
    spread,
)

from ttc_cli.bench import datasets


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--questions", type=int, default=8)
    options.add_argument("--jobs", type=int, default=4, help="questions at once")
    options.add_argument("--branches", type=int, default=4, help="of each question at once")
    given = options.parse_args()
    require_quiet(given.force)
    command = [sys.executable, "-m", "ttc_cli", "solve", "--model", str(given.model.resolve())]
    command += ["--threads", str(given.threads), "--budget", "quick", "--quiet", "--no-save"]
    counted: dict[int, list[int]] = {}

    def run(questions: Path, jobs: int) -> float:
        more = ["--batch", str(questions), "--jobs", str(jobs)]
        more += ["--parallel", str(jobs * given.branches)]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, *more], cwd=HERE.parent, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if len(rows) != given.questions:
            raise SystemExit(f"ttc ended with {done.returncode}: {done.stderr[-500:]}")
        tokens = sum(row["usage"]["generated_tokens"] for row in rows)
        counted.setdefault(jobs, []).append(tokens)
        return tokens / seconds

    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        asked = datasets.load(GSM8K, f":{given.questions}")
        questions.write_text(
            "".join(json.dumps({"id": q.id, "question": q.problem.text}) + "\n" for q in asked)
        )
        sides = {"batch": lambda: run(questions, given.jobs), "alone": lambda: run(questions, 1)}
        found = interleave(sides, given.rounds)
    tokens = ", ".join(f"{jobs} at once {counts}" for jobs, counts in counted.items())
    print_lines(
        f"{given.questions} questions, {given.jobs} at once (ours) and one by one (theirs)",
        [
            Line(
                "tokens a second, loading included",
                median(found["batch"]),
                median(found["alone"]),
                "tok/s",
                1.2,
                note=f"at once {spread(found['batch'])}, one by one {spread(found['alone'])}; "
                f"tokens: {tokens}",
            )
        ],
        {"model": given.model.name, "threads": given.threads, "branches": given.branches},
    )


if __name__ == "__main__":
    main()
