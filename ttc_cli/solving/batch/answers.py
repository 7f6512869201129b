"""Where the answers of a batch go: to stdout, or to a file that a later run goes on with.

A line is a whole JSON object, written in one piece and waited for until it is on the disk. What a
killed run left of a line is cut off by the next one. Each answer carries fingerprints of its
question and of the settings: a file of answers to other questions, or under other settings, is
refused, and nothing of it is changed. Only questions that failed are asked again.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttc_cli.appending import LineFile
from ttc_cli.errors import UsageError
from ttc_cli.paths import write_whole
from ttc_cli.views.jsonl import to_line

Json = dict[str, Any]
HEAD = b'{"id":'
"""What every line begins with."""


@dataclass(slots=True)
class Answers:
    """Takes answers as they end; to stdout unless there is a ``file``.

    ``known`` are the answers that were there before, by id as text; ``failed`` the ids of those
    that had failed and are asked again.
    """

    file: LineFile | None = None
    known: dict[str, Json] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def append(self, row: Json) -> None:
        """Write one line.

        Raises:
            OSError: a full disk, a closed pipe; what was written before stays valid.
        """
        line = to_line(row)
        if self.file is None:
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        self.file.append(line.encode("ascii"))


@contextmanager
def open_answers(
    path: Path | None,
    settings: str,
    questions: Mapping[str, str],
    failures: Collection[str],
    batch: str,
) -> Iterator[Answers]:
    """Take answers into ``path``, which is made, or gone on with; None is stdout.

    The file is held against other runs while this is open.

    ``settings`` is the fingerprint of all that answers depend on beside their questions;
    ``questions`` gives, by id as text, that of each question of ``batch``, the file they come from.
    ``failures`` are the ids of rows that are not questions.

    Raises:
        UsageError: the file cannot be written, is not of this kind, is held by another run, or
            has answers to other questions or under other settings.
    """
    if path is None:
        yield Answers()
        return
    path = path.expanduser()
    with contextlib.ExitStack() as stack:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a regular file.", "redirect stdout instead")
        with contextlib.suppress(OSError):
            if path.samefile(batch):
                raise UsageError("--batch and --output are the same file.", "name another --output")
        file = stack.enter_context(_open(path))
        if not HEAD.startswith(file.torn[: len(HEAD)]):
            raise _foreign(path, file.lines.count(b"\n") + 1)
        answers, kept = _sort(path, file.lines, settings, questions, failures)
        if file.torn or len(kept) < len(file.lines):
            write_whole(path, kept)  # in one step: a kill leaves the old or the new one
            file = stack.enter_context(_open(path))
        answers.file = file
        yield answers


def _open(path: Path) -> LineFile:
    busy = UsageError(f"Another run is writing to {path}.", "name another --output")
    try:
        return LineFile(path, busy)
    except OSError as error:
        hint = f"name that file itself: --output {path.resolve()}" if path.is_symlink() else ""
        raise UsageError(f"Cannot write {path}: {error.strerror}.", hint) from error


def _sort(
    path: Path,
    data: bytes,
    settings: str,
    questions: Mapping[str, str],
    failures: Collection[str],
) -> tuple[Answers, bytes]:
    """What is in the file, and the lines of it that stay."""
    answers = Answers()
    kept: list[bytes] = []
    others: list[str] = []
    changed: list[str] = []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        row = _read_row(path, number, line)
        id = str(row["id"])
        prints = row.get("fingerprint") or {}
        if row["type"] == "error" and (id in questions or id in failures):
            answers.failed.append(id)
        elif row["type"] == "error" or id not in questions:
            kept.append(line)
        elif prints.get("settings") != settings:
            others.append(id)
        elif prints.get("question") != questions[id]:
            changed.append(id)
        else:
            answers.known[id] = row
            kept.append(line)
    if others:
        raise UsageError(
            f"{path} has answers found with other settings (model, budget, strategy, "
            f"seed, template …): {_list(others)}.",
            "name another --output, or repeat the command that began the file",
        )
    if changed:
        raise UsageError(
            f"{path} has answers to other questions with the same ids: {_list(changed)}.",
            "delete these lines of it to ask them again, or name another --output",
        )
    return answers, b"".join(kept)


def _read_row(path: Path, number: int, line: bytes) -> Json:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    kind = row.get("type") if isinstance(row, dict) else None
    if not isinstance(row, dict) or "id" not in row or kind not in ("result", "error"):
        raise _foreign(path, number)
    return row


def _list(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}, line {number}: not an answer of ttc solve --batch; nothing was changed.",
        "name another --output",
    )
