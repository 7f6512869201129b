"""Measures what all processes of a check use together; the kernel's limits count each alone.

Limits on one process (``confine``) hold exactly but know neither shared memory nor the sum, and
those on a user's processes do not hold for root. So what runs is looked at again and again, and
killed when it is too much. A look takes what is quick to read as an upper bound, and only where
that is over the limit what is exact.

Sources: proc_pid_status(5), proc_pid_smaps(5), proc_pid_maps(5).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MEMORY = 4 << 30
"""Bytes, of one process and of all of a check together."""
PROCESSES = 256
"""Of one check, threads counted."""
SPACE = 512 << 20
"""Bytes in files, all of a check together."""
FILES = 200_000
OPEN = 8192
"""Open files, all of a check together: what is in pipes and sockets is in no process's memory."""
SOCKETS = 16
"""Of a network. So many hold little; with more, what all sockets of the machine hold may not rise
by ``SPACE``: no figure says whose it is."""
_PAUSE, _LONGEST = 0.02, 0.3
_SHARE = 10
"""Looking takes a tenth of the time at most, but where it takes long."""
_LOOK = 1.0
"""Seconds of computing that the exact figures may take; after that the upper bound holds."""


class Watch:
    """Looks at the processes of one check.

    Args:
        process: the number of the one that was started, the head of its process group.
        grown: what it starts may leave its group but not become anyone else's child: bubblewrap.
        folder: where its files are on a disk; None where they have a size of their own.
    """

    def __init__(self, process: int, *, grown: bool, folder: Path | None) -> None:
        self._process = process
        self._grown = grown
        self._folder = folder
        self._room = None if folder is None else _read_room(folder)
        self._walk = time.monotonic() + 1.0
        self._shared = self._queued = 0
        self._shared = self._read_rise()
        self._queued = _read_sockets(process)[1]
        self._next = 0.0
        self.excess: str | None = None

    def look(self) -> bool:
        """Look, unless that was just done; whether there is too much of something, ``excess``."""
        started = time.monotonic()
        if started >= self._next:
            self.excess = self._find_excess()
            spent = time.monotonic() - started
            self._next = started + spent + max(_PAUSE, min(_LONGEST, _SHARE * spent))
        return self.excess is not None

    def _find_excess(self) -> str | None:
        numbers = self._list()
        if sys.platform.startswith("linux"):
            statuses = {number: _read_status(number) for number in numbers}
            if sum(each.get("Threads", 0) for each in statuses.values()) > PROCESSES:
                return "processes"
            if sum(map(_count_open, numbers)) > OPEN:
                return "open files"
            bound = sum(_bound_memory(each) for each in statuses.values())
            until = time.thread_time() + _LOOK
            # More than once: what is shared goes over to others while one after another is read.
            if max(bound, self._read_rise()) > MEMORY and all(
                self._sum_memory(until) > MEMORY for _ in range(3)
            ):
                return "memory"
            if self._grown and numbers:
                count, queued = _read_sockets(numbers[-1])
                if count > SOCKETS and queued - self._queued > SPACE:
                    return "memory"
                if _count_entries(numbers[-1]) > FILES:
                    return "files"
        elif _sum_resident(numbers) > MEMORY or len(numbers) > PROCESSES:
            return "memory or processes"
        return "files" if self._is_full() else None

    def _list(self) -> list[int]:
        """The numbers of the check's processes."""
        return _list_descendants(self._process) if self._grown else _list_group(self._process)

    def _sum_memory(self, until: float) -> float:
        """What the processes hold together: shared memory once, and all of it.

        Infinite where that is not known by ``until``.
        """
        shared: dict[str, int] = {}
        own = 0
        for number in self._list():
            if time.thread_time() > until:
                return float("inf")
            for piece, size in _read_shared(number).items():
                shared[piece] = max(shared.get(piece, 0), size)
            own += _read_own(number)
        return own + max(sum(shared.values()), self._read_rise() if shared else 0)

    def _read_rise(self) -> int:
        """How many more bytes of shared memory the whole machine has than at the beginning.

        Of a piece that is mapped in part, the rest stays too; no figure of a process's says so.
        """
        return _read_figures(_read("/proc/meminfo")).get("Shmem", 0) - self._shared

    def _is_full(self) -> bool:
        """Whether the folder is: gone through once a second, and when the disk has lost as much.

        Where something in it cannot be looked into, what the disk has lost decides.
        """
        if self._folder is None or self._room is None:
            return False
        now = _read_room(self._folder)
        lost = self._room[0] - now[0] > SPACE or self._room[1] - now[1] > FILES
        if not lost and time.monotonic() < self._walk:
            return False
        size = count = 0
        hidden = False
        for each in _walk(self._folder):
            hidden |= each is None
            size, count = size + (each or 0), count + 1
            if size > SPACE or count > FILES:
                return True
        self._walk = time.monotonic() + 1.0
        return hidden and lost


