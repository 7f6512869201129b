"""One fixture over every engine that passes the contract suite."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest
from contract_engines import Maker, make_llamacpp, make_recorded, make_scripted

NO_LIVE = "TTC_LIVE_MODEL" not in os.environ or importlib.util.find_spec("llama_cpp") is None


@pytest.fixture(
    params=[
        "scripted",
        "recorded",
        pytest.param(
            "llamacpp",
            marks=[
                pytest.mark.live,
                pytest.mark.skipif(NO_LIVE, reason="needs llama_cpp and TTC_LIVE_MODEL"),
            ],
        ),
    ]
)
def engine_factory(request: pytest.FixtureRequest) -> Iterator[Maker]:
    makers = {
        "scripted": Maker("scripted", make_scripted),
        "recorded": Maker("recorded", make_recorded, free=False),
        "llamacpp": Maker("llamacpp", make_llamacpp),
    }
    maker = makers[request.param]
    yield maker
    for engine in maker.made:
        engine.close()


@pytest.fixture
def free_factory(engine_factory: Maker) -> Maker:
    """For what only an engine that really grows can do: steps, greedy, growing on, a full cache."""
    if not engine_factory.free:
        pytest.skip("a recording serves whole samples only")
    return engine_factory
