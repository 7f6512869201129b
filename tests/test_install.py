"""install.sh on made-up machines: a PATH of fakes, a /proc of its own, no compiler and no network.

The fake Python plays venv, pip, the compiler wheel and the self-test; its "wheels" are text files
that say how they were built, so that a test can let any of them crash.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ttc_cli import paths

ROOT = Path(__file__).parents[1]
BASH = shutil.which("bash") or "/bin/bash"
_COREUTILS = """
    awk basename bash cat chmod cksum cp cut date df dirname env find getconf grep gzip head id
    mkdir mktemp mv rm sed sleep sort tail tar touch tr
"""

PYTHON = r"""#!/bin/sh
prefix=$(dirname "$(dirname "$0")")
echo "$(basename "$prefix") $*" >>"$FAKE/log"
# What lies in the folder that the installer is called from must not be imported.
test -n "$PYTHONSAFEPATH" || exit 99
case "$1 $2" in
  "-c import venv, ensurepip") test -z "$FAKE_NO_VENV" ;;
  "-c import ttc_cli"*) test -f "$prefix/installed" ;;
  "-c "* | "-m tarfile") exec "$FAKE_REAL_PYTHON" "$@" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$FAKE/ttc" "$3/bin/ttc" ;;
  "-m ziglang") exit 0 ;;
  "-m ttc_cli.engines.llamacpp.selftest")
    case "$*" in *--speed*) echo "${FAKE_SPEED:-42 tokens/s alone}"; exit 0 ;; esac
    if [ -n "$FAKE_CRASHES" ] && grep -Eq -- "$FAKE_CRASHES" "$prefix/installed"; then
      echo "crashes at its first decode (SIGSEGV)" >&2
      exit 70
    fi
    exit "${FAKE_TEST_STATUS:-0}" ;;
  "-m pip")
    for last; do :; done
    case "$*" in
      *" download "*--only-binary*)
        test -n "$FAKE_PREBUILT" || exit 1
        while [ "$1" != -d ]; do shift; done
        echo prebuilt >"$2/llama_cpp_python-0.whl" ;;
      *" download "*)
        while [ "$1" != -d ]; do shift; done
        name="llama_cpp_python-${last#*==}"
        mkdir -p "$2/$name" && touch "$2/$name/pyproject.toml"
        tar -czf "$2/$name.tar.gz" -C "$2" "$name" && rm -r "$2/$name" ;;
      *" wheel "*)
        test -f "$last/pyproject.toml" || exit 1
        built="cc=$CC cxx=$CXX args=$CMAKE_ARGS"
        if [ -n "$FAKE_FAILS" ] && echo "$built" | grep -Eq -- "$FAKE_FAILS"; then exit 1; fi
        while [ "$1" != -w ]; do shift; done
        { echo "$built"; cat "${SKBUILD_BUILD_DIR%/cmake}/overrides.cmake"; } \
          >"$2/llama_cpp_python-0.whl" ;;
      *" install "*ziglang*) test -z "$FAKE_NO_ZIG" ;;
      *" install scikit-build-core"*)
        if [ -n "$FAKE_NO_INDEX" ]; then echo "no route to the index"; exit 1; fi ;;
      *" install "*.whl) cp "$last" "$prefix/installed" ;;
    esac ;;
esac
"""

TTC = r"""#!/bin/sh
echo "ttc $*" >>"$FAKE/log"
case "$*" in
  "models pull"*)
    case "$*" in *"${FAKE_NO_NETWORK:-nothing}"*) exit 6 ;; esac
    for last; do :; done
    mkdir -p "$FAKE/models" && touch "$FAKE/models/${last#--yes}.gguf"
    echo "$FAKE/models/${last#--yes}.gguf" ;;
