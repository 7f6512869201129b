"""What a crash of the native library leaves behind: a message at once, and a note for later.

Such a crash ends the process by a signal, and no Python runs after it. So two things are made
ready before a model is loaded. ``faulthandler`` writes where Python's threads stood into a note in
the cache folder. And a shell waits for the end of the process: where that note has become other
than empty, it says what happened. It also shows the cursor again after a kill, by whomever.

The note holds file names, line numbers and functions of ttc: no prompt, no text of a model.

Not covered: a kill by the system itself (memory ran out), which leaves no note.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections.abc import Iterator
from pathlib import Path

from ttc_cli import children, paths
from ttc_cli.signals import restore_cursor

_KEPT = 5
_WAIT = """
read -r ended && exit 0
printf %s "$2" >&2
[ -s "$1" ] && printf '%s\\n' "$3" >&2
"""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Note and report a crash inside the context.

    Does nothing where somebody else listens for crashes already (``python -X faulthandler``), or
    where no note can be written.
    """
    note = paths.crashes_dir() / f"{os.getpid()}.txt"
    with contextlib.ExitStack() as stack:
        if not faulthandler.is_enabled():
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(paths.open_in_place(note, "wb", buffering=0))
                stack.enter_context(_told(note))
                stack.callback(_forget, note)
                stack.callback(faulthandler.disable)
                faulthandler.enable(file)
        yield


def _forget(note: Path) -> None:
    with contextlib.suppress(OSError):
        note.unlink()


@contextlib.contextmanager
def _told(note: Path) -> Iterator[None]:
    """A shell outlives this process by a moment and says what came of it."""
    words = (
        "error: llama.cpp crashed and took ttc with it. Nothing that was on the disk is lost.\n"
        f"hint: {advise()}; {report(note)}"
    )
    try:
        shell = children.start(
            ["/bin/sh", "-c", _WAIT, "sh", str(note), restore_cursor(), words],
            stdin=children.PIPE,
            stdout=children.DEVNULL,
            new_session=True,  # a Ctrl-C is not for it
        )
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            shell.communicate(b"ended\n")


def report(note: Path) -> str:
    """How to report the crash to those who can fix it."""
    return f"to report it, open an issue with what 'ttc doctor' prints, the model's name and {note}"


def advise() -> str:
    """What to type after a crash."""
    return f"ttc doctor tests the build; {paths.name_installer()} --rebuild makes a safer one"


def find_crash() -> Path | None:
    """The note of the latest crash, told or not; None where there is none.

    Notes of processes that ended otherwise, and all but the last few, are deleted.
    """
    with contextlib.suppress(OSError):
        found = []
        for note in sorted(paths.crashes_dir().iterdir(), key=lambda path: path.stat().st_mtime_ns):
            if note.stat().st_size:
                found.append(note)
            elif not _lives(note.stem):
                note.unlink()
        for old in found[:-_KEPT]:
            old.unlink()
        return found[-1] if found else None
    return None


def take_crash() -> Path | None:
    """The note of a crash that this has not told of before, or None."""
    note = find_crash()
    if note is None or note.suffix != ".txt":
        return None
    told = note.with_suffix(".told")
    try:
        note.replace(told)
    except OSError:
        return None
    return told


def name_signal(note: Path) -> str:
    """What ended the process, in the words of ``faulthandler``'s first line."""
    try:
        with note.open(encoding="utf-8", errors="replace") as file:
            first = file.readline(200)
    except OSError:
        return "unknown"
    return first.removeprefix("Fatal Python error:").strip() or "unknown"


def _lives(pid: str) -> bool:
    import psutil

    return pid.isdecimal() and len(pid) < 10 and psutil.pid_exists(int(pid))
