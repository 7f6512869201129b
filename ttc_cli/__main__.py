"""The ``ttc`` command: ``python -m ttc_cli`` and the console script both start here."""

from __future__ import annotations

import signal
import sys


def run() -> None:
    """Run the command line and leave with its exit code."""
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # while modules load there is nothing to tell or save
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ttc_cli.main import main

    signal.signal(signal.SIGINT, heard)
    sys.exit(main())


if __name__ == "__main__":
    run()
