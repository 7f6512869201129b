"""Where ttc keeps things, and how it writes them.

``TTC_HOME`` overrides all; otherwise the platform's own folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ttc_cli.errors import TtcError

_FOLDERS = {
    "config": ("XDG_CONFIG_HOME", "~/.config", "~/Library/Application Support"),
    "data": ("XDG_DATA_HOME", "~/.local/share", "~/Library/Application Support"),
    "cache": ("XDG_CACHE_HOME", "~/.cache", "~/Library/Caches"),
}
"""The variable that names the folder of this kind, where it is on Linux, and on macOS."""


def _folder(kind: str) -> Path:
    variable, linux, macos = _FOLDERS[kind]
    named = os.environ.get(variable, "")
    if home := os.environ.get("TTC_HOME"):
        folder = Path(home, kind)
    elif os.path.isabs(named):  # the specification says to ignore others
        folder = Path(named, "ttc")
    else:
        folder = Path(macos if sys.platform == "darwin" else linux, "ttc")
    try:
        return folder.expanduser()
    except RuntimeError:
        raise TtcError(
            "Nothing can be kept: HOME is not set, and this account has no home folder.",
            "TTC_HOME=/path/with/room before the same command",
        ) from None


def config_dir() -> Path:
    """The user's ``config.toml`` and ``models.toml`` live here."""
    return _folder("config")


def data_dir() -> Path:
    """Downloaded models live here, under ``models/``."""
    return _folder("data")


def cache_dir() -> Path:
    """Built wheels and stamps: everything here can be deleted and made again."""
    return _folder("cache")


def find_clone() -> Path | None:
    """The clone that ttc runs from; None where it was installed as a package."""
    folder = Path(__file__).absolute().parents[1]
    return folder if (folder / "install.sh").is_file() else None


def name_installer() -> str:
    """What to type to build the engine: the clone's ``install.sh``, or ``ttc build``."""
    clone = find_clone()
    if clone is None:
        return "ttc build"
    with contextlib.suppress(OSError):  # the working folder was deleted
        if clone.samefile(os.curdir):
            return "./install.sh"
    return shlex.quote(str(clone / "install.sh"))


def find_hindrance() -> str | None:
    """Why the cache folder cannot be written, in the system's words; None if it can."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK) else "it may not be written"


def models_dir() -> Path:
    """Model files, one folder a model."""
    return data_dir() / "models"


def policies_dir() -> Path:
    """The user's policies."""
    return data_dir() / "policies"


def templates_dir() -> Path:
    """The prompt templates that are called by name."""
    return config_dir() / "templates"


def crashes_dir() -> Path:
    """Notes of crashes, named by the process that they are of."""
    return cache_dir() / "crashes"


def runs_path() -> Path:
    """The database of the runs that are kept."""
    return data_dir() / "runs.db"


def verdicts_path() -> Path:
    """What the tests of verifiers found."""
    return data_dir() / "verifiers.json"


def coding_path() -> Path:
    """Which models were seen to write programs."""
    return cache_dir() / "programs.json"


def write_whole(path: Path, content: str | bytes, *, like: Path | None = None) -> None:
    """Write ``content`` to ``path``, whole or not at all; text as UTF-8, line ends as they are.

    A link at ``path`` is replaced, and what it leads to stays as it is. The new file has the
    rights of the one that was there, or of ``like``.

    Raises:
        OSError: it cannot be written; what was there is there still, and nothing beside it.
    """
    with replacing(path, like=like) as fresh:
        fresh.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, like: Path | None = None) -> Iterator[BinaryIO]:
    """A new file beside ``path``, which takes its place, on the disk, when the context ends well.

    Its name is drawn, and it is made only where there is nothing of that name: nobody who may
    write into the folder can have put a link there. As ``write_whole`` otherwise.
    """
    fresh = path.with_name(f".{path.name[:50]}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:  # said of the name that the user knows
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with open(descriptor, "w+b") as file:
            rights = _rights_of(path if like is None else like)
            if rights is not None:
                os.fchmod(descriptor, rights)
            yield file
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Bring what ``folder`` lists onto the disk: a file renamed in it, say."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rights_of(path: Path) -> int | None:
    """Of a regular file; None where there is none. Those of a link are nobody's choice."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return mode & 0o777 if stat.S_ISREG(mode) else None


def open_in_place(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """As ``open`` in a binary ``mode``, for what is written where it lies; follows no link.

    Raises:
        OSError: ``path`` is a link, or it cannot be opened.
    """
    return cast("BinaryIO", open(path, mode, buffering, opener=_refuse_link))


def _refuse_link(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a link, and those are not followed", path) from error
        raise
