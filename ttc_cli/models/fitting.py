"""Whether a model fits this machine: disk, memory and speed, and which default fits best.

Speed is measured by an earlier run where there was one, else guessed from the cores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ttc_cli import paths
from ttc_cli.errors import DiskFull, MemoryShort
from ttc_cli.models import records
from ttc_cli.models.cleaning import list_unfinished, measure
from ttc_cli.models.hardware import Memory, count_cores, read_free_disk, read_memory
from ttc_cli.models.progress import format_bytes
from ttc_cli.models.registry import Entry, FileSource, HubSource, load_registry

SLOWEST = 4.0
"""Tokens a second of one stream below which a smaller model is chosen."""
_SHARE = 0.75
"""Of the machine's memory that a default may take: other programs run too."""
_BYTES_PER_CORE_SECOND = 9e9
"""Weights that one core reads a second while it decodes one stream: 17.5 tok/s of a 1.1 GB file
on two cores of a server of 2023. A guess for unmeasured machines, meant to find very slow ones."""
_MARGIN = 64 << 20
"""Bytes that stay free on the disk."""
_BESIDE_WEIGHTS = 400 << 20
"""Bytes for the library, its buffers and a modest KV cache: a guess for the time before the file
is here; the engine plans exactly."""


@dataclass(frozen=True, slots=True)
class Default:
    """The model to use, and why, in words."""

    name: str
    reason: str


def choose_default(*, here: bool = True) -> Default:
    """The default for this machine. ``here``: prefer what needs no download.

    In this order: a default of the registry that is already here; any other generator that is
    here; the first default that fits.
    """
    registry = load_registry()
    memory, cores = read_memory(), count_cores()
    defaults = [registry.require(name) for name in registry.defaults]
    fitting = [entry for entry in defaults if _fits(entry, memory, cores)]
    if here:
        present = {record.name for record in records.list_records() if record.path.is_file()}
        others = sorted(
            (e for e in registry.entries.values() if e.kind == "generator" and e.tier != "test"),
            key=lambda entry: -(entry.size or 0),
        )
        for entry in [*fitting, *(e for e in others if _fits(e, memory, cores))]:
            if entry.name in present:
                return Default(entry.name, "the best for this machine of those that are here")
    for entry in fitting:
        if _is_reachable(entry):
            speed, measured = speed_of(entry, cores)
            how = "measured" if measured else "estimated"
            return Default(
                entry.name,
                f"fits {memory.total / 1e9:.0f} GB of memory, {how} at {speed:.0f} tok/s a stream",
            )
    # Nothing fits: the smallest, and the engine's own plan has the last word.
    smallest = min(defaults, key=lambda entry: entry.size or 0)
    return Default(smallest.name, "the smallest default; this machine is short of memory or slow")


def _fits(entry: Entry, memory: Memory, cores: int) -> bool:
    needed = needed_memory(entry)
    roomy = needed is None or needed <= memory.total * _SHARE
    return roomy and speed_of(entry, cores)[0] >= SLOWEST


def _is_reachable(entry: Entry) -> bool:
    """Whether any source may be asked at all; whether it answers shows when it is."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE or not all(
        isinstance(source, HubSource) for source in entry.sources
    )


def speed_of(entry: Entry, cores: int) -> tuple[float, bool]:
    """Tokens a second of one stream, and whether that was measured on this machine."""
    measured = _read_speeds().get(entry.name)
    if measured is not None:
        return measured, True
    return cores * _BYTES_PER_CORE_SECOND / (entry.size or 1), False


def _read_speeds() -> dict[str, float]:
    try:
        raw = json.loads((paths.cache_dir() / "speeds.json").read_text(encoding="utf-8"))
        return {str(name): float(speed) for name, speed in raw.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # a cache: absent or damaged is the same


def record_speed(name: str, tokens_per_second: float) -> None:
    """Keep the measured speed of one stream of ``name`` for the choice of a default."""
    speeds = _read_speeds() | {name: round(tokens_per_second, 2)}
    path = paths.cache_dir() / "speeds.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(path, json.dumps(speeds))


def needed_memory(entry: Entry) -> int | None:
    """Bytes of memory that running ``entry`` takes, roughly; None if its size is unknown."""
    return None if entry.size is None else entry.size * 21 // 20 + _BESIDE_WEIGHTS


def check_memory(entry: Entry) -> None:
    """Make sure that this machine could run ``entry``.

    Raises:
        MemoryShort: it could not; names the models that it could.
    """
    needed, total = needed_memory(entry), read_memory().total
    if needed is None or needed <= total:
        return
    fitting = [
        other.name
        for other in load_registry().entries.values()
        if other.kind == entry.kind and other.tier != "test"
        if (needed_memory(other) or total + 1) <= total
    ]
    raise MemoryShort(
        f"{entry.name} needs about {format_bytes(needed)} of memory, this machine has "
        f"{format_bytes(total)}." + (f" These fit: {', '.join(fitting)}." if fitting else ""),
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
