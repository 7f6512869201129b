"""Planted solutions: 24 short questions, each with a right and a subtly wrong solution in steps.

Both solutions of a question begin the same and differ from the step ``wrong_from`` on, by one slip
(an operation, a unit, a count, a sum, a condition that is forgotten) that is then carried through
to a wrong answer without a further one. So a verifier that merely likes well-written text, or knows
an easy question from a hard one, scores both the same. ``planted.jsonl`` holds them; they were
written for ttc, and a test recomputes every right answer and checks every equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.tables import read_jsonl
from ttc_cli.texts import read_utf8


@dataclass(frozen=True, slots=True)
class Planted:
    """A question with both solutions, in steps."""

    question: str
    answer: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def wrong_from(self) -> int:
        """The place, from 0, of the first step that differs."""
        pairs = zip(self.right, self.wrong, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), len(self.right))


def load_planted(path: Path) -> list[Planted]:
    """Read a JSONL file: ``question``, ``answer``, ``right`` and ``wrong``, lists of steps, a line.

    Raises:
        UsageError: it cannot be understood.
    """
    found = []
    for row in read_jsonl(read_utf8(path, str(path), "The solutions in"), str(path)):
        try:
            if row.error is not None:
                raise row.error
            found.append(_read(row.columns))
        except (TtcError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}, {row.where}: no planted solutions ({error!r}).") from error
    if not found:
        raise UsageError(f"There are no solutions in {path}.")
    return found


def _read(row: dict[str, Any]) -> Planted:
    right, wrong = (tuple(map(str, row[key])) for key in ("right", "wrong"))
    if not right or not wrong or right == wrong:
        raise ValueError("the solutions are empty, or the same")
    return Planted(str(row["question"]), str(row["answer"]), right, wrong)


PLANTED: tuple[Planted, ...] = tuple(load_planted(Path(__file__).with_name("planted.jsonl")))
