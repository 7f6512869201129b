"""The batch that the command line asks for, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError
from ttc_cli.solving.batch.questions import Wording, make_questions
from ttc_cli.solving.batch.rows import read_rows
from ttc_cli.solving.batch.solving import Batch
from ttc_cli.solving.prompt_templates import PLACES, PromptTemplate
from ttc_cli.solving.question import split_words
from ttc_cli.types import AnswerType

STDOUT = Path("-")
"""As ``--output``: what it is without one."""
ALONE = {
    "batch_format": "--batch-format",
    "column": "--column",
    "output": "--output",
    "jobs": "--jobs",
}
"""Flags that say something of a batch only."""
AGAINST = {
    "as_json": "--json",
    "as_jsonl": "--jsonl",
    "solution": "--solution",
    "explain": "--explain",
    "verbose": "--verbose",
    "file": "--file",
    "cascade": "--cascade",
}
"""Flags that a batch has no use for."""


def read_batch(
    given: Mapping[str, Any],
    words: Sequence[str],
    template: PromptTemplate | None,
    *,
    stdin: int | None,
    answer_type: AnswerType,
    system: str | None,
) -> Batch | None:
    """What ``--batch`` names, as questions; None without it.

    ``given`` are all flags by their parameters' names, ``words`` the arguments: an instruction
    where ``template`` has a place for one. ``answer_type`` and ``system`` are of rows that state
    none.

    Raises:
        UsageError: flags contradict each other, or the file cannot be read.
    """
    source = given["batch"]
    if source is None:
        for name, flag in ALONE.items():
            if given[name] is not None:
                raise UsageError(f"{flag} belongs to --batch.", "leave it out, or add --batch FILE")
        return None
    for name, flag in AGAINST.items():
        if given[name]:
            raise UsageError(f"--batch and {flag} contradict each other.", "leave one out")
    prompt, dash = split_words(words)
    takes_both = template is not None and template.names >= PLACES
    if dash or (prompt is not None and not takes_both):
        raise UsageError(
            "--batch and a prompt contradict each other.",
            "leave one out; a --template with {{ question }} and {{ input }} takes both",
        )
    wording = Wording(given["column"], template, prompt or "", answer_type, system, given["seed"])
    rows = read_rows(source, stdin, given["batch_format"], wording.wanted)
    questions, failures = make_questions(rows, wording)
    return Batch(
        source,
        questions,
        failures,
        wording,
        None if given["output"] == STDOUT else given["output"],
        given["jobs"],
        given["min_score"],
    )
