"""``ttc doctor``: every finding from made-up readings, and the command as a whole."""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from ttc_cli import errors
from ttc_cli.building.report import read_stamp
from ttc_cli.commands import _checks as checkup
from ttc_cli.commands._checks import GIB, Grade
from ttc_cli.engines.llamacpp import selftest
from ttc_cli.engines.llamacpp.selftest import BuildCheck, Speed
from ttc_cli.main import main
from ttc_cli.models import hardware, records
from ttc_cli.models.hardware import Accelerator, BusyProcess, Contention, Cpu, Memory
from ttc_cli.models.ranking import Machine, estimate_speed
from ttc_cli.models.records import Record, Tuning
from ttc_cli.models.registry import load_registry

QUIET = Contention((), 0.0)
BUSY = Contention((BusyProcess(77, "blender", 3.9),), 0.0)


def test_memory_below_the_smallest_models_need_fails() -> None:
    short = checkup.judge_memory(Memory(4 * GIB, GIB, limited=True), smallest=GIB)
    assert short.status is Grade.FAILED
    assert "limited by a cgroup" in short.detail
    assert short.fix
    assert checkup.judge_memory(Memory(4 * GIB, 3 * GIB), smallest=GIB).status is Grade.OK
    assert checkup.judge_memory(Memory(4 * GIB, GIB), smallest=None).status is Grade.WARNING


