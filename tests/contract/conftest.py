"""One fixture over every engine that passes the contract suite."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from contract_engines import (
    NOT_ON_A_SERVER,
    Maker,
    make_llamacpp,
    make_openai,
    make_recorded,
    make_scripted,
    make_shared,
    probe_server,
)


@pytest.fixture(
    params=[
        "scripted",
        "shared",
        "recorded",
        pytest.param("llamacpp", marks=pytest.mark.live),
        pytest.param("openai", marks=pytest.mark.live),
    ]
)
def engine_factory(request: pytest.FixtureRequest) -> Iterator[Maker]:
    if request.param == "scripted":
        maker = Maker("scripted", make_scripted)
    elif request.param == "shared":
        maker = Maker("shared", make_shared)
    elif request.param == "recorded":
        maker = Maker("recorded", make_recorded, free=False)
    elif request.param == "openai":
        reason = NOT_ON_A_SERVER.get(request.node.originalname)
        if reason is not None:
            pytest.skip(f"on a server {reason}")
        address, abilities = probe_server(request.getfixturevalue("llama_server"))
        maker = Maker("openai", partial(make_openai, address, abilities), exact=False)
    else:
        model: Path = request.getfixturevalue("tiny_model")
        maker = Maker("llamacpp", partial(make_llamacpp, model), exact=False)
    yield maker
    for engine in maker.made:
        engine.close()


@pytest.fixture
def free_factory(engine_factory: Maker) -> Maker:
    """For what only an engine that really grows can do: steps, greedy, growing on, a full cache."""
    if not engine_factory.free:
        pytest.skip("a recording serves whole samples only")
    return engine_factory
