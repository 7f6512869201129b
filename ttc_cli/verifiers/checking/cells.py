"""What confines a check: bubblewrap, macOS's sandbox, or rights that Linux lets a process drop.

A cell is the words that come before the user's command, the folder it runs in, and the files that
are held open for it. In bubblewrap that folder is in memory, of a fixed size, and gone with the
check; else it is one below the temporary folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.children import name_python
from ttc_cli.verifiers.checking import confine
from ttc_cli.verifiers.checking.removal import PREFIX, make_folder
from ttc_cli.verifiers.checking.seccomp import build_filter
from ttc_cli.verifiers.checking.shown import show
from ttc_cli.verifiers.checking.watching import SPACE

SHARED = 64 << 20
"""Bytes of shared memory by name, ``/dev/shm``."""
LANDLOCK = "landlock"
"""In the place of a sandbox's path: what Linux itself lets a process give up."""
SEATBELT = "/usr/bin/sandbox-exec"
SEATBELT_PROFILE = """\
(version 1)
(allow default)
(deny network*)
(deny file-write*)
(allow file-write* (subpath (param "FOLDER")))
(allow file-write-data (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty"))
(deny signal)
(allow signal (target self) (target pgrp) (target children))
(deny process-info* (target others))
(deny appleevent-send)
(deny mach-lookup (global-name "com.apple.coreservices.launchservicesd"))
(deny mach-lookup (global-name "com.apple.pasteboard.1"))
(deny mach-lookup (global-name "com.apple.SecurityServer"))
"""
"""Apple's language for ``sandbox-exec``; a later rule goes before an earlier one."""


@dataclass(frozen=True, slots=True)
class CheckCell:
    """Where a check runs. ``held`` are open files that the words name by number.

    ``ready`` is the one of them in which ``confine`` says how far it came. ``closed``: its files
    are in memory of a fixed size, and its processes cannot leave it.
    """

    words: list[str]
    file: Path
    held: tuple[int, ...]
    ready: int
    closed: bool


@contextlib.contextmanager
def open_cell(
    sandbox: str | None,
    command: tuple[str, ...],
    data: bytes,
    name: str,
    limits: str,
    *,
    only: tuple[Path, ...] | None = None,
    space: int = SPACE,
) -> Iterator[CheckCell]:
    """A cell for ``command`` with a file ``name`` that holds ``data``; gone afterwards.

    Args:
        sandbox: the path of ``bwrap`` or ``sandbox-exec``, ``LANDLOCK``, or None for none at all.
        command: the words that are to run in it; what they need is shown there.
        data: what the file holds.
        name: of the file.
        limits: as ``confine`` reads them.
        only: in bubblewrap, all that is to be seen of the file system, beside the interpreter's own
            libraries; None: everything but secrets.
        space: bytes of its files, in bubblewrap.

    Raises:
        OSError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        filtered: tuple[int, ...] = ()
        if sandbox not in (None, SEATBELT):
            program = build_filter(alone=sandbox != LANDLOCK)
            filtered = () if program is None else (_hold(program, stack),)
        number = "".join(map(str, filtered))
        ready = _hold(b"", stack)
        held = (*filtered, ready)
        python = sys.executable if only is None else os.path.realpath(sys.executable)
        own = [*name_python("-I", "-S", confine.__file__, limits, python=python)]
        if sandbox in (None, LANDLOCK, SEATBELT):
            folder = stack.enter_context(make_folder())
            (folder / name).write_bytes(data)
            if sandbox == SEATBELT:
                own = [SEATBELT, "-D", f"FOLDER={folder}", "-p", SEATBELT_PROFILE, *own]
            writable = [str(folder)] if sandbox == LANDLOCK else []
            words = [*own, number, str(ready), *writable, "--"]
            yield CheckCell(words, folder / name, held, ready, closed=False)
        else:
            folder = Path(f"/tmp/{PREFIX}{secrets.token_hex(8)}")
            content = _hold(data, stack)
            shown = _show(command) if only is None else _bind(_list_libraries() + only)
            words = [
                str(sandbox),
                *(("--ro-bind", "/", "/") if only is None else ()),
                "--dev", "/dev",
                "--size", str(min(SHARED, space)), "--perms", "1777", "--tmpfs", "/dev/shm",
                "--remount-ro", "/dev",
                "--proc", "/proc",
                "--size", str(space), "--perms", "1777", "--tmpfs", "/tmp",
                *shown,
                "--dir", str(folder),
                "--file", str(content), str(folder / name),
                "--chdir", str(folder),
                "--unshare-all",
                "--unshare-user",
                "--die-with-parent",
                "--new-session",
                "--cap-drop", "ALL",
                "--seccomp", number,
                "--", *own, "", str(ready), "/tmp", "/dev", "--",
            ]  # fmt: skip
            yield CheckCell(words, folder / name, (*held, content), ready, closed=True)


_show = functools.lru_cache(maxsize=16)(show)


_LOADED = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib",
    "/etc/ld.so.cache", "/etc/alternatives", "/nix/store", "/gnu/store",
)  # fmt: skip
"""Where the libraries of a system are that a program loads."""


def _list_libraries() -> tuple[Path, ...]:
    """What this interpreter needs to start, without a virtual environment, and ``confine``."""
    python = Path(os.path.realpath(sys.executable))
    homes = (Path(sys.base_prefix), python.parent.parent)
    return (
        *map(Path, _LOADED),
        *(home / each for home in homes for each in ("lib", "lib64")),
        python,
        Path(confine.__file__),
    )


def _bind(paths: tuple[Path, ...]) -> list[str]:
    """Bubblewrap's options that show ``paths``, where they are there, read-only."""
    return [word for path in paths for word in ("--ro-bind-try", str(path), str(path))]


def _hold(content: bytes, stack: contextlib.ExitStack) -> int:
    """The number of a file without a name that holds ``content``, open as long as ``stack`` is."""
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file.fileno()


def describe_gaps(sandbox: str | None) -> str:
    """What model-written text that is checked can still do; empty where it is in bubblewrap."""
    if sandbox is None:
        return "with your own rights"
    if sandbox == SEATBELT:
        return "that can read your files and ask your other programs"
    if sandbox == LANDLOCK:
        signals = ", end your processes" if confine.read_landlock() < confine.SCOPED_VERSION else ""
        return f"that can read your files, change their modes and times{signals}"
    return ""
