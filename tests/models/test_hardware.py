"""Memory, cores and features, read from made-up /proc and /sys trees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ttc_cli.models import hardware
from ttc_cli.models.hardware import Accelerator

GIB = 1024**3
ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Machine:
    """A made-up Linux machine: 16 GiB of memory of which 12 are free."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.sys = root / "sys"
        self.write("proc/meminfo", f"MemTotal: {16 * GIB // 1024} kB\nMemFree: 1 kB\n")
        self.write("proc/meminfo", f"MemAvailable: {12 * GIB // 1024} kB\n", append=True)

    def write(self, path: str, text: str, *, append: bool = False) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if append else "w") as stream:
            stream.write(text)

    def group(self, path: str = "", **files: str) -> None:
        for name, text in files.items():
            self.write(f"sys/fs/cgroup/{path}/{name.replace('__', '.')}", text)

    def memory(self) -> hardware.Memory:
        return hardware.read_memory()

    def cores(self) -> int:
        return hardware.count_cores()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(hardware, "PROC", tmp_path / "proc")
    monkeypatch.setattr(hardware, "SYS", tmp_path / "sys")
    return Machine(tmp_path)


def test_memory_without_a_limit_is_the_machines(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/\n")
    assert machine.memory() == hardware.Memory(16 * GIB, 12 * GIB, limited=False)


def test_memory_honours_a_v2_limit_and_counts_page_cache_as_free(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/box\n")
    machine.group(
        "box",
        memory__max=f"{4 * GIB}\n",
        memory__current=f"{3 * GIB}\n",
        memory__stat=f"anon 5\ninactive_file {GIB}\nactive_file {GIB // 2}\n",
    )
    assert machine.memory() == hardware.Memory(4 * GIB, 5 * GIB // 2, limited=True)


def test_memory_honours_the_tightest_group_above(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/slice/box\n")
    machine.group("slice/box", memory__max="max\n", memory__current="10\n")
    machine.group("slice", memory__max=f"{2 * GIB}\n", memory__current=f"{GIB}\n")
    assert machine.memory() == hardware.Memory(2 * GIB, GIB, limited=True)


def test_memory_in_a_container_that_sees_its_own_group_as_root(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/docker/not-visible-here\n")
    machine.group(memory__max=f"{2 * GIB}\n", memory__current="0\n")
    assert machine.memory().total == 2 * GIB


def test_memory_honours_a_v1_limit(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "5:memory:/box\n2:cpu,cpuacct:/box\n")
    machine.group(
        "memory/box",
        memory__limit_in_bytes=f"{GIB}\n",
        memory__usage_in_bytes=f"{GIB // 2}\n",
        memory__stat=f"inactive_file 1\ntotal_inactive_file {GIB // 4}\n",
    )
    assert machine.memory() == hardware.Memory(GIB, 3 * GIB // 4, limited=True)


def test_a_v1_limit_above_the_machines_memory_is_no_limit(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "5:memory:/\n")
    machine.group(
        "memory", memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes=f"{GIB}\n"
    )
    assert machine.memory() == hardware.Memory(16 * GIB, 12 * GIB, limited=False)


def test_memory_of_a_group_over_its_limit_is_none_left(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/\n")
    machine.group(memory__max=f"{GIB}\n", memory__current=f"{GIB + 5}\n")
    assert machine.memory().free == 0


@linux
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu__max": "max 100000\n"}, 8),
        ({"cpu__max": "400000 100000\n"}, 4),
        ({"cpu__max": "150000 100000\n"}, 1),
        ({"cpu__max": "20000 100000\n"}, 1),
        ({"cpu__max": "9900000 100000\n"}, 8),
        ({"cpu__max": "garbage"}, 8),
    ],
)
def test_cores_honour_a_v2_quota(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    machine.write("proc/self/cgroup", "0::/box\n")
    machine.group("box", **files)
    assert machine.cores() == cores


@linux
def test_cores_honour_a_v1_quota_and_affinity(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write("proc/self/cgroup", "4:cpu:/\n")
    machine.group("cpu", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert machine.cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5})
    assert machine.cores() == 2
    machine.group("cpu", cpu__cfs_quota_us="-1\n")
    assert machine.cores() == 2


@linux
def test_features_of_an_x86_processor(machine: Machine) -> None:
    machine.write(
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Xeon Something\n"
        "flags\t\t: fpu avx2 avx512f avx512_vnni avx512vbmi amx_int8 amx_tile\n\nprocessor\t: 1\n",
    )
    found = hardware.read_cpu()
    assert found.model == "Xeon Something"
    assert found.features == {
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx512_vbmi",
        "amx_int8",
        "amx_tile",
    }


@linux
def test_features_of_an_arm_processor(machine: Machine) -> None:
    machine.write("proc/cpuinfo", "processor : 0\nFeatures\t: fp asimd asimddp i8mm sve\n")
    assert hardware.read_cpu().features == {"neon", "dotprod", "i8mm", "sve"}


def test_no_accelerator_without_a_driver(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.find_accelerators() == ()


def test_an_nvidia_gpu_is_named_with_its_memory(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    found = hardware.find_accelerators()
    assert found == (hardware.Accelerator("cuda", "NVIDIA H100 80GB HBM3", 81559 * 1024**2),)


def test_a_failing_nvidia_tool_is_no_gpu(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'could not communicate with the driver'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.find_accelerators() == ()


def test_an_amd_gpu_is_found_and_cpu_nodes_are_not(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "platform", "linux")
    machine.write("sys/class/kfd/kfd/topology/nodes/0/gpu_id", "0\n")
    machine.write("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "4711\n")
    kinds = [found.kind for found in hardware.find_accelerators()]
    assert kinds == ["rocm"]


def test_free_disk_of_a_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    assert hardware.read_free_disk(tmp_path / "a/b/c") > 0


def test_contention_names_a_busy_program_and_spares_a_polite_one() -> None:
    def spin(nice: int) -> subprocess.Popen[bytes]:
        code = f"import os, time\nos.nice({nice})\nprint('on', flush=True)\n"
        code += "end = time.time() + 20\nwhile time.time() < end: pass"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    rude, polite = spin(0), spin(19)
    try:
        found = hardware.watch_contention(seconds=0.5, least=0.05)
        seen = {process.pid for process in found.processes}
        if os.nice(0) < 10:  # else the rude one is polite too
            assert rude.pid in seen
            assert found.cores >= 0.05
        assert polite.pid not in seen
    finally:
        for process in (rude, polite):
            process.kill()
            process.communicate()


def test_this_machine_can_be_read() -> None:
    found = hardware.read_memory()
    assert 0 < found.free <= found.total
    assert hardware.count_cores() >= 1
    assert hardware.read_cpu().model


@linux
def test_a_limit_of_addresses_is_a_limit_of_memory() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20)); "
        "from ttc_cli.models.hardware import read_memory; memory = read_memory(); "
        "print(memory.total >> 20, memory.free >> 20, memory.limited)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    total, free, limited = done.stdout.split()
    assert (int(total), limited) == (700, "True"), done.stderr
    assert 0 < int(free) < 700


@linux
def test_without_proc_the_system_is_asked_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hardware.find_blindness() is None
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "PROC", tmp_path)
    monkeypatch.setattr(hardware, "SYS", tmp_path)
    memory = hardware.read_memory()
    assert memory.total >= memory.free > 0
    assert hardware.watch_contention(0.01) == hardware.Contention((), 0.0)
    assert "no /proc here" in (hardware.find_blindness() or "")


def test_an_accelerator_counts_where_the_build_drives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, rocm = Accelerator("cuda", "A card", 24 << 30), Accelerator("rocm", "AMD GPU 1")
    asked: list[str] = []

    def find() -> tuple[Accelerator, ...]:
        asked.append("driver")
        return cuda, rocm

    monkeypatch.setattr(hardware, "find_accelerators", find)
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    (tmp_path / "libggml-cpu.so").touch()
    assert hardware.find_usable() == ()
    assert asked == []  # which may take a second
    (tmp_path / "libggml-cuda.so").touch()
    assert hardware.find_usable() == (cuda,)
    (tmp_path / "libggml-vulkan.so").touch()
    assert hardware.find_usable() == (cuda, rocm)
