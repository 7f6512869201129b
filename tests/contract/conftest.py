"""One fixture over every engine that passes the contract suite."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from contract_engines import Maker, make_llamacpp, make_recorded, make_scripted


@pytest.fixture(params=["scripted", "recorded", pytest.param("llamacpp", marks=pytest.mark.live)])
def engine_factory(request: pytest.FixtureRequest) -> Iterator[Maker]:
    if request.param == "scripted":
        maker = Maker("scripted", make_scripted)
    elif request.param == "recorded":
        maker = Maker("recorded", make_recorded, free=False)
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
