"""Text from users' files: decoded by its byte order mark, with its line ends. Text in fences."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from pathlib import Path

from ttc_cli.errors import UsageError
from ttc_cli.sanitise import clean

LIMIT = 256 * 2**20
"""Bytes of a file of rows. It is read at once, so that all of it is checked first."""
STDIN = "stdin"
"""The name of text that comes from standard input."""
_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32LE"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32BE"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)
_HEAD = 4096
"""Bytes that the encoding is guessed from if there is no byte order mark."""


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

    Without a mark it is returned as it is: decoding it shows whether it is UTF-8.

    ``name`` is its file, for the command that converts it.

    Raises:
        UsageError: its mark is wrong, or it is UTF-16 without a mark.
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
                    f"{name} is marked as {encoding}, but from byte {place} on it is something "
                    "else.",
                    "save it again, as UTF-8",
                ) from error
    if (guess := _guess_wide(data)) is not None:
        raise UsageError(f"{name} is {guess} text without its mark.", _convert(guess, name))
    return data


def _guess_wide(data: bytes) -> str | None:
    """Which UTF-16 ``data`` is, if it holds NUL bytes and reads as text in one."""
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

    ``what`` and ``name`` are as for ``read_utf8``.

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


def plural(number: int, noun: str) -> str:
    """``1 vote``, ``2 votes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def fence_in(text: str, language: str = "") -> str:
    """``text`` as a fenced block of Markdown, which nothing in it can end, cleaned or not."""
    within = [*re.findall("`+", text), *re.findall("`+", clean(text))]
    fence = "`" * max(3, 1 + max(map(len, within), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
