"""What would be faster, and what is noted in the environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import SAPPHIRE_RAPIDS, Computer

from ttc_cli.building.report import name_faster, read_stamp, write_stamp

APT_CACHE = """\
#!/bin/sh
case "$2" in
  clang-19) echo "  Candidate: 1:19.1.7" ;;
  clang-16) echo "  Candidate: 16" ;;
  clang-2*) echo "  Candidate: (none)" ;;
esac
"""
GCC = "gcc 12, native instructions, AMX cure"


@pytest.fixture(autouse=True)
def clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttc_cli.building.report.name_installer", lambda: "./install.sh")


def name(label: str = GCC, compiler: str = "auto") -> tuple[str, str] | None:
    return name_faster(label, SAPPHIRE_RAPIDS, compiler)


def test_a_build_with_gcc_names_the_clang_that_could_be_installed(computer: Computer) -> None:
    computer.add("apt-get")
    assert name() is None  # where none can be had, none is named
    computer.add("apt-cache", APT_CACHE)
    what, command = name() or ("", "")
    assert what.startswith("a build with clang 17 or newer")
    assert command.removeprefix("sudo ") == "apt-get install -y clang-19 && ./install.sh"


def test_where_packages_cannot_be_asked_for_clang_is_named(computer: Computer) -> None:
    computer.add("dnf")
    assert (name() or ("", ""))[1].endswith("dnf install -y clang && ./install.sh")


def test_a_compiler_of_choice_is_told_of_the_default(computer: Computer) -> None:
    what, command = name(compiler="gcc") or ("", "")
    assert what.startswith("a build with clang 17 or newer, or zig")
    assert command == "./install.sh"


@pytest.mark.parametrize(
    "label",
    [
        "zig 0.17, native instructions",
        "clang 19, native instructions",
        "gcc 12, native instructions, cuda",
        "upstream's prebuilt library (cu124)",
    ],
)
def test_nothing_is_known_to_be_faster_than_the_best(computer: Computer, label: str) -> None:
    assert name(label) is None
    assert name_faster(GCC, replace(SAPPHIRE_RAPIDS, system="Darwin"), "auto") is None


def test_a_library_for_this_processor_is_faster_than_a_generic_one(computer: Computer) -> None:
    assert name("upstream's prebuilt library (cpu)") == (
        "a library compiled for this processor",
        "./install.sh --rebuild",
    )


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    assert read_stamp(tmp_path) == {}
    write_stamp(tmp_path, {"built": "gcc 12", "speed": "a=b: 3 tokens/s", "faster": ""})
    assert read_stamp(tmp_path) == {"built": "gcc 12", "speed": "a=b: 3 tokens/s"}
    write_stamp(tmp_path / "nowhere", {"built": "gcc 12"})
