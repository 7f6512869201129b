"""Facts about this machine that matter for compiling."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.children import ask, find_program
from ttc_cli.models import hardware

# Only what changes the machine code: a new kernel that reports more flags must not rebuild.
_FEATURE = re.compile(
    r"sse4_2|avx|avx2|avx_vnni|fma|f16c|bmi2|avx512(f|bw|vl|dq|cd|vbmi|_vnni|_bf16|_fp16)"
    r"|amx_(tile|int8|bf16)|asimd|asimddp|asimdhp|i8mm|bf16|sve|sve2|sme"
)
_NVIDIA = Path("/dev/nvidia0")
_PACKAGE_MANAGERS = {
    "apt-get": "{sudo}apt-get install -y {apt}",
    "dnf": "{sudo}dnf install -y {dnf}",
    "zypper": "{sudo}zypper install -y {other}",
    "pacman": "{sudo}pacman -S --needed {other}",
    "apk": "{sudo}apk add {other}",
    "brew": "brew install {other}",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """``system`` and ``architecture`` are uname's words; ``jobs`` files can be compiled at once.

    ``features`` are instruction sets by Linux's names, and what else decides on machine code.
    """

    system: str
    architecture: str
    features: tuple[str, ...]
    jobs: int


def read_machine() -> Machine:
    """The machine that this runs on."""
    system, _, _, _, architecture = os.uname()
    if system == "Darwin":
        features: tuple[str, ...] = (ask("sysctl", "-n", "machdep.cpu.brand_string").strip(),)
        # hardware.read_memory takes psutil here, which may not be installed yet
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        features = read_features(ask("cat", "/proc/cpuinfo"), architecture)
        memory = hardware.read_memory().total
    return Machine(system, architecture, features, count_jobs(hardware.count_cores(), memory))


def count_jobs(cores: int, memory: int) -> int:
    """How many files to compile at once: each takes up to about 1.5 GB of ``memory`` (bytes)."""
    return max(1, min(cores, memory // (1500 * 2**20)))


def read_features(cpuinfo: str, architecture: str) -> tuple[str, ...]:
    """The features in ``/proc/cpuinfo``; on ARM ``-mcpu=native`` goes by the core's model too."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)", cpuinfo, re.MULTILINE)
    names = {name for name in flags[1].split() if _FEATURE.fullmatch(name)} if flags else set()
    parts = re.findall(r"^CPU part\s*: (.*)", cpuinfo, re.MULTILINE)
    return (*sorted(names), *sorted(set(parts) if architecture != "x86_64" else ()))


def has_nvidia_gpu() -> bool:
    """Whether there is one. nvcc does not prove it: containers and build machines carry it too."""
    return ask("nvidia-smi", "-L").startswith("GPU ") or _NVIDIA.exists()


def name_package_command(apt: str, dnf: str, other: str) -> str:
    """What to type to install packages, whose names differ between package managers."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    for program, command in _PACKAGE_MANAGERS.items():
        if find_program(program):
            return command.format(sudo=sudo, apt=apt, dnf=dnf, other=other)
    return f"install {other} with this system's package manager"
