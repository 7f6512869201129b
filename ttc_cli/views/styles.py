"""The few styles of the live tree. Each only repeats what a number or a sign says already."""

from rich.style import Style

BOLD = Style(bold=True)
DIM = Style(dim=True)
RULE = Style(dim=True)
GOOD = Style(color="green", bold=True)
CALM = Style(color="cyan")
WARN = Style(color="yellow")
BAD = Style(color="red")
