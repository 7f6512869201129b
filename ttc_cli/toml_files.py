"""TOML files that users write: read within bounds, changed in one place.

tomli-w writes tables and cannot keep comments. So a change is made in the lines themselves, and
what came of it is read back: only where that is not the wanted content (a value over several
lines, a table written inline) is the whole file rewritten.
"""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError
from ttc_cli.paths import write_whole
from ttc_cli.texts import decode, split_lines

_MAX_BYTES = 1 << 20
_MAX_DOTS = 200
"""In one line: the time that a dotted key takes grows with the square of its parts."""


def read_toml(path: Path, hint: str | None = "ttc config edit") -> dict[str, Any]:
    """The tables of a TOML file; empty where there is none. ``hint`` is for where it is not TOML.

    Raises:
        UsageError: it cannot be read, is not a regular file, or as ``parse_toml``.
    """
    try:
        # Non-blocking, for a pipe that nobody writes to.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise UsageError(f"{path} is not a regular file.")
            data = f.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    return parse_toml(data, str(path), hint)


def parse_toml(data: bytes, where: str, hint: str | None = None) -> dict[str, Any]:
    """``data`` as TOML; ``where`` and ``hint`` are for the error.

    Raises:
        UsageError: it is not text, not TOML, too large, or nested too deeply.
    """
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{where} is larger than {_MAX_BYTES >> 20} MiB: it holds no settings.")
    text = decode(data, where, where)
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MAX_DOTS:
            raise UsageError(f"{where}: line {number} has more than {_MAX_DOTS} dots.", hint)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply.", hint) from None
    except ValueError as error:
        raise UsageError(f"{where} is not valid TOML: {error}.", hint) from error


def change(
    path: Path,
    place: tuple[str, ...],
    value: Any,
    warn: Callable[[str], None],
    *,
    follow: bool = True,
) -> None:
    """Put ``value`` at ``place`` of the file, whole or not at all; None takes out what is there.

    Args:
        path: the file; it and its folder are made where they are missing.
        place: ``(key,)``, or ``(table, name)`` of a table within a table.
        value: a TOML value; for a table a mapping.
        warn: told where the file could not be changed without losing its comments, which a copy
            beside it then keeps.
        follow: write to what a link at ``path`` leads to; False refuses links.

    Raises:
        UsageError: the file cannot be read or written, or is not TOML.
    """
    import tomli_w

    if not follow and path.is_symlink():
        raise UsageError(
            f"{path} is a link to {os.readlink(path)}, and nothing was written there.",
            "change that file itself, or put a file in place of the link",
        )
    path = path.resolve()
    wanted = _put(read_toml(path), place, value)
    there = path.read_bytes() if path.is_file() else b""
    before = decode(there, f"The file {path}", str(path))  # line ends as they are
    lines = split_lines(before)
    edit = _edit_value if len(place) == 1 else _edit_table
    text = "".join(edit(lines, place, value))
    copy = None
    if _parse(text) != wanted:
        text = tomli_w.dumps(wanted)
        if "#" in before:
            copy = path.with_name(f"{path.name}.bak")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if copy is not None:
            write_whole(copy, before, like=path)
        write_whole(path, text)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # said by main, as everywhere
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    if copy is not None:
        warn(f"{path} had to be rewritten without its comments; a copy of the old file: {copy}")


def _put(content: Mapping[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """``content`` with that change; a table that is left empty goes too."""
    first, *rest = place
    changed = dict(content)
    if rest:
        value = _put(changed.get(first, {}), tuple(rest), value) or None
    if value is None:
        changed.pop(first, None)
    else:
        changed[first] = value
    return changed


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _read_line(line: str) -> dict[str, Any]:
    """The line on its own as TOML; empty where it says nothing or is a part of something."""
    return _parse(line) or {}


def _edit_value(lines: list[str], place: tuple[str, ...], value: Any) -> list[str]:
    """Among the keys before the first table: replace, take out, or add after the last one."""
    import tomli_w

    (key,) = place
    line = "" if value is None else tomli_w.dumps({key: value})
    end = next((n for n, each in enumerate(lines) if each.lstrip().startswith("[")), len(lines))
    keys = [n for n in range(end) if _read_line(lines[n])]
    for n in keys:
        if list(_read_line(lines[n])) == [key]:
            comment = _comment_of(lines[n]) if line else ""
            return [*lines[:n], line.rstrip("\n") + comment + "\n" if line else "", *lines[n + 1 :]]
    after = keys[-1] + 1 if keys else 0 if end < len(lines) else end
    head = _end_lines(lines[:after])
    gap = "\n" if after < len(lines) and lines[after].lstrip().startswith("[") else ""
    return [*head, line, gap, *lines[after:]]


def _comment_of(line: str) -> str:
    """The comment at the end of a line with a value, and the blanks before it."""
    value = _read_line(line)
    for start, letter in enumerate(line):
        if letter == "#" and _read_line(line[:start]) == value:
            return line[len(line[:start].rstrip()) :].rstrip("\r\n")
    return ""


def _edit_table(lines: list[str], place: tuple[str, ...], value: Any) -> list[str]:
    """Replace the table, with those inside it, take it out, or put it at the end."""
    import tomli_w

    outer, name = place
    written = "" if value is None else tomli_w.dumps({outer: {name: value}})
    table = written.splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if line.lstrip().startswith("[")]
    inside = [n for n in starts if name in _read_line(lines[n]).get(outer, {})]
    if inside:
        first = inside[0]
        last = next((m for m in starts if m > first and m not in inside), len(lines))
        # A comment above the next header belongs to that.
        while not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#"):
            last -= 1
        return [*_end_lines(lines[:first]), *table, *lines[last:]]
    gap = ["\n"] if table and lines else []
    return [*_end_lines(lines), *gap, *table]


def _end_lines(lines: list[str]) -> list[str]:
    """``lines``, the last of them ended."""
    if lines and not lines[-1].endswith("\n"):
        return [*lines[:-1], lines[-1] + "\n"]
    return lines
