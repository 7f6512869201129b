"""Compilers on a PATH of fakes: which are found, which pass for working, in which order."""

from __future__ import annotations

import pytest
from made_up import SAPPHIRE_RAPIDS, Computer

from ttc_cli.building.compilers import find_compilers
from ttc_cli.building.machine import Machine
from ttc_cli.errors import TtcError

APPLE = Machine("Darwin", "arm64", ("Apple M4",), 5)


def found(
    wanted: str = "auto", accelerator: str = "cpu", machine: Machine = SAPPHIRE_RAPIDS
) -> list[str]:
    return [compiler.name for compiler in find_compilers(wanted, accelerator, machine)]


def test_a_modern_clang_is_preferred_and_nvcc_prefers_gcc(computer: Computer) -> None:
    computer.add_clang(18)
    computer.add_clang(19)
    computer.add_gcc(14)
    assert found() == ["clang 19", "gcc 14"]
    assert found(accelerator="cuda") == ["gcc 14", "clang 19"]


def test_without_a_modern_clang_zig_comes_before_gcc(computer: Computer) -> None:
    assert found() == ["zig 0.17"]
    assert found(accelerator="cuda") == []  # nvcc cannot drive zig
    computer.add_clang(14)
    computer.add_gcc(13)
    assert found() == ["zig 0.17", "gcc 13"]
    assert found("clang") == ["clang 14"]
    assert found("zig") == ["zig 0.17"]


def test_one_that_makes_no_programs_is_passed_over(computer: Computer) -> None:
    computer.add_clang(19)
    computer.add("clang++-19", "#!/bin/sh\nexit 1\n")
    assert found() == ["zig 0.17"]
    computer.add_clang(18)
    assert found() == ["clang 18"]
    computer.add("gcc", "#!/bin/sh\necho 'Apple clang version 17.0.0'\n")
    computer.add("g++")
    assert found() == ["clang 18"]  # macOS calls its clang gcc


@pytest.mark.parametrize(
    ("c", "cxx"),
    [
        ("clang", "clang++"),
        ("clang-19", "clang++-19"),
        ("gcc", "g++"),
        ("gcc-13", "g++-13"),
        ("aarch64-linux-gnu-gcc-13", "aarch64-linux-gnu-g++-13"),
        ("icx", "icpx"),
        ("tcc", "tc++"),
        ("cc", "c++"),
        ("odd", "odd++"),
    ],
)
def test_the_cxx_compiler_that_belongs_to_one(computer: Computer, c: str, cxx: str) -> None:
    path = computer.add(c)
    computer.add(cxx)
    [compiler] = find_compilers(path, "cpu", SAPPHIRE_RAPIDS)
    assert (compiler.name, compiler.cc) == (c, path)
    assert compiler.cxx == str(computer.folder / "bin" / cxx)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("gcc", "dnf install -y gcc-c++"),
        ("clang", "dnf install -y clang"),
        ("mycc", "install.sh --compiler zig"),
    ],
)
def test_one_that_is_named_and_not_here_is_an_error(
    computer: Computer, wanted: str, hint: str
) -> None:
    computer.add("dnf")
    with pytest.raises(TtcError, match=wanted) as caught:
        found(wanted)
    assert (caught.value.hint or "").endswith(hint)


def test_macos_takes_its_own(computer: Computer) -> None:
    computer.add("clang", "#!/bin/sh\necho 'Apple clang version 17.0.0'\n")
    with pytest.raises(TtcError, match="not installed") as caught:
        found(accelerator="metal", machine=APPLE)
    assert (caught.value.hint or "").startswith("xcode-select --install && ")
    computer.add("xcode-select", "#!/bin/sh\necho /Library\n")
    assert found(accelerator="metal", machine=APPLE) == ["clang 17"]


def test_sycl_takes_intels(computer: Computer) -> None:
    computer.add("icx")
    assert found(accelerator="sycl") == ["icx"]
