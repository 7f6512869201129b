"""Plain help: options in named groups, as ``rich_help_panel`` gives them, and examples below.

A test runs every example.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import typer
import typer.core

_T = TypeVar("_T")


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


def grouped(command: Callable[..., _T]) -> Callable[..., _T]:
    """Let ``command`` take dataclasses of flags: each field becomes a parameter of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append((name, hints[name], parameter.default))
            continue
        own = get_type_hints(groups[name], include_extras=True)
        parameters += [(each.name, own[each.name], each.default) for each in fields(groups[name])]

    @functools.wraps(command)
    def call(**given: Any) -> _T:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        return command(**given)

    del call.__wrapped__  # or its signature would be read in place of this one
    call.__annotations__ = {name: hint for name, hint, _ in parameters}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=value)
            for name, hint, value in parameters
        ]
    )
    return call
