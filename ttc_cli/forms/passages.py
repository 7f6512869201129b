"""The parts of what a program candidate wrote, and what came of it, for whoever shows them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ttc_cli.types import Execution

FENCE = "```"
BEGINNING = f"{FENCE}python\n"
"""What the turn of a program's model is begun with. No part of a candidate's text."""
OUTPUT = f"{FENCE}output\n"
"""What stands before what a model is told of its program, which it then repairs."""
_BEGINNING = re.compile(f"^{re.escape(BEGINNING)}", re.MULTILINE)


class Passage(NamedTuple):
    """A part of what a program candidate has to show: hostile text, as the model's own.

    ``kind``: its ``code``; the ``output`` of the code before it; the ``error`` that the code
    before it ended with; or ``words``, which the model added behind its code.
    """

    kind: Literal["code", "output", "error", "words"]
    text: str


def part_program(text: str, ran: Execution | None = None) -> list[Passage]:
    """The parts of a program candidate's ``text``, and what its last program came to.

    A program that was repaired stands before the one it became, with what the model was told of
    it. An output that is empty says that nothing was printed.
    """
    passages: list[Passage] = []
    for block in _BEGINNING.split(text):
        code, _, rest = block.partition(FENCE)
        if code.strip():
            passages.append(Passage("code", code.strip("\n")))
        before, _, told = rest.partition(OUTPUT)
        told, _, after = told.partition(f"\n{FENCE}")
        found = [Passage("words", before), Passage("output", told), Passage("words", after)]
        passages += [Passage(kind, each.strip()) for kind, each in found if each.strip()]
    if ran is not None:
        if ran.output.strip() or not ran.error:
            passages.append(Passage("output", ran.output.rstrip()))
        if ran.error:
            passages.append(Passage("error", ran.error.strip()))
    return passages
