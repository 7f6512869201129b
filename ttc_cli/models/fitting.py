"""Whether a model fits this machine: its memory and its disk."""

from __future__ import annotations

from pathlib import Path

from ttc_cli import paths
from ttc_cli.errors import DiskFull, MemoryShort
from ttc_cli.models.cleaning import list_unfinished, measure
from ttc_cli.models.hardware import find_usable, read_free_disk, read_memory
from ttc_cli.models.progress import format_bytes
from ttc_cli.models.registry import Entry, FileSource, load_registry

_MARGIN = 64 << 20
"""Bytes that stay free on the disk."""
_BESIDE_WEIGHTS = 400 << 20
"""Bytes for the library, its buffers and a modest KV cache: a guess for the time before the file
is here; the engine plans exactly."""


def needed_memory(entry: Entry) -> int | None:
    """Bytes of memory that running ``entry`` takes, roughly; None if its size is unknown."""
    return None if entry.size is None else entry.size * 21 // 20 + _BESIDE_WEIGHTS


def check_memory(entry: Entry) -> None:
    """Make sure that this machine could run ``entry``, in its memory or in that of one GPU.

    Raises:
        MemoryShort: it could not; names the models that it could.
    """
    needed, total = needed_memory(entry), read_memory().total
    if needed is None or needed <= total:
        return
    total = max([total, *(card.memory or 0 for card in find_usable())])
    if needed <= total:
        return
    fitting = [
        other.name
        for other in load_registry().entries.values()
        if other.kind == entry.kind and other.tier != "test"
        if (needed_memory(other) or total + 1) <= total
    ]
    raise MemoryShort(
        f"{entry.name} needs about {format_bytes(needed)} of memory, this machine has "
        f"{format_bytes(total)}." + (f" These fit: {', '.join(fitting[:6])}." if fitting else ""),
        f"ttc models pull {fitting[0]}" if fitting else f"ttc models pull --force {entry.name}",
    )


def check_disk(entry: Entry, folder: Path) -> None:
    """Make sure that the rest of ``entry`` fits the disk of ``folder``.

    Raises:
        DiskFull: it does not.
    """
    if entry.size is None or all(isinstance(source, FileSource) for source in entry.sources):
        return
    needed = entry.size - sum(map(measure, list_unfinished(folder))) + _MARGIN
    free = read_free_disk(folder)
    if needed > free:
        raise DiskFull(
            f"{entry.name} needs {format_bytes(needed)} more on the disk of {paths.models_dir()}, "
            f"{format_bytes(free)} are free.",
            "free some space (ttc models prune, ttc models rm NAME), or set TTC_HOME to a folder "
            "on another disk",
        )
