"""The tools that an agent gets over the Model Context Protocol."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from ttc_cli import __version__
from ttc_cli.errors import TtcError
from ttc_cli.events import RunEnded
from ttc_cli.serving.replies import tell_search
from ttc_cli.serving.ways import check_ways
from ttc_cli.solving.options import Asking
from ttc_cli.solving.solver import Solver
from ttc_cli.views.plain import Milestones

_LONGEST = 200_000
"""Characters of a question or a solution; no model here reads as much."""


def make_agent_server(solver: Solver, seconds: float) -> MCPServer[Any]:
    """The server whose tools ask ``solver``, for at most ``seconds`` each."""
    server = MCPServer(
        "ttc",
        version=__version__,
        instructions=f"A small language model on this machine, {solver.label}, that tries a "
        "question several times and compares its answers. Good for a hard question with a short "
        "answer: arithmetic, a choice, a fact, JSON of a given form.",
    )

    async def solve(
        ctx: Context[Any, Any],
        question: Annotated[str, Field(description="All that must be known to answer it.")],
        budget: Annotated[
            Literal["quick", "normal", "deep", "max"], Field(description="How hard to think.")
        ] = "normal",
        schema: Annotated[
            dict[str, Any] | None, Field(description="A JSON Schema that the answer conforms to.")
        ] = None,
    ) -> dict[str, Any]:
        """Answer a question that stands by itself; several attempts are made and compared."""
        how: Asking = {"budget": budget, "max_seconds": seconds}
        told = Milestones()
        count = 0
        result = None
        try:
            if schema is not None:
                how["schema"] = json.dumps(schema)
                await asyncio.to_thread(check_ways, how["schema"])
            async for event in solver.astream(_check(question), **how):
                for line in told.read(event):
                    count += 1
                    await ctx.report_progress(count, None, line)
                if isinstance(event, RunEnded):
                    result = event.result
        except TtcError as error:
            raise ToolError(error.message) from error
        assert result is not None
        return {"solution": result.solution, **tell_search(result, 0)}

    async def check(
        solution: Annotated[str, Field(description="The whole of it, with its steps.")],
        question: Annotated[str, Field(description="What it solves.")],
    ) -> dict[str, Any]:
        """Say whether a solution of a question seems right; its sums are worked out again."""
        try:
            scores = await solver.acheck(_check(question), _check(solution))
        except TtcError as error:
            raise ToolError(error.message) from error
        return {each.verifier: {"score": each.value, "remark": each.remark} for each in scores}

    server.add_tool(solve)
    server.add_tool(check)
    return server


async def serve_agent(solver: Solver, seconds: float) -> None:
    """Serve one agent on stdin and stdout, until stdin ends."""
    await make_agent_server(solver, seconds).run_stdio_async()


def _check(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST or re.search("[\0\ud800-\udfff]", text):
        raise ToolError(
            f"A text must have 1 to {_LONGEST:,} characters, and no NUL and no half of a surrogate "
            "pair among them."
        )
    return text
