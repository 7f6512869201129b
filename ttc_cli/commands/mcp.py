"""``ttc mcp``: the local model as tools of an agent, over stdin and stdout."""

from __future__ import annotations

from typing import Annotated

import typer

from ttc_cli import crash
from ttc_cli.commands import _flags as flags
from ttc_cli.commands._help import PanelCommand, grouped, show_examples
from ttc_cli.commands._serving import load_request, need
from ttc_cli.signals import run_tasks

app = typer.Typer()


@app.command(
    cls=PanelCommand,
    epilog=show_examples(
        "ttc mcp",
        "ttc mcp --model qwen2.5-coder-0.5b --max-seconds 60",
        more="An agent starts it by itself and speaks the Model Context Protocol with it. See "
        "docs/serving.md.",
    ),
)
@grouped
def mcp(
    ctx: typer.Context,
    model: flags.Model = None,
    max_seconds: Annotated[
        float,
        typer.Option(
            help="Seconds for one question; what was found by then is the answer.",
            min=1.0,
            max=86_400.0,
            metavar="S",
        ),
    ] = 300.0,
    engine: flags.Machine = flags.Machine(),  # noqa: B008
    parallel: flags.Parallel = None,
    context: flags.Context = None,
    kv_type: flags.KvType = None,
    quiet: flags.Quiet = False,
) -> int:
    """Give an agent two tools: solve a question, and check a solution, with the local model.

    It speaks on stdin and stdout until stdin ends.
    """
    need("mcp", extra="mcp")
    from ttc_cli.serving.agents import serve_agent
    from ttc_cli.solving import loading

    request, out, _ = load_request(ctx.params)

    async def work() -> None:
        begun = loading.begin(request)
        from ttc_cli.prompts import Chat
        from ttc_cli.solving.solver import Solver

        async with await Solver.open(request, begun) as solver:
            Chat(solver.info)  # a model that cannot be asked is refused before it is served
            out.say(f"{request.label} is ready")
            await serve_agent(solver, max_seconds)

    with crash.watched():
        run_tasks(work())
    return 0
