"""What ``ttc serve`` and ``ttc mcp`` begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ttc_cli.commands._files import make_confirm
from ttc_cli.errors import UsageError
from ttc_cli.output import Output
from ttc_cli.settings.config import Config, load_config
from ttc_cli.solving.options import Options
from ttc_cli.solving.request import Request
from ttc_cli.types import Problem

PATIENCE = 0.05
"""Seconds for which a question may keep the others waiting, while it runs a program or compares."""
REMEMBERED = 4
"""Conversations that stay in the KV cache for their next turn, while nobody needs the room."""
_LOADED = ("model", "threads", "gpu_layers", "parallel", "context", "kv_type")
"""Settings that say which model is loaded, and how; the others are each request's own."""


def need(*packages: str, extra: str) -> None:
    """Make sure that the ``packages`` of an extra are installed.

    Raises:
        UsageError: one is not.
    """
    missing = [each for each in packages if find_spec(each) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} cannot be found, which this command needs.",
            f"pip install 'ttc-cli[{extra}]'",
        )


def load_request(given: Mapping[str, Any]) -> tuple[Request, Output, bool]:
    """The request whose model is to be loaded, obtained, for flags ``given`` by their names.

    Also where to speak, and whether runs are kept.

    Raises:
        TtcError: as ``choosing.choose`` and ``choosing.obtain``.
    """
    from ttc_cli.solving import choosing

    options = Options(given, load_config())
    out = Output(given["quiet"], options.get("color", "auto"))
    loaded = Options({key: options.get(key) for key in _LOADED}, Config({}))
    loaded.validate()
    request = choosing.choose(loaded, Problem(""), room="", warn=out.warn)
    settings = replace(request.settings, patience=PATIENCE, remembers=REMEMBERED)
    request = replace(request, settings=settings)
    request = choosing.obtain(request, confirm=make_confirm(given["yes"]))
    return request, out, options.get("keep_runs", "yes") == "yes"
