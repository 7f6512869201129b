"""What this machine offers: memory, cores, instruction sets, accelerators, disk, idle time.

Plain readings, taken again at every call. Linux is read from ``/proc`` and ``/sys/fs/cgroup``,
because a container's limits appear nowhere else; other systems through psutil and ``sysctl``.
Sizes are bytes.

Not covered: NUMA, hybrid cores, GPU memory that is in use.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttc_cli import children

PROC = Path("/proc")
SYS = Path("/sys")

_FEATURES = {
    "sse4_2": "sse42", "avx512vbmi": "avx512_vbmi", "asimd": "neon", "asimddp": "dotprod",
} | {name: name for name in (
    "avx", "avx2", "avx_vnni", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "i8mm", "bf16", "sve", "sve2", "sme",
)}  # fmt: skip
"""Instruction sets by the names that Linux has for them."""

_APPLE_FEATURES = {
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx1_0": "avx",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.fma": "fma",
    "hw.optional.f16c": "f16c",
    "hw.optional.avx512f": "avx512f",
}


_LIBRARIES = {
    "cuda": "ggml-cuda", "rocm": "ggml-hip", "metal": "ggml-metal", "vulkan": "ggml-vulkan",
}  # fmt: skip
"""What the part of llama.cpp that drives an accelerator is called, by the accelerator's kind."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory this process may use, and has left. ``limited``: by a cgroup."""

    total: int
    free: int
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor. ``features`` are instruction sets, in lower case (``avx512_vnni``)."""

    model: str
    architecture: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device that can run layers. ``kind`` is cuda, rocm or metal; ``memory`` None if unknown."""

    kind: str
    name: str
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class BusyProcess:
    """Another program that uses ``cores`` cores' worth of time."""

    pid: int
    name: str
    cores: float


@dataclass(frozen=True, slots=True)
class Contention:
    """What other programs compute. ``stolen``: cores' worth of time that a hypervisor took."""

    processes: tuple[BusyProcess, ...]
    stolen: float

    @property
    def cores(self) -> float:
        """Cores' worth of time that is not ours."""
        return sum(process.cores for process in self.processes) + self.stolen


