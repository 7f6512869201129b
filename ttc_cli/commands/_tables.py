"""Tables as commands print them, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ttc_cli.output import Output


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """``rows``, the head first, as lines whose columns are as wide as they must be."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows``, the head first."""
    Output().answer("\n".join(align(rows)))


def word_number(value: float | None) -> str:
    """Two decimals, or a dash."""
    return "–" if value is None else f"{value:.2f}"
