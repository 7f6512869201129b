"""Servers on loopback for the tests of the engine over a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fake_openai import FakeServer, serve

from ttc_cli.engines.openai import Settings, connect, transport


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries cost a test nothing; their length is tested by itself."""
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)
    for name in ("TTC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(hasty: None) -> Iterator[Any]:
    with ExitStack() as stack:

        def begin(**behaviour: Any) -> FakeServer:
            return stack.enter_context(serve(FakeServer(**behaviour)))

        yield begin


@pytest.fixture(scope="module")
def good() -> Iterator[tuple[FakeServer, Any]]:
    """A good server and the engine on it, for properties that cannot begin one for each example."""
    with serve(FakeServer()) as fake:
        yield fake, connect(Settings(fake.url, patience=5.0, tries=2), {})
