#!/usr/bin/env python3
"""What the live view costs: the same run with the tree on a terminal, and with no view.

    benchmarks/live_view.py --model M.gguf

``ttc solve --json`` runs with its stderr on a pseudo terminal of 120 × 30 that is read as fast as
it comes; the search's own seconds are taken from the result, so that loading does not dilute them.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

from measure import (
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

QUESTION = (
    "A train leaves at 9:00 with 120 km/h, another at 9:30 with 150 km/h on the same line. "
    "After how many kilometres does the second catch the first? Explain every step at length."
)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    add_model(options)
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--max-tokens", type=int, default=4000, help="of all candidates together")
    given = options.parse_args()
    require_quiet(given.force)
    command = [sys.executable, "-m", "ttc_cli", "solve", "--json", "--strategy", "majority"]
    command += ["--samples", str(given.samples), "--max-tokens", str(given.max_tokens)]
    command += ["--model", str(given.model.resolve()), "--threads", str(given.threads)]
    drawn: set[int] = set()
    screens: list[int] = []

    def run(view: str) -> float:
        tokens, seconds, written = _solve([*command, "--view", view, QUESTION])
        drawn.add(tokens)
        if view == "tree":
            screens.append(written)
        return tokens / seconds

    found = interleave({"on": lambda: run("tree"), "off": lambda: run("none")}, given.rounds)
    if len(drawn) > 1:
        print(f"the runs drew different numbers of tokens: {sorted(drawn)}", file=sys.stderr)
    print_lines(
        "live view on (ours) against off (theirs)",
        [
            Line(
                "tokens a second",
                median(found["on"]),
                median(found["off"]),
                "tok/s",
                0.98,
                note=f"on {spread(found['on'])}, off {spread(found['off'])}, "
                f"{median(screens) / 1024:.0f} KiB drawn",
            )
        ],
        {"model": given.model.name, "threads": given.threads, "rounds": given.rounds},
    )


def _solve(command: list[str]) -> tuple[int, float, int]:
    """Tokens drawn, seconds of search, and bytes written to the terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    written = 0

    def drain() -> None:
        nonlocal written
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is closed
                return
            if not data:
                return
            written += len(data)

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
            cwd=HERE.parent,
            check=False,
        )
    finally:
        os.close(slave)
        reader.join()
        os.close(master)
    result = json.loads(done.stdout)
    if "usage" not in result:
        sys.exit(f"ttc solve failed: {result}")
    usage = result["usage"]
    return int(usage["generator"]["generated_tokens"]), float(usage["seconds"]), written


if __name__ == "__main__":
    main()
