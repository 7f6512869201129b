"""What of the file system the command of a check sees."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from attacks import FOUND, PYTHON, run, walled

from ttc_cli.verifiers.checking import shown
from ttc_cli.verifiers.checking.command import read_command
from ttc_cli.verifiers.checking.sandbox import (
    Command,
    find_hidden,
    run_check,
)


def make_environment(place: Path) -> Path:
    """A virtual environment with a package of its own, and one that is installed in place."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", place / "venv"], check=True)
    [packages] = place.glob("venv/lib/python*/site-packages")
    (packages / "of_its_own.py").touch()
    (place / "project" / "src").mkdir(parents=True)
    (place / "project" / "src" / "in_place.py").touch()
    return packages


@pytest.fixture
def hidden():
    """A folder that the sandbox hides with the rest of /tmp."""
    with tempfile.TemporaryDirectory(prefix="needed-", dir="/tmp") as made:
        yield Path(made)


@walled
@pytest.mark.parametrize("kind", ["pth", "finder", "script", "link"])
def test_an_interpreter_below_tmp_sees_its_packages(hidden, kind) -> None:
    with tempfile.TemporaryDirectory(prefix="project-", dir="/tmp") as elsewhere:
        packages = make_environment(hidden)
        project = shutil.move(hidden / "project", elsewhere) + "/src"
        (packages / "project.pth").write_text(
            f"{project}\n" if kind == "pth" else "import __editable___project\n"
        )
        (packages / "__editable___project.py").write_text(
            f"import sys\nMAPPING = {{'in_place': {project!r}}}\nsys.path += MAPPING.values()\n"
        )
        program = hidden / "venv" / "bin" / "python"
        if kind == "script":
            tool = hidden / "venv" / "bin" / "tool"
            tool.write_text(f"#!{program}\nimport runpy, sys\nrunpy.run_path(sys.argv[1])\n")
            tool.chmod(0o755)
            program = tool
        if kind == "link":
            other = Path(elsewhere) / "py"
            other.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            other.chmod(0o755)
            command = read_command(f"{other} {{file.py}} {program}")
        else:
            command = read_command(f"{program} {{file.py}}")
        data = b"import of_its_own, in_place, sys; print(sys.prefix)"
        ran = asyncio.run(run_check(command, data, ".py", seconds=20, sandbox=FOUND))
        assert ran.output == f"{hidden}/venv\n"
        assert find_hidden(command, FOUND) == ()


@pytest.mark.parametrize("kind", [None, FOUND], ids=["bare", "sandbox"])
def test_version_managers_and_packages_of_the_user_are_found(tmp_path, kind, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("RUSTUP_HOME", "/rust")
    names = ("PYENV_DIR", "PYTHONUSERBASE", "RUSTUP_HOME")
    ran = run(f"print(*map(os.environ.get, {names!r}))", kind)
    assert ran.output.split() == [str(tmp_path), "/nowhere/.local", "/rust"]


@walled
def test_a_script_below_tmp_sees_its_project(hidden, monkeypatch) -> None:
    (hidden / "tests").mkdir()
    (hidden / "tests" / "check.py").write_text(
        "import os, sys\n"
        "sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..'))\n"
        "import solution\n"
    )
    (hidden / "solution.py").touch()
    monkeypatch.chdir(hidden)
    command = read_command(f"{PYTHON} tests/check.py {{file}}")
    assert asyncio.run(run_check(command, b"", ".txt", seconds=20, sandbox=FOUND)).passed


@walled
@pytest.mark.parametrize("word", ["--data={}/data.txt", "cat {}/data.txt #", "'{}/data.txt'"])
def test_a_path_within_a_word_is_shown(hidden, word) -> None:
    (hidden / "data.txt").touch()
    program = "import re, sys; open(re.search(r'/tmp/[^ \\']*', sys.argv[1])[0])"
    command = Command((PYTHON, "-c", program, word.format(hidden), "{file}"))
    ran = asyncio.run(run_check(command, b"", "", seconds=10, sandbox=FOUND))
    assert ran.passed, ran.output


@walled
def test_a_script_in_tmp_itself_sees_what_is_beside_it(monkeypatch) -> None:
    monkeypatch.setattr(shown, "_SIBLINGS", 10_000)  # whatever others left in /tmp
    with (
        tempfile.NamedTemporaryFile("w", dir="/tmp", prefix="besides", suffix=".py") as beside,
        tempfile.NamedTemporaryFile("w", dir="/tmp", suffix=".py") as script,
    ):
        script.write(f"import {Path(beside.name).stem}\n")
        script.flush()
        command = read_command(f"{PYTHON} {script.name} {{file}}")
        ran = asyncio.run(run_check(command, b"", ".txt", seconds=20, sandbox=FOUND))
        assert ran.passed, ran.output


@walled
def test_what_a_check_could_not_open_is_named(hidden) -> None:
    assert find_hidden(read_command(f"{PYTHON} {{file}}"), FOUND) == ()
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".py") as script:
        assert find_hidden(read_command(f"{PYTHON} {script.name} {{file}}"), FOUND) == (
            script.name,
        )
    if os.getuid() == 0:  # who may read what is not root's, but not in there
        script = hidden / "check.py"
        script.touch()
        os.chown(hidden, 65534, 65534)
        hidden.chmod(0o700)
        assert find_hidden(read_command(f"{PYTHON} {script} {{file}}"), FOUND) == (str(script),)


@walled
def test_keys_in_the_home_are_hidden_and_all_else_is_shown(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ssh/id_rsa", ".netrc", ".bashrc", "elsewhere/token"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("secret")
    (tmp_path / ".aws").symlink_to(tmp_path / "elsewhere")
    checks = tmp_path / ".kube"  # a command that lives there is found all the same
    checks.mkdir()
    script = checks / "check.py"
    script.write_text(
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "print(os.listdir('.ssh'), os.listdir('.aws'), open('.bashrc').read())\n"
        "open('.netrc')\n"
    )
    command = read_command(f"{PYTHON} {script} {tmp_path} {{file}}")
    ran = asyncio.run(run_check(command, b"", ".txt", seconds=10, sandbox=FOUND))
    assert ran.output.startswith("[] [] secret\n")
    assert "PermissionError" in ran.output
