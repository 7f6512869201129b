"""The wall clock jumps, back and forth, in mid-solve: no limit and no figure follows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
JUMPING = textwrap.dedent(
    """
    import datetime, itertools, os, runpy, sys, time

    real, jumps = time.time, itertools.cycle([0.0, -1e9, 1e9, -3e8, 86400.0])
    time.time = lambda: real() + next(jumps)
    time.time_ns = lambda: int(time.time() * 1e9)

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(max(0.0, time.time()), tz)

    datetime.datetime = Jumping
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
    """
)


def solve(
    folder: Path, *arguments: str, text: str, pause: float
) -> tuple[dict[str, object], float]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    scenario = json.dumps({"texts": [text], "pause": pause})
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", JUMPING, str(HERE / "commands" / "scripted_ttc.py"), "solve",
         "What is 2+2?", "--json", *arguments],
        env={**kept, "TTC_HOME": str(folder), "SCENARIO": scenario, "PYTHONPATH": str(HERE.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    assert b"Traceback" not in done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result, time.monotonic() - started


def test_a_solve_under_a_jumping_clock_is_as_any_other(tmp_path: Path) -> None:
    result, passed = solve(tmp_path, text="So.\n\nThe final answer is 4.", pause=0.0)
    usage = result["usage"]
    assert isinstance(usage, dict)
    assert result["answer"] == "4"
    assert 0 <= usage["seconds"] <= passed


@pytest.mark.parametrize("limit", [1.0])
def test_a_time_limit_holds_under_a_jumping_clock(tmp_path: Path, limit: float) -> None:
    flags = ("--max-seconds", str(limit))
    result, passed = solve(tmp_path, *flags, text="forever: and so on", pause=0.01)
    usage = result["usage"]
    assert isinstance(usage, dict)
    assert limit * 0.9 <= usage["seconds"] <= passed
    assert usage["seconds"] < limit + 1
