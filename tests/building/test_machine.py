"""What a machine is, from the texts that it says of itself."""

from __future__ import annotations

import os

import pytest
from made_up import Computer

from ttc_cli.building.machine import (
    count_jobs,
    has_nvidia_gpu,
    name_package_command,
    read_features,
    read_machine,
)

X86 = "processor : 0\nflags\t\t: fpu avx2 sse4_2 lm avx512_vnni {}\n\nprocessor : 1\nflags : mmx\n"
ARM = "Features\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0c\n\nCPU part\t: 0xd0b\n"


def test_features_are_what_changes_the_machine_code() -> None:
    assert read_features(X86.format("amx_tile"), "x86_64") == (
        *("amx_tile", "avx2", "avx512_vnni", "sse4_2"),
    )
    newer_kernel = X86.format("some_new_flag avx512_new")
    assert read_features(newer_kernel, "x86_64") == read_features(X86.format(""), "x86_64")
    assert read_features(ARM, "aarch64") == ("asimd", "asimddp", "i8mm", "0xd0b", "0xd0c")
    assert read_features("", "x86_64") == ()


@pytest.mark.parametrize(
    ("cores", "gigabytes", "jobs"), [(4, 16, 4), (64, 16, 9), (8, 1, 1), (1, 64, 1)]
)
def test_jobs_fit_cores_and_memory(cores: int, gigabytes: int, jobs: int) -> None:
    assert count_jobs(cores, gigabytes * 2**30 * 9 // 10) == jobs


def test_this_machine() -> None:
    machine = read_machine()
    assert machine.system in ("Linux", "Darwin")
    assert 1 <= machine.jobs <= (os.cpu_count() or 1)


def test_a_mac(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: ("Darwin", "", "", "", "arm64"))
    computer.add("sysctl", "#!/bin/sh\necho Apple M4\n")
    assert read_machine().features == ("Apple M4",)


def test_a_program_that_cannot_be_started_says_nothing(computer: Computer) -> None:
    computer.add("nvidia-smi", "no program\0")
    assert not has_nvidia_gpu()


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install -y a"),
        ("dnf", "sudo dnf install -y d"),
        ("zypper", "sudo zypper install -y o"),
        ("pacman", "sudo pacman -S --needed o"),
        ("apk", "sudo apk add o"),
        ("brew", "brew install o"),
        ("other", "install o with this system's package manager"),
    ],
)
def test_packages_are_installed_by_the_manager_that_is_here(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, manager: str, command: str
) -> None:
    computer.add(manager)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert name_package_command("a", "d", "o") == command
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert name_package_command("a", "d", "o") == command.removeprefix("sudo ")
