"""Rows of users' files: JSONL, a JSON array, CSV. A broken row does not spoil the others."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.texts import decode_utf8

CELL_LIMIT = 16 * 2**20
"""Characters of a cell of CSV."""
_DELIMITERS = ",;\t|"
_HEAD = 2**16
"""Characters in which the header of a CSV file is looked for."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a file: its columns, or the ``error`` in it.

    ``number``, from 1, counts lines up to its first, or items of an array; ``unit`` says which.
    """

    number: int
    columns: dict[str, Any] = field(default_factory=dict)
    error: TtcError | None = None
    unit: str = "line"

    @property
    def where(self) -> str:
        """``line 3`` or ``row 3``."""
        return f"{self.unit} {self.number}"


def find_column(columns: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first of ``names`` that is a column, else the first that is one in another case."""
    names = tuple(names)
    exact = next((name for name in names if name in columns), None)
    if exact is not None:
        return exact
    folded = {_fold(name): name for name in columns}
    return next((folded[_fold(name)] for name in names if _fold(name) in folded), None)


@lru_cache(maxsize=256)
def _fold(name: str) -> str:
    return name.strip().casefold()


def read_jsonl(data: bytes, name: str) -> Iterator[FileRow]:
    """The JSON objects of ``data``: one a line, blank lines left out, or the items of an array.

    Args:
        data: UTF-8 without a byte-order mark, as ``texts.read_utf8`` gives it.
        name: its file, for messages.

    Raises:
        UsageError: it begins as an array and is not one, or its objects span several lines.
    """
    if data.lstrip()[:1] == b"[" and not _is_one_line(data):
        yield from _read_array(data, name)
        return
    first = True
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            columns = _DECODER.decode(decode_utf8(line, f"Line {number}", name))
            if not isinstance(columns, dict):
                raise UsageError(f"Line {number} is not a JSON object.")
        except UsageError as error:
            yield FileRow(number, error=error)
        except (ValueError, RecursionError) as error:
            if first and _count_lines(data) > 1:
                raise UsageError(
                    f"The JSON objects of {name} span several lines; each must be on one line.",
                    f"jq -c . {shlex.quote(name)} > lines.jsonl",
                ) from error
            yield FileRow(number, error=UsageError(f"Line {number} is not JSON: {error}."))
        else:
            yield FileRow(number, columns)
        first = False


def _read_array(data: bytes, name: str) -> Iterator[FileRow]:
    try:
        items = _DECODER.decode(decode_utf8(data, name, name))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} begins as a JSON array, but is not JSON: {error}.") from error
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield FileRow(number, item, unit="row")
        else:
            told = f"Row {number} of the array is not a JSON object."
            yield FileRow(number, error=UsageError(told, 'write {"question": "…"}'), unit="row")


def _is_one_line(data: bytes) -> bool:
    """Whether the first line of ``data`` is JSON by itself, and others follow."""
    line, *others = re.split(rb"[\r\n]+", data.strip(), maxsplit=1)
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return bool(others)


def _count_lines(data: bytes) -> int:
    """How many lines the JSON that ``data`` begins with spans; 0 where it is not JSON."""
    text = data.decode("utf-8", "surrogateescape").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return 0
    return len(text[:end].encode("utf-8", "surrogateescape").splitlines())


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, whose keys must differ: nothing says which of two values is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twin, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twin!r:.40} occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number there")


def _read_float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large a number")
    return number


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_read_float, object_pairs_hook=_refuse_twins
)


def read_csv(data: bytes, name: str, wanted: Iterable[str]) -> Iterator[FileRow]:
    """The records of ``data`` under its header; those without any text are left out.

    The delimiter is the header's: a comma, semicolon, tab or bar. Columns without a name are left
    out. Before the first name they are the numbers of rows, as programs write them; after it they
    must be empty, because a value there may be the rest of a cell with commas.

    Args:
        data: UTF-8 without a byte-order mark, as ``texts.read_utf8`` gives it.
        name: its file, for messages.
        wanted: names of columns, by which the header is known.

    Raises:
        UsageError: the header is not CSV, or two columns have the same name.
    """
    # A line that is not UTF-8 is found by its lone surrogates; the others are read all the same.
    text = data.decode("utf-8", "surrogateescape")
    told = re.match(
        r'"?sep=(.)"?(?:\r\n?|\n)', text, re.IGNORECASE
    )  # a spreadsheet's own first line
    delimiter = told[1] if told else _find_delimiter(text[:_HEAD], wanted)
    csv.field_size_limit(CELL_LIMIT)  # the whole process's, and 128 KiB by default
    file = io.StringIO(text, newline="")
    before = 1 if told else 0
    file.seek(told.end() if told else 0)
    reader = csv.reader(file, strict=True, delimiter=delimiter)
    header: list[str] | None = None
    while True:
        number = before + reader.line_num + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            for cell in cells:
                decode_utf8(cell.encode("utf-8", "surrogateescape"), f"Line {number}", name)
        except (csv.Error, UsageError) as error:
            known = error if isinstance(error, UsageError) else None
            known = known or _refuse(number, before + reader.line_num, error)
            if header is None:  # what follows means nothing without it
                raise known from error
            yield FileRow(number, error=known)
            continue
        if not any(cells):
            continue
        if header is None:
            header = _read_header(cells)
        else:
            yield _read_record(number, header, cells)


def _refuse(number: int, last: int, error: Exception) -> UsageError:
    """The error for a broken record; an open quote swallows the lines after it, up to ``last``."""
    if last <= number:
        return UsageError(f"Line {number} is not CSV: {error}.")
    told = f"Lines {number} to {last} are not CSV, or one cell that is not closed: {error}."
    return UsageError(told, f'look at the quotes of line {number}: "…", and "" for one within')


def _find_delimiter(head: str, wanted: Iterable[str]) -> str:
    """The one that gives the header a wanted column, else a comma in it, else the most columns."""
    names = {_fold(name) for name in wanted}
    parted: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(head, newline=""), strict=True, delimiter=delimiter)
        try:
            parted[delimiter] = next((cells for cells in reader if any(cells)), [])
        except csv.Error:
            continue
        if names & {_fold(cell) for cell in parted[delimiter]}:
            return delimiter
    if len(parted.get(",", ())) > 1:
        return ","
    return max(parted, key=lambda each: len(parted[each]), default=",")


def _read_header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            raise UsageError(f"Two columns of the CSV file have the same name, {name!r:.40}.")
        seen.add(name)
    return names


def _read_record(number: int, header: list[str], cells: list[str]) -> FileRow:
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    cells += [""] * (len(header) - len(cells))
    first = next((place for place, name in enumerate(header) if name), 0)
    nameless = any(
        cell and not name for name, cell in zip(header[first:], cells[first:], strict=False)
    )
    if len(cells) > len(header) or nameless:
        under = "a column without a name" if nameless else f"{len(header)} columns"
        told = f"Line {number} has {len(cells)} cells under {under}."
        return FileRow(number, error=UsageError(told, 'put a cell with commas in quotes: "…"'))
    return FileRow(number, {name: cell for name, cell in zip(header, cells, strict=True) if name})
