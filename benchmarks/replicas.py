#!/usr/bin/env python3
r"""A vote on two replicas of vLLM behind Ray Serve, one of which is killed in the middle.

    benchmarks/build_vllm.sh
    benchmarks/replicas.py --model M.gguf

Two raylets with one processor each stand for two machines; each holds one replica
(``ray_vllm.py``). Once both are at work, one raylet is killed with all that it runs. Every
candidate has to end all the same: those that grew there go on at the other replica from where they
were. Ray's own ports are open to the network meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from measure import HERE
from on_vllm import (
    QUESTION,
    QUIET,
    ROOM,
    Row,
    await_reply,
    await_that,
    begin,
    describe,
    end,
    options,
    report,
    solve,
    unpack,
    write_command,
)
from serving import find_port

SAMPLES, IN_FLIGHT = 16, 8
"""Samples that fit at once go out as one request; more than that as small ones, which spread."""
SHORT = 100
"""Characters that only those prompts do not reach with which ttc asks what a server can do."""
AT_WORK = 4.0
"""Seconds that both replicas have worked when one is lost."""


class Logs:
    """What the replicas wrote of themselves (``ray_vllm.py``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[int, list[dict[str, Any]]]:
        """The lines of each replica, by its process."""
        return {
            int(path.stem): [
                json.loads(line)
                for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
                if line.endswith("\n")
            ]
            for path in self.folder.glob("*.jsonl")
        }

    def count_up(self) -> int:
        """Replicas whose server is there."""
        return sum(any(each["event"] == "up" for each in lines) for lines in self.read().values())

    def count_open(self, replica: int) -> int:
        """Completions under way at ``replica``."""
        events = [each["event"] for each in self.read()[replica]]
        return events.count("begin") - events.count("end")

    def list_begun(self, replica: int) -> list[dict[str, Any]]:
        """Completions begun at ``replica``, but for those that asked what it can do."""
        lines = self.read()[replica]
        return [each for each in lines if each.get("characters", 0) > SHORT]


def run_replicas(given: argparse.Namespace) -> Iterator[Row]:
    """A vote on two replicas, one of which is lost."""
    folder = unpack(given, given.model, "bfloat16")
    logs = Logs(given.logs / "replicas")
    logs.folder.mkdir()
    began = time.monotonic()
    gcs, port = find_port(), find_port()
    ray = [given.vllm / "ray", "start", "--block", "--disable-usage-stats", "--num-cpus", "1"]
    ray += ["--object-store-memory", "100000000", "--min-worker-port", "0"]
    ray += ["--max-worker-port", "0"]
    command = write_command(given, folder, "bfloat16", *ROOM)
    environment = {
        **QUIET,
        # Unbound, a thread each: by default both would bind theirs to the same core.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        # By default the proxy gives all that fits to the replica of its own node.
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
    }
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ttc-ray-", ignore_cleanup_errors=True)
        )

        def start(name: str, *words: str | Path) -> tuple[subprocess.Popen[bytes], Path]:
            log = given.logs / f"{name}.txt"
            return stack.enter_context(begin(words, log, environment)), log

        head = start(
            *("head", *ray, "--head", "--port", str(gcs), "--include-dashboard", "false"),
            *("--temp-dir", temporary),
        )
        await_that(lambda: b"Ray runtime started" in head[1].read_bytes(), "Ray runs", 90, *head)
        second, _ = start("second", *ray, "--address", f"127.0.0.1:{gcs}")
        app = start(
            *("app", given.vllm / "python", HERE / "ray_vllm.py", "--address", f"127.0.0.1:{gcs}"),
            *("--port", str(port), "--log", str(logs.folder), "--", *command),
        )
        await_that(lambda: logs.count_up() == 2, "two replicas are up", given.most, *app)
        url = f"http://127.0.0.1:{port}"
        await_reply(f"{url}/health", *app, 60)
        yield Row("Ray and two replicas start", True, time.monotonic() - began)
        of_second = {each.pid for each in psutil.Process(second.pid).children(recursive=True)}
        (lost,) = [each for each in logs.read() if each in of_second]
        (kept,) = [each for each in logs.read() if each != lost]
        flags = ["--strategy", "majority", "--samples", str(SAMPLES), "--json", QUESTION]
        flags += ["--parallel", str(IN_FLIGHT), "--max-tokens", str(SAMPLES * 512)]
        flags += ["--max-seconds", "240"]
        told = given.logs / "vote.txt"
        began = time.time()
        search = subprocess.Popen(
            solve(given, url, *flags),
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stack.enter_context(told.open("wb")),
        )
        stack.callback(search.kill)
        await_that(
            lambda: bool(logs.list_begun(lost) and logs.list_begun(kept)),
            "both replicas are at work",
            60,
            search,
            told,
        )
        time.sleep(AT_WORK)
        cut, killed = logs.count_open(lost), time.time()
        end(second, grace=0)
        said, _ = search.communicate(timeout=given.most)
        seconds = time.time() - began
        (given.logs / "vote.json").write_bytes(said)
        theirs, ours = logs.list_begun(lost), logs.list_begun(kept)
        before = [each for each in ours if each["time"] < killed]
        resumed = [each for each in ours if each["time"] >= killed and each["n"] == 1]
        note = f"{len(before)} and {len(theirs)} in {killed - began:.0f} s, then one is killed"
        yield Row("requests spread", bool(cut and before), killed - began, note)
        found = json.loads(said) if said.strip() else {"candidates": []}
        whole = sum(each["finish"] in ("stop", "length") for each in found["candidates"])
        note = f"{cut} requests cut off, {len(resumed)} candidates resumed at the other; "
        note += f"{whole} of {SAMPLES} ended"
        if found["candidates"]:
            note += f"; {describe(found)}"
        passed = search.returncode == 0 and whole == SAMPLES
        yield Row("a vote loses a replica", passed, seconds, note)


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    given = parser.parse_args()
    if given.model is None:
        parser.error("give --model")
    report(given, run_replicas)


if __name__ == "__main__":
    main()
