"""What typer's shell completion lacks."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import typer.core

COMPLETING = "_TTC_COMPLETE"
"""Set by the shell's function where it asks for the next word."""

# typer's own only defines its function when zsh first loads the file, so that the first Tab of each
# shell does nothing; and it calls a ttc of the path where another one was typed.
ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh \
${~words[1]})
}

compdef %(complete_func)s %(prog_name)s
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  %(complete_func)s "$@"
fi
"""


def mend_completion() -> None:
    """Give typer a script for zsh that works at the first Tab, and keep it quick.

    Asked for a word, it would load Rich, to take markup out of help texts that hold none, and
    Pydantic, to check values that nobody is going to use. Where another version of typer has
    other names for these, its own ways stay.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from typer import _completion_classes, _completion_shared

        _completion_shared._completion_scripts["zsh"] = ZSH
        _completion_classes._sanitize_help_text = lambda text: text
    if COMPLETING in os.environ:
        kinds: tuple[Any, ...] = (typer.core.TyperOption, typer.core.TyperArgument)
        for kind in kinds:
            kind.process_value = _take_as_it_is


def _take_as_it_is(parameter: object, ctx: object, value: object) -> object:
    return value
