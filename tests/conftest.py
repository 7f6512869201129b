"""Real models for the tests that need one.

``./install.sh --dev`` fetches them. Where one is missing its tests are skipped, with the command
that fetches it; in CI that is a failure instead, so that nothing is skipped unseen.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import live_servers
import pytest
import tiny_models as tiny
from hypothesis import HealthCheck, settings

from ttc_cli.models import files, hardware

# A busy machine is no fault of what is tested: pytest-timeout ends what hangs.
settings.register_profile(
    "ttc",
    parent=settings.default,
    deadline=None,
    suppress_health_check=[*settings.default.suppress_health_check, HealthCheck.too_slow],
)
settings.load_profile("ttc")

# No test writes to the log of runs of whoever runs the tests.
os.environ["TTC_KEEP_RUNS"] = "no"

# Hundreds of tests start a process: each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Looked up now: tests point TTC_HOME elsewhere.
FOUND = {name: files.find(name) for name in ("smollm2-135m", "qwen2.5-coder-0.5b")}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test's default hangs on a network: the model hub is not there, unless a test says so."""
    monkeypatch.setattr("ttc_cli.models.ranking.Hub.answers", lambda hub: False)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What ``-n auto`` means: a worker a core up to 8, and none where one file is named."""
    named = config.option.file_or_dir
    if len(named) == 1 and Path(named[0].partition("::")[0]).suffix == ".py":
        return 0
    return min(hardware.count_cores(), 8)


def give(name: str) -> Path:
    path = FOUND[name]
    if path is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"{name} is not on this machine: ttc models pull {name}")
    return path


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """SmolLM2-135M: a real model that cannot reason, for what any real model shows."""
    return give("smollm2-135m")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a model of an architecture with random weights, once a session."""
    folder = tmp_path_factory.mktemp("tiny-models")

    @functools.cache
    def write(architecture: str) -> Path:
        return tiny.write_model(architecture, folder / f"{architecture}.gguf")

    return write


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """Qwen2.5-Coder-0.5B: the smallest that reasons a little."""
    return give("qwen2.5-coder-0.5b")


@pytest.fixture(scope="session")
def llama_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one llama-server on the smallest model, for the whole session."""
    binary = live_servers.find_llama_server()
    if binary is None:
        pytest.skip(live_servers.HOW)
    port = live_servers.free_port()
    log = tmp_path_factory.mktemp("llama-server") / "log.txt"
    command = live_servers.llama_server(binary, tiny_model, port)
    with live_servers.running(command, port, log) as url:
        yield url
