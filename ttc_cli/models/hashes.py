"""Hashes of model files that no record keeps: those of the user's own, each read whole once.

A file is known by its place, size and time of change. That is enough to find the policy and the
verdicts of a model by, and never a proof that its bytes are the right ones.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from ttc_cli import paths

FILE = "hashes.json"
MOST = 200
"""Files that are remembered; the oldest is forgotten first."""


def recall(path: Path) -> str | None:
    """The sha256 of the file as it was when it was last hashed, if it is that still."""
    stamp, sha256 = _read().get(str(path.absolute()), (None, None))
    return sha256 if stamp == _stamp(path) else None


def remember(path: Path, sha256: str) -> None:
    """Keep the hash; where nothing can be kept, the file is hashed again next time."""
    known = _read()
    place = str(path.absolute())
    known.pop(place, None)
    known[place] = (_stamp(path), sha256)
    kept = dict(list(known.items())[-MOST:])
    file = paths.cache_dir() / FILE
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(file, json.dumps(kept))


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ino]


def _read() -> dict[str, tuple[list[int], str]]:
    try:
        raw = json.loads((paths.cache_dir() / FILE).read_text(encoding="utf-8"))
        return {place: (list(stamp), str(sha256)) for place, (stamp, sha256) in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
