"""Streams one hub file to disk, hashing as it goes, and goes on at the byte where it stopped.

What was written stays when the process is killed, the disk fills or the network fails; the next
call reads it back into the hash and asks the hub for the rest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ttc_cli.errors import DiskFull, ModelCorrupt, NetworkError, Unreachable
from ttc_cli.models.hub import RETRY_STATUS, Hub, RemoteFile, read_wait, refusal
from ttc_cli.models.progress import format_bytes
from ttc_cli.models.records import CHUNK
from ttc_cli.paths import open_in_place

if TYPE_CHECKING:
    import httpx2

_ATTEMPTS = 5
"""Failures in a row, without ``_PROGRESS`` bytes between them, before the download is given up."""
_PROGRESS = 1 << 16
"""A connection that brought less counts as one that failed: else a hub that cuts every one after a
byte would be asked without end."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Restart(Exception):
    """The server would not continue where we stopped."""


def download(
    hub: Hub,
    remote: RemoteFile,
    part: Path,
    report: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Write ``remote`` to ``part``, after what it holds already; return the file's sha256.

    ``report`` gets the bytes that are there, again and again.

    Raises:
        DiskFull: no room; ``part`` keeps what it has.
        ModelCorrupt: the hub sends more than it announced.
        AccessDenied, ModelMissing, NetworkError: as ``Hub.locate``; ``part`` keeps what it has.
    """
    try:
        with open_in_place(part, "a+b", buffering=0) as file:
            transfer = _Transfer(hub, remote, file, report)
            transfer.read_back()
            transfer.run(sleep)
            os.fsync(file.fileno())
            return transfer.digest.hexdigest()
    except OSError as error:
        raise_disk_full(error, part)
        raise


def raise_disk_full(error: OSError, path: Path) -> None:
    """Raise ``DiskFull`` if that is what ``error`` is about."""
    if error.errno in _FULL:
        raise DiskFull(
            f"No room left on the disk of {path.parent}. What was downloaded is kept.",
            "free some space (ttc models prune, ttc models rm NAME) and repeat the command: "
            "it goes on where it stopped",
        ) from error


class _Transfer:
    """The state of one download: the file, how much of it is there, and its hash."""

    def __init__(
        self, hub: Hub, remote: RemoteFile, file: BinaryIO, report: Callable[[int], None]
    ) -> None:
        self.digest = hashlib.sha256()
        self._hub = hub
        self._remote = remote
        self._file = file
        self._report = report
        self._done = 0

    def read_back(self) -> None:
        """Hash what an earlier run left."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self.digest.update(chunk)
            self._done += len(chunk)
        if self._remote.size is not None and self._done > self._remote.size:
            self._restart()
        self._report(self._done)

    def run(self, sleep: Callable[[float], None]) -> None:
        """Fetch until the file is complete."""
        import httpx2

        failures = restarts = 0
        while not self._complete():
            before = self._done
            reason = "the connection was cut"
            wait = 0.5
            try:
                with self._hub.stream(self._remote, self._done) as response:
                    wait = self._receive(response)
                if self._remote.size is None and wait == 0:
                    return
            except _Restart:
                restarts += 1
                if restarts > _ATTEMPTS:
                    raise NetworkError(
                        "The hub cuts the download short and cannot continue it.",
                        "repeat the command on a steadier network",
                    ) from None
                self._restart()
                before = -_PROGRESS
            except (httpx2.HTTPError, ConnectionError) as error:
                reason = str(error) or type(error).__name__
            failures = 0 if self._done >= before + _PROGRESS else failures + 1
            if failures >= _ATTEMPTS:
                raise Unreachable(
                    f"The download stopped at {format_bytes(self._done)} ({reason}). "
                    "What was downloaded is kept.",
                    "repeat the command: it goes on where it stopped",
                )
            if not self._complete():
                sleep(max(wait, min(0.5 * 2**failures, 8.0)) if failures else 0.0)

    def _complete(self) -> bool:
        return self._remote.size is not None and self._done >= self._remote.size

    def _receive(self, response: httpx2.Response) -> float:
        """Append the body; return the seconds to wait before asking again, 0 after a body."""
        status = response.status_code
        if self._done and status in (200, 416):
            raise _Restart
        if status in RETRY_STATUS:
            return read_wait(response, 1.0, most=30.0)
        if status not in (200, 206):
            raise refusal(self._hub.endpoint, self._remote.name, status)
        if self._done and not response.headers.get("Content-Range", "").startswith(
            f"bytes {self._done}-"
        ):
            raise NetworkError("The hub sent a different part of the file than it was asked for.")
        for chunk in response.iter_raw():
            if self._remote.size is not None and self._done + len(chunk) > self._remote.size:
                raise ModelCorrupt(
                    f"The hub sends more of {self._remote.name} than the "
                    f"{self._remote.size:,} bytes it announced."
                )
            write_all(self._file, chunk)
            self.digest.update(chunk)
            self._done += len(chunk)
            self._report(self._done)
        return 0.0

    def _restart(self) -> None:
        self._file.truncate(0)
        self.digest = hashlib.sha256()
        self._done = 0


def write_all(file: BinaryIO, chunk: bytes) -> None:
    """Write all of ``chunk`` to an unbuffered file (the system may take it piece by piece)."""
    view = memoryview(chunk)
    while view:
        written = file.write(view)
        view = view[written:]
