"""Commands whose argument is a text, which may begin with a dash: ``ttc solve "-5 + 3 = ?"``."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from ttc_cli.commands._help import PanelCommand

_OPTION = re.compile(r"--?[A-Za-z]")
"""What every option begins with."""
_OPERATOR = re.compile(r"[-+=*/^<>·×÷]\s")
"""What no value of an option begins with."""
_WITH_VALUE = re.compile(r"--[\w-]+=")


class TextCommand(PanelCommand):
    """A command that takes an argument for a text where it cannot be meant as an option."""

    takes_text = True

    def make_parser(self, ctx: Any) -> Any:
        """The parser of the command, which asks ``is_text`` first."""
        parser: Any = super().make_parser(ctx)
        process = parser._process_opts
        options = {*parser._long_opt, *parser._short_opt}

        def process_or_keep(argument: str, state: Any) -> None:
            if is_text(argument, options):
                state.largs.append(argument)
            else:
                process(argument, state)

        parser._process_opts = process_or_keep
        return parser


def is_text(argument: str, options: Container[str]) -> bool:
    """Whether ``argument``, which begins with a dash, is certainly none of ``options``.

    It is a text if no letter follows the dashes (``-5``, ``-(3+4)``, ``-√2``), or if it has several
    words and the first is not an option (``-x + 3 = 5``) or is calculated with (``-m + 3 = 5``).
    ``--sytem="Be kind"`` is a misspelt option.
    """
    if not _OPTION.match(argument):
        return True
    first, *more = argument.split(None, 1)
    known = first in options or argument[:2] in options
    if more and len(first) == 2 and _OPERATOR.match(more[0]):
        return True
    return bool(more) and not known and not _WITH_VALUE.match(argument)
