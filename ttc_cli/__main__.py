"""The ``ttc`` command: ``python -m ttc_cli`` and the console script both start here."""

from __future__ import annotations

import sys

from ttc_cli.main import main


def run() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
