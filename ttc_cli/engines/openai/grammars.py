"""How servers are told that a completion is a JSON value of a schema. Each has its own word for it.

One that does not know a word ignores or refuses it, so that ``probe`` tries them in turn on a text
that goes on in another way for sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

WORD = "lighthouse"
TRIAL = json.dumps({"type": "string", "enum": [WORD]})
"""A schema with one value, which no count of numbers goes on with."""


def _name(schema: str) -> dict[str, Any]:
    named = {"name": "answer", "schema": json.loads(schema), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


FORMS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "response_format": _name,  # OpenAI's own, vLLM, SGLang
    "json_schema": lambda schema: {"json_schema": json.loads(schema)},  # llama-server
    "structured_outputs": lambda schema: {  # vLLM from 0.11
        "structured_outputs": {"json": json.loads(schema)}
    },
    "guided_json": lambda schema: {"guided_json": json.loads(schema)},  # vLLM before 0.12
    "json_schema as text": lambda schema: {"json_schema": schema},  # SGLang before response_format
}
"""What is added to a request, by the name of the form."""


def obeys(text: str) -> bool:
    """Whether a completion under ``TRIAL`` shows that the schema was kept to."""
    return text.strip() == json.dumps(WORD)
