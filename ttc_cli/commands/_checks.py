"""What ``ttc doctor`` checks: is everything here, and is it as fast as it could be?

Each finding is a pure function of what was read, so that all can be tested. A *failure* stops
solving; a *warning* costs speed.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ttc_cli import crash, paths
from ttc_cli.building.report import read_stamp
from ttc_cli.engines.llamacpp import selftest
from ttc_cli.engines.llamacpp.selftest import BuildCheck, Speed
from ttc_cli.errors import ModelError, NativeCrash, TtcError, UsageError
from ttc_cli.forms import interpreters
from ttc_cli.models import hardware
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hardware import Accelerator, Contention, Cpu, Memory
from ttc_cli.models.pull import verify
from ttc_cli.models.ranking import glance_at_hub
from ttc_cli.models.records import Record, list_records
from ttc_cli.models.registry import load_registry
from ttc_cli.output import Output
from ttc_cli.settings.default_model import find_default
from ttc_cli.tuning.verdict import expect_gain, may_be_tuned
from ttc_cli.verifiers.checking import sandbox
from ttc_cli.verifiers.checking.cells import describe_gaps
from ttc_cli.views import words

CHECK_MODEL = "smollm2-135m"
"""What to fetch to test the build with where there is no model: small, and on no gated hub."""

GIB = 1024**3

_INSTRUCTIONS = {
    name: name.upper()
    for name in ("avx", "avx2", "fma", "f16c", "avx512_vbmi", "avx512_vnni", "avx512_bf16",
                 "amx_int8", "neon", "dotprod", "sve")
} | {"avx512f": "AVX512", "i8mm": "MATMUL_INT8"}  # fmt: skip
"""What llama.cpp calls an instruction set in its system info, by the processor's name for it."""


class Grade(StrEnum):
    """The outcome of a check. ``SKIPPED``: something else must be fixed first."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``detail`` in words, ``fix`` the next command where something is wrong."""

    name: str
    status: Grade
    detail: str
    fix: str | None = None


def run_checks(out: Output, *, quick: bool = False) -> Iterator[Check]:
    """Read the machine and judge it, quickest first."""
    cpu = hardware.read_cpu()
    memory = hardware.read_memory()
    accelerators = hardware.find_accelerators()
    records = [record for record in list_records() if record.path.is_file()]
    yield judge_cpu(cpu, hardware.count_cores())
    yield judge_memory(memory, min((record.size for record in records), default=None))
    blindness = hardware.find_blindness()
    if blindness is not None:
        yield Check("/proc", Grade.WARNING, blindness, "mount -t proc proc /proc")
    for name, folder in (("models", paths.models_dir()), ("cache", paths.cache_dir())):
        yield judge_disk(name, folder, hardware.read_free_disk(folder))
    out.status("watching for other programs …")
    contention = hardware.watch_contention()
    yield judge_contention(contention)
    yield judge_models(records, find_default(glance_at_hub).name)
    if not quick:
        for record in records:
            out.status(f"hashing {record.name} …")
            yield judge_hash(record)
    yield from filter(None, [judge_crash(crash.find_crash())])
    built: BuildCheck | None = None
    if records:
        out.status("testing the build with a real decode …")
        smallest = min(records, key=lambda record: record.size)
        try:
            built = selftest.check_build(smallest.path, fresh=True)
            yield Check("build", Grade.OK, f"llama-cpp-python {built.version} decodes here")
        except TtcError as error:
            yield judge_failure("build", error)
    else:
        yield judge_without_models(installed=selftest.is_installed())
    yield from filter(None, [judge_installation(read_stamp(Path(sys.prefix)))])
    yield judge_sandbox()
    out.status("running a program …")
    yield judge_interpreters(asyncio.run(interpreters.try_all()))
    if built is not None:
        yield judge_instructions(built.system, cpu)
        yield judge_accelerators(accelerators, offloads=built.offloads)
        yield judge_fit(
            [(record, _tensors(record)) for record in records if not _only_tests(record)],
            built.system,
            on_gpu=bool(accelerators) and built.offloads,
        )
        if not quick:
            out.status("measuring speed (5 seconds) …")
            default = find_default(glance_at_hub).name
            record = next((r for r in records if r.name == default), records[0])
            try:
                speed = selftest.measure_speed(record.used)
            except TtcError as error:
                yield judge_failure("speed", error)
            else:
                if not contention.cores:
                    selftest.remember_speed(record.used, speed)
                yield judge_speed(record.name, speed, contention)


