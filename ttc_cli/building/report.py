"""What an installation says: its plan, what was built, and what would be faster."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttc_cli.building import wheels
from ttc_cli.building.machine import Machine, name_package_command
from ttc_cli.building.profiles import Profile
from ttc_cli.children import ask, find_program
from ttc_cli.paths import models_dir, name_installer, write_whole

_QUESTION = "A farmer has 17 sheep and all but 9 run away. How many are left?"
_FASTER = "(about 1.2 times as fast where measured)"


def read_stamp(prefix: Path) -> dict[str, str]:
    """What the last installation noted in the environment at ``prefix``; empty without one."""
    try:
        text = (prefix / ".ttc-install").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs if value}


def write_stamp(prefix: Path, noted: Mapping[str, str]) -> None:
    """Note it, where the environment may be written."""
    with contextlib.suppress(OSError):
        text = "".join(f"{name}={value}\n" for name, value in noted.items())
        write_whole(prefix / ".ttc-install", text)


def print_plan(
    profiles: Sequence[Profile], machine: Machine, version: str, jobs: int, cache: Path
) -> None:
    """Print what would be built, and why."""
    print(f"python       {sys.executable}")
    print(f"engine       llama-cpp-python {version}")
    print(f"accelerator  {profiles[0].accelerator if profiles else 'none'}")
    print(f"features     {' '.join(machine.features) or 'unknown'}")
    print(f"jobs         {jobs}")
    print(f"cache        {cache}")
    print("profiles, the first that builds and does not crash:")
    for profile in profiles:
        print(f"  {profile.label}")
        print(f"    compiler {profile.compiler.cc if profile.compiler else 'none'}")
        print(f"    flags    {profile.flags or 'none'}")
        print(f"    key      {profile.key}")
        if speed := wheels.read_speed(cache / "wheels" / profile.key):
            print(f"    measured {speed[0]} tokens/s at 16 candidates ({speed[1]})")


def name_faster(label: str, machine: Machine, compiler: str) -> tuple[str, str] | None:
    """What would be faster than the build ``label``, and the command; None where nothing is known.

    ``label`` is a profile in words; ``compiler`` the one that was asked for, or auto.
    """
    if label == "upstream's prebuilt library (cpu)":
        return "a library compiled for this processor", f"{name_installer()} --rebuild"
    on_gpu = re.search(r", (cuda|vulkan|rocm|sycl)$", label)
    if not label.startswith("gcc ") or on_gpu or machine.system != "Linux":
        return None
    if compiler != "auto":  # without a name, the best that is here or on the index is taken
        return f"a build with clang 17 or newer, or zig {_FASTER}", name_installer()
    package = "clang"
    if find_program("apt-get"):
        names = (f"clang-{number}" for number in range(22, 16, -1))
        package = next(filter(_is_offered, names), "")
        if not package:
            return None
    command = name_package_command(package, "clang", "clang")
    return f"a build with clang 17 or newer {_FASTER}", f"{command} && {name_installer()}"


def _is_offered(package: str) -> bool:
    """Whether apt knows where to get it."""
    found = re.search(r"^ *Candidate: (.*)", ask("apt-cache", "policy", package), re.MULTILINE)
    return found is not None and found[1] not in ("", "(none)")


def _describe_file(file: Path) -> str:
    """A model's name and size; it lies in a folder of its name, or is the user's own file."""
    name = file.parent.name if file.parent.parent == models_dir() else file.name
    return f"{name}, {file.stat().st_size / 1e9:.2f} GB" if file.is_file() else name


def summarise(noted: Mapping[str, str], ttc: str, *, models: bool) -> None:
    """Print what is installed now, and what to type next; ``ttc`` is the command's name here."""
    print()
    print(f"Built    llama.cpp ({noted['built']})")
    print(f"Tested   {noted['checked']}")
    if file := noted.get("file"):
        print(f"Model    {_describe_file(Path(file))}; the others: {ttc} models default --explain")
    if "speed" in noted:
        print(f"Speed    {noted['speed']}")
    if noted.get("fit"):
        print(f"Fit      {noted['fit']}")
    if noted.get("faster"):
        print(f"Faster   {noted['faster']}")
        print(f"         {noted['faster_command']}")
    if not models:
        print(f"Next     {name_installer()} (fetches a model and tests the build with it)")
    print(f'Next     {ttc} solve "{_QUESTION}"')
