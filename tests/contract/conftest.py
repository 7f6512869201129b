"""One fixture over every engine that passes the contract suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from contract_engines import (
    NO_STATES,
    NOT_ON_A_SERVER,
    Maker,
    make_llamacpp,
    make_openai,
    make_recorded,
    make_scripted,
    make_shared,
    probe_server,
)

TINY = ("qwen3", "qwen35", "lfm2", "granitehybrid", "mamba2", "gemma4")
"""Architectures of which a model with random weights is written: attention alone, three hybrids,
a running state alone, sliding windows."""
ENGINES = ("scripted", "shared", "recorded", "llamacpp", "openai", *TINY)
LIVE = ("llamacpp", "openai", *TINY)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once an engine, but for what an engine cannot do by its nature."""
    if "engine_factory" not in metafunc.fixturenames:
        return
    left_out = {"openai"} if metafunc.function.__name__ in NOT_ON_A_SERVER else set()
    if metafunc.function.__name__ in NO_STATES:
        left_out.add("lfm2")
    if {"free_factory", "grammar_factory"} & set(metafunc.fixturenames):
        left_out.add("recorded")
    metafunc.parametrize(
        "engine_factory",
        [
            pytest.param(name, marks=[pytest.mark.live] if name in LIVE else [])
            for name in ENGINES
            if name not in left_out
        ],
        indirect=True,
    )


@pytest.fixture
def engine_factory(request: pytest.FixtureRequest) -> Iterator[Maker]:
    if request.param == "scripted":
        maker = Maker("scripted", make_scripted)
    elif request.param == "shared":
        maker = Maker("shared", make_shared)
    elif request.param == "recorded":
        maker = Maker("recorded", make_recorded)
    elif request.param == "openai":
        url = os.environ.get("TTC_CONTRACT_SERVER") or request.getfixturevalue("llama_server")
        address, abilities = probe_server(url)
        maker = Maker("openai", partial(make_openai, address, abilities), exact=False)
    elif request.param in TINY:
        cuts = request.param in ("qwen3", "gemma4")
        path: Path = request.getfixturevalue("tiny_models")(request.param)
        maker = Maker(request.param, partial(make_llamacpp, path), exact=False, cuts=cuts)
    else:
        model: Path = request.getfixturevalue("tiny_model")
        maker = Maker("llamacpp", partial(make_llamacpp, model), exact=False)
    yield maker
    for engine in maker.made:
        engine.close()


@pytest.fixture
def free_factory(engine_factory: Maker) -> Maker:
    """For what only an engine that really grows can do: steps, greedy, growing on, a full cache.

    A recording, which serves whole samples only, is left out.
    """
    return engine_factory
