"""Which model is used when none is named: the most capable that fits, is fast enough, can be had.

Which is more capable the registry says (``defaults``, best first). Speed was measured by an earlier
run, or is estimated: for each token a stream reads all weights once, so it is what the memory
delivers, divided by the size of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ttc_cli import paths
from ttc_cli.models import records
from ttc_cli.models.files import lies_here
from ttc_cli.models.fitting import needed_memory
from ttc_cli.models.hardware import Accelerator, count_cores, find_usable, read_memory
from ttc_cli.models.hub import PROBE_SECONDS, Hub
from ttc_cli.models.progress import format_bytes
from ttc_cli.models.registry import Entry, load_registry

FAST = 8.0
"""Tokens a second of one stream that a model must give to be downloaded unasked."""
SLOWEST = 4.0
"""The same for one that is here already."""
_SHARE = 0.75
"""Of the machine's memory that a default may take: other programs run too."""
_CARD_SHARE = 0.9
"""The same of an accelerator's."""

# Bytes of weights that one stream reads a second, for models of which nothing was measured. Meant
# to find what is too slow: rather too low than too high.
_CORE = 9e9
"""One core: 17.5 tok/s of a 1.1 GB file on two cores of a server of 2023."""
_BOARD = 40e9
"""All cores of a laptop or desktop together, whose memory has two channels."""
_BOARD_SHARE = 2.5e9
"""One core's share where there are many, and more channels."""
_CARD = 150e9
"""A small graphics card."""
_APPLE = (("Ultra", 480e9), ("Max", 240e9), ("Pro", 120e9), ("", 60e9))
"""Apple's GPUs by the chip's name: six tenths of what the first of each kind states."""

