"""Models in several files, ``NAME-00001-of-00003.gguf`` and so on, as llama.cpp splits them.

It opens the first and finds the others beside it by their names; so does everything here. The
sha256 of such a set is that of its parts' hashes, written one after another in lower case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

_PART = re.compile(r"(.*-)[0-9]{5}(-of-([0-9]{5})\.gguf)", re.DOTALL)


def list_names(name: str) -> list[str]:
    """The names of all parts of the model that a file called ``name`` is of; its own if whole."""
    match = _PART.fullmatch(name)
    count = int(match[3]) if match else 1
    if match is None or count < 2:
        return [name]
    return [f"{match[1]}{number:05}{match[2]}" for number in range(1, count + 1)]


def is_split(name: str) -> bool:
    """Whether a file name is that of one of several parts of a GGUF."""
    return len(list_names(name)) > 1


def list_files(path: Path) -> list[Path]:
    """``path`` and those parts of its model that lie beside it, in order."""
    beside = (path.with_name(name) for name in list_names(path.name))
    return [each for each in beside if each == path or each.is_file()]


def measure(path: Path) -> tuple[int, int]:
    """Bytes of a model's file or files, and a time that changes when one of them does."""
    found = [each.stat() for each in list_files(path)]
    return sum(each.st_size for each in found), sum(each.st_mtime_ns for each in found)


def join_hashes(hashes: Sequence[str]) -> str:
    """The sha256 of a model whose files have ``hashes``, in order."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
