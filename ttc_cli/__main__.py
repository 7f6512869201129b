"""The ``ttc`` command: ``python -m ttc_cli`` and the console script both start here.

Until the working folder is off the import path, nothing may be imported that is not loaded yet,
``__future__`` included: the folder may hold a module of that name.
"""

import os
import sys


def _forget_working_folder(*, as_module: bool) -> None:
    """Take the working folder off the import path, where nobody put it in words.

    ``python -m`` puts it there (``as_module``), and an empty entry of ``PYTHONPATH`` does.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if as_module and sys.path[:1] == [here]:
        del sys.path[0]
    if any(named) and "" in named and here not in named and here in sys.path:
        sys.path.remove(here)


def run() -> None:
    """Run the command line and exit with its code."""
    _forget_working_folder(as_module=__name__ == "__main__" and not sys.flags.safe_path)
    import signal

    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # while modules load there is nothing to tell or save
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ttc_cli.main import main

    signal.signal(signal.SIGINT, heard)
    sys.exit(main())


if __name__ == "__main__":
    run()