esac
"""

CLANG = '#!/bin/sh\ncase "$1" in --version) echo "clang version {}.1.0";; esac\n'
GCC = (
    '#!/bin/sh\ncase "$1" in --version) echo "gcc {0}.2.0 Free Software Foundation";;\n'
    "-dumpversion) echo {0};; esac\n"
)

SAPPHIRE_RAPIDS = "sse4_2 avx avx2 fma f16c bmi2 avx512f avx512bw avx512_vnni amx_tile amx_int8"


class Machine:
    """A clone of the repository, a home, and a PATH on which only fakes and coreutils lie."""

    def __init__(self, folder: Path, flags: str = SAPPHIRE_RAPIDS) -> None:
        self.clone = folder / "a clone"  # with a space: users have such
        self.home = folder / "home"
        self.bin = folder / "bin"
        for made in (self.clone, self.home, self.bin, folder / "root/dev"):
            made.mkdir(parents=True)
        for name in ("install.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone / name)
        for tool in _COREUTILS.split():
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.write("root/proc/cpuinfo", f"processor : 0\nflags : fpu {flags} lm\n")
        self.write("root/proc/meminfo", "MemTotal: 16000000 kB\n")
        self.write("ttc", TTC)
        self.add("python3", PYTHON)
        self.add("uname", '#!/bin/sh\ncase "$1" in -s) echo Linux;; *) echo x86_64;; esac\n')
        self.add("nproc", "#!/bin/sh\necho 4\n")
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "FAKE": str(folder),
            "FAKE_REAL_PYTHON": sys.executable,
            "TTC_INSTALL_SYSTEM": str(folder / "root"),
        }

    @property
    def folder(self) -> Path:
        return self.bin.parent

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def add(self, program: str, text: str = "#!/bin/sh\n") -> None:
        self.write(f"bin/{program}", text)

    def add_clang(self, version: int) -> None:
        self.add(f"clang-{version}", CLANG.format(version))
        self.add(f"clang++-{version}")

    def add_gcc(self, version: int) -> None:
        self.add("gcc", GCC.format(version))
        self.add("g++")

    def install(self, *options: str, **fakes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BASH, str(self.clone / "install.sh"), *options],
            env={**self.environment, **fakes},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def plan(self, *options: str) -> list[str]:
        """The labels of the profiles that would be tried, in order."""
        done = self.install("--dry-run", *options)
        assert done.returncode == 0, done.stderr
        return re.findall(r"^  (\S.*)$", done.stdout, re.MULTILINE)

    @property
    def installed(self) -> str:
        """How the engine in .venv was built."""
        return (self.clone / ".venv/installed").read_text()

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def clear_log(self) -> None:
        (self.folder / "log").write_text("")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_finds_its_own_folder_whatever_cd_is_told(machine: Machine) -> None:
    (machine.folder / "elsewhere" / machine.clone.name).mkdir(parents=True)
    done = subprocess.run(
        [BASH, str(machine.clone.relative_to(machine.folder) / "install.sh"), "--dry-run"],
        env={**machine.environment, "CDPATH": f"{machine.folder}/elsewhere:."},
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "engine" in done.stdout) == (0, True), done.stderr


# --- the plan -----------------------------------------------------------------------------------


def test_a_modern_clang_is_preferred(machine: Machine) -> None:
    machine.add_clang(19)
    machine.add_gcc(14)
    assert machine.plan()[:3] == [
        "clang 19, native instructions",
        "gcc 14, native instructions",
        "clang 19, avx512 instructions",
    ]


def test_without_a_modern_clang_zig_comes_before_gcc(machine: Machine) -> None:
    machine.add_clang(14)
    machine.add_gcc(13)
    labels = machine.plan()
    assert labels[0] == "zig 0.17, native instructions"
    assert labels[1] == "gcc 13, native instructions"


def test_an_old_gcc_gets_the_amx_cure(machine: Machine) -> None:
    machine.add_gcc(12)
    assert "gcc 12, native instructions, AMX cure" in machine.plan()


def test_a_machine_without_any_compiler_builds_with_zig(machine: Machine) -> None:
    labels = machine.plan()
    assert labels == [
        "zig 0.17, native instructions",
        "zig 0.17, avx512 instructions",
        "zig 0.17, avx2 instructions",
        "zig 0.17, baseline instructions",
    ]


def test_a_compiler_that_makes_no_programs_is_passed_over(machine: Machine) -> None:
    machine.add_clang(19)
    machine.add("clang++-19", "#!/bin/sh\nexit 1\n")
    assert machine.plan()[0] == "zig 0.17, native instructions"


def test_instructions_by_name_are_those_of_the_processor(tmp_path: Path) -> None:
    machine = Machine(tmp_path, flags="avx avx2 fma f16c bmi2")
    assert not any("avx512" in label for label in machine.plan())


def test_nvcc_without_a_gpu_is_no_cuda_machine(machine: Machine) -> None:
    machine.add("nvcc")
    machine.add("nvidia-smi", "#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert "accelerator  cpu" in machine.install("--dry-run").stdout


def test_a_gpu_with_nvcc_is_compiled_for_with_gcc_first(machine: Machine) -> None:
    machine.add("nvcc")
    machine.add("nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA H100'\n")
    machine.add_gcc(12)
    machine.add_clang(19)
    assert machine.plan()[:4] == [
        "gcc 12, native instructions, AMX cure, cuda",
        "clang 19, native instructions, cuda",
        "clang 19, native instructions",  # should CUDA fail
        "gcc 12, native instructions, AMX cure",
    ]
    assert not any("cuda" in label for label in machine.plan()[2:])
    assert machine.install().returncode == 0
    assert "-DGGML_CUDA=on" in machine.installed
    done = machine.install("--rebuild", FAKE_FAILS="GGML_CUDA")
    assert done.returncode == 0, done.stderr
    assert "-DGGML_CUDA=on" not in machine.installed
    asked_for = machine.install("--rebuild", "--accelerator", "cuda", FAKE_FAILS="GGML_CUDA")
    assert asked_for.returncode == 1  # what was asked for by name is not replaced


def test_a_device_file_is_a_gpu_too(machine: Machine) -> None:
    machine.write("root/dev/nvidia0", "")
    assert "accelerator  cuda" in machine.install("--dry-run").stdout


def test_a_gpu_without_nvcc_takes_the_prebuilt_library_and_falls_back_to_cpu(
    machine: Machine,
) -> None:
    machine.add(
        "nvidia-smi",
        "#!/bin/sh\ncase \"$1\" in -L) echo 'GPU 0: X';; *) echo '| CUDA Version: 12.4 |';; esac",
    )
    labels = machine.plan()
    assert labels[:2] == [
        "upstream's prebuilt library (cu124)",
        "zig 0.17, native instructions",
    ]
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "that did not work (upstream's prebuilt library (cu124))" in done.stderr
    assert "GGML_CUDA" not in machine.installed
    assert machine.install("--rebuild", FAKE_PREBUILT="1").returncode == 0
    assert machine.installed == "prebuilt\n"


def test_an_accelerator_that_was_asked_for_is_not_silently_replaced(machine: Machine) -> None:
    assert machine.plan("--accelerator", "cuda") == ["upstream's prebuilt library (cu124)"]
    done = machine.install("--accelerator=vulkan")
    assert done.returncode == 1
    assert "glslc" in done.stderr
    assert machine.install("--accelerator", "metal").returncode == 1


def test_metal_on_apple_silicon(machine: Machine) -> None:
    machine.add("uname", '#!/bin/sh\ncase "$1" in -s) echo Darwin;; *) echo arm64;; esac\n')
    machine.add(
        "sysctl", '#!/bin/sh\ncase "$2" in hw.memsize) echo 8589934592;; *) echo 8;; esac\n'
    )
    machine.add("clang", "#!/bin/sh\necho 'Apple clang version 17.0.0'\n")
    machine.add("clang++")
    done = machine.install("--dry-run")
    assert done.returncode == 1
    assert "xcode-select --install" in done.stderr
    machine.add("xcode-select")
    done = machine.install("--dry-run")
    assert "accelerator  metal" in done.stdout
    assert "-DGGML_METAL=on -DCMAKE_OSX_ARCHITECTURES=arm64" in done.stdout
    assert f"{machine.home}/Library/Caches/ttc" in done.stdout
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "Built    llama.cpp (clang 17, native instructions, metal)" in done.stdout
    machine.install("--rebuild", "--accelerator", "cpu")
    assert "set(GGML_METAL OFF)" in machine.installed


def test_the_key_changes_with_flags_and_features_and_not_otherwise(machine: Machine) -> None:
    def key(**environment: str) -> str:
        found = re.search(r"key +(\S+)", machine.install("--dry-run", **environment).stdout)
        assert found
        return found.group(1)

    first = key()
    assert key() == first
    assert key(CMAKE_ARGS="-DGGML_LTO=ON") != first
    cpuinfo = machine.folder / "root/proc/cpuinfo"
    text = cpuinfo.read_text()
    cpuinfo.write_text(text.replace(" lm", " lm some_new_kernel_flag"))
    assert key() == first
    cpuinfo.write_text(text.replace("amx_int8", ""))
    assert key() != first


# --- installing ---------------------------------------------------------------------------------


def test_a_fresh_machine_is_set_up_in_the_right_order(machine: Machine) -> None:
    machine.add_clang(19)
    done = machine.install()
    assert done.returncode == 0, done.stderr
    order = [
        "wheel -v",  # the engine is compiled …
        "--force-reinstall",  # … and installed before ttc, which would compile a plain one
        "install -e",
        "ttc models pull smollm2-135m",
        f"selftest {machine.folder}/models/smollm2-135m.gguf --fresh",
        "ttc models pull --yes",
        f"selftest {machine.folder}/models/.gguf --speed",
    ]
    log = "\n".join(machine.log())
    places = [log.index(order[0])]
    for step in order[1:]:
        places.append(log.index(step, places[-1] + 1))
    assert "Built    llama.cpp (clang 19, native instructions)" in done.stdout
    assert "42 tokens/s alone" in done.stdout
    assert '.venv/bin/ttc solve "' in done.stdout
    assert "LLAMA_BUILD_COMMON OFF" in machine.installed
    wheels = list((machine.home / ".cache/ttc/wheels").glob("*/*.whl"))
    assert len(wheels) == 1
    assert not (machine.home / ".cache/ttc/build").exists()


def test_a_second_run_installs_nothing(machine: Machine) -> None:
    machine.install()
    machine.clear_log()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "set up already" in done.stdout
    assert "42 tokens/s alone" in done.stdout
    asked = ("pip --no-input", "selftest", "ttc ")
    assert not [line for line in machine.log() if any(word in line for word in asked)]


def test_a_model_that_is_gone_is_fetched_again(machine: Machine) -> None:
    machine.install()
    (machine.folder / "models/.gguf").unlink()
    machine.clear_log()
    machine.install()
    assert "ttc models pull --yes" in machine.log()


def test_a_lost_venv_is_made_again_from_the_kept_wheel(machine: Machine) -> None:
    machine.install()
    shutil.rmtree(machine.clone / ".venv")
    machine.clear_log()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "was built before" in done.stdout
    assert not [line for line in machine.log() if " wheel " in line]


def test_dev_tools_come_with_dev_and_stay(machine: Machine) -> None:
    machine.install()
    machine.clear_log()
    machine.install("--dev")
    assert any(line.endswith("a clone[dev]") for line in machine.log())
    machine.clear_log()
    assert "set up already" in machine.install().stdout


def test_a_build_that_crashes_is_followed_by_the_next_profile(machine: Machine) -> None:
    machine.add_gcc(12)
    done = machine.install(FAKE_CRASHES="GGML_NATIVE=ON")
    assert done.returncode == 0, done.stderr
    assert "crashes here (zig 0.17, native instructions)" in done.stderr
    assert "crashes here (gcc 12, native instructions, AMX cure)" in done.stderr
    assert "GGML_AVX512=ON" in machine.installed
    assert "zig 0.17, avx512 instructions" in done.stdout
    # What crashed once is not built again, even with a new environment.
    shutil.rmtree(machine.clone / ".venv")
    machine.clear_log()
    again = machine.install(FAKE_CRASHES="GGML_NATIVE=ON")
    assert "it crashed here before" in again.stdout
    assert not [line for line in machine.log() if " wheel " in line]
    # --rebuild gives it another chance.
    assert machine.install("--rebuild").returncode == 0
    assert "GGML_NATIVE=ON" in machine.installed


def speed(batched: int, *, busy: bool = False) -> str:
    beside = ", while other programs compute" if busy else ""
    return f"20 tokens/s alone, {batched} at 16 candidates, reads 100/s (2 threads){beside}"


def test_a_build_that_was_measured_faster_here_is_preferred(machine: Machine) -> None:
    machine.add_clang(19)
    machine.add_gcc(14)
    assert machine.install("--compiler", "gcc", FAKE_SPEED=speed(90)).returncode == 0
    kept = list((machine.home / ".cache/ttc/wheels").glob("*/speed.txt"))
    assert [file.read_text() for file in kept] == [f".gguf: {speed(90)}\n"]
    # One measurement says nothing of the other compiler: the order from elsewhere holds.
    done = machine.install(FAKE_SPEED=speed(80))
    assert "clang" in machine.installed
    assert "gcc 14, native instructions: 90 tokens/s at 16 candidates here" in done.stdout
    machine.clear_log()
    done = machine.install(FAKE_SPEED=speed(91))
    assert "/gcc" in machine.installed
    assert "Built    llama.cpp (gcc 14, native instructions)" in done.stdout
    assert not [line for line in machine.log() if " wheel " in line]
    assert "80 tokens/s at 16 candidates" not in done.stdout
    machine.clear_log()
    assert "set up already" in machine.install().stdout
    assert machine.plan()[:3] == [
        "gcc 14, native instructions",
        "clang 19, native instructions",
        "clang 19, avx512 instructions",
    ]
    # --rebuild forgets what was measured.
    assert machine.plan("--rebuild")[0] == "clang 19, native instructions"


def test_what_was_measured_beside_other_programs_or_another_model_does_not_count(
    machine: Machine,
) -> None:
    machine.add_clang(19)
    machine.add_gcc(14)
    machine.install("--compiler", "gcc", FAKE_SPEED=speed(90, busy=True))
    machine.install(FAKE_SPEED=speed(80))
    assert machine.plan()[0] == "clang 19, native instructions"
    machine.install("--compiler", "gcc", "--model", "tiny", FAKE_SPEED=speed(900))
    assert machine.plan()[0] == "clang 19, native instructions"


def test_a_quiet_measurement_is_not_replaced_by_a_busy_one(machine: Machine) -> None:
    machine.install(FAKE_SPEED=speed(90))
    shutil.rmtree(machine.clone / ".venv")
    machine.install(FAKE_SPEED=speed(5, busy=True))
    assert "measured 90 tokens/s at 16 candidates" in machine.install("--dry-run").stdout


def test_a_build_with_gcc_names_the_clang_that_could_be_installed(machine: Machine) -> None:
    machine.add_gcc(12)
    machine.add("apt-get")
    machine.add(
        "apt-cache",
        "#!/bin/sh\n"
        'case "$2" in clang-19) echo "  Candidate: 1:19.1.7";; clang-16) echo "  Candidate: 16";;\n'
        'clang-2*) echo "  Candidate: (none)";; esac\n',
    )
    done = machine.install(FAKE_NO_ZIG="1")
    assert done.returncode == 0, done.stderr
    assert "Faster   a build with clang 17 or newer" in done.stdout
    assert re.search(
        r"^ +(sudo )?apt-get install -y clang-19 && \./install\.sh$", done.stdout, re.M
    )
    stamp = (machine.clone / ".venv/.ttc-install").read_text()
    assert "faster_command=" in stamp
    assert "clang-19" in stamp


def test_a_compiler_of_choice_is_told_of_the_default(machine: Machine) -> None:
    machine.add_gcc(12)
    done = machine.install("--compiler", "gcc")
    assert "Faster   a build with clang 17 or newer, or zig" in done.stdout
    machine.add("apt-get")
    machine.add("apt-cache")
    assert "Faster" not in machine.install().stdout  # zig: nothing is known to be faster


def test_where_no_modern_clang_can_be_had_none_is_named(machine: Machine) -> None:
    machine.add_gcc(12)
    machine.add("apt-get")
    machine.add("apt-cache")
    assert "Faster" not in machine.install(FAKE_NO_ZIG="1").stdout


def test_when_every_build_crashes_it_says_so(machine: Machine) -> None:
    done = machine.install(FAKE_CRASHES=".")
    assert done.returncode == 1
    assert "No build of llama.cpp works here" in done.stderr
    assert "baseline" in done.stderr
    assert "install.log" in done.stderr


def test_a_test_that_cannot_be_run_condemns_no_build(machine: Machine) -> None:
    done = machine.install(FAKE_TEST_STATUS="1")
    assert done.returncode == 1
    assert "could not be run" in done.stderr
    assert list((machine.home / ".cache/ttc/wheels").glob("*/*.whl"))


def test_without_zig_it_goes_on_with_gcc_and_its_cure(machine: Machine) -> None:
    machine.add_gcc(12)
    done = machine.install(FAKE_NO_ZIG="1")
    assert done.returncode == 0, done.stderr
    assert f"cc={machine.bin}/gcc cxx={machine.bin}/g++" in machine.installed
    assert "fixes.h" in machine.installed


def test_a_compiler_that_fails_is_followed_by_the_next(machine: Machine) -> None:
    machine.add_clang(19)
    machine.add_gcc(14)
    done = machine.install(FAKE_FAILS="clang")
    assert done.returncode == 0, done.stderr
    assert "/gcc" in machine.installed


def test_without_models_nothing_is_fetched_and_nothing_tested(machine: Machine) -> None:
    done = machine.install("--no-models")
    assert done.returncode == 0, done.stderr
    assert not [line for line in machine.log() if line.startswith("ttc ") or "selftest" in line]
    assert "not tested" in done.stdout
    machine.clear_log()
    assert "not tested" not in machine.install().stdout  # made good as soon as models may come
    assert any("selftest" in line and "--fresh" in line for line in machine.log())


def test_a_model_that_cannot_be_fetched_is_an_error_with_the_next_command(
    machine: Machine,
) -> None:
    done = machine.install(FAKE_NO_NETWORK="models")
    assert done.returncode == 1
    assert "The model could not be fetched. What was built is kept." in done.stderr
    machine.clear_log()
    assert machine.install().returncode == 0
    assert not [line for line in machine.log() if " wheel " in line]


def test_without_the_smallest_model_the_default_one_tests_the_build(machine: Machine) -> None:
    done = machine.install(FAKE_NO_NETWORK="smollm2")
    assert done.returncode == 0, done.stderr
    assert "Tested   a real decode" in done.stdout


def test_two_installers_do_not_meet_in_the_cache(machine: Machine) -> None:
    lock = machine.home / ".cache/ttc/install.pid"
    lock.parent.mkdir(parents=True)
    for written, said in (("", "is at work."), (f"{os.getpid()}\n", f"process {os.getpid()}")):
        lock.write_text(written)  # nothing: it has just begun
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            done = machine.install()
        assert done.returncode == 1
        assert said in done.stderr
        assert not [line for line in machine.log() if "-m venv" in line]
    assert machine.install().returncode == 0  # its holder died


@pytest.mark.parametrize("harm", ["changed", "no hash", "another beside it", "gone"])
def test_a_kept_wheel_that_is_not_what_was_built_is_built_again(
    machine: Machine, harm: str
) -> None:
    machine.install()
    built = machine.installed
    [wheel] = (machine.home / ".cache/ttc/wheels").glob("*/*.whl")
    if harm == "changed":
        wheel.write_text("another program")
    elif harm == "no hash":
        (wheel.parent / "sha256.txt").unlink()
    elif harm == "another beside it":
        wheel.with_name("another.whl").write_text("another program")
    else:
        wheel.unlink()
    shutil.rmtree(machine.clone / ".venv")
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "is not what was built here: building it again" in done.stderr
    assert machine.installed == built


def test_an_index_that_cannot_be_reached_is_told_once(machine: Machine) -> None:
    machine.add_gcc(12)
    machine.add_clang(19)
    done = machine.install(FAKE_NO_INDEX="1")
    assert done.returncode == 1
    assert done.stdout.count("Compiling llama.cpp") == 1
    assert "is the package index reachable?" in done.stderr
    assert "no route to the index" in done.stderr  # the end of the log
    assert "--rebuild" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HOME": ""}, "HOME is not set"),
        ({"HOME": "", "TTC_HOME": "~/ttc"}, "HOME is not set"),
        ({"TTC_HOME": "/proc/ttc"}, "Nothing can be kept in /proc/ttc/cache: "),
        ({"TTC_HOME": "/dev/null"}, "Nothing can be kept in /dev/null/cache: Not a directory"),
    ],
)
def test_without_a_place_for_what_is_built_it_says_what_to_set(
    machine: Machine, environment: dict[str, str], said: str
) -> None:
    environment = dict(environment)
    if "HOME" in environment:
        del machine.environment["HOME"], environment["HOME"]
    done = machine.install(**environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "TTC_HOME=/path/with/room ./install.sh" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_model_of_choice(machine: Machine) -> None:
    assert machine.install("--model", "qwen2.5-math-1.5b").returncode == 0
    assert "ttc models pull --yes qwen2.5-math-1.5b" in machine.log()
    machine.clear_log()
    assert machine.install().returncode == 0  # and the choice stays
    assert not [line for line in machine.log() if line.startswith("ttc ")]
    machine.install("--model", "other")
    assert "ttc models pull --yes other" in machine.log()


def test_a_missing_venv_module_names_the_package(machine: Machine) -> None:
    machine.add("apt-get")
    done = machine.install(FAKE_NO_VENV="1")
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
    machine.add("python3.12", PYTHON)
    assert f"python       {machine.bin}/python3.12" in machine.install("--dry-run").stdout


@pytest.mark.parametrize(
    "options",
    [["--nonsense"], ["--accelerator", "tpu"], ["--jobs", "many"], ["--model"], ["--jobs=0"]],
)
def test_wrong_options_are_refused_with_status_2(machine: Machine, options: list[str]) -> None:
    done = machine.install(*options)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_help_names_every_option(machine: Machine) -> None:
    text = (ROOT / "install.sh").read_text()
    parsed = set(
        re.findall(r"--[a-z][a-z-]+(?=[ |)])", text.split("parse_options()")[1].split("\n}")[0])
    )
    shown = machine.install("--help").stdout
    assert parsed
    assert {option for option in parsed if option not in shown} == set()


# --- the script itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XDG_CACHE_HOME": "/x y/cache"},
        {"TTC_HOME": "/somewhere/ttc"},
        {"TTC_HOME": "~/ttc"},
        {"TTC_HOME": "/t", "XDG_CACHE_HOME": "/x"},
    ],
)
def test_its_cache_is_the_programs_cache(
    environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TTC_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [BASH, "-c", f'. "{ROOT}/install.sh"; OS=$(uname -s); set_paths; printf %s "$CACHE"'],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == str(paths.cache_dir())


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


@pytest.fixture
def header(tmp_path: Path) -> Path:
    """The header that every file of llama.cpp is compiled with."""
    path = tmp_path / "fixes.h"
    with path.open("wb") as file:
        subprocess.run(
            [BASH, "-c", f'. "{ROOT}/install.sh"; fixes_header'], stdout=file, check=True
        )
    return path


def _gcc_major() -> int:
    gcc = shutil.which("g++")
    if gcc is None:
        return 0
    version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True).stdout
    return int(version.split(".")[0] or 0)


@pytest.mark.skipif(
    not 11 <= _gcc_major() < 13 or os.uname().machine != "x86_64", reason="needs an old gcc"
)
def test_the_amx_cure_keeps_the_whole_tile_configuration(tmp_path: Path, header: Path) -> None:
    source = tmp_path / "tile.cpp"
    source.write_text(
        "#include <immintrin.h>\n"
        "struct Config { unsigned char palette, start, reserved[14];\n"
        "                unsigned short columns[16]; unsigned char rows[16]; };\n"
        "void configure(int rows) { Config config = {}; config.palette = 1;\n"
        "  for (int i = 0; i < 8; i++) { config.columns[i] = 64; config.rows[i] = rows; }\n"
        "  _tile_loadconfig(&config); }\n"
    )

    def stores(*flags: str) -> int:
        done = subprocess.run(
            ["g++", "-O3", "-mamx-tile", *flags, "-S", str(source), "-o", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "ldtilecfg" in done.stdout
        return len(re.findall(r"\(%rsp\)", done.stdout))

    assert stores("-include", str(header)) > stores() + 3


def run_program(source: Path, header: Path) -> int:
    """The exit status of a C++ program that is compiled with the header."""
    program = source.with_suffix("")
    subprocess.run(["g++", "-O2", "-include", header, source, "-o", program], check=True)
    return subprocess.run([program]).returncode


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_masked_cells_are_skipped_to_the_next_unmasked_one(tmp_path: Path, header: Path) -> None:
    source = tmp_path / "masks.cpp"
    source.write_text(
        "#include <cstdlib>\n"
        "int main() {\n"
        "  uint16_t mask[200]; const uint16_t kinds[] = {0, 0xFC00, 0x7C00, 0xFC01, 0x8000};\n"
        "  for (int round = 0; round < 20000; round++) {\n"
        "    int size = rand() % 200, sparse = 1 + rand() % 60;\n"
        "    for (auto &m : mask) m = rand() % sparse ? 0xFC00 : kinds[rand() % 5];\n"
        "    int64_t start = size ? rand() % size : 0, expected = start;\n"
        "    while (expected < size && mask[expected] == 0xFC00) expected++;\n"
        "    if (ttc_next_unmasked(mask, start, size) != expected) return 1;\n"
        "  }\n"
        "}\n"
    )
    assert run_program(source, header) == 0


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.parametrize(
    ("branches", "tokens", "sparse"),
    [(1, 96, False), (2, 48, False), (16, 28, True), (32, 5, True)],
)
def test_candidates_read_together_make_a_sparse_mask(
    tmp_path: Path, header: Path, branches: int, tokens: int, sparse: bool
) -> None:
    """Cells of a shared prompt, then of all candidates by turns, as they were grown."""
    source = tmp_path / "masks.cpp"
    source.write_text(
        "#include <vector>\n"
        f"int main() {{ const int branches = {branches}, tokens = {tokens};\n"
        "  const int rows = branches * tokens, cells = 100 + branches * 300;\n"
        "  std::vector<uint16_t> mask(rows * cells, 0xFC00);\n"
        "  for (int row = 0; row < rows; row++)\n"
        "    for (int cell = 0; cell < cells; cell++)\n"
        "      if (cell < 100 || (cell - 100) % branches == row / tokens)\n"
        "        mask[row * cells + cell] = 0;\n"
        "  return ttc_is_sparse(mask.data(), cells * 2, rows, cells) ? 10 : 20; }\n"
    )
    assert run_program(source, header) == (10 if sparse else 20)


ATTENTION = """\
        for (int64_t ic = ic_start; ic < ic_end; ++ic) {
            const float mv = mp ? slope*GGML_CPU_FP16_TO_FP32(mp[ic]) : 0.0f;
            if (mv == -INFINITY) {
        bool use_tiled = !use_ref &&
                                neq1 >= Q_TILE_SZ);
        int current_chunk = ith;
"""


def quicken(source: Path) -> bool:
    """Whether the source has the lines now."""
    script = f'. "{ROOT}/install.sh"; quicken_attention "$0"'
    return subprocess.run([BASH, "-c", script, str(source)]).returncode == 0


def test_attention_learns_to_skip_once(tmp_path: Path) -> None:
    source = tmp_path / "ops.cpp"
    source.write_text(ATTENTION)
    assert quicken(source)
    first = source.read_text()
    added = [line.strip() for line in first.splitlines() if line not in ATTENTION.splitlines()]
    assert added == [
        "if (mp && (ic = ttc_next_unmasked(mp, ic, ic_end)) == ic_end) { break; }",
        "neq1 >= Q_TILE_SZ",
        "&& !(dst->src[3] && dst->src[3]->ne[2] == 1 && dst->src[3]->ne[3] == 1",
        "&& ttc_is_sparse(dst->src[3]->data, dst->src[3]->nb[1], neq1, nek1)));",
    ]
    assert first.index("ttc_next_unmasked") < first.index("const float mv")
    assert quicken(source)
    assert source.read_text() == first


@pytest.mark.parametrize(
    "other", [ATTENTION.replace("mv", "mask"), ATTENTION.replace(">=", ">"), ATTENTION * 2]
)
def test_a_source_that_looks_otherwise_is_left_alone(tmp_path: Path, other: str) -> None:
    source = tmp_path / "ops.cpp"
    source.write_text(other)
    assert not quicken(source)
    assert source.read_text() == other
