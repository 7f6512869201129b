"""What ``install.sh`` tries unasked: on which processors, with which files, for how long."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_tuning import FAST, ORIGINAL, SLOW, Fakes, play
from tiny_gguf import gguf

from ttc_cli.engines.llamacpp import selftest
from ttc_cli.engines.llamacpp.selftest import BuildCheck
from ttc_cli.errors import EngineError, NativeCrash
from ttc_cli.models import files, hardware, records
from ttc_cli.models.hardware import Accelerator, Contention, Memory
from ttc_cli.models.own import add_entry
from ttc_cli.tuning import fit, tune

SAPPHIRE_RAPIDS = "CPU : AVX512 = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 1 | AMX_INT8 = 1 | "
ZEN_4 = "CPU : AVX512 = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 1 | AMX_INT8 = 0 | "
K_QUANTS = gguf(tensors=[("token_embd.weight", (256, 4), 12)], data_bytes=576)  # Q4_K
# A matrix of Q5_0, and one of F16, which has more bits than Q8_0. ``gguf`` counts all as F32.
_MIXED = [("token_embd.weight", (32, 4), 6), ("output.weight", (32, 4), 1)]
MIXED = gguf(tensors=_MIXED, data_bytes=352).replace(
    struct.pack("<IQ", 1, 512), struct.pack("<IQ", 1, 96)
)


@pytest.fixture(autouse=True)
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet server with AMX."""
    monkeypatch.setattr(hardware, "watch_contention", lambda: Contention((), 0.0))
    monkeypatch.setattr(hardware, "read_memory", lambda: Memory(16 * 10**9, 12 * 10**9))
    monkeypatch.setattr(hardware, "find_accelerators", lambda: ())
    take(monkeypatch, SAPPHIRE_RAPIDS)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    fakes = Fakes()
    play(fakes, monkeypatch)
    return fakes


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Path:
    return add(tmp_path, ORIGINAL)


def add(folder: Path, content: bytes) -> Path:
    path = folder / "Tiny.gguf"
    path.write_bytes(content)
    add_entry(str(path), name="tiny")
    return path


def take(patch: pytest.MonkeyPatch, system: str, *, offloads: bool = False) -> None:
    """Have a build for the processor that llama.cpp calls ``system``."""
    built = BuildCheck("0.3", system, offloads=offloads)
    patch.setattr(selftest, "check_build", lambda path: built)


def test_a_faster_file_is_used_and_said(
    model: Path, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.fit(model)
    said = capsys.readouterr()
    used = records.folder_of("tiny") / "Tiny.tuned-Q8_0.gguf"
    assert said.out == f"tiny\nQ8_0, 2.11 times as fast here\n{used}\n"
    assert said.err == (
        "==> Trying tiny as Q8_0, likely 2 times as fast here (120 seconds at most)\n"
    )
    assert files.find("tiny") == used
    for file in (model, used):  # whichever name an installation knows it by
        fit.fit(file)
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("system", "gpu", "content", "tried"),
    [
        (SAPPHIRE_RAPIDS, False, ORIGINAL, True),
        (SAPPHIRE_RAPIDS, False, K_QUANTS, True),
        (SAPPHIRE_RAPIDS, False, MIXED, False),  # would lose bits
        (SAPPHIRE_RAPIDS, True, ORIGINAL, False),  # runs on the GPU
        (ZEN_4, False, ORIGINAL, False),  # gains, but too little to do it unasked
        (ZEN_4, False, K_QUANTS, False),
        ("CPU : AVX2 = 1 | FMA = 1 | ", False, ORIGINAL, False),
        ("CPU : NEON = 1 | DOTPROD = 1 | MATMUL_INT8 = 1 | ", False, ORIGINAL, False),
    ],
)
def test_only_what_is_known_to_gain_on_this_processor_is_tried(
    home: Path,
    tmp_path: Path,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    system: str,
    gpu: bool,
    content: bytes,
    tried: bool,
) -> None:
    take(monkeypatch, system, offloads=gpu)
    if gpu:
        found = (Accelerator("cuda", "NVIDIA L4", 24 * 10**9),)
        monkeypatch.setattr(hardware, "find_accelerators", lambda: found)
    fit.fit(add(tmp_path, content))
    assert bool(fakes.done) is tried
    assert ("Trying tiny" in capsys.readouterr().err) is tried


def test_without_room_or_time_nothing_is_tried_or_said(
    model: Path,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    fit.fit(tmp_path / "unknown.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "read_free_disk", lambda path: 1 << 20)
        fit.fit(model)
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "read_memory", lambda: Memory(10**9, 75 << 20))
        fit.fit(model)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "BYTES_A_CORE", 1000)
        fit.fit(model)
    with monkeypatch.context() as patch:
        patch.setattr(selftest, "check_build", raise_crash)
        fit.fit(model)
    assert (fakes.done, capsys.readouterr()) == ([], ("", ""))
    fit.fit(model)
    assert fakes.done


def raise_crash(path: Path) -> BuildCheck:
    raise NativeCrash("This build crashes.")


def test_a_file_that_is_not_faster_is_not_tried_again(
    model: Path, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.tuned = SLOW
    fit.fit(model)
    said = capsys.readouterr()
    assert said.out == ""
    assert "stays in use: 1.00 times as fast is less than 1.05." in said.err
    assert files.find("tiny") == model
    fakes.tuned = FAST
    fit.fit(model)
    assert capsys.readouterr() == ("", "")


def test_after_undo_it_is_not_tried_again(model: Path, fakes: Fakes) -> None:
    fit.fit(model)
    tune.undo("tiny")
    fakes.done.clear()
    fit.fit(model)
    assert fakes.done == []
    assert files.find("tiny") == model


def test_a_failure_leaves_the_published_file(
    model: Path, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.broken = EngineError("llama.cpp could not \x1b[2Jwrite it.")
    fit.fit(model)
    said = capsys.readouterr()
    assert said.out == ""
    assert "The published file stays in use. llama.cpp could not write it." in said.err
    assert files.find("tiny") == model


_PROGRAM = """\
import sys, time
from pathlib import Path
from types import SimpleNamespace
from ttc_cli.engines.llamacpp import selftest
from ttc_cli.models import hardware
from ttc_cli.tuning import comparison, fit
step, file, tuned = sys.argv[1:]
built = selftest.BuildCheck("0.3", "AMX_INT8 = 1", offloads=False)
selftest.check_build = lambda path: built
hardware.read_memory = lambda: hardware.Memory(16 * 10**9, 12 * 10**9)
def quantise(source, target, kind, report):
    target.write_bytes(Path(tuned).read_bytes())
    if step == "write":
        time.sleep(60)
comparison.quantise = quantise
comparison.compare = lambda before, after: time.sleep(60)
fit.SECONDS = 0.5
sys.exit(fit.main([file]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["write", "compare"])
def test_what_takes_too_long_is_stopped_and_leaves_nothing(
    model: Path, tmp_path: Path, step: str
) -> None:
    tuned = tmp_path / "new.gguf"
    tuned.write_bytes(Fakes().content)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, step, str(model), str(tuned)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.monotonic() - started < 50
    assert (done.returncode, done.stdout) == (0, "")
    assert "stays in use. The trial was not over in 0.5 seconds." in done.stderr
    assert files.find("tiny") == model
    assert [path.name for path in records.folder_of("tiny").iterdir()] == ["model.json"]
    found = records.find_record("tiny")
    assert found is not None
    assert found.tuning is None
