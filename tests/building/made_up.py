"""A made-up machine: its own PATH, home and environment, and a runner that plays what it runs."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ttc_cli.building import installing, machine
from ttc_cli.building.installing import Installation, Options
from ttc_cli.building.machine import Machine
from ttc_cli.building.running import Runner

SAPPHIRE_RAPIDS = Machine(
    "Linux",
    "x86_64",
    (
        *("amx_int8", "amx_tile", "avx", "avx2", "avx512_vnni", "avx512bw", "avx512f"),
        *("bmi2", "f16c", "fma"),
    ),
    jobs=4,
)
CLANG = '#!/bin/sh\ncase "$1" in --version) echo "clang version {}.1.0";; esac\n'
GCC = (
    '#!/bin/sh\ncase "$1" in --version) echo "gcc {0}.2.0 Free Software Foundation";;\n'
    "-dumpversion) echo {0};; esac\n"
)


class Computer:
    """A PATH on which only fakes lie, and a clone with a home beside it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.clone = folder / "a clone"  # with a space: users have such
        self.machine = SAPPHIRE_RAPIDS
        self.ran: list[str] = []
        self.crashes = self.fails = self.no_network = "no such thing"
        self.missing: set[str] = set()  # packages that no index has
        self.speed = "42 tokens/s alone"
        self.test_status = 0
        self.fit: Callable[[Path], str] = lambda file: ""  # what the trial of a file type prints
        for made in (self.home, self.clone, folder / "bin"):
            made.mkdir()
        (self.clone / "pyproject.toml").write_text(
            '[project]\ndependencies = ["rich", "llama-cpp-python==1.2.3"]\n'
        )
        patch.setattr(installing, "Runner", lambda *given: Player(self, *given))
        patch.setattr(installing, "read_machine", lambda: self.machine)
        patch.setattr(machine, "_NVIDIA", folder / "nvidia0")
        for name in ("TTC_HOME", "XDG_CACHE_HOME", "CMAKE_ARGS", "CFLAGS", "CXXFLAGS", "CI"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", str(folder / "bin"))
        patch.setenv("HOME", str(self.home))

    def add(self, program: str, text: str = "#!/bin/sh\n") -> str:
        file = self.folder / "bin" / program
        file.write_text(text)
        file.chmod(0o755)
        return str(file)

    def add_clang(self, version: int) -> None:
        self.add(f"clang-{version}", CLANG.format(version))
        self.add(f"clang++-{version}")

    def add_gcc(self, version: int) -> None:
        self.add("gcc", GCC.format(version))
        self.add("g++")

    def install(self, **options: Any) -> None:
        self.ran.clear()
        Installation(Options(**options), self.clone).run()

    @property
    def installed(self) -> str:
        """How the engine in .venv was built."""
        return (self.clone / ".venv/installed").read_text()

    @property
    def wheels(self) -> list[Path]:
        return list((self.home / ".cache/ttc/wheels").glob("*/*.whl"))


class Player(Runner):
    """Plays venv, pip, the compiler and the self-test; "wheels" say how they were built."""

    def __init__(self, computer: Computer, log: Path, lock: int) -> None:
        super().__init__(log, lock)
        self._computer = computer

    def run(self, what: str, command: Any, **environment: str) -> int:
        python, first, *words = (word for word in command if word != "-P")
        prefix = Path(python).parents[1]
        self._computer.ran.append(shlex.join(command))
        self.note(f"{what}: {shlex.join(command)}")
        if first == "-c":
            wanted = "import ttc_cli" in words[0]
            return 0 if Path(python).exists() and (prefix / "installed").exists() >= wanted else 1
        if words[-1] == "--fresh":
            crashes = re.search(self._computer.crashes, (prefix / "installed").read_text())
            return 70 if crashes else self._computer.test_status
        return 0 if self._play(prefix, words, environment) else 1

    def read(self, command: Any, *, log_errors: bool = False) -> str:
        self._computer.ran.append(shlex.join(command))
        if "--speed" in command:
            return self._computer.speed
        if "ttc_cli.tuning.fit" in command:
            return self._computer.fit(Path(command[-1]))
        if re.search(self._computer.no_network, shlex.join(command)):
            return ""
        models = self._computer.folder / "models"
        models.mkdir(exist_ok=True)
        name = command[-1] if command[-1] != "--yes" else "default"
        (models / f"{name}.gguf").touch()
        return str(models / f"{name}.gguf")

    def _play(self, prefix: Path, words: list[str], environment: dict[str, str]) -> bool:
        if words[0] == "venv":
            python = Path(words[1], "bin/python")
            python.parent.mkdir(parents=True)
            python.write_text("#!/bin/sh\n")
            python.chmod(0o755)
        elif words[0] == "tarfile":
            with tarfile.open(words[2]) as archive:
                archive.extractall(words[3], filter="data")
        elif "download" in words:
            return self._download(Path(words[words.index("-d") + 1]), words)
        elif "wheel" in words:
            overrides = Path(environment["SKBUILD_BUILD_DIR"]).with_name("overrides.cmake")
            built = f"cc={environment['CC']} args={environment['CMAKE_ARGS']}"
            assert Path(words[-1], "pyproject.toml").is_file()
            if re.search(self._computer.fails, built):
                return False
            wheel = Path(words[words.index("-w") + 1], "llama_cpp_python-0.whl")
            wheel.write_text(f"{built}\n{overrides.read_text()}")
        elif words[-1].endswith(".whl"):
            shutil.copy(words[-1], prefix / "installed")
        elif "install" in words:
            return not any(words[-1].startswith(each) for each in self._computer.missing)
        return True

    def _download(self, folder: Path, words: list[str]) -> bool:
        if "--index-url" in words:
            (folder / "llama_cpp_python-0.whl").write_text("prebuilt")
            return "upstream" not in self._computer.missing
        name = "llama_cpp_python-1.2.3"
        source = self._computer.folder / name
        source.mkdir(exist_ok=True)
        (source / "pyproject.toml").touch()
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(source, name)
        return True
