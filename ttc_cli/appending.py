"""Files of lines: one process at a time appends to them, and a later one goes on with them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ttc_cli.errors import TtcError
from ttc_cli.paths import open_in_place


class LineFile:
    """A file that only this process appends lines to; created if it is missing.

    Attributes:
        lines: the whole lines that were there.
        torn: what a killed process left of a further one.
    """

    def __init__(self, path: Path, busy: TtcError) -> None:
        """Open and lock ``path``; nothing in it is changed.

        Raises:
            TtcError: ``busy``, where another process appends to it.
            OSError: it is a link, or cannot be opened.
        """
        self._file = open_in_place(path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            data = self._file.read()
        except BlockingIOError as error:
            self._file.close()
            raise busy from error
        except BaseException:
            self._file.close()
            raise
        whole = data.rfind(b"\n") + 1
        self.lines, self.torn = data[:whole], data[whole:]

    def cut(self) -> None:
        """Cut off a torn last line, so that the next line appended begins on a line of its own."""
        self._file.truncate(len(self.lines))

    def append(self, line: bytes) -> None:
        """Write ``line``, its end included, in one piece and wait until it is on the disk.

        Raises:
            OSError: it could not be written; what was written before stays valid.
        """
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> LineFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
