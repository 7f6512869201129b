"""Children of ttc find nothing in the working folder: no module, no program."""

import asyncio
import os
import sys
from pathlib import Path
from unittest import mock

import pytest
from traps import set_traps

from ttc_cli import children, crash
from ttc_cli.answers.algebra import Algebra
from ttc_cli.bench import curves
from ttc_cli.engines.llamacpp import selftest
from ttc_cli.errors import TtcError
from ttc_cli.forms import interpreters
from ttc_cli.models import hardware, mirror
from ttc_cli.tuning import comparison
from ttc_cli.verifiers.checking import sandbox


@pytest.fixture
def sprung(tmp_path, monkeypatch):
    """The working folder is full of traps and on PATH, by accident; here lies what sprang."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f":.:{os.environ['PATH']}:")
    sandbox.find_sandbox.cache_clear()
    yield set_traps(work)
    sandbox.find_sandbox.cache_clear()


def check(sandboxed):
    found = sandbox.find_sandbox()
    if sandboxed and found is None:
        pytest.skip("bubblewrap does not work here")
    command = sandbox.Command(("/usr/bin/env", "python3", "-c", "import json", "{file}"))
    running = sandbox.run_check(
        command, b"", ".py", seconds=30, sandbox=found if sandboxed else None
    )
    assert asyncio.run(running).passed


def solve_algebra():
    algebra = Algebra(20)
    try:
        assert algebra.ask(["same", "x+x", "2x"]) is True
    finally:
        algebra.stop()


def watch_a_crash():
    with crash.watched():
        pass


def load_pip():
    done = children.run([*mirror.find_pip(), "--version"])
    assert done.stdout.startswith("pip ")


def find_another_pip():
    with mock.patch("importlib.util.find_spec", lambda name: None if name == "pip" else name):
        mirror.find_pip()


def draw_curves():
    curves.draw_curves({}, [], "nothing", Path(os.environ["TTC_HOME"]).parent)


STARTS = {
    "selftest": lambda: selftest.check_build(Path("no.gguf"), fresh=True),
    "speed": lambda: selftest.measure_speed(Path("no.gguf")),
    "comparison": lambda: comparison.time_file(Path("no.gguf")),
    "quantising": lambda: comparison.quantise(Path("no.gguf"), Path("to.gguf"), "Q4_0"),
    "pip": load_pip,
    "another pip": find_another_pip,
    "algebra": solve_algebra,
    "crash": watch_a_crash,
    "accelerators": lambda: hardware.find_accelerators(),
    "processor": lambda: children.ask("sysctl", "-n", "hw.optional.arm.FEAT_DotProd"),
    "check": lambda: check(False),
    "check in bubblewrap": lambda: check(True),
    "curves": draw_curves,
    "programs": lambda: asyncio.run(interpreters.try_all()),
}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_no_trap_in_the_working_folder_springs(sprung, start):
    said = ""
    try:
        start()
    except TtcError as error:
        said = error.message
    assert not said or "no.gguf" in said or "needs pip" in said  # a child that came to its work
    assert list(sprung.iterdir()) == []


def test_curves_are_drawn_as_ttc_says_and_not_as_the_working_folder_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matplotlibrc").write_text("backend: module://trap\ntext.usetex: True\n")
    script = (
        "from ttc_cli.bench import curves\ncurves.require_plotting()\n"
        "import matplotlib\nprint(matplotlib.rcParams['text.usetex'])"
    )
    done = children.run(children.name_python("-c", script))
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_traps_spring_where_the_working_folder_is_on_the_path(sprung):
    """Else the tests with traps would hold nothing."""
    import subprocess

    subprocess.run([sys.executable, "-c", "import json"])
    subprocess.run([sys.executable, "-m", "pip"])
    subprocess.run(["nvidia-smi"])
    assert {"json", "sitecustomize", "pip", "nvidia-smi"} & {each.name for each in sprung.iterdir()}


@pytest.mark.parametrize(
    ("path", "name", "found"),
    [
        ("{bin}", "tool", "{bin}/tool"),
        (":{bin}", "tool", "{bin}/tool"),
        (".:bin:{bin}", "tool", "{bin}/tool"),
        ("bin", "tool", None),
        ("", "tool", None),
        ("", "bin/tool", "{bin}/tool"),
        ("", "./bin/tool", "{bin}/tool"),
        ("{bin}", "other", None),
    ],
)
def test_programs_are_found_where_path_says_absolutely(tmp_path, monkeypatch, path, name, found):
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    for each in (tool, tmp_path / "tool"):
        each.write_text("#!/bin/sh\n")
        each.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path.format(bin=tool.parent))
    expected = None if found is None else found.format(bin=tool.parent)
    assert children.find_program(name) == expected


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("PATH", ":.:bin:/usr/bin:/bin:", "/usr/bin:/bin"),
        ("PATH", "", os.defpath),
        ("PYTHONPATH", ":/one::/two:", "/one:/two"),
        ("PYTHONPATH", "src:/two", "{here}/src:/two"),
        ("OTHER", ":.", ":."),
    ],
)
def test_a_child_looks_in_the_same_places(tmp_path, monkeypatch, name, given, kept):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, given)
    done = children.run([sys.executable, "-I", "-c", f"import os; print(os.environ[{name!r}])"])
    assert done.stdout == kept.format(here=tmp_path) + "\n"


@pytest.mark.parametrize("begin", [children.start, children.run])
def test_a_program_that_is_not_found_yet_is_not_started(begin):
    with pytest.raises(ValueError, match="not an absolute path"):
        begin(["true"])
