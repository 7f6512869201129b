"""Plain help: options in named groups, as ``rich_help_panel`` gives them, and examples below.

A test runs every example.
"""

from __future__ import annotations

from typing import Any

import typer
import typer.core


def show_examples(*lines: str, more: str = "") -> str:
    """An epilog with ``lines`` as they are typed, and ``more`` in paragraphs below."""
    examples = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    return f"{examples}\n\n{more}" if more else examples


def make_group(help: str, epilog: str, cls: type[Any] | None = None) -> typer.Typer:
    """The app of a verb with verbs below it, whose help is ``help``, its commands, ``epilog``."""
    return typer.Typer(
        cls=cls, help=help, epilog=epilog, no_args_is_help=True, rich_markup_mode=None
    )


class PanelCommand(typer.core.TyperCommand):
    """A command whose ``--help`` groups its options without loading Rich."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a panel, in the order the panels first appear."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(panel or default, []).append(record)
        panels["Options"] = panels.pop("Options", [])
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
