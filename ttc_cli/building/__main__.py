"""What ``install.sh`` hands over to: ``python -P -m ttc_cli.building``, with its arguments."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ttc_cli.building.installing import Installation, Options
from ttc_cli.building.profiles import ACCELERATORS
from ttc_cli.errors import TtcError

_ABOUT = """\
Sets up ttc in .venv: compiles llama.cpp for this machine, tests it, fetches a model. Running it
again takes seconds. No root and no compiler needed.
"""
_VARIABLES = "CMAKE_ARGS, CFLAGS and CXXFLAGS are honoured. TTC_HOME moves models and caches."
_COMPILER = "clang, zig, gcc, or the path of a C compiler (default: the best found)"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n\n{self.format_help()}")


def main(arguments: Sequence[str]) -> int:
    """Install into ``.venv`` of the clone that this lies in; returns the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who pipes into head wants no traceback
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in the order of what goes to stderr
    options = vars(_parse(arguments))
    del options["python"]  # which is what runs this
    try:
        Installation(Options(**options), Path(__file__).absolute().parents[2]).run()
    except TtcError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="./install.sh", description=_ABOUT, epilog=_VARIABLES, allow_abbrev=False)
    add, names = parser.add_argument, ("auto", *ACCELERATORS)
    add("--accelerator", choices=names, default="auto", help="default: auto")
    add("--compiler", default="auto", metavar="NAME", help=_COMPILER)
    add("--prebuilt", action="store_true", help="take upstream's generic binary, compile nothing")
    add("--rebuild", action="store_true", help="forget what was built or crashed, and build again")
    add("--jobs", type=_count, metavar="N", help="compile N files at once")
    add("--model", default="", metavar="NAME", help="fetch this model and make it the default")
    add("--no-models", dest="models", action="store_false", help="fetch none, and test nothing")
    add("--no-tune", dest="tune", action="store_false", help="keep the model's published file")
    add("--python", metavar="PATH", help="the Python (3.11 or newer) to use")
    add("--dev", action="store_true", help="add the tools for development and tests")
    add("--dry-run", action="store_true", help="print the plan and do nothing")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
