"""install.sh itself, which finds a Python and hands over. What it hands over to: tests/building."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from traps import set_traps

ROOT = Path(__file__).parents[1]
BASH = shutil.which("bash") or "/bin/bash"
SHELL = ("bash", "cat", "dirname", "env", "head", "id", "sed", "tail", "uname")
WITHOUT_VENV = f"""\
#!/bin/sh
case "$2" in *ensurepip*) exit 1 ;; esac
exec {sys.executable} "$@"
"""


class Machine:
    """A PATH on which only the shell's own tools lie, a home, and a clone in a folder with a space.

    The clone has the real package, but nothing that is installed can be imported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clone = folder / "a clone"
        for made in (folder / "bin", folder / "home", self.clone):
            made.mkdir()
        for name in ("install.sh", "pyproject.toml", "ttc_cli"):
            (self.clone / name).symlink_to(ROOT / name)
        for tool in SHELL:
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        bare = f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'
        self.add("python3", bare)
        self.environment = {"PATH": str(folder / "bin"), "HOME": str(folder / "home")}

    def add(self, program: str, text: str = "#!/bin/sh\n") -> None:
        file = self.folder / "bin" / program
        file.write_text(text)
        file.chmod(0o755)

    def install(
        self, *options: str, script: str | None = None, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BASH, script or str(self.clone / "install.sh"), *options],
            env={**self.environment, **variables},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_hands_over_and_needs_nothing_but_python(machine: Machine) -> None:
    done = machine.install("--dry-run", "--no-models", "--compiler", "zig")
    assert (done.returncode, done.stderr) == (0, "")
    assert "zig 0.17, native instructions" in done.stdout
    assert f"cache        {machine.folder}/home/.cache/ttc" in done.stdout


def test_it_finds_its_own_folder_whatever_cd_is_told(machine: Machine) -> None:
    (machine.folder / "elsewhere/a clone").mkdir(parents=True)
    cdpath = f"{machine.folder}/elsewhere:."
    done = machine.install("--dry-run", script="a clone/install.sh", CDPATH=cdpath)
    assert (done.returncode, "engine" in done.stdout) == (0, True), done.stderr


def test_nothing_of_the_working_folder_is_imported_or_run(machine: Machine) -> None:
    work = machine.folder / "work"
    work.mkdir()
    sprung = set_traps(work)
    path = f":.:{machine.folder}/bin"
    done = machine.install("--dry-run", cwd=work, PATH=path, PYTHONPATH=".", PYTHONHOME="")
    assert (done.returncode, "engine" in done.stdout) == (0, True), done.stderr
    assert list(sprung.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [["--nonsense"], ["--accelerator", "tpu"], ["--jobs", "many"], ["--model"], ["--jobs=0"]],
)
def test_wrong_options_are_refused_with_status_2(machine: Machine, options: list[str]) -> None:
    done = machine.install(*options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "usage: ./install.sh" in done.stderr


def test_help_names_every_option(machine: Machine) -> None:
    done = machine.install("--help")
    assert done.returncode == 0
    for option in (
        *("--accelerator", "--compiler", "--prebuilt", "--rebuild", "--jobs", "--model"),
        *("--no-models", "--no-tune", "--python", "--dev", "--dry-run", "--help"),
    ):
        assert option in done.stdout


def test_an_error_says_the_next_command(machine: Machine) -> None:
    done = machine.install("--accelerator", "metal", cwd=machine.clone)
    assert done.returncode == 1
    assert done.stderr == (
        "error: Metal exists on macOS only.\n  try: ./install.sh --accelerator cpu\n"
    )


def test_a_reader_that_leaves_is_no_fault(machine: Machine) -> None:
    script = shlex.quote(str(machine.clone / "install.sh"))
    done = subprocess.run(
        [BASH, "-c", f"{script} --dry-run --compiler zig | :"],
        env=machine.environment,
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_a_missing_venv_module_names_the_package(machine: Machine) -> None:
    machine.add("python3", WITHOUT_VENV)
    machine.add("apt-get")
    done = machine.install("--dry-run")
    assert done.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install -y python{version}-venv" in done.stderr


def test_an_old_python_is_not_taken(machine: Machine) -> None:
    machine.add("python3", "#!/bin/sh\nexit 1\n")
    machine.add("dnf")
    done = machine.install()
    assert done.returncode == 1
    assert "No Python 3.11 or newer found" in done.stderr
    assert "dnf install -y python3.12" in done.stderr
    machine.add("my-python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for options in (["--python", "my-python"], ["--python=my-python"]):
        assert machine.install("--dry-run", *options).returncode == 0
    done = machine.install("--python", "python3")
    assert "python3 is not a Python 3.11 or newer" in done.stderr


def test_another_system_is_told_what_runs_ttc(machine: Machine) -> None:
    (machine.folder / "bin/uname").unlink()
    machine.add("uname", "#!/bin/sh\necho MINGW64_NT\n")
    done = machine.install()
    assert done.returncode == 1
    assert "wsl --install" in done.stderr


def test_it_uses_nothing_that_bash_3_2_lacks() -> None:
    text = (ROOT / "install.sh").read_text()
    code = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    newer = {
        "associative or reference variables": r"\b(declare|local|typeset)\s+-[a-zA-Z]*[An]",
        "mapfile": r"\b(mapfile|readarray|coproc)\b",
        "case conversion": r"\$\{\w+(\^|,)",
        "transformation": r"\$\{\w+@",
        "&>> and |&": r"&>>|\|&",
        "case fall-through": r";;?&",
        "[[ -v ]]": r"\[\[\s+-v",
        "arrays, which fail when empty under set -u": r"^\s*(local\s+)?\w+=\(|\$\{\w+\[[@*]\]",
        "negative offsets": r"\$\{\w+:\s+-\d",
        "GNU options": r"readlink -f|sed -i|mktemp --|date -d|grep -P|sort -V",
    }
    for what, pattern in newer.items():
        assert not re.findall(pattern, code, re.MULTILINE), what
    assert subprocess.run([BASH, "-n", str(ROOT / "install.sh")]).returncode == 0


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(Path(sys.executable).parent)
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        [shellcheck, str(ROOT / "install.sh"), str(ROOT / ".ci/run")],
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
