"""Curves: accuracy against tokens, FLOPs and seconds, and by difficulty, as PNG and SVG."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttc_cli.bench.report import Row
from ttc_cli.errors import UsageError
from ttc_cli.paths import replacing

_AXES = (
    ("tokens", "tokens a question", 1.0),
    ("flops", "TFLOPs a question", 1e12),
    ("seconds", "seconds a question", 1.0),
)
# Okabe and Ito's palette: told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def require_plotting() -> None:
    """Make sure that curves can be drawn, before hours are spent on what they show.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        with contextlib.chdir(os.sep):  # it reads settings from the working folder, anybody's
            import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Curves are drawn with matplotlib, which is not installed.",
            "pip install 'ttc-cli[bench]', or leave out --out: the tables need nothing",
        ) from error


def draw_curves(
    lines: Mapping[str, Sequence[Row]],
    points: Sequence[Row],
    title: str,
    folder: Path,
    name: str = "curves",
) -> list[Path]:
    """Write ``name``.png and ``name``.svg into ``folder``: a panel for each kind of cost.

    Args:
        lines: settings of one strategy, cheapest first, joined by a line; by its name.
        points: strategies at one setting.
        title: above the panels.
        folder: where to; it exists.
        name: of the files.

    Returns:
        The files.
    """
    timed = all(row.seconds is not None for rows in lines.values() for row in rows)
    axes = _AXES if timed else _AXES[:2]
    return _draw_panels([(axis, "", lines) for axis in axes], points, title, folder, name)


def draw_bins(
    bins: Mapping[int, Mapping[str, Sequence[Row]]], title: str, folder: Path, name: str
) -> list[Path]:
    """Write ``name``.png and ``name``.svg into ``folder``: a panel for each difficulty bin.

    Args:
        bins: as ``lines`` of ``draw_curves``, of the questions of a bin; at least one.
        title: above the panels.
        folder: where to; it exists.
        name: of the files.

    Returns:
        The files.
    """
    panels = [(_AXES[1], _head_bin(number, bins[number]), bins[number]) for number in sorted(bins)]
    return _draw_panels(panels, [], title, folder, name)


def _head_bin(number: int, lines: Mapping[str, Sequence[Row]]) -> str:
    return f"bin {number} (n {next(iter(lines.values()))[0].questions})"


def _draw_panels(
    wanted: Sequence[tuple[tuple[str, str, float], str, Mapping[str, Sequence[Row]]]],
    points: Sequence[Row],
    title: str,
    folder: Path,
    name: str,
) -> list[Path]:
    """A panel for each (axis, heading, lines); ``points`` stand in all of them."""
    require_plotting()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, grid = pyplot.subplots(
        1,
        len(wanted),
        figsize=(4.4 * len(wanted) + 1.4, 4.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = grid[0]
    for panel, ((cost, label, unit), heading, lines) in zip(panels, wanted, strict=True):
        for number, (line, rows) in enumerate(lines.items()):
            _draw(panel, rows, cost, unit, _COLOURS[number % len(_COLOURS)], line, joined=True)
        for number, row in enumerate(points, start=len(lines)):
            _draw(panel, [row], cost, unit, _COLOURS[number % len(_COLOURS)], row.name)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.set_xlabel(label)
        panel.set_title(heading, fontsize=9)
        panel.grid(visible=True, alpha=0.25, linewidth=0.6)
    panels[0].set_ylabel("accuracy (95 % interval)")
    panels[0].yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside right center")
    figure.suptitle(title, fontsize=10)
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    with matplotlib.rc_context({"svg.hashsalt": "ttc"}):  # the same data, the same bytes
        for file in files:
            kind = file.suffix.removeprefix(".")
            with replacing(file) as fresh:
                figure.savefig(
                    fresh, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {}
                )
    pyplot.close(figure)
    return files


def _draw(
    panel: Any,
    rows: Sequence[Row],
    cost: str,
    unit: float,
    colour: str,
    label: str,
    *,
    joined: bool = False,
) -> None:
    known = [row for row in rows if getattr(row, cost) is not None]
    if not known:
        return
    known.sort(key=lambda row: getattr(row, cost))
    x = [getattr(row, cost) / unit for row in known]
    y = [row.accuracy for row in known]
    low, high = ([row.interval[side] for row in known] for side in (0, 1))
    if joined:
        panel.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.6, label=label)
        panel.fill_between(x, low, high, color=colour, alpha=0.06, linewidth=0)
    else:
        bars = [[a - b for a, b in zip(y, low, strict=True)],
                [b - a for a, b in zip(y, high, strict=True)]]  # fmt: skip
        panel.errorbar(x, y, yerr=bars, color=colour, marker="D", capsize=3, label=label)
