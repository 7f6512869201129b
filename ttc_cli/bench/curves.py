"""Curves: accuracy against tokens, FLOPs and seconds, and by difficulty, as PNG and SVG."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttc_cli.bench.report import Summary
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
    """Make sure that curves can be drawn, before hours go into their data.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        with contextlib.chdir(os.sep):  # it reads settings from the working folder, anybody's
            import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Drawing curves needs matplotlib, which is not installed.",
            "pip install 'ttc-cli[bench]', or leave out --out: the tables do not need it",
        ) from error


def draw_curves(
    lines: Mapping[str, Sequence[Summary]],
    points: Sequence[Summary],
    title: str,
    folder: Path,
    name: str = "curves",
) -> None:
    """Write ``name``.png and ``name``.svg into ``folder``: a panel for each kind of cost.

    ``lines`` are the settings of a strategy, cheapest first, by its name; ``points`` are
    strategies at one setting.
    """
    timed = all(row.seconds is not None for rows in lines.values() for row in rows)
    axes = _AXES if timed else _AXES[:2]
    _draw_panels([(axis, "", lines) for axis in axes], points, title, folder, name)


def draw_bins(
    bins: Mapping[int, Mapping[str, Sequence[Summary]]], title: str, folder: Path, name: str
) -> None:
    """As ``draw_curves``, a panel for each difficulty bin: ``lines`` of its questions alone."""
    panels = []
    for number, lines in sorted(bins.items()):
        questions = next(iter(lines.values()))[0].questions
        panels.append((_AXES[1], f"bin {number} (n {questions})", lines))
    _draw_panels(panels, [], title, folder, name)


def _draw_panels(
    wanted: Sequence[tuple[tuple[str, str, float], str, Mapping[str, Sequence[Summary]]]],
    points: Sequence[Summary],
    title: str,
    folder: Path,
    name: str,
) -> None:
    """A panel for each (axis, heading, lines); ``points`` stand in all of them."""
    require_plotting()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    size = (4.4 * len(wanted) + 1.4, 4.2)
    figure, [panels] = pyplot.subplots(
        1, len(wanted), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for panel, ((cost, label, unit), heading, lines) in zip(panels, wanted, strict=True):
        drawn = [(line, rows, True) for line, rows in lines.items()]
        drawn += [(row.name, [row], False) for row in points]
        for number, (line, rows, joined) in enumerate(drawn):
            _draw(panel, rows, cost, unit, _COLOURS[number % len(_COLOURS)], line, joined)
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
    with matplotlib.rc_context({"svg.hashsalt": "ttc"}):  # the same data, the same bytes
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            with replacing(folder / f"{name}.{kind}") as fresh:
                figure.savefig(fresh, format=kind, dpi=150, metadata=metadata)
    pyplot.close(figure)


def _draw(
    panel: Any,
    rows: Sequence[Summary],
    cost: str,
    unit: float,
    colour: str,
    label: str,
    joined: bool,
) -> None:
    known = [row for row in rows if getattr(row, cost) is not None]
    if not known:
        return
    known.sort(key=lambda row: getattr(row, cost))
    x = [getattr(row, cost) / unit for row in known]
    y = [row.accuracy for row in known]
    low, high = zip(*(row.interval for row in known), strict=True)
    if joined:
        panel.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.6, label=label)
        panel.fill_between(x, low, high, color=colour, alpha=0.06, linewidth=0)
    else:
        bars = [[a - b for a, b in zip(y, low, strict=True)],
                [b - a for a, b in zip(y, high, strict=True)]]  # fmt: skip
        panel.errorbar(x, y, yerr=bars, color=colour, marker="D", capsize=3, label=label)
