"""What a check's process does to itself before it becomes the user's command.

Run by path: ``python -I -S confine.py LIMITS FILTER READY FOLDER … -- COMMAND …``, inside
bubblewrap where there is one. ``LIMITS`` are ``name=number`` joined by commas (``as``, ``data``,
``fsize``, ``nproc``, ``cpu``, ``core``, ``nofile``; ``nice`` is no limit but how far its priority
goes down); ``FILTER`` is the number of an open file to read a seccomp filter from, or nothing;
``READY`` that of one to write a ``+`` to before the command runs, and a ``-`` where it cannot.
Where there are ``FOLDER`` s, Landlock lets nothing else be written to. A process of its own does
all this because doing so between fork and exec is unsafe in a program with threads. Without another
word it takes the lowest priority (a check must not slow the model down), is the first to go where
memory runs out, and dies with the program that started it where the system can promise that.

Sources: linux/landlock.h, linux/prctl.h, linux/seccomp.h.
"""

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys

NICE = 19
NEEDED_VERSION = 3
"""Its first version that keeps files from being emptied too, Linux 6.2."""
SCOPED_VERSION = 6
"""Its first that keeps signals inside, Linux 6.12."""
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 24, 38, 22
_SECCOMP_MODE_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_MAKE_DEVICES, _IOCTL = 1 << 6 | 1 << 11, 1 << 15
_SCOPES = 1 << 0 | 1 << 1  # abstract sockets, signals
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def main(limits: str, seccomp: str, ready: int, folders: list[str], command: list[str]) -> None:
    """Set ``limits`` and become ``command``."""
    os.set_inheritable(ready, False)
    wanted = dict(limit.split("=") for limit in limits.split(",") if limit)
    with contextlib.suppress(OSError):
        os.nice(int(wanted.pop("nice", NICE)))
    for name, value in wanted.items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if kind is not None:
            cap(kind, int(value))
    if sys.platform.startswith("linux"):
        confine(seccomp, folders)
    os.write(ready, b"+")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(ready, b"-")
        sys.exit(str(error))


def cap(kind: int, value: int) -> None:
    """Lower one limit, never above what the user's own hard limit allows."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows some that it does not take
        resource.setrlimit(kind, (value, value))


def confine(seccomp: str, folders: list[str]) -> None:
    """Give up all that Linux lets a process give up for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if not folders:
        return
    for capability in range(64):  # root's; of others nothing is to be dropped
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if read_landlock() >= NEEDED_VERSION:
        lock_files(libc, folders)
    if seccomp:
        with open(int(seccomp), "rb") as file:
            lines = file.read()
        array = ctypes.create_string_buffer(lines, len(lines))
        program = struct.pack("HP", len(lines) // 8, ctypes.addressof(array))
        if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0):
            sys.exit("seccomp is not there")


def read_landlock() -> int:
    """Landlock's version here; 0 without Landlock."""
    if not sys.platform.startswith("linux"):
        return 0
    found: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return max(0, found)


def lock_files(libc: ctypes.CDLL, folders: list[str]) -> None:
    """Let nothing be written to but in ``folders``, and no process outside be reached."""
    version = read_landlock()
    rights = (1 << 15) - 1 | (_IOCTL if version >= 5 else 0)
    attributes = struct.pack("QQQ", rights, 0, _SCOPES if version >= SCOPED_VERSION else 0)
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    device = _READ_FILE | _WRITE_FILE | rights & _IOCTL
    read = _EXECUTE | _READ_FILE | _READ_DIR
    for path, allowed in (
        ("/", _READ_DIR),
        *((f"/{name}", read) for name in os.listdir("/") if name != "dev"),  # disks, cameras
        *((folder, rights & ~_MAKE_DEVICES) for folder in folders),
        *((f"/dev/{name}", device) for name in _DEVICES),
    ):
        with contextlib.suppress(OSError):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, beneath), 0)
            os.close(beneath)
    if rules < 0 or libc.syscall(_RESTRICT_SELF, rules, 0):
        sys.exit("Landlock is not there")
    os.close(rules)


if __name__ == "__main__":
    split = sys.argv.index("--")
    limits, seccomp, ready, *folders = sys.argv[1:split]
    main(limits, seccomp, int(ready), folders, sys.argv[split + 1 :])
