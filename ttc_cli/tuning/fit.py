"""Tunes a model that was just fetched, where that is known to pay; ``install.sh`` does it unasked.

It is known where ``verdict.expect_gain`` says ``LEAST_EXPECTED`` or more: of processors, on those
with AMX. Elsewhere nothing is done and nothing said. The same goes for a file that was tried
before, one whose new type would have fewer bits, and one that is too large for the disk, the memory
or the time.

``python -P -m ttc_cli.tuning.fit FILE`` prints a line each: the model's name, what that gains, and
the file that it runs as from now on; nothing where its file stays. What goes on is said on stderr.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ttc_cli.engines.llamacpp import selftest
from ttc_cli.errors import EngineError, TtcError
from ttc_cli.models import hardware, records
from ttc_cli.models.gguf import read_header
from ttc_cli.sanitise import clean
from ttc_cli.tuning.tune import TunePlan, plan, tune
from ttc_cli.tuning.verdict import expect_gain, may_be_tuned

SECONDS = 120
"""What all of it may take; then it is stopped, and the published file stays."""
LEAST_EXPECTED = 1.2
"""Times as fast; less is not worth two minutes and the disk to somebody who did not ask."""
BYTES_A_CORE = 10**9
"""Of the new file, for which the time will do: two cores without AMX took 25 s to write and compare
0.68 GB, and need about 65 s to measure both files."""


def choose(file: Path) -> tuple[TunePlan, float] | None:
    """What to try for the model whose file this is, and the gain to expect; None for nothing.

    Raises:
        TtcError: the build or the file is no good, or there is no room for the new one.
    """
    known = (each for each in records.list_records() if file in (each.path, each.used))
    record = next(known, None)
    if record is None or not may_be_tuned(record.tuning):
        return None
    built = selftest.check_build(file)
    if built.offloads and hardware.find_accelerators():
        return None
    tensors = read_header(record.path).tensor_types
    gain = expect_gain(tensors, selftest.read_instructions(built.system))
    if gain is None or gain < LEAST_EXPECTED:
        return None
    made = plan(record.name)
    small = made.bytes <= BYTES_A_CORE * hardware.count_cores()
    return (made, gain) if small and not made.lossy else None


def fit(file: Path) -> None:
    """Try what ``choose`` says, and print what came of it."""
    try:
        chosen = choose(file)
    except (TtcError, OSError):
        return
    if chosen is None:
        return
    made, gain = chosen
    _say(
        f"==> Trying {made.name} as {made.kind}, likely {gain:g} times as fast here "
        f"({SECONDS} seconds at most)"
    )
    try:
        outcome = tune(made.name, made.kind)
    except (TtcError, OSError) as error:
        _say(f"    The published file stays in use. {error}")
        return
    if outcome.used:
        print(
            made.name, f"{made.kind}, {outcome.gain:.2f} times as fast here", made.target, sep="\n"
        )
    else:
        _say(f"    The published file stays in use: {outcome.reason}.")


def main(arguments: Sequence[str]) -> int:
    """``FILE``; the exit status is 0 whatever came of it, 130 after Ctrl-C."""
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        fit(Path(arguments[0]))
    except KeyboardInterrupt:
        return 130
    return 0


def _stop(number: int, frame: object) -> NoReturn:
    # After an error of the engine ``tune`` takes back what it wrote.
    raise EngineError(f"The trial was not over in {SECONDS} seconds.")


def _say(line: str) -> None:
    print(clean(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
