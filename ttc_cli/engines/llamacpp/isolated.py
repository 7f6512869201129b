"""Native work in a process of its own: a library that crashes ends that process and no other.

The child prints what it found, or its error, as JSON; ``run`` returns the one and raises the other.
A child ends when its parent does, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ttc_cli import children, errors, paths
from ttc_cli.engines.llamacpp.memory import SAYS_SHORT

_POLL = 0.2
"""Seconds between two looks at a child."""


def run(
    command: Sequence[str],
    *,
    timeout: float | None = None,
    watch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """What the child that ``command`` starts has reported; ``watch`` is called meanwhile.

    Raises:
        TtcError: the child's own error, or what its death means.
        EngineError: it could not be started, or took more than ``timeout`` seconds.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        try:
            # The child reads its stdin and leaves when that ends, even if we are killed.
            process = children.start(command, stdin=children.PIPE, stdout=out, stderr=err)
        except OSError as error:
            raise errors.EngineError(f"The test could not be started: {error}.") from error
        try:
            while True:
                try:
                    process.wait(_POLL)
                    break
                except children.TimeoutExpired:
                    watch()
                if timeout is not None and time.monotonic() - started > timeout:
                    raise errors.EngineError(
                        f"The test of the native library did not end within {timeout:.0f} s. The "
                        "machine may be busy or short of memory.",
                        "ttc doctor",
                    )
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        watch()
        out.seek(0)
        err.seek(0)
        said = (each.read().decode(errors="replace") for each in (out, err))
        return _read_report(process.returncode, *said)


def _read_report(status: int, stdout: str, stderr: str) -> dict[str, Any]:
    """What a child found, from how it ended and what it printed."""
    if status < 0:
        _raise_crash(-status, stderr)
    lines = stdout.strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise errors.EngineError(
            f"The test of the native library ended with status {status} and no report."
            f"{_last_line(stderr)}",
            "ttc doctor",
        ) from None
    if "error" in found:
        kind = getattr(errors, str(found["error"]), errors.EngineError)
        raise kind(found["message"], found.get("hint"))
    return found


_MEANING: dict[int, str] = {
    signal.SIGILL: "it uses instructions that this processor does not have",
    signal.SIGSEGV: "it was miscompiled for this processor",
    signal.SIGBUS: "it was miscompiled for this processor",
}


def _raise_crash(number: int, stderr: str) -> NoReturn:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    if number == signal.SIGKILL:
        raise errors.EngineError(
            f"The test was killed by {name}, usually because memory ran out.", "ttc doctor"
        )
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        raise errors.EngineError(f"The test was killed by {name}, from outside.")
    if number == signal.SIGABRT and SAYS_SHORT.search(stderr):
        raise errors.MemoryShort(
            f"llama.cpp ran out of memory in its test.{_last_line(stderr)}",
            "close other programs, raise ulimit -v, or choose a smaller model: ttc models list",
        )
    raise errors.NativeCrash(
        f"This build of llama.cpp crashes at its first decode ({name}): "
        f"{_MEANING.get(number, 'it stopped itself')}.{_last_line(stderr)}",
        f"{paths.name_installer()} --rebuild",
    )


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f" It said: {lines[-1][:200]}" if lines else ""


# --- in the child -------------------------------------------------------------------------------


def report(work: Callable[[], dict[str, Any]]) -> int:
    """Print what ``work`` found, or its error, as the last line of standard output."""
    try:
        print(json.dumps(work()))
    except errors.TtcError as error:
        name = type(error).__name__
        print(json.dumps({"error": name, "message": error.message, "hint": error.hint}))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # A library of another machine or accelerator: missing files, missing symbols.
        message = f"This build of llama.cpp cannot be loaded: {error}."
        hint = f"{paths.name_installer()} --rebuild"
        print(json.dumps({"error": "NativeCrash", "message": message, "hint": hint}))
    return 0


def leave_with_parent() -> None:
    """End this process when the parent is gone: native code asks nobody whether to go on."""

    def wait() -> None:
        os.read(0, 1)  # not through sys.stdin, whose lock would be held when we exit
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
