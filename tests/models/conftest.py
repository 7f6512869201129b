import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from fake_hub import FakeHub

from ttc_cli.models.hub import Hub

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:9"
"""Where nobody listens."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ttc's folders and the hub's cache below a temporary one; the hub is nowhere."""
    folder = tmp_path / "home"
    for variable in list(os.environ):
        if variable.startswith(("TTC_", "HF_", "HUGGING", "PIP_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("TTC_HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", DEAD)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def server() -> Iterator[FakeHub]:
    """A hub that runs."""
    fake = FakeHub()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def hub(server: FakeHub, tmp_path: Path) -> Hub:
    """The way to ``server``."""
    return Hub(server.url, tmp_path / "hf" / "hub", patience=60)  # a loaded machine is slow


@pytest.fixture
def start(server: FakeHub) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``ttc models …`` as a program of its own, with ``server`` as its hub."""

    def run(*arguments: str, limit: int | None = None) -> subprocess.Popen[str]:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where tests run in background
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [sys.executable, "-m", "ttc_cli", "models", *arguments],
            env={**os.environ, "HF_ENDPOINT": server.url, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )

    return run