_UNSEEN = {
    "hybrid": "hybrid: not yet seen with real weights",
    "window": "sliding windows: not yet seen with real weights",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides: bytes of memory, cores, and the accelerators that this build can use."""

    memory: int
    cores: int
    accelerators: tuple[Accelerator, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model on a machine.

    ``needs``: bytes of memory that it takes, of ``room`` that it may. ``speed``: tokens a second
    of one stream, and ``how`` that is known. ``unranked``: why it is never taken unasked.
    """

    entry: Entry
    needs: int | None
    room: int
    speed: float
    how: str
    unranked: str = ""

    @property
    def name(self) -> str:
        """What the registry calls it."""
        return self.entry.name

    @property
    def fits(self) -> bool:
        """Whether it fits the memory that it may take."""
        return self.needs is None or self.needs <= self.room

    def find_obstacle(self) -> str:
        """Why this machine does not download it unasked, in words; empty where it may."""
        if not self.fits:
            return f"too large: {format_bytes(self.room)} of memory may be taken"
        return "" if self.speed >= FAST else f"too slow: less than {FAST:.0f} tokens/s"


@dataclass(frozen=True, slots=True)
class Default:
    """The model to use, and why, in words. ``hub``: whether the hub answers; None: not asked."""

    name: str
    reason: str
    hub: bool | None = None


def read_machine() -> Machine:
    """This machine."""
    return Machine(read_memory().total, count_cores(), find_usable())


def ask_hub(patience: float = PROBE_SECONDS) -> bool:
    """Whether the user's model hub answers within ``patience`` seconds."""
    return replace(Hub.from_environment(), patience=patience).answers()


def glance_at_hub() -> bool:
    """The same where nothing is downloaded, and nobody wants to wait."""
    return ask_hub(0.5)


def rank(machine: Machine) -> list[Candidate]:
    """All models that answer, the most capable first; at the end those never taken unasked."""
    registry, speeds = load_registry(), _read_speeds()
    ranked = [registry.require(name) for name in registry.defaults]
    others = (each for each in registry.entries.values() if each not in ranked)
    others = (each for each in others if each.kind == "generator" and each.tier != "test")
    rest = sorted(others, key=lambda entry: -(entry.size or 0))
    return [_pose(entry, machine, speeds) for entry in ranked] + [
        _pose(entry, machine, speeds, _find_reason(entry)) for entry in rest
    ]


def _find_reason(entry: Entry) -> str:
    """Why ``entry``, which is not among the defaults, is none."""
    other = "always thinks before it answers" if entry.thinks else "not ranked"
    return _UNSEEN.get(entry.layers, other)


def _pose(
    entry: Entry, machine: Machine, speeds: Mapping[str, float], unranked: str = ""
) -> Candidate:
    needs = needed_memory(entry)
    card, room = None, int(machine.memory * _SHARE)
    for each in machine.accelerators:
        share = int((each.memory or 0) * _CARD_SHARE)
        if card is None and needs is not None and needs <= share:
            card = each
        room = max(room, share)
    return Candidate(entry, needs, room, *_estimate(entry, machine, speeds, card), unranked)


def estimate_speed(entry: Entry, machine: Machine) -> tuple[float, str]:
    """Tokens a second of one stream on ``machine``, and how that is known."""
    candidate = _pose(entry, machine, _read_speeds())
    return candidate.speed, candidate.how


def _estimate(
    entry: Entry, machine: Machine, speeds: Mapping[str, float], card: Accelerator | None
) -> tuple[float, str]:
    if entry.name in speeds:
        return speeds[entry.name], "measured"
    size = entry.size or 1
    if card is not None:
        rate = next(rate for word, rate in _APPLE if word in card.name)
        return (rate if card.kind == "metal" else _CARD) / size, f"estimated on {card.name}"
    entries = load_registry().entries
    known = [
        (abs(math.log(each.size / size)), speed * each.size)
        for name, speed in speeds.items()
        if (each := entries.get(name)) and each.size and each.tier != "test"
    ]
    if known and not machine.accelerators:
        return min(known)[1] / size, "estimated by what was measured"
    rate = min(machine.cores * _CORE, max(_BOARD, machine.cores * _BOARD_SHARE))
    return rate / size, "estimated"


def choose_default(
    *,
    here: bool = True,
    machine: Machine | None = None,
    hub_answers: Callable[[], bool] | None = None,
) -> Default:
    """The default for this machine.

    In this order: what ttc took for it before, and what an older ttc would have taken; any other
    model that is here; the first of the ranking that can be downloaded.

    Args:
        here: whether any model that is here may be it; else only one that was taken before.
        machine: this one, unless another is asked about.
        hub_answers: asked once at most, and only where something would have to be downloaded.
    """
    machine = machine or read_machine()
    candidates = rank(machine)
    present = {each.name for each in candidates if lies_here(each.entry)}
    chosen = {record.name for record in records.list_records() if record.chosen} & present
    usable = [each for each in candidates if each.fits and _is_bearable(each, machine)]
    sure = [each for each in usable if not each.unranked and not each.entry.needs_hub]
    kept = [each for each in usable if each.name in chosen]
    if here:
        by_size = sorted(usable, key=lambda each: -(each.entry.size or 0))
        kept += [each for each in (*sure, *by_size) if each.name in present]
    else:
        kept += [each for each in sure[:1] if each.name in present]
    if kept:
        return Default(kept[0].name, "it is here, fits and is fast enough")
    return _choose_download(candidates, hub_answers or ask_hub)


def _is_bearable(each: Candidate, machine: Machine) -> bool:
    """Whether it is fast enough to stay in use. A guess gives it the benefit of the doubt."""
    guessed = 0.0 if each.how == "measured" else machine.cores * _CORE / (each.entry.size or 1)
    return max(each.speed, guessed) >= SLOWEST


def _choose_download(candidates: list[Candidate], hub_answers: Callable[[], bool]) -> Default:
    hub: bool | None = None
    for each in candidates:
        if each.unranked or each.find_obstacle():
            continue
        if each.entry.needs_hub:
            hub = hub_answers() if hub is None else hub
            if not hub:
                continue
        needs = "" if each.needs is None else f"needs {format_bytes(each.needs)} of memory, "
        reason = f"{needs}{each.how} at {each.speed:.0f} tok/s a stream"
        return Default(each.name, reason, hub)
    # Nothing fits: the smallest, and the engine's own plan has the last word.
    ranked = [each for each in candidates if not each.unranked]
    sure = [each for each in ranked if not each.entry.needs_hub]
    smallest = min(sure or ranked, key=lambda each: each.entry.size or 0)
    return Default(smallest.name, "the smallest; this machine is short of memory or slow", hub)


def explain(candidates: list[Candidate], chosen: Default) -> list[str]:
    """Why each of ``candidates`` is ``chosen``, or is not, in words."""
    better = True
    verdicts: list[str] = []
    for each in candidates:
        obstacle = each.unranked or each.find_obstacle()
        if each.name == chosen.name:
            verdicts.append(f"taken: {chosen.reason}")
            better = False
        elif obstacle:
            verdicts.append(obstacle)
        elif not better:
            verdicts.append(f"ranks below {chosen.name}")
        elif chosen.hub is False:
            verdicts.append("the model hub does not answer")
        else:
            verdicts.append(f"ranks above {chosen.name}, which is kept")
    return verdicts


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
