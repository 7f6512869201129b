"""Standard streams that were closed before the start (``ttc … 1>&-``).

The next file that is opened gets the number of a closed stream, and whatever is then said on it
goes into that file. So each gets a place that leads nowhere, before anything else is opened.
"""

from __future__ import annotations

import os
import sys


def fill_closed() -> bool:
    """Open nowhere in place of each stream that is closed; whether stdout was."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free: ``number``
    closed = sys.stdout is None
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    return closed