def judge_cpu(cpu: Cpu, cores: int) -> Check:
    """Name the processor; this check never fails."""
    features = ", ".join(sorted(cpu.features)) or "no known instruction sets"
    allowed = words.plural(cores, "core")
    return Check("processor", Grade.OK, f"{cpu.model}, {allowed} allowed: {features}")


def judge_memory(memory: Memory, smallest: int | None) -> Check:
    """Whether ``smallest``, the size of the smallest model here, fits what is free."""
    limit = ", limited by a cgroup" if memory.limited else ""
    detail = f"{_gib(memory.free)} of {_gib(memory.total)} free{limit}"
    needed = (smallest or 0) * 5 // 4 + GIB // 4  # a small KV cache and compute buffers
    if memory.free < needed:
        return Check(
            "memory",
            Grade.FAILED,
            f"{detail}; even the smallest model here needs {_gib(needed)}",
            "close other programs, or raise the container's memory limit",
        )
    if memory.free < 2 * GIB:
        fix = "ttc solve --parallel 4 --kv-type q8_0 …"
        return Check("memory", Grade.WARNING, f"{detail}: room for few candidates at once", fix)
    return Check("memory", Grade.OK, detail)


def judge_disk(name: str, folder: Path, free: int) -> Check:
    """Whether downloads and builds find room in ``folder``."""
    detail = f"{_gib(free)} free for {name} ({folder})"
    if free < GIB // 4:
        return Check("disk", Grade.FAILED, detail, "ttc models prune, or TTC_HOME=/path/with/room")
    if free < 3 * GIB:
        return Check("disk", Grade.WARNING, detail, "ttc models prune")
    return Check("disk", Grade.OK, detail)


def judge_contention(contention: Contention) -> Check:
    """Whether other programs compute: decode threads wait for one another at every step."""
    if not contention.processes and not contention.stolen:
        return Check("contention", Grade.OK, "nothing else computes")
    parts = [f"{p.name} (pid {p.pid}) uses {p.cores:.1f} cores" for p in contention.processes[:3]]
    if contention.stolen:
        parts.append(f"the hypervisor takes {contention.stolen:.1f} cores")
    fix = None
    if contention.processes:
        fix = f"renice -n 19 -p {contention.processes[0].pid}"
    return Check("contention", Grade.WARNING, "; ".join(parts) + ": decoding is slower", fix)


def judge_sandbox() -> Check:
    """What confines model-written text that ``--check`` runs."""
    found = sandbox.find_sandbox()
    gaps, why = describe_gaps(found), sandbox.explain_sandbox()
    if not why:
        return Check("sandbox", Grade.OK, f"{found} confines --check")
    fix = "install the package bubblewrap" if why.endswith("missing") else None
    return Check("sandbox", Grade.WARNING, f"{why}: --check runs model-written text {gaps}", fix)


def judge_interpreters(found: Mapping[str, str]) -> Check:
    """What runs the programs that a model writes. ``found``: why not, by interpreter's name."""
    broken = {name: why for name, why in found.items() if why}
    works = " and ".join(name for name in found if name not in broken)
    if not broken:
        return Check("programs", Grade.OK, f"{works} run what a model writes")
    detail = "; ".join(
        f"{name} does not run what a model writes: {why}" for name, why in broken.items()
    )
    if "monty" in broken:
        python = shlex.quote(sys.executable)
        fix: str | None = f"{python} -m pip install --force-reinstall pydantic-monty"
        return Check("programs", Grade.WARNING, detail, fix)
    fix = "install the package bubblewrap" if broken["cpython"].endswith("missing") else None
    return Check("programs", Grade.WARNING, f"{detail}; programs that need sympy fail", fix)


def judge_models(records: Sequence[Record], default: str) -> Check:
    """Whether the default model is here."""
    here = {record.name for record in records}
    if default not in here and not Path(default).is_file():
        detail = f"the default, {default}, is not here"
        return Check("models", Grade.FAILED, detail, f"ttc models pull {default}")
    return Check("models", Grade.OK, f"{len(here)} here, default {default}")


def judge_hash(record: Record) -> Check:
    """Whether a model's file still has its sha256 and is a sound GGUF."""
    name = "model"
    try:
        verify(record.name)
    except UsageError as error:  # a settings file took its entry away
        return Check(name, Grade.WARNING, error.message, error.hint)
    except ModelError as error:
        return Check(name, Grade.FAILED, error.message, f"ttc models pull --force {record.name}")
    return Check(name, Grade.OK, f"{record.name}: sha256 is right")


def judge_crash(note: Path | None) -> Check | None:
    """A warning where ``note`` tells that a run crashed in the native library."""
    if note is None:
        return None
    detail = f"a run crashed ({crash.name_signal(note)}); {crash.report(note)}"
    fix = f"{paths.name_installer()} --rebuild, then rm {shlex.quote(str(note))}"
    return Check("crashes", Grade.WARNING, detail, fix)


