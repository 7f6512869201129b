"""Real models for the tests that need one.

``./install.sh --dev`` fetches them. Where one is missing its tests are skipped, with the command
that fetches it; in CI that is a failure instead, so that nothing is skipped unseen.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ttc_cli.models import store

# Looked up now: tests point TTC_HOME elsewhere.
FOUND = {name: store.find(name) for name in ("smollm2-135m", "qwen2.5-coder-0.5b")}


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
def starter_model() -> Path:
    """Qwen2.5-Coder-0.5B: the smallest that reasons a little."""
    return give("qwen2.5-coder-0.5b")