def read_memory() -> Memory:
    """Total and free memory, by the tightest of the machine and every cgroup above us.

    Page cache counts as free: the kernel gives it up, and mapped model files live there.
    """
    total, free = _machine_memory()
    limited = False
    for folder in _cgroups("memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is None or used is None or (limit >= total and used <= total - free):
            continue
        cache = _file_cache(folder / "memory.stat")
        room = max(0, limit - max(0, used - cache))
        limited = limited or limit < total or room < free
        total, free = min(total, limit), min(free, room)
    addresses = resource.getrlimit(resource.RLIMIT_AS)[0]  # ulimit -v
    pages = (_text(PROC / "self/statm") or "").split()
    if addresses != resource.RLIM_INFINITY and pages:
        room = max(0, addresses - int(pages[0]) * resource.getpagesize())
        limited = limited or room < free
        total, free = min(total, addresses), min(free, room)
    return Memory(total, free, limited)


def find_blindness() -> str | None:
    """What ttc cannot see of this machine, in words; None if it sees everything."""
    if sys.platform != "linux" or (PROC / "meminfo").is_file():
        return None
    return (
        "There is no /proc here: free memory is counted without page cache and without the limits "
        "of a container, and other programs are not seen"
    )


def count_cores() -> int:
    """Cores this process may use: allowed by affinity and by every cgroup's quota, at least 1.

    A quota is rounded down: threads beyond it are all stopped together, again and again.
    """
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    for folder in _cgroups("cpu"):
        quota = _quota(folder)
        if quota is not None:
            allowed = min(allowed, int(quota))
    return max(1, allowed)


def read_cpu() -> Cpu:
    """The processor's name and the instruction sets that matter to llama.cpp."""
    architecture = platform.machine()
    if sys.platform == "darwin":
        named = children.ask("sysctl", "-n", "machdep.cpu.brand_string").strip() or architecture
        there = (name for name in _APPLE_FEATURES if children.ask("sysctl", "-n", name) == "1\n")
        found = frozenset(_APPLE_FEATURES[name] for name in there)
        return Cpu(named, architecture, found)
    text = _text(PROC / "cpuinfo") or ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    flags = fields.get("flags", fields.get("features", "")).split()
    features = frozenset(_FEATURES[flag] for flag in flags if flag in _FEATURES)
    return Cpu(fields.get("model name", architecture), architecture, features)


def list_libraries() -> list[Path]:
    """The files of the installed llama.cpp; none where there is none. Loads nothing."""
    override = os.environ.get("LLAMA_CPP_LIB_PATH")  # the binding honours it
    if override:
        folder = Path(override)
    else:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            return []
        folder = Path(spec.origin).parent / "lib"
    return sorted(path for path in folder.glob("*") if path.is_file())


def find_usable() -> tuple[Accelerator, ...]:
    """The accelerators that the installed llama.cpp was built for."""
    named = " ".join(path.name for path in list_libraries())
    kinds = {kind for kind, library in _LIBRARIES.items() if library in named}
    if not kinds:
        return ()  # most builds: nobody asks the driver
    return tuple(each for each in find_accelerators() if {each.kind, "vulkan"} & kinds)


def find_accelerators() -> tuple[Accelerator, ...]:
    """GPUs whose driver is there, whether or not the build can use them."""
    found = list(_nvidia())
    nodes = SYS / "class/kfd/kfd/topology/nodes"
    for node in sorted(nodes.glob("*/gpu_id")):
        if (_text(node) or "0").strip() not in ("", "0"):
            found.append(Accelerator("rocm", f"AMD GPU {node.parent.name}"))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        # Unified memory: the GPU may use about three quarters of it.
        found.append(Accelerator("metal", read_cpu().model, read_memory().total * 3 // 4))
    return tuple(found)


def read_free_disk(path: Path) -> int:
    """Bytes free where ``path`` is, or where it would be made."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def watch_contention(seconds: float = 0.5, least: float = 0.2) -> Contention:
    """Watch for ``seconds`` what other programs compute.

    Programs at nice 10 or more are left out: they give way. So is what uses less than ``least``
    cores. One busy program beside two decoding threads makes a step four times slower.
    """
    import psutil

    busy = []
    try:
        own = psutil.Process()
        spared = {own.pid, *(process.pid for process in own.parents())}
        watched: list[tuple[psutil.Process, float]] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid not in spared and (process.nice() or 0) < 10:
                    watched.append((process, sum(process.cpu_times()[:2])))  # user and system
        # Blocking; reads all times before and after, so that ``steal`` is over the same span.
        times = psutil.cpu_times_percent(interval=seconds)
        for process, before in watched:
            with contextlib.suppress(psutil.Error):
                used = (sum(process.cpu_times()[:2]) - before) / seconds
                if used >= least:
                    busy.append(BusyProcess(process.pid, process.name(), round(used, 2)))
    except (psutil.Error, OSError):  # no /proc: nobody is seen
        return Contention((), 0.0)
    busy.sort(key=lambda process: -process.cores)
    stolen = getattr(times, "steal", 0.0) / 100 * (psutil.cpu_count() or 1)
    return Contention(tuple(busy), round(stolen if stolen >= 0.05 else 0.0, 2))


def _machine_memory() -> tuple[int, int]:
    text = _text(PROC / "meminfo")
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", text or "", re.MULTILINE))
    if "MemTotal" in fields and "MemAvailable" in fields:
        return int(fields["MemTotal"]) * 1024, int(fields["MemAvailable"]) * 1024
    import psutil

    try:
        virtual = psutil.virtual_memory()
    except (psutil.Error, OSError):  # no /proc: page cache counts as taken
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    return virtual.total, virtual.available


def _cgroups(controller: str) -> Iterator[Path]:
    """Our own cgroup's folder and every one above it, innermost first (version 2 or 1).

    Inside a container the path in ``/proc/self/cgroup`` may be the host's and not exist here;
    then what is mounted at the root is our own group.
    """
    for line in (_text(PROC / "self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            top = SYS / "fs/cgroup"
        elif controller in names.split(","):
            top = SYS / "fs/cgroup" / controller
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        while parts:
            folder = top.joinpath(*parts)
            if folder.is_dir():
                yield folder
            parts.pop()
        if top.is_dir():
            yield top


def _quota(folder: Path) -> float | None:
    """CPU quota in cores (``cpu.max``: "quota period" in µs), or None."""
    maximum = (_text(folder / "cpu.max") or "").split()
    if len(maximum) == 2:
        quota, period = maximum
    else:
        quota = (_text(folder / "cpu.cfs_quota_us") or "").strip()
        period = (_text(folder / "cpu.cfs_period_us") or "").strip()
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max", "-1", absent
        return None
    return int(quota) / int(period)


def _file_cache(stat: Path) -> int:
    """Bytes of a cgroup's usage that are page cache, from ``memory.stat`` of either version."""
    text = _text(stat) or ""
    fields: dict[str, str] = dict(re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE))
    return sum(
        int(fields.get(f"total_{name}") or fields.get(name) or 0)
        for name in ("inactive_file", "active_file")
    )


def _nvidia() -> Iterator[Accelerator]:
    listing = children.ask(
        "nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"
    )
    if listing:
        for line in listing.splitlines():
            name, _, mebibytes = line.rpartition(",")
            if name and mebibytes.strip().isdigit():
                yield Accelerator("cuda", name.strip(), int(mebibytes) * 1024 * 1024)
        return
    for information in sorted((PROC / "driver/nvidia/gpus").glob("*/information")):
        named = re.search(r"^Model:\s*(.+)$", _text(information) or "", re.MULTILINE)
        yield Accelerator("cuda", named.group(1) if named else "NVIDIA GPU")


def _number(*candidates: Path) -> int | None:
    """The whole number in the first file that exists; None for "max" or no file."""
    for path in candidates:
        text = _text(path)
        if text is not None:
            return int(text) if text.strip().isdigit() else None
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
