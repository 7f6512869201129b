"""Deletes what nobody needs: models, unfinished downloads, superseded files."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ttc_cli import paths
from ttc_cli.errors import ModelMissing, TtcError
from ttc_cli.models.records import RECORD, TUNED, folder_of, lock, read_record
from ttc_cli.models.registry import load_registry


def remove(name: str) -> None:
    """Delete what ttc keeps for ``name``. Files outside its folders stay.

    Raises:
        ModelMissing: ttc keeps nothing of it.
        TtcError: it is being downloaded.
    """
    folder = folder_of(name)
    if folder.parent != paths.models_dir() or folder.name.startswith(".") or not folder.is_dir():
        raise ModelMissing(f"{name} is not on this machine.", "ttc models list")
    with lock(name):
        if folder.is_symlink():  # what it leads to is the user's
            folder.unlink()
        else:
            shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that can be deleted: its bytes on disk, and why nobody needs it."""

    path: Path
    bytes: int
    reason: str


def find_leftovers() -> list[Leftover]:
    """Unfinished downloads, superseded files, and records of files that are gone."""
    found: list[Leftover] = []
    registry = load_registry()
    root = paths.models_dir()
    folders = sorted(root.iterdir()) if root.is_dir() else []
    for folder in folders:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        found += [Leftover(p, measure(p), "unfinished download") for p in list_unfinished(folder)]
        record = read_record(folder)
        tuned = record.tuned if record is not None else None
        for path in sorted(folder.glob(TUNED)):
            if tuned is None or path != tuned.path:
                found.append(Leftover(path, measure(path), "re-quantised and not used"))
        if record is None:
            continue
        entry = registry.get(record.name)
        if not record.path.is_file():
            found.append(Leftover(folder / RECORD, 0, "its file is gone"))
        elif entry is not None and entry.sha256 not in (None, record.sha256):
            size = measure(record.path) if record.path.parent == folder else 0
            size += measure(tuned.path) if tuned is not None else 0
            found.append(Leftover(folder, size, "an older revision"))
    return found


def prune(leftovers: list[Leftover]) -> int:
    """Delete ``leftovers``, but none of a model that is being downloaded; returns the bytes."""
    freed = 0
    for leftover in leftovers:
        inside = leftover.path.relative_to(paths.models_dir())
        folder = paths.models_dir() / inside.parts[0]
        with contextlib.suppress(TtcError), lock(folder.name):
            delete(leftover.path)
            freed += leftover.bytes
            with contextlib.suppress(OSError):
                folder.rmdir()  # if that was the last thing in it
    return freed


def list_unfinished(folder: Path) -> list[Path]:
    """What interrupted downloads left in a model's folder."""
    return sorted([*folder.glob("*.part"), *folder.glob("mirror.parts")])


def measure(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not path.is_dir():
        return _length(path)
    # os.walk, unlike glob, takes no offence at folders that vanish: pip moves its files about.
    return sum(_length(Path(place, name)) for place, _, names in os.walk(path) for name in names)


def _length(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def delete(path: Path) -> None:
    """Remove a file or a whole folder, of a link the link alone; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
