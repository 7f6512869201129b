"""Real servers on loopback for the tests that need one: found, started, stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from ttc_cli import paths

ROOT = Path(__file__).parent.parent
# Looked up now: tests point TTC_HOME elsewhere.
PLACES = (ROOT / "build/peers/cmake/bin", paths.cache_dir() / "peers/cmake/bin")
GIVEN = os.environ.get("TTC_LLAMA_SERVER")
HOW = (
    "there is no llama-server here: benchmarks/build_peers.sh builds one (minutes), "
    "TTC_LLAMA_SERVER names another"
)


def find_llama_server() -> Path | None:
    """The binary that ``TTC_LLAMA_SERVER`` names, or that ``benchmarks/build_peers.sh`` left."""
    if GIVEN:
        return Path(GIVEN)
    for place in PLACES:
        if (place / "llama-server").is_file():
            return place / "llama-server"
    return None


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path, seconds: float = 120) -> Iterator[str]:
    """The address of a server that ``command`` starts, once it lists its models."""
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + seconds
            while not _answers(f"{url}/models"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{command[0]} does not serve:\n{log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def llama_server(
    binary: Path, model: Path, port: int, *, slots: int = 4, context: int = 256
) -> list[str]:
    """The command of a llama-server with ``slots`` of ``context`` tokens each."""
    return [
        *(str(binary), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * context), "--threads", "1"),
        *("--alias", "tiny"),
    ]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
