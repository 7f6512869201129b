"""``--schema``: read, and refused before anything is loaded where it could not be held to."""

from __future__ import annotations

from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType


def read_schema(given: str | None, kind: AnswerType, *, served: bool) -> str | None:
    """The schema as one line of JSON, None where none is given.

    Args:
        given: a file, or the schema itself.
        kind: ``--answer-type``.
        served: a server holds answers to it in its own way; else it must become a grammar here.

    Raises:
        UsageError: it cannot be read, is no JSON Schema, says what cannot be held to, or goes
            with another answer type.
    """
    if given is None:
        return None
    if kind not in (AnswerType.AUTO, AnswerType.JSON):
        raise UsageError(
            f"An answer that conforms to a schema is JSON, not {kind}.", "Leave out --answer-type."
        )
    from ttc_cli.answers import schema

    text = schema.read_schema(given)
    if not served:
        from ttc_cli.engines.llamacpp.constraint import write_grammar

        write_grammar(text)
    return text
