"""The rows of a batch: JSONL, CSV with a header, or plain lines. A broken row fails alone.

Rows are called by their ``id``, or by the number of the line that they begin at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.tables import FileRow, find_column, read_csv, read_jsonl
from ttc_cli.texts import STDIN, decode_utf8, read_utf8

Format = Literal["jsonl", "csv", "lines"]
Id = str | int

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "lines",
}
TEXT = "question"
"""What the one column of plain lines is called."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row by columns, its ``id`` taken out."""

    id: Id
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that cannot be asked, and why."""

    id: Id
    error: TtcError


def read_rows(
    source: str,
    stdin: int | None,
    format: Format | None = None,
    wanted: Iterable[str] = (TEXT,),
) -> list[Row | Failure]:
    """All rows of ``source``, in order; blank lines are none.

    Args:
        source: a file, or ``-`` for stdin.
        stdin: its descriptor, None where it is closed.
        format: None goes by the file's ending; stdin is JSONL where it begins with an object, or
            an array of them.
        wanted: columns by which the header of CSV is known.

    Raises:
        UsageError: it cannot be read, is too long, of no known format, or holds no row.
    """
    file = stdin if source == "-" else Path(source).expanduser()
    name = STDIN if source == "-" else source
    data = b"" if file is None else read_utf8(file, name, "The batch")
    match format or _guess(source, data):
        case "jsonl":
            found = read_jsonl(data, name)
        case "csv":
            found = read_csv(data, name, wanted)
        case "lines":
            found = _read_lines(data, name)
    rows = list(_name_rows(list(found)))
    if not rows:
        raise UsageError(f"There is no question in {name}.")
    return rows


def _guess(source: str, data: bytes) -> Format:
    if source == "-":
        return "jsonl" if re.match(rb"\s*(\[\s*)?\{", data) else "lines"
    ending = Path(source).suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"The extension of {source} does not tell its format.",
            "name it: --batch-format jsonl, csv or lines",
        )
    return ENDINGS[ending]


def _read_lines(data: bytes, name: str) -> Iterator[FileRow]:
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                yield FileRow(number, {TEXT: decode_utf8(line, f"Line {number}", name)})
            except UsageError as error:
                yield FileRow(number, error=error)


def _name_rows(found: Iterable[FileRow]) -> Iterator[Row | Failure]:
    """Rows by their ids, each of which is that of one row alone; 1 and "1" are the same.

    A row without one, or with that of a row before it, is called by its number; by ``line 3``
    where 3 is the id that another row gives itself.
    """
    rows = [(each, *_take_id(each)) for each in found]
    given = {str(id) for _, id, _ in rows if id is not None}
    owners: dict[str, str] = {}
    for row, id, error in rows:
        if id is not None and (owner := owners.setdefault(str(id), row.where)) != row.where:
            told = f"The id {id!r} is taken by an earlier row, {owner}."
            id, error = None, UsageError(told, "give each row an id of its own")
        if id is None:
            id = row.number
            while str(id) in given:
                id = f"{row.unit} {id}"
        yield Row(id, row.columns) if error is None else Failure(id, error)


def _take_id(row: FileRow) -> tuple[Id | None, TtcError | None]:
    """The id that ``row`` gives itself, taken out of its columns, and what is wrong with it."""
    column = find_column(row.columns, ("id",))
    id = None if column is None else row.columns.pop(column)
    if id is None or id == "":
        return None, row.error
    if isinstance(id, bool) or not isinstance(id, str | int):
        return None, UsageError(f"The id of {row.where} is neither text nor a number.")
    return id, row.error
