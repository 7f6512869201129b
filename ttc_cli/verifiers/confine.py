"""What a check's process does to itself before it becomes the user's command.

Run by path, not imported: ``python -I -S confine.py LIMITS COMMAND …``, where ``LIMITS`` are
``name=number`` joined by commas (``data``, ``fsize``, ``nproc``, ``cpu``, ``core``). A process of
its own sets them because doing so between fork and exec is unsafe in a program with threads.
It takes the lowest priority (a check must not slow the model down), dies with the program that
started it where the system can promise that, and exits 126 or 127 as a shell does where the
command cannot be run.
"""

import contextlib
import os
import resource
import signal
import sys

NICE = 19
_PR_SET_PDEATHSIG = 1


def main(limits: str, command: list[str]) -> None:
    """Set ``limits`` and become ``command``."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    die_with_parent()
    for limit in filter(None, limits.split(",")):
        name, _, value = limit.partition("=")
        kind = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if kind is not None:
            cap(kind, int(value))
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.exit(127)
    except OSError:
        sys.exit(126)


def cap(kind: int, value: int) -> None:
    """Lower one limit, never above what the user's own hard limit allows."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows some that it does not take
        resource.setrlimit(kind, (value, value))


def die_with_parent() -> None:
    """On Linux: be killed when the thread that started this ends."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
