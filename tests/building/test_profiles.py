"""The plan as data: from a machine and its compilers to the builds that are tried, in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up import SAPPHIRE_RAPIDS, Computer

from ttc_cli.building.compilers import ZIG, Compiler
from ttc_cli.building.machine import Machine
from ttc_cli.building.profiles import Profile, choose_targets, plan_profiles
from ttc_cli.errors import TtcError

CLANG = Compiler("clang 19", "/usr/bin/clang-19", "/usr/bin/clang++-19")
GCC12 = Compiler("gcc 12", "/usr/bin/gcc", "/usr/bin/g++")
GCC14 = Compiler("gcc 14", "/usr/bin/gcc", "/usr/bin/g++")
APPLE = Machine("Darwin", "arm64", ("Apple M4",), 5)
GPU = "#!/bin/sh\necho 'GPU 0: X'\n"


def plan(
    *compilers: Compiler,
    machine: Machine = SAPPHIRE_RAPIDS,
    target: tuple[str, str] = ("cpu", ""),
    surroundings: str = "",
) -> list[Profile]:
    return plan_profiles([target], machine, {target[0]: compilers}, surroundings)


def test_a_native_build_by_each_compiler_then_ever_fewer_instructions() -> None:
    assert [profile.label for profile in plan(CLANG, GCC12)] == [
        "clang 19, native instructions",
        "gcc 12, native instructions, AMX cure",
        "clang 19, avx512 instructions",
        "gcc 12, avx512 instructions",
        "clang 19, avx2 instructions",
        "gcc 12, avx2 instructions",
        "clang 19, baseline instructions",
        "gcc 12, baseline instructions",
    ]


@pytest.mark.parametrize(
    ("architecture", "features", "levels"),
    [
        ("x86_64", "avx2 avx512f amx_tile", ["native", "avx512", "avx2", "baseline"]),
        ("x86_64", "avx avx2 fma", ["native", "avx2", "baseline"]),
        ("x86_64", "sse4_2", ["native", "baseline"]),
        ("aarch64", "asimd asimddp", ["native", "dotprod", "baseline"]),
        ("aarch64", "asimd", ["native", "baseline"]),
    ],
)
def test_instructions_by_name_are_those_of_the_processor(
    architecture: str, features: str, levels: list[str]
) -> None:
    machine = Machine("Linux", architecture, tuple(features.split()), 4)
    assert [profile.instructions for profile in plan(ZIG, machine=machine)] == levels


ON = "-DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON -DGGML_F16C=ON"


def test_flags() -> None:
    zig, clang = plan(ZIG), plan(CLANG)
    assert [profile.flags for profile in zig] == [
        "-DGGML_OPENMP=OFF -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF",
        f"-DGGML_OPENMP=OFF -DGGML_NATIVE=OFF {ON} -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON "
        "-DLLAVA_BUILD=OFF",
        f"-DGGML_OPENMP=OFF -DGGML_NATIVE=OFF {ON} -DLLAVA_BUILD=OFF",
        f"-DGGML_OPENMP=OFF -DGGML_NATIVE=OFF {ON.replace('ON', 'OFF')} -DLLAVA_BUILD=OFF",
    ]
    assert clang[0].flags == "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"
    [metal] = plan(CLANG, machine=APPLE, target=("metal", ""))
    assert metal.flags == (
        "-DGGML_NATIVE=ON -DGGML_METAL=on -DCMAKE_OSX_ARCHITECTURES=arm64 -DLLAVA_BUILD=OFF"
    )
    assert metal.label == "clang 19, native instructions, metal"
    [cuda, _] = plan(GCC14, CLANG, target=("cuda", ""))
    assert cuda.flags == "-DGGML_NATIVE=ON -DGGML_CUDA=on -DLLAVA_BUILD=OFF"


def test_the_amx_cure_is_for_old_gccs_on_amx_machines() -> None:
    older = replace(SAPPHIRE_RAPIDS, features=("avx2",))
    assert plan(GCC12)[0].label.endswith("AMX cure")
    assert not plan(GCC14)[0].label.endswith("AMX cure")
    assert plan(Compiler("gcc", "/opt/gcc"))[0].label == "gcc, native instructions"
    assert not plan(GCC12, machine=older)[0].label.endswith("AMX cure")


def test_the_key_changes_with_all_that_the_build_depends_on_and_not_otherwise() -> None:
    others = [
        plan(CLANG)[1],
        plan(GCC14)[0],
        plan(CLANG, surroundings="-DGGML_LTO=ON")[0],
        plan(CLANG, machine=replace(SAPPHIRE_RAPIDS, features=("avx2",)))[0],
        plan(CLANG, machine=replace(SAPPHIRE_RAPIDS, system="Darwin"))[0],
        plan(target=("cpu", "cpu"))[0],
        plan(CLANG, target=("vulkan", ""))[0],
    ]
    keys = {profile.key for profile in (plan(CLANG)[0], *others)}
    assert len(keys) == 8
    assert not any(set(key) & set(" /'") for key in keys)
    moved = replace(CLANG, cc="/opt/clang-19")
    faster = replace(SAPPHIRE_RAPIDS, jobs=64)
    assert plan(moved, machine=faster)[0].key == plan(CLANG)[0].key


# --- what is built for --------------------------------------------------------------------------


def choose(wanted: str = "auto", machine: Machine = SAPPHIRE_RAPIDS, prebuilt: bool = False):
    return choose_targets(wanted, machine, prebuilt=prebuilt)


def test_without_a_gpu_the_processor(computer: Computer) -> None:
    assert choose() == [("cpu", "")]
    assert choose(prebuilt=True) == [("cpu", "cpu"), ("cpu", "")]
    computer.add("nvcc")  # containers and build machines have it too
    computer.add("nvidia-smi", "#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert choose() == [("cpu", "")]


def test_a_gpu_and_the_processor_where_that_fails(computer: Computer) -> None:
    computer.add("nvidia-smi", GPU)
    computer.add("nvcc")
    assert choose() == [("cuda", ""), ("cpu", "")]
    assert choose("cuda") == [("cuda", "")]  # what is named is not replaced
    assert choose("cpu") == [("cpu", "")]


def test_a_device_file_is_a_gpu_too(computer: Computer) -> None:
    (computer.folder / "nvidia0").touch()
    computer.add("nvcc")
    assert choose()[0] == ("cuda", "")


@pytest.mark.parametrize(
    ("driver", "folder"),
    [
        ("CUDA Version: 12.4", "cu124"),
        ("CUDA Version: 12.7", "cu126"),
        ("CUDA Version: 13.9", "cu132"),
        ("CUDA Version: 11.8", "cu118"),
        ("CUDA Version: 10.2", "cu118"),
        ("nothing of the kind", "cu124"),
    ],
)
def test_a_gpu_without_nvcc_takes_the_newest_prebuilt_library_that_its_driver_runs(
    computer: Computer, driver: str, folder: str
) -> None:
    computer.add("nvidia-smi", f"{GPU}echo '| {driver} |'\n")
    assert choose() == [("cuda", folder), ("cpu", "")]
    assert choose("cuda") == [("cuda", folder)]


@pytest.mark.parametrize(
    ("wanted", "program", "said", "hint"),
    [
        ("vulkan", "glslc", "glslc", "apt-get install -y glslc libvulkan-dev"),
        ("rocm", "hipcc", "hipcc", "apt-get install -y hipcc"),
        ("sycl", "icpx", "icx and icpx", "setvars.sh && ./install.sh --accelerator sycl"),
    ],
)
def test_what_an_accelerator_takes_is_named(
    computer: Computer,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    program: str,
    said: str,
    hint: str,
) -> None:
    monkeypatch.setattr("ttc_cli.building.profiles.name_installer", lambda: "./install.sh")
    computer.add("apt-get")
    with pytest.raises(TtcError, match=said) as caught:
        choose(wanted)
    assert (caught.value.hint or "").endswith(hint)
    computer.add(program)
    assert choose(wanted) == [(wanted, "")]


def test_prebuilt_libraries_take_no_compiler(computer: Computer) -> None:
    assert choose("rocm", prebuilt=True) == [("rocm", "rocm72")]
    assert choose("vulkan", prebuilt=True) == [("vulkan", "vulkan")]


def test_metal_is_for_macs(computer: Computer) -> None:
    assert choose(machine=APPLE) == [("metal", "")]
    assert choose(machine=replace(APPLE, architecture="x86_64")) == [("cpu", "")]
    assert choose("cpu", machine=APPLE, prebuilt=True) == [("cpu", "cpu")]  # nothing compiles here
    with pytest.raises(TtcError, match="macOS only"):
        choose("metal")
