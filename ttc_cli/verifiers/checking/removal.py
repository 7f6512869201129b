"""Folders for checks: made, locked while in use, and removed whatever a check left in them.

What model-written code leaves may be nested beyond what recursion or a path can reach, may not be
open to its owner, and may hold links to anything. So removal goes by open folders: each folder
found is opened to its owner, moved up to the top under a short name, and emptied there. No link is
followed, and no mode is changed but a folder's below.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ttc-check-"
AGE = 60.0
"""Seconds after which a folder that nobody has locked is one that a killed run left."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def make_folder() -> Iterator[Path]:
    """An empty folder that is gone afterwards, or left where it cannot be removed.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    lock = os.open(folder, _OPEN)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        remove(folder)
        os.close(lock)


def sweep() -> list[Path]:
    """Remove what killed runs of this user left; what could not be removed is returned."""
    left = []
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in filter(lambda each: each.name.startswith(PREFIX), entries):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                old = time.time() - found.st_ctime > AGE  # which no program can set
                mine = entry.is_dir(follow_symlinks=False) and found.st_uid == os.getuid()
                if old and mine and not _is_locked(entry.path) and not remove(Path(entry.path)):
                    left.append(Path(entry.path))
    return left


def _is_locked(path: str) -> bool:
    try:
        folder = os.open(path, _OPEN)
    except PermissionError:  # not open to its owner: no run of ours is in it
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def remove(folder: Path) -> bool:
    """Remove ``folder`` and all below it as far as may be; whether it is gone. Never raises."""
    mark = secrets.token_hex(8)
    fresh = (f"{mark}-{number}" for number in itertools.count())
    with contextlib.suppress(OSError):
        top = _open_folder(str(folder), None)
        try:
            waiting = _clear(top, top, fresh)
            while waiting:
                name = waiting.pop()
                with contextlib.suppress(OSError):
                    here = _open_folder(name, top)
                    try:
                        waiting += _clear(here, top, fresh)
                    finally:
                        os.close(here)
                    os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        os.rmdir(folder)
    return not os.path.lexists(folder)


def _clear(here: int, top: int, fresh: Iterator[str]) -> list[str]:
    """Remove the files of the folder ``here``, move its folders to ``top``: their names there."""
    moved = []
    with os.scandir(here) as entries:
        found = list(entries)
    for entry in found:
        with contextlib.suppress(OSError):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=here)
            elif here == top:
                moved.append(entry.name)
            else:
                _open_to_owner(entry.name, here)  # else it may not be moved
                name = next(fresh)
                os.rename(entry.name, name, src_dir_fd=here, dst_dir_fd=top)
                moved.append(name)
    return moved


def _open_folder(name: str, above: int | None) -> int:
    _open_to_owner(name, above)
    return os.open(name, _OPEN, dir_fd=above)


def _open_to_owner(name: str, above: int | None) -> None:
    """Give the owner of a folder all rights; a link in its place is not followed."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, 0o700, dir_fd=above, follow_symlinks=False)
        return
    found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        os.chmod(f"/proc/self/fd/{found}", 0o700)
    finally:
        os.close(found)
