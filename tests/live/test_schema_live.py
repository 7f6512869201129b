"""A schema on a model too weak to follow it: every candidate conforms all the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ttc_cli.answers.schema import conforms
from ttc_cli.main import main

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


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("strategy", ["majority", "beam"])
def test_a_weak_model_always_conforms(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], name: str, strategy: str
) -> None:
    schema = json.dumps(SCHEMAS[name])
    code = main(
        [
            "solve", "Anna, a bold woman of 31, drives to Riga.", "--model", str(tiny_model),
            "--schema", schema, "--strategy", strategy, "--samples", "4", "--json", "-q",
            "--temperature", "1.2", "--context", "2048", "--threads", "1",
            "--max-seconds", "60",
        ]
    )  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert conforms(result["answer"], schema)
    ends = Counter(each["finish"] for each in result["candidates"])
    finished = [each for each in result["candidates"] if each["finish"] == "stop"]
    assert finished
    assert all(conforms(each["answer"], schema) for each in finished), ends
