"""The working compilers of this machine, those that make the faster library first."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.building.machine import Machine, name_package_command
from ttc_cli.children import ask, find_program, run
from ttc_cli.errors import TtcError
from ttc_cli.paths import name_installer, write_whole

_PROGRAM = "#include <vector>\nint main() { return (int)std::vector<int>().size(); }\n"

# The C++ compiler that belongs to a C compiler: clang-19 → clang++-19, gcc-13 → g++-13.
_CXX = {"^clang": "clang++", "gcc": "g++", "^icx$": "icpx", "cc$": "c++", "$": "++"}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C and a C++ compiler: ``name`` is "clang 19"; ``cc`` and ``cxx`` are paths."""

    name: str
    cc: str
    cxx: str = ""

    def breaks(self, machine: Machine) -> bool:
        """Whether it would miscompile AMX, without what ``fixes.h`` cures."""
        gcc = re.fullmatch(r"gcc (\d+)", self.name)
        return gcc is not None and int(gcc[1]) < 13 and "amx_tile" in machine.features


ZIG = Compiler("zig 0.17", "zig")  # fetched when it is needed


def find_compilers(wanted: str, accelerator: str, machine: Machine) -> list[Compiler]:
    """The compilers to try, best first.

    Measured on a processor with AMX at 16 candidates: gcc 12 84 tokens/s, clang 19 101, zig 103.

    Args:
        wanted: auto, zig, clang, gcc or the path of a C compiler.
        accelerator: nvcc trusts gcc most and cannot drive zig; SYCL has a compiler of its own.
        machine: on macOS the system's own compiler is taken.

    Raises:
        TtcError: the one that is wanted is not here, or does not work.
    """
    if wanted == "zig":
        return [ZIG]
    if wanted in ("clang", "gcc"):
        if newest := find_newest(wanted):
            return [newest]
        apt, dnf = ("g++", "gcc-c++") if wanted == "gcc" else (wanted, wanted)
        message = f"No working {wanted} found (a C++ compiler with its headers)."
        raise TtcError(message, name_package_command(apt, dnf, wanted))
    if wanted != "auto":
        path = find_program(wanted)
        if path and compiles(_name_cxx(path)):
            return [_describe(path)]
        hint = f"{name_installer()} --compiler zig"
        raise TtcError(f"{wanted} does not compile C++ here.", hint)
    order: list[Compiler | None]
    if machine.system == "Darwin":
        if not can_compile(machine):
            hint = f"xcode-select --install && {name_installer()}"
            raise TtcError("The system's compiler is not installed.", hint)
        order = [_describe(find_program("clang") or "/usr/bin/clang")]
    elif accelerator == "sycl":
        order = [_describe(find_program("icx") or "icx")]
    elif accelerator == "cuda":
        order = [find_newest("gcc"), find_newest("clang", 17)]
    else:
        order = [find_newest("clang", 17) or ZIG, find_newest("gcc")]
    return [compiler for compiler in order if compiler]


def can_compile(machine: Machine) -> bool:
    """Whether there is a compiler, or one can be fetched: zig, but on macOS."""
    return machine.system != "Darwin" or bool(ask("xcode-select", "-p"))


def find_newest(family: str, lowest: int = 0) -> Compiler | None:
    """The newest working clang or gcc, of the version ``lowest`` at least."""
    versions: dict[int, str] = {}
    for name in (family, *(f"{family}-{number}" for number in range(30, 8, -1))):
        path = find_program(name)
        found, _, number = _read_version(path).partition(" ") if path else ("", "", "")
        if path and found == family and int(number) >= lowest:
            versions.setdefault(int(number), path)
    newest_first = (versions[number] for number in sorted(versions, reverse=True))
    return next((_describe(path) for path in newest_first if compiles(_name_cxx(path))), None)


def compiles(cxx: str) -> bool:
    """Whether this C++ compiler makes programs at all: headers and linker are often missing."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        write_whole(source, _PROGRAM)
        try:
            return run([cxx, str(source), "-o", f"{folder}/probe"]).returncode == 0
        except OSError:
            return False


def _describe(cc: str) -> Compiler:
    return Compiler(_read_version(cc) or Path(cc).name, cc, _name_cxx(cc))


def _read_version(path: str) -> str:
    """The compiler's name and major version, "clang 19"; empty if neither clang nor gcc."""
    text = ask(path, "--version")
    if found := re.search(r"clang version (\d+)", text):
        return f"clang {found[1]}"
    version = re.match(r"\d+", ask(path, "-dumpversion"))
    return f"gcc {version[0]}" if version and "Free Software Foundation" in text else ""


def _name_cxx(cc: str) -> str:
    folder, slash, name = cc.rpartition("/")
    pattern = next(each for each in _CXX if re.search(each, name))
    return f"{folder}{slash}{re.sub(pattern, _CXX[pattern], name, count=1)}"
