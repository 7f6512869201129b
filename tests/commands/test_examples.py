"""Every command has examples in its help, and every example does what it says.

The command tree is walked, so that a new command is held to it without a change here. Files and
earlier commands that examples need are in ``example_world``.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import example_world
import pytest
from example_world import LIGHTER

from ttc_cli.main import command_line, main

LIMIT = 120
"""Seconds for an example in a shell."""


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            below = command.get_command(None, name)
            if not below.hidden:
                yield from walk(below, f"{path} {name}")


def read_examples(epilog: str | None) -> list[str]:
    """The lines of the block that begins with ``Examples:``."""
    block = re.search(r"^Examples:\n((?:  .+\n?)+)", epilog or "", re.MULTILINE)
    return [line.strip() for line in block[1].splitlines()] if block else []


COMMANDS = {path: read_examples(command.epilog) for path, command in walk(command_line(), "ttc")}
BLOCKS: dict[tuple[str, ...], str] = {}
"""Different blocks of examples, by the first command that shows them."""
for path, lines in COMMANDS.items():
    BLOCKS.setdefault(tuple(lines), path)


@pytest.fixture(scope="module")
def hub() -> Iterator[Any]:
    import runpy

    # A hub that runs, as the tests of models have one; test folders do not import each other.
    fake = runpy.run_path(str(example_world.ROOT / "tests/models/fake_hub.py"))["FakeHub"]()
    fake.start()
    yield fake
    fake.stop()


class World:
    """Runs lines as they are typed, in a folder of their own."""

    def __init__(self, folder: Path, hub: str, patch: pytest.MonkeyPatch) -> None:
        self._environment = example_world.environment(folder, hub)
        patch.chdir(folder / "work")
        for name in ("OPENAI_API_KEY", "VISUAL"):
            patch.delenv(name, raising=False)
        for name, value in self._environment.items():
            patch.setenv(name, value)
        constants = {
            "HF_HUB_CACHE": str(folder / "hf" / "hub"),
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": hub,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        }
        for name, value in constants.items():  # read from the environment once, at import
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        example_world.play(patch.setattr)

    def run(self, line: str) -> int:
        """The exit code; what needs a shell gets one, all else is spared a process."""
        words = shlex.split(line)
        if words[0] == "ttc" and not set(words) & {"|", ">", "<", "&&"}:
            lighter = () if "compare" in words else LIGHTER.get(" ".join(words[:2]), ())
            return main([*words[1:], *lighter])
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT,
        ).returncode


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, hub: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("world")
    example_world.furnish(folder, hub.files)
    with pytest.MonkeyPatch.context() as patch:
        world = World(folder, hub.url, patch)
        for line in example_world.BEFORE:
            assert world.run(line) == 0, line
    return folder


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_an_example_of_itself(path: str) -> None:
    wanted = re.compile(rf"(^|\| |[A-Z]=\S+ ){re.escape(path)}( |$)")
    lines = COMMANDS[path]
    if path == "ttc bench run":  # which is what 'ttc bench' does where nothing else is named
        wanted = re.compile(r"^ttc bench (?!compare)")
    assert any(wanted.search(line) for line in lines), f"{path} --help shows no example of it"


@pytest.mark.slow
@pytest.mark.parametrize("lines", BLOCKS, ids=BLOCKS.values())
def test_every_example_works(
    lines: tuple[str, ...],
    template: Path,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if lines[0].startswith("ttc mcp"):
        pytest.importorskip("mcp")
    example_world.copy_world(template, tmp_path)
    world = World(tmp_path, hub.url, monkeypatch)
    for line in lines:
        code = world.run(line)
        said = capfd.readouterr()
        assert code == 0, f"{line}\n{said.out}{said.err}"
        assert said.out or said.err, f"{line} says nothing at all"
