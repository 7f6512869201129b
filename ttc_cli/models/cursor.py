"""Reads forward through the header of a GGUF file, and never past its end.

It skips arrays without building them, and never allocates by a count that the file states.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any, cast

_MAX_ARRAY_STRINGS = 1 << 23
MAX_KEY = 1 << 10
"""Bytes; the specification allows 64 times as many, real keys have some 40."""
_MAX_NUMBERS = 4096
"""In a list that is read: one for each layer."""

SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_INTEGERS = (0, 1, 2, 3, 4, 5, 7, 10, 11)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where an array of ``count`` elements of type ``kind`` begins."""

    kind: int
    offset: int
    count: int


class Damaged(Exception):
    """What is wrong with the header, in words."""


class Cursor:
    """Reads forward through the mapping; raises ``Damaged`` instead of reading past its end."""

    def __init__(self, data: mmap.mmap, file_bytes: int) -> None:
        self._data = data
        self._end = len(data)
        self.file_bytes = file_bytes
        self.at = 0

    def skip(self, length: int) -> int:
        """Go on by ``length`` bytes; returns where they begin."""
        start = self.at
        if length > self._end - start:
            if length > self.file_bytes - start:
                raise Damaged("it ends in the middle of its header")
            raise Damaged("its header is absurdly long")
        self.at = start + length
        return start

    def raw(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        start = self.skip(length)
        return self._data[start : start + length]

    def scalar(self, layout: str) -> Any:
        """The next number, as ``struct`` lays it out."""
        start = self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)[0]

    def u32(self) -> int:
        """The next unsigned number of four bytes."""
        return cast(int, self.scalar("<I"))

    def u64(self) -> int:
        """The next unsigned number of eight bytes."""
        return cast(int, self.scalar("<Q"))

    def name(self, limit: int) -> str:
        """A text of at most ``limit`` bytes."""
        length = self.u64()
        if length > limit:
            raise Damaged(f"it states a name of {length:,} bytes")
        return self.raw(length).decode("utf-8", "replace")

    def text(self, limit: int) -> str:
        """A text, of which at most ``limit`` bytes are kept."""
        length = self.u64()
        start = self.skip(length)
        return self._data[start : start + min(length, limit)].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        """Go on behind ``count`` texts."""
        if count > _MAX_ARRAY_STRINGS or count * 8 > self._end - self.at:
            raise Damaged(f"it states a list of {count:,} texts")
        data, end, at = self._data, self._end, self.at
        read = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                raise Damaged("it ends in the middle of its header")
            at += 8 + read(data, at)[0]
        self.at = min(at, end)
        if at > end:
            raise Damaged("it ends in the middle of its header")

    def string_of(self, strings: Stretch, index: int) -> str | None:
        """The text at ``index`` of an array that was skipped before, or None."""
        if not 0 <= index < strings.count:
            return None
        self.at = strings.offset
        self.skip_strings(index)
        return self.text(MAX_KEY)

    def numbers_of(self, numbers: Stretch) -> list[int]:
        """The whole numbers of an array that was skipped before; empty where it holds others."""
        if numbers.kind not in _INTEGERS or numbers.count > _MAX_NUMBERS:
            return []
        self.at = numbers.offset
        return [self.scalar(SCALARS[numbers.kind]) for _ in range(numbers.count)]
