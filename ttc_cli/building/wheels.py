"""The wheels that were built here, each in a folder named by its profile's key.

``key.txt`` holds the profile's recipe, ``sha256.txt`` the hash of the wheel, ``speed.txt`` what was
measured with it, and ``crashed`` says that it is not to be tried again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ttc_cli.building.profiles import Profile
from ttc_cli.building.running import warn
from ttc_cli.paths import write_whole

# A line of ``speed.txt``; one that goes on was measured beside other programs.
_SPEED = r"(.*): \d+ tokens/s alone, (\d+) at \d+ candidates, reads \d+/s \(\d+ threads\)"


def find_kept(folder: Path, profile: Profile) -> Path | None:
    """The wheel of ``profile`` that is kept in ``folder``, if it is what was built here."""
    if _read(folder / "key.txt") != profile.recipe:
        return None
    found = list(folder.glob("*.whl"))
    if len(found) == 1 and _hash(found[0]) == _read(folder / "sha256.txt"):
        return found[0]
    warn(f"what is kept of {profile.label} is not what was built here: building it again")
    return None


def keep(wheel: Path, folder: Path, profile: Profile) -> Path:
    """Move a new ``wheel``, with its folder, to ``folder``; returns its place there."""
    write_whole(wheel.parent / "sha256.txt", _hash(wheel))
    write_whole(wheel.parent / "key.txt", profile.recipe)
    shutil.rmtree(folder, ignore_errors=True)
    wheel.parent.rename(folder)
    return folder / wheel.name


def mark_crashed(folder: Path) -> None:
    """Forget the wheel in ``folder`` and remember that it crashes here."""
    shutil.rmtree(folder)
    folder.mkdir()
    write_whole(folder / "crashed", "")


def read_speed(folder: Path) -> tuple[int, str] | None:
    """Tokens per second at 16 candidates, and the model; None where never measured in quiet."""
    found = re.fullmatch(_SPEED, _read(folder / "speed.txt"))
    return (int(found[2]), found[1]) if found else None


def keep_speed(folder: Path, line: str) -> None:
    """Write down what was measured; beside other programs only where nothing else is known."""
    if folder.is_dir() and (re.fullmatch(_SPEED, line) or not read_speed(folder)):
        write_whole(folder / "speed.txt", line)


def prefer_measured(profiles: Sequence[Profile], wheels: Path) -> list[Profile]:
    """``profiles`` in the order of their speed here, as far as it is known.

    Their order was measured elsewhere. Where several were measured here, with one model and
    accelerator, these change places among themselves, the fastest first.
    """
    speeds = {
        place: (found[0], (profile.accelerator, found[1]))
        for place, profile in enumerate(profiles)
        if (found := read_speed(wheels / profile.key))
    }
    conditions = next((each for _, each in speeds.values()), None)
    places = [place for place in speeds if speeds[place][1] == conditions]
    fastest_first = sorted(places, key=lambda place: -speeds[place][0])
    order = list(profiles)
    for place, better in zip(places, fastest_first, strict=True):
        order[place] = profiles[better]
    return order


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
