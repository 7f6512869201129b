"""One process at a time for each model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ttc_cli import paths
from ttc_cli.errors import TtcError
from ttc_cli.models import files
from ttc_cli.models.progress import Phase, Progress, Report


@contextmanager
def lock(name: str, report: Report | None = None) -> Iterator[None]:
    """Hold the lock of ``name``. The system releases it when a process dies, however it dies.

    With ``report``, waits for another process that has it, and says so; without, does not wait.

    Raises:
        TtcError: another process has it, and nobody wants to wait.
    """
    from filelock import FileLock, Timeout

    folder = paths.models_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    guard = FileLock(folder / f"{files.folder_of(name).name}.lock")
    try:
        guard.acquire(timeout=0)
    except Timeout:
        if report is None:
            raise TtcError(
                f"Another process is at work on {name}.", "wait for it, or stop it"
            ) from None
        note = f"Another process is at work on {name}: waiting for it."
        report(Progress(name, Phase.NOTE, note=note))
        guard.acquire()
    try:
        yield
    finally:
        guard.release()
