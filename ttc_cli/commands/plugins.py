"""``ttc plugins``: what other packages add to ttc, and whether it can be used."""

from __future__ import annotations

from typing import Any

import typer

from ttc_cli import plugins as installed
from ttc_cli.builtin import FORMS, STRATEGIES, VERIFIERS
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import show_examples
from ttc_cli.engines.registry import EngineEntry
from ttc_cli.errors import UsageError
from ttc_cli.forms.base import FormEntry
from ttc_cli.output import Output
from ttc_cli.search.context import StrategyEntry
from ttc_cli.verifiers.base import VerifierEntry

app = typer.Typer()


@app.command(
    epilog=show_examples(
        "ttc plugins",
        "ttc plugins --json",
        more="To write a package that adds something, see docs/plugins.md.",
    )
)
def plugins(as_json: flags.PrintJson = False) -> None:
    """List the plugins of other packages, strategies to engines, and whether they are usable."""
    wanted: dict[str, tuple[Any, tuple[str, ...]]] = {
        installed.STRATEGIES: (StrategyEntry, ("auto", *STRATEGIES)),
        installed.VERIFIERS: (VerifierEntry, tuple(VERIFIERS)),
        installed.FORMS: (FormEntry, ("auto", *FORMS)),
        installed.ENGINES: (EngineEntry, ("http", "https")),
    }
    out = Output()
    rows: list[dict[str, Any]] = []
    for group, (kind, own) in wanted.items():
        for plugin in installed.list_plugins(group):
            problem = None
            try:
                installed.load_unhidden(plugin, kind, own)
            except UsageError as error:
                problem = error.message
            rows.append(
                {
                    "name": plugin.name,
                    "kind": plugin.kind,
                    "package": plugin.package,
                    "version": plugin.version,
                    "usable": problem is None,
                    "problem": problem,
                }
            )
    if as_json:
        out.document({"v": 1, "plugins": rows})
        return
    if not rows:
        out.say("No other package adds anything. To write one that does, see docs/plugins.md")
        return
    lines = [("NAME", "KIND", "PACKAGE", "VERSION", "USABLE")]
    for row in rows:
        yes = "yes" if row["usable"] else "no"
        lines.append((row["name"], row["kind"], row["package"], row["version"], yes))
    out.table(lines)
    for row in rows:
        if row["problem"] is not None:
            out.warn(row["problem"])
