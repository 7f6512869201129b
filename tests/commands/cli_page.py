"""Writes ``docs/cli.md`` from ``--help``: ``python tests/commands/cli_page.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttc_cli.main import command_line
from ttc_cli.paths import write_whole

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

_HEAD = """\
# The command line

What `--help` prints, for every command. Made by `python tests/commands/cli_page.py`; a test keeps
it up to date.
"""


def make_page() -> str:
    """The whole page."""
    sections = [
        f"## {path}\n\n```text\n{text}\n```\n" for path, text in _walk(command_line(), "ttc", None)
    ]
    return "\n".join([_HEAD, *sections])


def _walk(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    width = {"max_content_width": 80, "terminal_width": 80}
    settings = {**command.context_settings, **width}
    context = command.context_class(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command.get_help(context).rstrip()
    if hasattr(command, "list_commands"):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if not found.hidden:
                yield from _walk(found, below, context)


if __name__ == "__main__":
    write_whole(PAGE, make_page())
