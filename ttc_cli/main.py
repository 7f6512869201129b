"""``main(argv)``: the command line as a whole. Errors become one message and an exit code here.

Commands are imported when they are called, so that ``ttc --help`` loads neither an engine nor
Rich. Help is plain text for the same reason (Rich's Markdown alone takes longer to import than
everything else together).
"""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
import typer.core
import typer.main

from ttc_cli import __version__
from ttc_cli.commands._shells import COMPLETING, mend_completion
from ttc_cli.errors import DiskFull, MemoryShort, TtcError, UsageError
from ttc_cli.output import fill_closed, print_error, silence
from ttc_cli.signals import Terminated, raise_on_termination

# The parent of everything typer raises about a wrong command line has no public name of its own.
_CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]

_REFUSED = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""What the system answers where a file may not be read, written or so named."""

EXIT_CODES = """\
\b
Exit codes:
  0    an answer (also when a time or token budget ran out first)
  1    failure while running, disk full
  2    wrong usage or configuration, model without a chat template
  3    model missing, truncated or corrupt
  4    no answer, or one below --min-score
  5    does not fit: memory, or a prompt longer than the context
  6    network or authorisation
  129, 130, 141, 143   SIGHUP, Ctrl-C, closed pipe, SIGTERM
  132, 134, 135, 136, 139   llama.cpp crashed (SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV)"""

EXAMPLES = """\
\b
Examples:
  ttc solve "What is 17 * 23?"
  cat notes.txt | ttc solve "Summarise in one sentence:"
  ttc solve --budget deep --json "How many primes are below 100?"
  ttc models list
  ttc doctor"""


_COMMANDS = {
    "solve": "Answer a question, thinking harder where it pays.",
    "serve": "Serve a model to programs that speak OpenAI's protocol.",
    "mcp": "Give an agent tools that ask the model.",
    "models": "List, download, check and remove models.",
    "verifiers": "List verifiers, test them, fit a probe.",
    "runs": "List, show, search, export and delete kept runs.",
    "replay": "Play back a kept run, without a model.",
    "bench": "Compare strategies on labelled questions.",
    "calibrate": "Learn from labelled questions when to think harder.",
    "policy": "List, show, choose and export policies.",
    "config": "List, read and change settings; list presets.",
    "plugins": "List what other packages add to ttc.",
    "build": "Compile llama.cpp for this machine, and test it.",
    "doctor": "Check build, processor, memory, disk and models.",
}
"""The commands and their lines in ``ttc --help``. Each is the ``app`` of the module of its name in
``commands``, but for those in ``_MODULES``."""
_MODULES = {"policy": "policies"}


class _LazyGroup(typer.core.TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # typer suggests "did you mean" from these keys; get_command never reads the values.
        self.commands.update(dict.fromkeys(_COMMANDS))  # type: ignore[arg-type]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_command(cmd_name) if cmd_name in _COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        # A stand-in: names and lines of help are known here, and imports take the user's time.
        commands: dict[str, Any] = {
            name: typer.core.TyperCommand(name, help=summary) for name, summary in _COMMANDS.items()
        }
        ctx.command = typer.core.TyperGroup(name=self.name, params=self.params, commands=commands)
        return ctx.command.shell_complete(ctx, incomplete)


def load_command(name: str) -> Any:
    """The command ``name`` with its module imported; help is plain text."""
    app = importlib.import_module(f"ttc_cli.commands.{_MODULES.get(name, name)}").app
    app.rich_markup_mode = None
    app._add_completion = False
    command = typer.main.get_command(app)
    command.name = name
    return command


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ttc {__version__}")
        raise typer.Exit


def command_line() -> Any:
    """The whole command tree, commands still unloaded."""
    mend_completion()
    app = typer.Typer(
        name="ttc",
        cls=_LazyGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=f"{EXAMPLES}\n\n{EXIT_CODES}",
    )

    @app.callback()
    def ttc(
        version: bool = typer.Option(
            False,
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ) -> None:
        """Small local language models that think harder exactly where it pays."""

    return typer.main.get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` leaves out the program's name.

    Never raises on bad input, a closed pipe or a signal. ``TTC_DEBUG=1`` prints tracebacks.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if fill_closed():  # said before anything is computed, not when it is lost
        print_error(
            "Standard output is closed: there is nowhere to print an answer.",
            "ttc … > FILE, or > /dev/null",
        )
        return 2
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a lone surrogate must not end the run at its print
            stream.reconfigure(errors="replace")
    try:
        with raise_on_termination():
            returned = command_line().main(arguments, prog_name="ttc", standalone_mode=False)
            code = returned if isinstance(returned, int) else 0
        sys.stdout.flush()
    except BaseException as error:
        code = _report(error)
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
    return code


def _report(error: BaseException) -> int:
    """Say on stderr what went wrong, where there is something to say; return the exit code."""
    if COMPLETING in os.environ and not isinstance(error, SystemExit):
        return 1  # somebody is typing: there is nothing to offer, and no place for words
    if isinstance(error, SystemExit):
        # typer turns a closed pipe into exit 1; the reason is kept as its context.
        if isinstance(error.__context__, BrokenPipeError) and not isinstance(error, Terminated):
            return _report(error.__context__)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130
    if isinstance(error, BrokenPipeError):
        silence(sys.stdout)
        return 141
    if os.environ.get("TTC_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, _CommandLineError):
        return _report_usage(error)
    known = _translate(error)
    print_error(known.message, known.hint)
    return known.exit_code


def _report_usage(error: Any) -> int:
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{context.get_help()}\n")
        return 2
    path = context.command_path if context is not None else "ttc"
    near = getattr(error, "possibilities", None)  # of a flag that does not exist
    if near:
        print_error(error.message, f"did you mean {near[0]}? All flags: {path} --help")
    else:
        hint = f"{path} --help"
        takes_text = context is not None and getattr(context.command, "takes_text", False)
        if takes_text and type(error).__name__ == "NoSuchOption":
            hint = f'put text that begins with a dash after --: {path} -- "-…"; all flags: {hint}'
        print_error(error.format_message(), hint)
    return 2


def _translate(error: BaseException) -> TtcError:
    """``error`` as one of ours."""
    if isinstance(error, TtcError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        silence(sys.stdout)
        where = f" ({error.filename})" if error.filename else ""
        return DiskFull(f"No room left on the disk{where}: what was being written is incomplete.")
    if isinstance(error, OSError) and error.errno in _REFUSED and error.filename is not None:
        return TtcError(
            f"{error.filename} cannot be used: {error.strerror}.",
            f"check who may write there (ls -ld {shlex.quote(str(error.filename))}), or set "
            "TTC_HOME to a folder of yours",
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return TtcError(
            "Too many files are open: the shell or the system allows no more (ulimit -n).",
            "ulimit -n 1024, and the same command again",
        )
    if isinstance(error, MemoryError):
        return MemoryShort("Not enough memory.", "ttc doctor")
    if isinstance(error, NotImplementedError) and str(error):
        return UsageError(str(error))
    return TtcError(
        f"ttc failed unexpectedly: {type(error).__name__}: {error}",
        "TTC_DEBUG=1 before the same command shows where; ttc doctor checks the installation",
    )
