"""The system calls that a check may not make: a seccomp filter, as the kernel reads it.

A mount that is read-only keeps nobody from connecting to a socket in it (a session bus, docker's,
an ssh agent's), and keys, other processes' memory and new user namespaces are in no file at all.
Landlock does not cover them either. So the calls themselves are refused. Two filters: one for
inside bubblewrap, which has a network and processes of its own, and one for without.

Sources: linux/seccomp.h and linux/filter.h for the program, the kernel's syscall tables for the
numbers (x86-64 has its own, everything newer shares asm-generic/unistd.h).
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

_NUMBERS = {  # name: x86-64, asm-generic
    "socket": (41, 198), "socketpair": (53, 199), "clone": (56, 220), "unshare": (272, 97),
    "setpgid": (109, 154), "setsid": (112, 157), "shmget": (29, 194), "setns": (308, 268),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "memfd_create": (319, 279), "io_uring_setup": (425, 425), "clone3": (435, 435),
    "memfd_secret": (447, 447),
    "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "prlimit64": (302, 261), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "setsockopt": (54, 208),
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "ptrace": (101, 117),
    "pidfd_send_signal": (424, 424), "mount": (165, 40), "chroot": (161, 51),
}  # fmt: skip
_MACHINES = {  # as uname says: its AUDIT_ARCH, the column above
    "x86_64": (0xC000003E, 0),
    "aarch64": (0xC00000B7, 1),
    "riscv64": (0xC00000F3, 1),
}
_NOT_THERE = ("memfd_create", "memfd_secret", "io_uring_setup", "clone3", "userfaultfd")
"""Told to be unknown to this kernel, so that programs take the older way, which is seen through:
memory that is a file nobody maps, calls made by the kernel itself, clone flags behind a pointer."""
_REFUSED = (
    "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "setns", "shmget", "semget",
    "msgget",
)  # fmt: skip
_SHARED = (
    "shmat", "shmctl", "semop", "semctl", "semtimedop", "msgsnd", "msgrcv", "msgctl", "mq_open",
    "mq_unlink",
)  # fmt: skip
_OWN = {
    "prlimit64": 0, "setpriority": 1, "ioprio_set": 1, "sched_setaffinity": 0,
    "sched_setscheduler": 0, "sched_setparam": 0, "sched_setattr": 0,
}  # fmt: skip
"""Calls on a process, and which argument names it: 0 is the caller, the rest is refused."""
_WHOSE = {"setpriority": 2, "ioprio_set": 3}
"""Of these the first argument says whose a number is; so it is a user's, and 0 is all of theirs."""
_IGNORED = ("setsid", "setpgid")
"""Said to have worked: then the process group that is killed at the end holds everything, and
what only wanted to kill its own group still runs."""

_REACHING = (
    "fork", "vfork", "clone", "execve", "execveat", "kill", "tkill", "tgkill", "ptrace",
    "pidfd_send_signal", "mount", "chroot", "unshare", "socket", "socketpair", "setpgid", "setsid",
)  # fmt: skip
"""What would make another process or thread, or reach one. -1 is no number of a call."""

_INET, _INET6, _NETLINK, _UNIX = 2, 10, 16, 1
_SOCKET, _BUFFERS = 1, (7, 8)  # SOL_SOCKET, and SO_SNDBUF and SO_RCVBUF there
_STREAM, _SEQPACKET = 1, 5  # connected for good; a pair of datagrams can still be sent elsewhere
_NEWUSER = 0x10000000
_X32 = 0x40000000  # the bit of x86-64's second table of calls

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # in struct seccomp_data
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

_Line = tuple[int, int, int, int]


def build_filter(*, alone: bool) -> bytes | None:
    """The filter as an array of ``struct sock_filter``; None where this machine's is not known.

    Refused in any case: sockets but those of a network, above all Unix ones, keyrings, new user
    namespaces, memory that belongs to no process, and the calls that would get around these. What a
    socket holds is in no process's memory either: its size stays as the system begins it.

    Args:
        alone: it has a network, processes and shared memory of its own. Else no socket at all is
            opened, nothing is shared, no process but itself named, and none leaves its group.
    """
    if not _is_known():
        return None
    lines, column = _begin()
    allowed = (_RETURN, 0, 0, _ALLOW)
    refused = (_RETURN, 0, 0, _ERROR | errno.EPERM)

    def add(name: str, *then: _Line) -> None:
        lines.extend([(_EQUAL, 0, len(then), _NUMBERS[name][column]), *then])

    for name in _NOT_THERE:
        add(name, (_RETURN, 0, 0, _ERROR | errno.ENOSYS))
    for name in _REFUSED:
        add(name, refused)
    if not alone:
        for name in _IGNORED:
            add(name, (_RETURN, 0, 0, _ERROR))
        for name in _SHARED:
            add(name, refused)
        for name, index in _OWN.items():
            users = (_argument(0), (_EQUAL, 0, 1, _WHOSE[name]), refused) if name in _WHOSE else ()
            add(name, *users, _argument(index), (_EQUAL, 1, 0, 0), refused, allowed)
    for name in ("clone", "unshare"):
        add(name, _argument(0), (_ANY_BIT, 0, 1, _NEWUSER), refused, allowed)
    add(
        "setsockopt",
        _argument(1),
        (_EQUAL, 1, 0, _SOCKET),
        allowed,
        _argument(2),
        *_any_of(_BUFFERS),
        allowed,
        (_RETURN, 0, 0, _ERROR),
    )
    families = (_INET, _INET6, _NETLINK) if alone else ()
    add("socket", _argument(0), *_any_of(families), refused, allowed)
    add(
        "socketpair",
        _argument(0),
        (_EQUAL, 1, 0, _UNIX),
        refused,
        _argument(1),
        (_AND, 0, 0, 0xF),
        *_any_of((_STREAM, _SEQPACKET)),
        refused,
        allowed,
    )
    lines.append(allowed)
    return _pack(lines)


def build_lone_filter() -> bytes | None:
    """As ``build_filter``, for what only computes, in one thread, and begins nothing any more."""
    if not _is_known():
        return None
    lines, column = _begin()
    for name in _REACHING:
        if (number := _NUMBERS[name][column]) >= 0:
            lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    for name in ("clone3", "io_uring_setup"):
        lines += [(_EQUAL, 0, 1, _NUMBERS[name][column]), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    return _pack([*lines, (_RETURN, 0, 0, _ALLOW)])


def _is_known() -> bool:
    return sys.platform.startswith("linux") and platform.machine() in _MACHINES


def _begin() -> tuple[list[_Line], int]:
    """Lines that end what calls by another machine's table and load the number; its column."""
    arch, column = _MACHINES[platform.machine()]
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if column == 0:
        lines += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    return lines, column


def _pack(lines: list[_Line]) -> bytes:
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _argument(index: int) -> _Line:
    """Loads the low word of an argument: these are all ints, on little-endian machines."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _any_of(values: tuple[int, ...]) -> list[_Line]:
    """Jumps over the one line after these where the loaded word is one of ``values``."""
    return [(_EQUAL, len(values) - place, 0, each) for place, each in enumerate(values)]
