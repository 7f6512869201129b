"""``ttc doctor``: is everything here that local reasoning needs, and as fast as it could be?

A failed check makes the exit code 1.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from ttc_cli import __version__
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._checks import Grade, run_checks
from ttc_cli.commands._help import show_examples
from ttc_cli.output import Output

_MARKS = {
    Grade.OK: "ok  ",
    Grade.WARNING: "warn",
    Grade.FAILED: "FAIL",
    Grade.SKIPPED: "--  ",
}

app = typer.Typer()


@app.command(epilog=show_examples("ttc doctor", "ttc doctor --quick", "ttc doctor --json | jq .ok"))
def doctor(
    as_json: flags.PrintJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip hashing models and measuring speed.")
    ] = False,
) -> None:
    """Check build, processor, memory, disk and models; measure the speed. Exit 1 if any fails."""
    out = Output(quiet=as_json)
    if not as_json:
        version = ".".join(map(str, sys.version_info[:3]))
        out.answer(f"ttc {__version__}, Python {version}, {sys.prefix}")
    checks = []
    for check in run_checks(out, quick=quick):
        checks.append(check)
        out.status("")
        if not as_json:
            out.answer(f"{_MARKS[check.status]}  {check.name:<12} {check.detail}")
            if check.fix:
                out.answer(f"{'':<18} fix: {check.fix}")
    failed = [check for check in checks if check.status is Grade.FAILED]
    if as_json:
        out.document({"v": 1, "ok": not failed, "checks": [asdict(check) for check in checks]})
    elif failed:
        out.answer(f"{len(failed)} of {len(checks)} checks failed.")
    else:
        out.answer("Ready.")
    if failed:
        raise typer.Exit(1)
