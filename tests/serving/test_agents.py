"""The tools that an agent gets, through the official client."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ttc_cli as ttc
from ttc_cli.engines.scripted import Reply
from ttc_cli.types import Finish

mcp = pytest.importorskip("mcp")

SCRIPT = Path(__file__).parents[1] / "commands" / "scripted_ttc.py"


def call(name, arguments):
    """What a tool gives, and the words of its progress."""
    from ttc_cli.serving.agents import make_agent_server

    heard = []

    async def hear(progress, total, message):
        heard.append((progress, message))

    async def work():
        async with (
            await ttc.aload() as solver,
            mcp.Client(make_agent_server(solver, 60.0)) as client,
        ):
            return await client.call_tool(name, arguments, progress_callback=hear)

    return asyncio.run(work()), heard


def test_the_tools_say_what_they_take(world):
    from ttc_cli.serving.agents import make_agent_server

    async def work():
        async with (
            await ttc.aload() as solver,
            mcp.Client(make_agent_server(solver, 60.0)) as client,
        ):
            return (await client.list_tools()).tools

    tools = {each.name: each for each in asyncio.run(work())}
    assert set(tools) == {"solve", "check"}
    assert set(tools["solve"].input_schema["properties"]) == {"question", "budget", "schema"}
    assert set(tools["check"].input_schema["required"]) == {"solution", "question"}


def test_a_question_is_solved_with_progress_in_words(world):
    found, heard = call("solve", {"question": "What is 2+2?", "budget": "quick"})
    told = found.structured_content
    assert not found.is_error
    assert told["answer"] == "4"
    assert told["agreement"] == 1.0
    assert told["solution"].startswith("Two and two")
    words = [message for _, message in heard]
    assert any(each.startswith("policy: ") for each in words)
    assert [progress for progress, _ in heard] == sorted(progress for progress, _ in heard)


def test_an_answer_conforms_to_a_schema(world):
    world.texts = ['```json\n{"n": 4}\n```']
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    found, _ = call("solve", {"question": "What is 2+2?", "budget": "quick", "schema": schema})
    assert isinstance(json.loads(found.structured_content["answer"])["n"], int)


def test_a_solution_is_checked(world):
    read = []
    world.options["yes"] = lambda text: read.append(text) or 0.25
    wrong = {"solution": "2 + 2 = 5, so it is 5.", "question": "What is 2+2?"}
    found, _ = call("check", wrong)
    told = found.structured_content
    assert told["judge"]["score"] == 0.25
    assert told["arithmetic"]["score"] == 0.0
    assert "4" in told["arithmetic"]["remark"]
    assert "<|im_start|>assistant\n2 + 2 = 5, so it is 5.<|im_end|>" in read[0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("solve", {"question": "  "}),
        ("solve", {"question": "Hi", "budget": "enormous"}),
        ("solve", {"question": "Hi", "schema": {"type": "wizard"}}),
        ("solve", {"question": "Hi", "schema": {"type": "string", "pattern": "^(a?){1000}$"}}),
        ("solve", {"question": "half of a pair: \ud800"}),
        ("solve", {"question": "word " * 10_000}),
        ("check", {"question": "Hi", "solution": "word " * 10_000}),
        ("check", {"question": "Hi"}),
    ],
)
def test_what_cannot_be_done_is_an_error_of_the_tool(world, name, arguments):
    found, _ = call(name, arguments)
    assert found.is_error
    assert found.content[0].text


def test_questions_at_once_are_all_answered(world):
    from ttc_cli.serving.agents import make_agent_server

    world.options = {"parallel": 2}

    async def work():
        async with (
            await ttc.aload() as solver,
            mcp.Client(make_agent_server(solver, 60.0)) as client,
        ):
            asked = [{"question": f"What is {n}+2?", "budget": "quick"} for n in range(4)]
            return await asyncio.gather(*(client.call_tool("solve", each) for each in asked))

    assert [each.structured_content["answer"] for each in asyncio.run(work())] == ["4"] * 4


def test_an_agent_that_gives_up_leaves_nothing_in_the_batch(world):
    from ttc_cli.serving.agents import make_agent_server

    world.options = {"parallel": 4, "pause": 0.005, "context": 1_000_000}
    world.texts = [Reply("on and on ", Finish.LENGTH)]

    async def work():
        async with (
            await ttc.aload() as solver,
            mcp.Client(make_agent_server(solver, 60.0)) as client,
        ):
            asking = asyncio.create_task(client.call_tool("solve", {"question": "What is 2+2?"}))
            async with asyncio.timeout(10):
                while not world.engines or not world.open_sessions:
                    await asyncio.sleep(0.01)
                asking.cancel()
                while world.open_sessions:
                    await asyncio.sleep(0.01)

    asyncio.run(work())


@pytest.mark.slow
def test_the_command_speaks_on_stdin_and_stdout(tmp_path):
    scenario = {"texts": ["The final answer is 4."]}
    environment = {**os.environ, "SCENARIO": json.dumps(scenario), "TTC_HOME": str(tmp_path)}
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    command = StdioServerParameters(
        command=sys.executable, args=[str(SCRIPT), "mcp"], env=environment
    )

    async def work():
        async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            question = {"question": "What is 2+2?", "budget": "quick"}
            return await session.call_tool("solve", question)

    assert asyncio.run(work()).structured_content["answer"] == "4"


@pytest.mark.slow
def test_the_command_ends_with_its_input(tmp_path):
    scenario = {"texts": ["The final answer is 4."]}
    environment = {**os.environ, "SCENARIO": json.dumps(scenario), "TTC_HOME": str(tmp_path)}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "mcp"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 0
    assert ended.stdout == b""
    assert time.monotonic() - began < 30
