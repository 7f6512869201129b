"""A schema on a model too weak to follow it: every candidate conforms all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ttc_cli.answers import Comparer
from ttc_cli.answers.validating import conforms
from ttc_cli.engines import llamacpp
from ttc_cli.engines.base import Engine
from ttc_cli.policy.run import solve
from ttc_cli.policy.stage import SearchOptions, Stage
from ttc_cli.prompts import Chat
from ttc_cli.types import Budget, Finish, Problem, Sampling

pytestmark = pytest.mark.live

SCHEMAS = {
    "person": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {
                "type": "array",
                "items": {"enum": ["kind", "bold", "shy"]},
                "minItems": 1,
                "maxItems": 3,
            },
            "address": {
                "type": ["object", "null"],
                "properties": {"town": {"type": "string", "maxLength": 20}},
                "required": ["town"],
            },
        },
        "required": ["name", "age", "tags", "address"],
    },
    "plate": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3,4}$"},
    "date": {"type": "array", "prefixItems": [{"type": "string", "format": "date"}, {"const": 1}]},
}


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    loaded = llamacpp.load(tiny_model, llamacpp.Settings(threads=1, parallel=4, context=1024))
    yield loaded
    loaded.close()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_weak_model_always_conforms(engine: Engine, name: str) -> None:
    schema = json.dumps(SCHEMAS[name])
    with Comparer() as comparer:
        result = asyncio.run(
            solve(
                Problem("Anna, a bold woman of 31, drives to Riga.", schema=schema),
                Stage(engine, Chat(engine.info), sampling=Sampling(temperature=1.2)),
                SearchOptions("majority", samples=4, budget=Budget(tokens_per_candidate=240)),
                comparer=comparer,
            )
        )
    assert result.answer is not None
    for each in result.candidates:
        assert each.finish is Finish.STOP, each.text
        assert each.answer is not None, each.text
        assert conforms(each.answer.text, schema)
    assert sum(each.votes for each in result.classes) == 4
