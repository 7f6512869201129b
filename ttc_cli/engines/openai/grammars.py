"""How servers are asked to hold a completion to a JSON Schema: each has its own field for it.

A server ignores or refuses a field that it does not know, so ``probe`` tries them in turn on a text
that would surely go on in another way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

WORD = "lighthouse"
TRIAL = json.dumps({"type": "string", "enum": [WORD]})
"""A schema with one value, which no model would write after a row of numbers."""


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
