"""How a download reports its progress, and how stderr shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from ttc_cli.output import use_color
from ttc_cli.sanitise import clean


class Phase(StrEnum):
    """What is being done to a model."""

    DOWNLOAD = "downloading"
    CHECK = "checking"
    """Its sha256 is computed."""
    TUNE = "re-quantising"
    NOTE = "note"
    """Something worth a line: a source failed, a download goes on where it stopped."""


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """One report. ``done`` of ``total`` bytes, ``total`` None where unknown."""

    model: str
    phase: Phase
    done: int = 0
    total: int | None = None
    note: str = ""


Report = Callable[[ModelProgress], None]


def ignore(progress: ModelProgress) -> None:
    """A report that goes nowhere."""


def format_bytes(count: float) -> str:
    """``count`` in decimal units, as disks and hubs state sizes: ``1.12 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Report]:
    """On stderr: bars with rate and time left on a terminal, else a line for each milestone."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _report_lines()


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    console = Console(stderr=True, no_color=not use_color(), highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[tuple[str, Phase], TaskID] = {}

        def report(progress: ModelProgress) -> None:
            if progress.phase is Phase.NOTE:
                bars.print(Text(clean(progress.note)))
                return
            key = (progress.model, progress.phase)
            if key not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                label = clean(f"{progress.phase} {progress.model}")
                tasks[key] = bars.add_task(label, total=progress.total, completed=progress.done)
                if progress.done:  # resumed: what was there before does not count as speed
                    bars.reset(tasks[key], total=progress.total, completed=progress.done)
            bars.update(tasks[key], completed=progress.done, total=progress.total)

        yield report


def _report_lines() -> Report:
    """Plain lines: one as a phase begins, one at each quarter of it."""
    said: set[tuple[str, Phase, int]] = set()

    def report(progress: ModelProgress) -> None:
        model, phase, total = progress.model, progress.phase, progress.total
        quarter = progress.done * 4 // total if total else 0
        if phase is Phase.NOTE:
            line = progress.note
        elif (model, phase, quarter) in said:
            return
        else:
            said.add((model, phase, quarter))
            size = format_bytes(total) if total else "unknown size"
            share = f" {quarter * 25} %" if quarter else ""
            line = f"{phase} {model} ({size}){share}"
        print(clean(line), file=sys.stderr, flush=True)

    return report
