"""Text that people bring: its encoding, where its lines end, and TOML within bounds."""

from __future__ import annotations

import codecs
import io
import os
import shlex
import stat
import tomllib
from pathlib import Path
from typing import Any

from ttc_cli.errors import UsageError

LIMIT = 256 * 2**20
"""Bytes of a file of rows: it is read at once, so that all of it is checked first."""
STDIN = "stdin"
"""The name of what comes from no file."""
_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32LE"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32BE"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)
_HEAD = 4096
"""Bytes that are looked at where there is no mark."""
_MAX_TOML = 1 << 20
"""Bytes of a file of settings."""
_MAX_DOTS = 200
"""In one line of TOML: the time that a dotted key takes grows with the square of its parts."""


def read_utf8(source: Path | int, name: str, what: str = "The file") -> bytes:
    """The bytes of a file, as UTF-8 without a byte-order mark.

    Args:
        source: the file, or the descriptor of an open one.
        name: what it is called in messages.
        what: what it is or holds, in messages, before its name.

    Raises:
        UsageError: it cannot be read, is longer than ``LIMIT``, or as ``to_utf8``.
    """
    try:
        with open(source, "rb", closefd=not isinstance(source, int)) as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{what} {name} cannot be read: {error.strerror}.") from error
    if len(data) > LIMIT:
        raise UsageError(
            f"{name} is longer than {LIMIT // 2**20} MiB.", "split it: split -l 10000 FILE"
        )
    return to_utf8(data, name)


def to_utf8(data: bytes, name: str = STDIN) -> bytes:
    """``data`` as UTF-8 without a byte-order mark, from the encoding that its mark names.

    Without a mark it is handed back as it is, and whether it is UTF-8 is seen where it is decoded.

    Args:
        data: what was read.
        name: its file, for the command that converts it.

    Raises:
        UsageError: it is not what its mark says, or UTF-16 without a mark.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            body = data[len(mark) :]
            if encoding == "UTF-8":
                return body
            try:
                return body.decode(encoding).encode()
            except UnicodeDecodeError as error:
                place = error.start + len(mark)
                raise UsageError(
                    f"{name} is marked as {encoding}, and from byte {place} on it is not that.",
                    "save it as UTF-8 where it was made",
                ) from error
    if (guess := _guess_wide(data)) is not None:
        raise UsageError(f"{name} is {guess} text without its mark.", _convert(guess, name))
    return data


def _guess_wide(data: bytes) -> str | None:
    """The kind of UTF-16 that ``data`` is, where it holds NUL bytes and reads as that."""
    if b"\0" not in data[:_HEAD] or len(data) % 2:
        return None
    for encoding in ("UTF-16LE", "UTF-16BE"):
        # An incremental one, because the head may end in half a pair.
        text = codecs.getincrementaldecoder(encoding)("replace").decode(data[:_HEAD])
        plain = sum(letter.isascii() for letter in text)
        reads = all(each.isprintable() or each.isspace() for each in text) and "\ufffd" not in text
        if reads and plain >= max(3, len(text) // 20):
            return encoding
    return None


def _convert(encoding: str, name: str) -> str:
    if name == STDIN:
        return f"… | iconv -f {encoding} -t UTF-8 | ttc …"
    new = Path(name).with_stem(f"{Path(name).stem}-utf8") if Path(name).name else Path("NEW")
    return f"iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > {shlex.quote(str(new))}"


def decode(data: bytes, what: str = "The prompt", name: str = STDIN) -> str:
    """A whole file as text.

    Args:
        data: what was read.
        what: what it is, in messages.
        name: its file, for the command that converts it.

    Raises:
        UsageError: as ``to_utf8`` and ``decode_utf8``.
    """
    return decode_utf8(to_utf8(data, name), what, name)


def decode_utf8(data: bytes, what: str, name: str = STDIN) -> str:
    """A piece of a file as text; arguments as of ``decode``.

    Raises:
        UsageError: a NUL byte, or not UTF-8.
    """
    if b"\0" in data:
        raise UsageError(f"{what} holds a NUL byte: it is binary, not text.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{what} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}).",
            _convert("LATIN1", name),
        ) from error


def split_lines(text: str) -> list[str]:
    r"""The lines of ``text`` with their ends, which are ``\n``, ``\r\n`` and ``\r`` alone.

    ``str.splitlines`` also ends them at what may stand within one, such as U+2028 and U+0085.
    Bytes have no such signs: ``bytes.splitlines`` is right.
    """
    return list(io.StringIO(text, newline=""))


def read_toml(path: Path, hint: str | None = "ttc config edit") -> dict[str, Any]:
    """The tables of a TOML file; empty where there is none. ``hint`` is for where it is not TOML.

    Raises:
        UsageError: it cannot be read, is not a regular file, or as ``parse_toml``.
    """
    try:
        # Non-blocking, for a pipe that nobody writes to.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise UsageError(f"{path} is no regular file.")
            data = f.read(_MAX_TOML + 1)
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
    if len(data) > _MAX_TOML:
        raise UsageError(f"{where} is larger than {_MAX_TOML >> 20} MiB: it holds no settings.")
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


def plural(number: int, noun: str) -> str:
    """``1 vote``, ``2 votes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
