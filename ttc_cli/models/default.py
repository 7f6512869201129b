"""Which model is used when nobody names one.

In this order: ``TTC_MODEL`` and the settings files; a default of the registry that is already
here; any other generator that is here; the first default that fits this machine. "Fits" is its
memory and its speed: measured by an earlier run where there is one, else guessed from the cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from ttc_cli import paths
from ttc_cli.errors import UsageError
from ttc_cli.models import files
from ttc_cli.models.hardware import Memory, count_cores, read_memory
from ttc_cli.models.pull import needed_memory
from ttc_cli.models.registry import Entry, HubSource, Registry, load_registry
from ttc_cli.settings.config import load_config, user_file

SLOWEST = 4.0
"""Tokens a second of one stream below which a smaller model is chosen."""
_SHARE = 0.75
"""Of the machine's memory that a default may take: other programs run too."""
_BYTES_PER_CORE_SECOND = 9e9
"""Weights that one core reads a second while it decodes one stream: 17.5 tok/s of a 1.1 GB file
on two cores of a server of 2023. A guess for unmeasured machines, meant to find very slow ones."""


@dataclass(frozen=True, slots=True)
class Default:
    """The model that is used, and why, in words."""

    name: str
    reason: str


def find_default() -> Default:
    """The model to use when none is named, and why.

    Raises:
        UsageError: the settings are wrong.
    """
    config = load_config()
    chosen = config.get("model")
    if chosen is not None:
        return Default(str(chosen), f"set in {config.origin('model')}")
    return choose_default()


def default_model() -> str:
    """The name of the model to use when none is named.

    Raises:
        UsageError: the settings are wrong.
    """
    return find_default().name


def choose_default(
    registry: Registry | None = None,
    memory: Memory | None = None,
    cores: int | None = None,
    *,
    here: bool = True,
) -> Default:
    """The default for this machine. ``here``: prefer what needs no download.

    ``memory`` and ``cores`` are those of this machine unless given.
    """
    registry = registry or load_registry()
    memory = memory or read_memory()
    cores = cores or count_cores()
    fitting = [
        entry for name in registry.defaults if _fits(entry := registry.require(name), memory, cores)
    ]
    if here:
        present = {record.name for record in files.list_records() if record.path.is_file()}
        others = sorted(
            (e for e in registry.entries.values() if e.kind == "generator" and e.tier != "test"),
            key=lambda entry: -(entry.size or 0),
        )
        for entry in [*fitting, *(e for e in others if _fits(e, memory, cores))]:
            if entry.name in present:
                return Default(entry.name, "the best for this machine of those that are here")
    reachable = [entry for entry in fitting if _reachable(entry)]
    if reachable:
        return Default(reachable[0].name, _explain(reachable[0], memory, cores))
    # Nothing fits: the smallest, and the engine's own plan has the last word.
    smallest = min(
        (registry.require(name) for name in registry.defaults), key=lambda e: e.size or 0
    )
    return Default(smallest.name, "the smallest default; this machine is short of memory or slow")


def _fits(entry: Entry, memory: Memory, cores: int) -> bool:
    needed = needed_memory(entry)
    roomy = needed is None or needed <= memory.total * _SHARE
    return roomy and speed_of(entry, cores)[0] >= SLOWEST


def _reachable(entry: Entry) -> bool:
    """Whether any source may be asked at all; whether it answers shows when it is."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE or not all(
        isinstance(source, HubSource) for source in entry.sources
    )


def _explain(entry: Entry, memory: Memory, cores: int) -> str:
    speed, measured = speed_of(entry, cores)
    how = "measured" if measured else "estimated"
    gigabytes = memory.total / 1e9
    return f"fits {gigabytes:.0f} GB of memory, {how} at {speed:.0f} tok/s a stream"


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


def set_default(name: str, warn: Callable[[str], None] = lambda text: None) -> str:
    """Store ``name`` as the user's default; returns the name as it is stored.

    ``warn`` as for ``settings_file.change``.

    Raises:
        UsageError: no such model, or a settings file that is no TOML.
        ModelMissing: a path without a file.
    """
    from ttc_cli.settings.edit import change

    model = files.resolve_unchecked(name)
    if model.entry.kind != "generator":
        raise UsageError(f"{model.name} is a verifier: it cannot answer.", "ttc models list")
    change(user_file(), ("model",), model.name, warn)
    return model.name
