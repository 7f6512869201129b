"""``ttc serve``: a model that thinks, for every program that speaks OpenAI's protocol."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from ttc_cli import crash
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import PanelCommand, grouped, show_examples
from ttc_cli.commands._serving import load_request, need
from ttc_cli.signals import run_tasks

KEY = "TTC_SERVE_KEY"

app = typer.Typer()
_limits = partial(typer.Option, rich_help_panel="Limits")


@dataclass(frozen=True, slots=True)
class Address:
    """Where it is served, and to whom."""

    host: Annotated[
        str,
        typer.Option(
            help=f"Address to serve on. On any other than this machine's own a key is demanded: "
            f"that in {KEY}, or one made now.",
            metavar="HOST",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(help="Port to serve on; 0 for any.", min=0, max=65535, metavar="N")
    ] = 8484
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            help="Let scripts of this web site ask, such as https://chat.example.org; may be "
            "repeated.  [default: none]",
            metavar="URL",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may take."""

    max_waiting: Annotated[
        int,
        _limits(help="Replies that may wait for their turn; more are refused.", min=0, metavar="N"),
    ] = 64
    max_seconds: Annotated[
        float,
        _limits(
            help="Seconds for one request; what was found by then is the answer.",
            min=1.0,
            max=86_400.0,
            metavar="S",
        ),
    ] = 300.0
    max_body: Annotated[int, _limits(help="Bytes of one request.", min=1024, metavar="N")] = 1 << 20
    grace: Annotated[
        float,
        _limits(
            help="Seconds that running requests may still take after SIGTERM or Ctrl-C.",
            min=0.0,
            max=86_400.0,
            metavar="S",
        ),
    ] = 20.0


@app.command(
    cls=PanelCommand,
    epilog=show_examples(
        "ttc serve",
        "ttc serve --model qwen2.5-coder-0.5b --port 8000",
        f"{KEY}=a-long-secret ttc serve --host 0.0.0.0",
        more="A client chooses how hard the model thinks by its name: NAME, NAME:none, "
        "NAME:quick, NAME:normal, NAME:deep, NAME:max; or by reasoning_effort. See "
        "docs/serving.md.",
    ),
)
@grouped
def serve(
    ctx: typer.Context,
    address: Address,
    bounds: Bounds,
    model: flags.Model = None,
    engine: flags.Machine = flags.Machine(),  # noqa: B008
    parallel: flags.Parallel = None,
    context: flags.Context = None,
    kv_type: flags.KvType = None,
    no_save: flags.NoSave = False,
    quiet: flags.Quiet = False,
) -> int:
    """Serve a model to programs that speak OpenAI's protocol, such as editors and chats.

    All that is asked at once is thought about in one batch. SIGTERM or Ctrl-C ends it: what runs
    is answered first.
    """
    need("starlette", "uvicorn", extra="serve")
    from ttc_cli.serving.app import LOCAL, check_key, check_origin, make_app
    from ttc_cli.serving.running import serve as serve_on
    from ttc_cli.serving.running import take_port
    from ttc_cli.serving.service import Limits, Service
    from ttc_cli.solving import loading

    key = os.environ.pop(KEY, "") or None  # programs that are started here need not know it
    local = address.host in LOCAL
    made = key is None and not local
    if made:
        key = secrets.token_urlsafe(24)
    elif key is not None:
        check_key(key)
    for origin in address.origins or ():
        check_origin(origin)
    request, out, keeps = load_request(ctx.params)
    limits = Limits(bounds.max_waiting, bounds.max_seconds, bounds.max_body, grace=bounds.grace)
    taken = take_port(address.host, address.port)
    host, port = taken.getsockname()[:2]

    def tell_ready() -> None:
        shown = f"[{host}]" if ":" in host else host
        out.say(f"serving {request.label} on http://{shown}:{port}/v1")
        if made:
            out.warn(f"clients need this key, made now ({KEY} sets one of yours): {key}")

    async def work() -> None:
        out.status(f"loading {request.label} …")
        begun = loading.begin(request)
        from ttc_cli.prompts import Chat
        from ttc_cli.solving.solver import Solver

        async with await Solver.open(request, begun) as solver:
            out.status("")
            Chat(solver.info)  # a model that cannot be asked is refused before it is served
            service = Service(solver, limits, keeps=keeps and not no_save)
            web = make_app(
                service, key=key, origins=address.origins or (), hosts=LOCAL, tell=out.say
            )
            await serve_on(service, web, taken, tell_ready)

    with crash.watched(), contextlib.closing(taken):
        run_tasks(work())
    out.say("ended; all that was running has been answered")
    return 0