@pytest.mark.parametrize(
    ("free", "status"),
    [(GIB // 8, Grade.FAILED), (GIB, Grade.WARNING), (9 * GIB, Grade.OK)],
)
def test_disk(free: int, status: Grade) -> None:
    found = checkup.judge_disk("models", Path("/there"), free)
    assert found.status is status
    assert (found.fix is None) is (status is Grade.OK)


def test_a_busy_program_is_named_with_its_cure() -> None:
    assert checkup.judge_contention(QUIET).status is Grade.OK
    found = checkup.judge_contention(BUSY)
    assert found.status is Grade.WARNING
    assert "blender (pid 77)" in found.detail
    assert found.fix == "renice -n 19 -p 77"
    stolen = checkup.judge_contention(Contention((), 0.7))
    assert stolen.status is Grade.WARNING
    assert "hypervisor" in stolen.detail


def test_an_unused_instruction_set_is_a_warning() -> None:
    cpu = Cpu("Xeon", "x86_64", frozenset({"avx2", "avx512f", "amx_int8"}))
    slow = checkup.judge_instructions("CPU : AVX2 = 1 | AVX512 = 1 | AMX_INT8 = 0 | ", cpu)
    assert slow.status is Grade.WARNING
    assert "AMX_INT8" in slow.detail
    assert "AVX512" not in slow.detail
    assert slow.fix == "./install.sh --rebuild"
    full = checkup.judge_instructions("CPU : AVX2 = 1 | AVX512 = 1 | AMX_INT8 = 1 | ", cpu)
    assert full.status is Grade.OK


def test_a_gpu_that_the_build_ignores_is_a_warning() -> None:
    gpu = Accelerator("cuda", "H100", 80 * GIB)
    assert checkup.judge_accelerators((), offloads=False).status is Grade.OK
    assert checkup.judge_accelerators((gpu,), offloads=True).status is Grade.OK
    ignored = checkup.judge_accelerators((gpu,), offloads=False)
    assert ignored.status is Grade.WARNING
    assert ignored.fix == "./install.sh --rebuild --accelerator cuda"


AMX = "CPU : AVX512 = 1 | AMX_INT8 = 1 | "
SMALL = {"Q8_0": 13, "Q5_0": 133, "F32": 121, "Q6_K": 12, "Q4_K": 12}
LARGER = {"Q6_K": 29, "Q4_K": 169, "F32": 141}


def here(name: str, state: str | None = None) -> Record:
    """The record of a model that is here, tuned before where ``state`` says how that ended."""
    path = Path(f"/models/{name}.gguf")
    tuning = None
    if state is not None:
        tuning = Tuning(path, 1, 1, "", "Q8_0", lossy=False, made_from="", state=state)
    return Record(name, path, 1, 1, "", None, tuning)


def test_a_file_that_amx_does_not_take_is_offered_another_type() -> None:
    offered = checkup.judge_fit(
        [(here("larger"), LARGER), (here("small"), SMALL)], AMX, on_gpu=False
    )
    assert (offered.status, offered.fix) == (Grade.WARNING, "ttc models tune small")
    assert "likely 2 times as fast" in offered.detail
    assert "1 more would gain" in offered.detail
    costly = checkup.judge_fit([(here("larger"), LARGER)], AMX, on_gpu=False)
    assert "likely 1.2 times" in costly.detail


@pytest.mark.parametrize(
    ("record", "tensors", "system", "on_gpu"),
    [
        (here("a"), {"Q8_0": 170, "F32": 121}, AMX, False),  # of that type already
        (here("a"), SMALL, "CPU : AVX512 = 1 | AMX_INT8 = 0", False),  # no gain is known there
        (here("a"), SMALL, AMX, True),
        (here("a", "slower"), SMALL, AMX, False),  # it was tried
        (here("a", "undone"), SMALL, AMX, False),
        (here("a", "used"), SMALL, AMX, False),
        (here("a"), {"F16": 170, "F32": 1}, AMX, False),
        (here("a"), {}, AMX, False),
    ],
)
def test_what_is_not_known_to_gain_is_left_alone(
    record: Record, tensors: dict[str, int], system: str, on_gpu: bool
) -> None:
    found = checkup.judge_fit([(record, tensors)], system, on_gpu=on_gpu)
    assert (found.status, found.fix) == (Grade.OK, None)


def test_what_was_built_and_what_would_be_faster(tmp_path: Path) -> None:
    assert checkup.judge_installation(read_stamp(tmp_path)) is None
    (tmp_path / ".ttc-install").write_text(
        "built=gcc 12, native instructions\nspeed=m.gguf: 31 tokens/s alone\n"
        "faster=a build with clang 17 or newer\nfaster_command=apt-get install -y clang-19\n"
    )
    slow = checkup.judge_installation(read_stamp(tmp_path))
    assert slow is not None
    assert slow.status is Grade.WARNING
    assert "gcc 12" in slow.detail
    assert "31 tokens/s" in slow.detail
    assert slow.fix == "apt-get install -y clang-19"
    (tmp_path / ".ttc-install").write_text("built=zig 0.17, native\nfaster=\nfaster_command=\n")
    best = checkup.judge_installation(read_stamp(tmp_path))
    assert best is not None
    assert (best.status, best.fix) == (Grade.OK, None)


def test_speed() -> None:
    fast, slow = Speed(200, 17, 100, 2), Speed(20, 1.7, 5, 2)
    assert checkup.judge_speed("m", fast, QUIET).status is Grade.OK
    assert checkup.judge_speed("m", slow, QUIET).status is Grade.WARNING
    assert "other programs" in checkup.judge_speed("m", fast, BUSY).detail


def test_a_missing_build_fails_and_an_untested_one_is_skipped() -> None:
    missing = checkup.judge_without_models(installed=False)
    assert (missing.status, missing.fix) == (Grade.FAILED, "./install.sh")
    untested = checkup.judge_without_models(installed=True)
    assert untested.status is Grade.SKIPPED
    assert untested.fix is not None
    assert untested.fix.startswith("ttc models pull smollm2-135m")


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, a quiet machine with room, and a build that passes."""
    monkeypatch.setenv("TTC_HOME", str(tmp_path))
    monkeypatch.delenv("TTC_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hardware, "read_memory", lambda: Memory(16 * GIB, 12 * GIB))
    monkeypatch.setattr(hardware, "read_free_disk", lambda path: 99 * GIB)
    monkeypatch.setattr(hardware, "watch_contention", lambda: QUIET)
    monkeypatch.setattr(hardware, "find_accelerators", lambda: ())
    monkeypatch.setattr(hardware, "read_cpu", lambda: Cpu("Xeon", "x86_64", frozenset({"avx2"})))
    passed = BuildCheck("0.3", "CPU : AVX2 = 1", offloads=False)
    monkeypatch.setattr(selftest, "check_build", lambda path, fresh: passed)
    monkeypatch.setattr(selftest, "measure_speed", lambda path: Speed(200.0, 17.0, 100.0, 2))
    return tmp_path


@pytest.fixture
def model(home: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    """A small model of the user's own, recorded as it was downloaded, and the default."""
    path = records.folder_of("mine") / "mine.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny_model.read_bytes())
    (home / "config").mkdir()
    (home / "config/models.toml").write_text(
        f'[models.mine]\ntitle = "Mine"\nsources = [{{ type = "file", path = "{path}" }}]\n'
    )
    monkeypatch.setenv("TTC_MODEL", "mine")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    records.record_file("mine", path, digest, None)
    return path


@pytest.fixture
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound GGUF of a few hundred bytes, made by the models' own tests."""
    made = runpy.run_path(str(Path(__file__).parents[1] / "tiny_gguf.py"))
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    path.write_bytes(made["gguf"]())
    return path


def checks(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str | None]]:
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["v"] == 1
    assert report["ok"] == all(check["status"] != "failed" for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.usefixtures("home")
def test_without_models_it_fails_and_says_what_to_pull(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--json"]) == 1
    found = checks(capsys)
    assert found["models"]["fix"] == "ttc models pull qwen2.5-coder-1.5b"
    assert found["build"]["status"] == "skipped"
    assert "speed" not in found


@pytest.mark.usefixtures("model")
def test_a_sound_machine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "Ready."
    assert "17 tokens/s alone" in printed.out
    assert printed.err == ""
    assert estimate_speed(load_registry().require("mine"), Machine(10**9, 1)) == (17.0, "measured")


def test_a_model_that_would_gain_is_offered_and_nothing_is_done(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = BuildCheck("0.3", AMX, offloads=False)
    monkeypatch.setattr(selftest, "check_build", lambda path, fresh: passed)
    monkeypatch.setattr(checkup, "_tensors", lambda record: SMALL)
    before = sorted(path.name for path in model.parent.iterdir())
    assert main(["doctor", "--quick", "--json"]) == 0
    assert checks(capsys)["file type"]["fix"] == "ttc models tune mine"
    assert sorted(path.name for path in model.parent.iterdir()) == before


def test_a_changed_model_fails_with_its_cure(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    assert main(["doctor", "--json"]) == 1
    found = checks(capsys)
    assert found["model"]["status"] == "failed"
    assert found["model"]["fix"]


@pytest.mark.usefixtures("model")
def test_quick_neither_hashes_nor_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick", "--json"]) == 0
    found = checks(capsys)
    assert "model" not in found
    assert "speed" not in found
    assert found["build"]["status"] == "ok"


@pytest.mark.usefixtures("model")
def test_a_crashing_build_fails_with_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(path: Path, fresh: bool) -> BuildCheck:
        raise errors.NativeCrash("it crashes (SIGILL)", "./install.sh --rebuild")

    monkeypatch.setattr(selftest, "check_build", crash)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  build" in out
    assert "fix: ./install.sh --rebuild" in out
    assert out.splitlines()[-1].endswith("failed.")


@pytest.mark.parametrize(
    ("found", "why", "status", "said"),
    [
        ("/usr/bin/bwrap", "", Grade.OK, "/usr/bin/bwrap confines --check"),
        ("landlock", "bubblewrap is missing", Grade.WARNING, "read your files"),
        (None, "bubblewrap does not work here (no)", Grade.WARNING, "with your own rights"),
    ],
)
def test_what_confines_a_check_is_told(found, why, status, said, monkeypatch) -> None:
    monkeypatch.setattr("ttc_cli.verifiers.checking.sandbox.find_sandbox", lambda: found)
    monkeypatch.setattr("ttc_cli.verifiers.checking.sandbox.explain_sandbox", lambda: why)
    check = checkup.judge_sandbox()
    assert check.status is status
    assert check.detail.startswith(why)
    assert said in check.detail
    assert (check.fix is not None) is why.endswith("missing")


REINSTALL = f"{sys.executable} -m pip install --force-reinstall pydantic-monty"


@pytest.mark.parametrize(
    ("found", "status", "said", "fix"),
    [
        ({"monty": "", "cpython": ""}, Grade.OK, "monty and cpython run what a model writes", None),
        (
            {"monty": "", "cpython": "bubblewrap is missing"},
            Grade.WARNING,
            "cpython does not run what a model writes: bubblewrap is missing; "
            "programs that need sympy fail",
            "install the package bubblewrap",
        ),
        ({"monty": "", "cpython": "it does not work here (no)"}, Grade.WARNING, "(no)", None),
        ({"monty": "gone", "cpython": ""}, Grade.WARNING, "monty does not run", REINSTALL),
    ],
)
def test_what_runs_programs_is_told(found, status, said, fix) -> None:
    check = checkup.judge_interpreters(found)
    assert check.status is status
    assert said in check.detail
    assert check.fix == fix
