"""Writes a file only where there is none yet; deletes only what the user agrees to."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.paths import write_whole
from ttc_cli.sanitise import clean

if TYPE_CHECKING:
    from ttc_cli.models.files import Model


def write_new(file: Path, content: str | bytes) -> None:
    """Write ``content`` to ``file``, which must not exist.

    Raises:
        UsageError: it does, or cannot be written.
        OSError: the disk is full.
    """
    if file.exists():
        raise UsageError(f"{file} exists.", "Name another file.")
    try:
        write_whole(file, content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(f"{file} cannot be written: {error.strerror}.", "Name another.") from error


def is_somebody_there() -> bool:
    """Whether there is a terminal to ask on."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str, *, default: bool) -> bool:
    """Whether the user says yes to ``question``; an empty line means ``default``."""
    sys.stderr.write(f"{clean(question)} {'[Y/n]' if default else '[y/N]'} ")
    sys.stderr.flush()
    reply = sys.stdin.readline()
    if not reply:  # the end of input means no; what comes next starts on a line of its own
        sys.stderr.write("\n")
        return False
    return default if reply == "\n" else reply.strip().lower() in ("y", "yes")


def make_confirm(yes: bool) -> Callable[[Model, int | None], bool]:
    """What asks before a download, where somebody is there to answer; ``yes`` asks nobody."""
    from ttc_cli.models.progress import format_bytes

    def confirm(model: Model, left: int | None) -> bool:
        size = "" if left is None else f" ({format_bytes(left)})"
        question = f"The model {model.name}{size} is not on this machine. Download it?"
        return yes or (is_somebody_there() and ask(question, default=True))

    return confirm


def may_delete(what: str, *, yes: bool) -> bool:
    """Whether the user agrees to delete ``what``, with ``--yes`` or when asked; a no is confirmed.

    Raises:
        UsageError: neither was possible.
    """
    if not yes and not is_somebody_there():
        raise UsageError(
            f"This would delete {what}, and there is no terminal to ask on.", "repeat it with --yes"
        )
    agreed = yes or ask(f"Delete {what}?", default=False)
    if not agreed:
        Output().say("Nothing was deleted.")
    return agreed