def _read_room(folder: Path) -> tuple[int, int]:
    """The free bytes and the free file entries of the file system ``folder`` is on."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_favail


def _walk(folder: Path) -> Iterator[int | None]:
    """The bytes on disk of each file below; None for what is closed or too deep to look into."""
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:
            yield None


def _list_group(group: int) -> list[int]:
    import psutil

    try:
        numbers = psutil.pids()
    except (OSError, IndexError):  # no /proc
        return []
    found = []
    for number in numbers:
        with contextlib.suppress(OSError):
            if os.getpgid(number) == group:
                found.append(number)
    return found


def _list_descendants(process: int) -> list[int]:
    found = [process]
    for each in found:  # which grows
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{each}/task"):
                found += map(int, _read(f"/proc/{each}/task/{thread}/children").split())
    return found


def _read(path: str) -> str:
    """A file of the kernel's; empty where its process is gone or it may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _read_status(number: int) -> dict[str, int]:
    return _read_figures(_read(f"/proc/{number}/status"))


def _read_figures(text: str) -> dict[str, int]:
    """Lines of a name and a figure, sizes in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) << (10 if words[1:] == ["kB"] else 0)
    return found


def _count_entries(number: int) -> int:
    """Of its folders in memory; the kernel's own memory holds them, however small they are."""
    entries = 0
    for folder in ("/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):  # it has gone, or is not to be looked into
            within = f"/proc/{number}/root{folder}"
            if os.stat(within).st_dev != os.stat(folder).st_dev:  # else it is yet to be made
                found = os.statvfs(within)
                entries += found.f_files - found.f_ffree
    return entries


def _read_sockets(number: int) -> tuple[int, int]:
    """How many sockets the network of a process has, and the bytes in all of the machine's."""
    count = pages = 0
    for line in _read(f"/proc/{number}/net/sockstat").splitlines():
        kind, *words = line.split()
        if kind in ("TCP:", "UDP:"):
            figures = dict(zip(words[::2], map(int, words[1::2]), strict=False))
            count, pages = count + figures.get("inuse", 0), pages + figures.get("mem", 0)
    return count, pages * os.sysconf("SC_PAGE_SIZE")


def _count_open(number: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{number}/fd"))
    return 0


def _bound_memory(status: dict[str, int]) -> int:
    """What is in its own pages and page tables, and all that it maps else: touched or not."""
    get = status.get
    mapped = get("VmSize", 0) - sum(get(f"Vm{each}", 0) for each in ("Data", "Stk", "Exe", "Lib"))
    return get("RssAnon", 0) + get("VmSwap", 0) + get("VmPTE", 0) + max(0, mapped)


def _read_own(number: int) -> int:
    """Its private pages, of those shared with a parent since a fork its part; and page tables."""
    status = _read_status(number)
    try:
        with open(f"/proc/{number}/smaps_rollup", encoding="ascii", errors="replace") as file:
            found = _read_figures(file.read())
    except PermissionError:
        return _bound_memory(status)
    except OSError:  # it is on its way out
        return 0
    own = found.get("Pss_Anon", found.get("Pss", 0)) + found.get("SwapPss", 0)
    return own + status.get("VmPTE", 0)


def _read_shared(number: int) -> dict[str, int]:
    """The bytes of each piece of shared memory without a file, by its number: touched or not.

    Its pages stay when all who touched them have let go of them, and are in nobody's sum then.
    """
    found: dict[str, int] = {}
    for line in _read(f"/proc/{number}/maps").splitlines():
        span, rights, offset, _, inode, *path = line.split(maxsplit=5)
        if rights[3] == "s" and path and path[0].startswith(("/dev/zero", "/SYSV", "/memfd:")):
            start, end = (int(each, 16) for each in span.split("-"))
            found[inode] = max(found.get(inode, 0), int(offset, 16) + end - start)
    return found


def _sum_resident(numbers: list[int]) -> int:
    import psutil

    total = 0
    for number in numbers:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(number).memory_info().rss
    return total