def judge_without_models(*, installed: bool) -> Check:
    """Why the build could not be tested: there is no model."""
    if not installed:
        detail = "llama-cpp-python is not installed"
        return Check("build", Grade.FAILED, detail, paths.name_installer())
    detail = "not tested: there is no model here to decode with"
    return Check("build", Grade.SKIPPED, detail, f"ttc models pull {CHECK_MODEL} && ttc doctor")


def judge_failure(name: str, error: TtcError) -> Check:
    """A failed test in a child process."""
    fix = error.hint
    if not isinstance(error, NativeCrash) and fix == "ttc doctor":
        fix = None  # that is where we are
    return Check(name, Grade.FAILED, error.message, fix)


def judge_instructions(system: str, cpu: Cpu) -> Check:
    """Whether the build uses what the processor has. ``system``: llama.cpp's own list."""
    built = selftest.read_instructions(system)
    wanted = (_INSTRUCTIONS[name] for name in _INSTRUCTIONS if name in cpu.features)
    missing = [name for name in wanted if name not in built]
    if missing:
        detail = f"the processor has {', '.join(missing)}, the build does not use it"
        fix = f"{paths.name_installer()} --rebuild"
        return Check("instructions", Grade.WARNING, detail, fix)
    return Check("instructions", Grade.OK, f"the build uses {', '.join(sorted(built))}")


def judge_installation(noted: Mapping[str, str]) -> Check | None:
    """What was built and how fast it was then, and what would be faster; None if unknown."""
    if "built" not in noted:
        return None
    detail = f"llama.cpp by {noted['built']}"
    if "speed" in noted:
        detail += f"; when installed, {noted['speed']}"
    if "faster" in noted:
        detail += f". Faster: {noted['faster']}"
        return Check("compiler", Grade.WARNING, detail, noted.get("faster_command"))
    return Check("compiler", Grade.OK, detail)


def judge_fit(
    models: Sequence[tuple[Record, Mapping[str, int]]], system: str, *, on_gpu: bool
) -> Check:
    """Whether a model would run faster in another type; what was tried is not offered again.

    ``models`` come with the counts of their tensor types; ``system`` is as for
    ``judge_instructions``. On a GPU the kernels handle all types the same.
    """
    tuned = [f"{record.name} as {record.tuned.kind}" for record, _ in models if record.tuned]
    instructions = selftest.read_instructions(system)
    gains = [
        (gain, record.name)
        for record, tensors in models
        if not on_gpu and may_be_tuned(record.tuning)
        if (gain := expect_gain(tensors, instructions)) is not None
    ]
    if gains:
        gain, name = max(gains)
        others = len(gains) - 1
        also = f", and {others} more would gain" if others else ""
        detail = f"re-quantised to Q8_0, {name} is likely {gain:g} times as fast here{also}"
        return Check("file type", Grade.WARNING, detail, f"ttc models tune {name}")
    used = f" (tuned: {', '.join(tuned)})" if tuned else ""
    return Check("file type", Grade.OK, f"no model here is known to gain from another type{used}")


def _only_tests(record: Record) -> bool:
    entry = load_registry().get(record.name)
    return entry is not None and entry.tier == "test"


def _tensors(record: Record) -> Mapping[str, int]:
    try:
        return read_header(record.path).tensor_types
    except ModelError:
        return {}  # ``judge_hash`` says what is wrong with it


def judge_accelerators(found: Sequence[Accelerator], *, offloads: bool) -> Check:
    """Whether the build can use the GPU that is here."""
    if not found:
        return Check("accelerator", Grade.OK, "none here: models run on the processor")
    named = ", ".join(
        f"{device.name} ({device.kind}{f', {_gib(device.memory)}' if device.memory else ''})"
        for device in found
    )
    if not offloads:
        fix = f"{paths.name_installer()} --rebuild --accelerator {found[0].kind}"
        return Check("accelerator", Grade.WARNING, f"{named}: the build does not use it", fix)
    return Check("accelerator", Grade.OK, named)


def judge_speed(model: str, speed: Speed, contention: Contention) -> Check:
    """How fast ``model`` decodes; a warning where reading is slower than thinking is worth."""
    detail = f"{model}: {speed}"
    if contention.cores:
        return Check("speed", Grade.WARNING, f"{detail}, while other programs compute")
    if speed.single < 4:
        return Check(
            "speed", Grade.WARNING, f"{detail}: slow", "ttc models pull qwen2.5-coder-0.5b"
        )
    return Check("speed", Grade.OK, detail)


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
