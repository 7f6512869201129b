"""Every process that ttc starts is started here, and finds nothing in the working folder.

The folder that somebody is in may be anybody's. So a Python is started without it on its path, a
program is looked for in the absolute folders of ``PATH`` alone, and what a child looks for in its
turn it finds in the same places.

Not covered: what ``PYTHONPATH`` names in words, ``.`` too, is the user's own choice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL as DEVNULL
from subprocess import PIPE as PIPE
from subprocess import STDOUT as STDOUT
from subprocess import SubprocessError as SubprocessError
from subprocess import TimeoutExpired as TimeoutExpired
from typing import IO, TypeAlias

Process: TypeAlias = subprocess.Popen[bytes]


def name_python(*arguments: str, python: str = sys.executable) -> tuple[str, ...]:
    """The command that runs ``python`` (3.11 or newer; this one, if none is named)."""
    return (python, "-P", *arguments)


def find_program(name: str) -> str | None:
    """The absolute path of the program ``name``: a path, or one in a folder that PATH names.

    An entry of PATH that is empty or relative means the working folder, and is passed over.
    """
    if os.sep in name:
        return shutil.which(os.path.abspath(name))
    return shutil.which(name, path=_keep_absolute(os.environ.get("PATH", os.defpath)))


def start(
    command: Sequence[str],
    *,
    stdin: int | None = DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    new_session: bool = False,
    held: Sequence[int] = (),
) -> Process:
    """Start ``command``, whose program is an absolute path; no shell reads it.

    ``environment`` is this process's where none is given; ``held`` are open files that it inherits.
    The rest is as for ``Popen``.

    Raises:
        OSError: it cannot be started.
        ValueError: the program is not an absolute path.
    """
    return subprocess.Popen(
        _check(command),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=_shield(environment),
        start_new_session=new_session,
        pass_fds=held,
    )


def run(
    command: Sequence[str], *, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """As ``start``, to the end, with nothing on its stdin: the exit status and what it wrote.

    Raises:
        OSError, ValueError: as ``start``.
        TimeoutExpired: it took more than ``timeout`` seconds, and was killed.
    """
    return subprocess.run(
        _check(command),
        stdin=DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env=_shield(None),
    )


def ask(name: str, *arguments: str) -> str:
    """What the program ``name`` prints; empty where it is missing, fails, or takes 10 seconds."""
    program = find_program(name)
    try:
        done = run([program, *arguments], timeout=10) if program else None
    except (OSError, SubprocessError):
        return ""
    return done.stdout if done and done.returncode == 0 else ""


def _check(command: Sequence[str]) -> Sequence[str]:
    if not os.path.isabs(command[0]):
        raise ValueError(f"{command[0]} is not an absolute path")
    return command


def _shield(environment: Mapping[str, str] | None) -> dict[str, str]:
    """``environment`` without entries that mean the reader's working folder."""
    shielded = dict(os.environ if environment is None else environment)
    if "PATH" in shielded:
        shielded["PATH"] = _keep_absolute(shielded["PATH"])
    if "PYTHONPATH" in shielded:
        named = filter(None, shielded["PYTHONPATH"].split(os.pathsep))
        shielded["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, named))
    return shielded


def _keep_absolute(path: str) -> str:
    """PATH's absolute folders; an empty PATH would mean the working folder again."""
    kept = [folder for folder in path.split(os.pathsep) if os.path.isabs(folder)]
    return os.pathsep.join(kept) or os.defpath
