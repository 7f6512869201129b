"""The builds to try on a machine, best first: the plan, before anything is built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttc_cli.building.compilers import ZIG, Compiler, can_compile
from ttc_cli.building.machine import Machine, has_nvidia_gpu, name_package_command
from ttc_cli.building.patches import FIXES
from ttc_cli.children import ask, find_program
from ttc_cli.errors import TtcError
from ttc_cli.paths import name_installer

ACCELERATORS = {
    "cpu": "",
    "cuda": "-DGGML_CUDA=on",
    "metal": "-DGGML_METAL=on -DCMAKE_OSX_ARCHITECTURES={architecture}",
    "vulkan": "-DGGML_VULKAN=on",
    "rocm": "-DGGML_HIP=on",
    "sycl": "-DGGML_SYCL=on",
}
"""What llama.cpp can compute on, and the flags that make it do so."""

# The program that compiling takes, what to say without it, and the packages of apt, dnf and others.
_NEEDS = {
    "vulkan": (
        "glslc",
        "Vulkan needs the shader compiler glslc and the Vulkan headers.",
        ("glslc libvulkan-dev", "glslc vulkan-loader-devel", "shaderc vulkan-headers"),
    ),
    "rocm": (
        "hipcc",
        "ROCm needs hipcc, which comes with the ROCm development packages.",
        ("hipcc", "rocm-hip-devel", "hip"),
    ),
    "sycl": ("icpx", "SYCL needs Intel's oneAPI compilers icx and icpx on the PATH.", ()),
}

_ONEAPI = "/opt/intel/oneapi/setvars.sh"

# Versions of CUDA (× 10) that upstream's index has libraries for.
_PREBUILT_CUDA = (132, 131, 130, 129, 128, 126, 125, 124, 123, 122, 121, 118)

_AVX_ON, _AVX_OFF = (
    " ".join(f"-DGGML_{name}={state}" for name in ("AVX", "AVX2", "BMI2", "FMA", "F16C"))
    for state in ("ON", "OFF")
)

# A native build that crashes (a hypervisor that announces what it does not allow, a compiler's
# fault) is followed by ever fewer instructions; which of them is safe only a decode can tell.
# Name, the feature that it takes, flags.
_X86 = (
    ("avx512", "avx512f", f"{_AVX_ON} -DGGML_AVX512=ON"),
    ("avx2", "avx2", _AVX_ON),
    ("baseline", "", _AVX_OFF),
)
_ARM = (
    ("dotprod", "asimddp", "-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod"),
    ("baseline", "", "-DGGML_CPU_ARM_ARCH=armv8-a"),
)
_AVX512 = {"avx512vbmi": "VBMI", "avx512_vnni": "VNNI", "avx512_bf16": "BF16"}


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to get a library.

    ``instructions`` is native, a level's name, or the folder of the prebuilt library, which has no
    ``compiler``. ``recipe`` is all that the result depends on.
    """

    accelerator: str
    instructions: str
    compiler: Compiler | None
    flags: str
    label: str
    recipe: str

    @property
    def key(self) -> str:
        """The name of the folder that keeps the wheel."""
        digest = hashlib.sha256(self.recipe.encode()).hexdigest()[:10]
        return f"{re.sub(r'[^a-z0-9.]+', '_', self.label)}-{digest}"


def choose_targets(wanted: str, machine: Machine, *, prebuilt: bool) -> list[tuple[str, str]]:
    """What to build for, best first: accelerators, each with a folder of upstream's index.

    A folder holds the prebuilt library; without one, it is compiled. What is named is not silently
    replaced: only ``auto`` falls back from a GPU to the processor.

    Raises:
        TtcError: what compiling for ``wanted`` takes is not here.
    """
    chosen = wanted
    if wanted == "auto":
        apple = (machine.system, machine.architecture) == ("Darwin", "arm64")
        chosen = "metal" if apple else "cuda" if has_nvidia_gpu() else "cpu"
    if chosen == "metal" and machine.system != "Darwin":
        raise TtcError("Metal exists on macOS only.", f"{name_installer()} --accelerator cpu")
    if chosen == "cuda" and not prebuilt and not find_program("nvcc"):
        print("A CUDA GPU but no nvcc: taking upstream's prebuilt CUDA library, if it can be had.")
        prebuilt = True
    if chosen == "sycl" or (chosen in _NEEDS and not prebuilt):
        program, message, packages = _NEEDS[chosen]
        if not find_program(program):
            oneapi = f"source {_ONEAPI} && {name_installer()} --accelerator sycl"
            raise TtcError(message, name_package_command(*packages) if packages else oneapi)
    falls_back = wanted == "auto" if chosen == "cuda" else chosen == "cpu" and prebuilt
    targets = [(chosen, _name_folder(chosen) if prebuilt else "")]
    return targets + [("cpu", "")] * (falls_back and can_compile(machine))


def _name_folder(accelerator: str) -> str:
    """The folder of upstream's index that fits: for CUDA the newest that the driver can run."""
    if accelerator == "cuda":
        found = re.search(r"CUDA Version: *(\d+)\.(\d)", ask("nvidia-smi"))
        driver = int(found[1] + found[2]) if found else 124
        return f"cu{next((each for each in _PREBUILT_CUDA if each <= driver), 118)}"
    return "rocm72" if accelerator == "rocm" else accelerator


def plan_profiles(
    targets: Sequence[tuple[str, str]],
    machine: Machine,
    compilers: Mapping[str, Sequence[Compiler]],
    surroundings: str,
) -> list[Profile]:
    """The builds to try, best first.

    Args:
        targets: what to build for, as from ``choose_targets``.
        machine: what to build on.
        compilers: for each accelerator that is compiled for, best first.
        surroundings: what else the result depends on: versions, the user's flags.
    """
    here = " | ".join((machine.system, machine.architecture, *machine.features, surroundings))
    profiles = []
    for accelerator, folder in targets:
        if folder:
            label = f"upstream's prebuilt library ({folder})"
            profiles.append(Profile(accelerator, folder, None, "", label, f"{here} | {label}"))
            continue
        gpu = ACCELERATORS[accelerator].format(architecture=machine.architecture)
        for instructions, wanted in _list_instructions(accelerator, machine):
            for compiler in compilers[accelerator]:
                openmp = "-DGGML_OPENMP=OFF" if compiler == ZIG else ""
                flags = " ".join(filter(None, (openmp, wanted, gpu, "-DLLAVA_BUILD=OFF")))
                label = f"{compiler.name}, {instructions} instructions"
                label += ", AMX cure" * (instructions == "native" and compiler.breaks(machine))
                label += f", {accelerator}" * (accelerator != "cpu")
                recipe = f"{here} | {label} | {flags} | {FIXES}"
                profiles.append(Profile(accelerator, instructions, compiler, flags, label, recipe))
    return profiles


def _list_instructions(accelerator: str, machine: Machine) -> list[tuple[str, str]]:
    """Names and flags of the instruction sets to try, the most first."""
    found = [("native", "-DGGML_NATIVE=ON")]
    if accelerator == "cpu" and machine.system != "Darwin":
        for name, feature, flags in _X86 if machine.architecture == "x86_64" else _ARM:
            if not feature or feature in machine.features:
                parts = _AVX512 if name == "avx512" else {}
                more = [
                    f" -DGGML_AVX512_{parts[each]}=ON" for each in parts if each in machine.features
                ]
                found.append((name, f"-DGGML_NATIVE=OFF {flags}{''.join(more)}"))
    return found
