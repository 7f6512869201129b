"""The rows of a batch: JSONL, CSV with a header, or plain lines. A row that is broken is one row.

Rows are called by their ``id``, or by the number of the line they begin at.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ttc_cli.commands.question import LIMIT as QUESTION_LIMIT
from ttc_cli.commands.question import decode
from ttc_cli.errors import TtcError, UsageError

Format = Literal["jsonl", "csv", "lines"]
Id = str | int

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".txt": "lines",
}
LIMIT = 256 * 2**20
"""Bytes of a whole batch: it is read at once, so that all of it is checked first."""
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


def read_rows(source: str, stdin: int | None, format: Format | None = None) -> list[Row | Failure]:
    """All rows of ``source``, in order; blank lines are none.

    Args:
        source: a file, or ``-`` for stdin.
        stdin: its descriptor, None where it is closed.
        format: None goes by the file's ending; stdin is JSONL where it begins with a brace.

    Raises:
        UsageError: it cannot be read, is too long, of no known format, or holds no row.
    """
    data = _read(source, stdin).removeprefix(b"\xef\xbb\xbf")
    readers = {"jsonl": _read_jsonl, "csv": _read_csv, "lines": _read_lines}
    rows = list(_refuse_twins(readers[format or _guess(source, data)](data)))
    if not rows:
        raise UsageError(f"There is no question in {_name(source)}.")
    return rows


def _name(source: str) -> str:
    return "stdin" if source == "-" else source


def _read(source: str, stdin: int | None) -> bytes:
    file = stdin if source == "-" else Path(source).expanduser()
    if file is None:
        return b""
    try:
        with open(file, "rb", closefd=not isinstance(file, int)) as opened:
            data = opened.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(f"Cannot read {_name(source)}: {error.strerror}.") from error
    if len(data) > LIMIT:
        raise UsageError(
            f"{_name(source)} is longer than {LIMIT // 2**20} MiB.", "split it: split -l 10000 FILE"
        )
    return data


def _guess(source: str, data: bytes) -> Format:
    if source == "-":
        return "jsonl" if data.lstrip()[:1] == b"{" else "lines"
    ending = Path(source).suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"The ending of {source} tells no format of a batch.",
            "say it: --batch-format jsonl, csv or lines",
        )
    return ENDINGS[ending]


def _read_lines(data: bytes) -> Iterator[Row | Failure]:
    for number, line in _lines(data):
        try:
            yield Row(number, {TEXT: decode(line)})
        except UsageError as error:
            yield Failure(number, error)


def _read_jsonl(data: bytes) -> Iterator[Row | Failure]:
    for number, line in _lines(data):
        try:
            found = json.loads(
                decode(line), parse_constant=_refuse_constant, parse_float=_read_float
            )
            if not isinstance(found, dict):
                raise UsageError(f"Line {number} is no JSON object.")
        except UsageError as error:
            yield Failure(number, error)
        except (ValueError, RecursionError) as error:
            yield Failure(number, UsageError(f"Line {number} is not JSON: {error}."))
        else:
            yield _take_id(number, found)


def _read_csv(data: bytes) -> Iterator[Row | Failure]:
    # A line that is not UTF-8 is found by its lone surrogates; the others are read all the same.
    text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    csv.field_size_limit(QUESTION_LIMIT)  # the whole process's, and 128 KiB by default
    reader = csv.reader(text, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            for cell in cells:
                decode(cell.encode("utf-8", "surrogateescape"))
        except (csv.Error, UsageError) as error:
            known = error if isinstance(error, UsageError) else None
            known = known or UsageError(f"Line {number} is not CSV: {error}.")
            if header is None:  # what follows means nothing without it
                raise known from error
            yield Failure(number, known)
            continue
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                raise UsageError("Two columns of the CSV file have the same name.")
        elif len(cells) > len(header):
            told = f"Line {number} has {len(cells)} cells under {len(header)} columns."
            yield Failure(number, UsageError(told, 'put a cell with commas in quotes: "…"'))
        elif any(cells):
            yield _take_id(number, dict(zip(header, cells, strict=False)))


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line.removesuffix(b"\r")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number there")


def _read_float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large a number")
    return number


def _take_id(number: int, columns: dict[str, Any]) -> Row | Failure:
    id = columns.pop("id", None)
    if id is None or id == "":
        return Row(number, columns)
    if isinstance(id, bool) or not isinstance(id, str | int):
        return Failure(number, UsageError(f"The id of line {number} is neither text nor a number."))
    return Row(id, columns)


def _refuse_twins(rows: Iterator[Row | Failure]) -> Iterator[Row | Failure]:
    """Of rows with the same id the first counts; 1 and "1" are the same."""
    seen: set[str] = set()
    for row in rows:
        if str(row.id) in seen:
            told = f"The id {row.id!r} is that of a row before."
            row = Failure(row.id, UsageError(told, "give each row an id of its own"))
        seen.add(str(row.id))
        yield row
