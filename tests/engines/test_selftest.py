"""The child-process test of a build: what a crash becomes, and when a build is tested again."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from ttc_cli import errors, paths
from ttc_cli.engines.llamacpp import selftest

MODEL = Path("/models/tiny.gguf")

installed = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"
)
pytestmark = installed


def child(code: str) -> list[str]:
    """A child process that runs ``code`` in place of the real test."""
    return [sys.executable, "-c", f"import os, signal, sys, json\n{code}"]


def reports(value: object) -> list[str]:
    return child(f"print('chatter'); print({json.dumps(value)!r})")


def dies(signal_name: str) -> list[str]:
    return child(f"os.kill(os.getpid(), signal.{signal_name})")


PASSES = reports({"version": "1.2", "system": "CPU : AVX2 = 1", "offloads": False})


@pytest.fixture(autouse=True)
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a build whose only library is a text file."""
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "libllama.so").write_text("machine code")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(folder))
    return folder


def stamps() -> list[Path]:
    return list((paths.cache_dir() / "checked").glob("*"))


def test_a_build_that_passes_is_tested_once() -> None:
    first = selftest.check_build(MODEL, child=PASSES)
    assert (first.version, first.fresh, first.offloads) == ("1.2", True, False)
    again = selftest.check_build(MODEL, child=dies("SIGSEGV"))
    assert (again.version, again.system, again.fresh) == ("1.2", "CPU : AVX2 = 1", False)


def test_fresh_tests_it_again() -> None:
    selftest.check_build(MODEL, child=PASSES)
    with pytest.raises(errors.NativeCrash):
        selftest.check_build(MODEL, fresh=True, child=dies("SIGSEGV"))


def test_another_build_is_tested_anew(build: Path) -> None:
    selftest.check_build(MODEL, child=PASSES)
    (build / "libllama.so").write_text("other machine code")
    with pytest.raises(errors.NativeCrash):
        selftest.check_build(MODEL, child=dies("SIGILL"))


def test_a_build_rewritten_in_place_with_the_same_size_is_tested_anew(build: Path) -> None:
    before = selftest.build_key()
    os.utime(build / "libllama.so", ns=(1, 1))
    assert selftest.build_key() != before


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGBUS", "SIGFPE", "SIGABRT"])
def test_a_crash_names_its_signal_and_the_next_command(name: str) -> None:
    with pytest.raises(errors.NativeCrash, match=name) as caught:
        selftest.check_build(MODEL, child=dies(name))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("install.sh --rebuild")
    assert stamps() == []


def test_running_out_of_memory_is_no_fault_of_the_build() -> None:
    code = "sys.stderr.write('GGML_ASSERT(ctx->mem_buffer != NULL) failed'); sys.stderr.flush()"
    with pytest.raises(errors.MemoryShort, match="ran out of memory"):
        selftest.check_build(MODEL, child=child(f"{code}; os.kill(os.getpid(), signal.SIGABRT)"))
    assert stamps() == []


def test_being_killed_is_no_crash_of_the_build() -> None:
    with pytest.raises(errors.EngineError, match="memory ran out") as caught:
        selftest.check_build(MODEL, child=dies("SIGKILL"))
    assert not isinstance(caught.value, errors.NativeCrash)


def test_a_child_that_hangs_is_given_up() -> None:
    with pytest.raises(errors.EngineError, match="did not end within"):
        selftest.check_build(MODEL, timeout=0.5, child=child("import time; time.sleep(60)"))


def test_a_child_without_a_report_is_an_error_with_its_last_words() -> None:
    with pytest.raises(errors.EngineError, match=r"status 3 .* It said: no such thing"):
        selftest.check_build(MODEL, child=child("sys.stderr.write('no such thing'); sys.exit(3)"))
    with pytest.raises(errors.EngineError, match="could not be started"):
        selftest.check_build(MODEL, child=["/no/such/program"])


def test_a_bad_model_is_not_blamed_on_the_build() -> None:
    bad = reports({"error": "ModelCorrupt", "message": "no GGUF", "hint": "ttc models verify x"})
    with pytest.raises(errors.ModelCorrupt, match="no GGUF") as caught:
        selftest.check_build(MODEL, child=bad)
    assert caught.value.hint == "ttc models verify x"
    assert stamps() == []


def test_a_damaged_stamp_costs_a_test_and_is_mended() -> None:
    selftest.check_build(MODEL, child=PASSES)
    (stamp,) = stamps()
    stamp.write_text("{")
    assert selftest.check_build(MODEL, child=PASSES).fresh
    assert not selftest.check_build(MODEL, child=PASSES).fresh


def test_a_cache_that_cannot_be_written_costs_a_test_only(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    assert selftest.check_build(MODEL, child=PASSES).fresh
    assert selftest.check_build(MODEL, child=PASSES).fresh


def test_speed_is_reported_in_words() -> None:
    rates = reports({"prompt": 200.4, "single": 17.5, "batched": 101.0})
    speed = selftest.measure_speed(MODEL, threads=2, child=rates)
    assert speed == selftest.Speed(200.4, 17.5, 101.0, 2)
    assert str(speed) == "18 tokens/s alone, 101 at 16 candidates, reads 200/s (2 threads)"


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (errors.NativeCrash("it crashes", "./install.sh --rebuild"), selftest.BAD_BUILD),
        (errors.ModelCorrupt("no GGUF"), 1),
        (errors.EngineError("no time"), 1),
    ],
)
def test_the_exit_status_tells_a_bad_build_from_a_bad_model(
    raised: errors.TtcError,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(selftest, "check_build", fail)
    assert selftest.main([str(MODEL), "--fresh"]) == status
    assert raised.message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--loud"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    assert selftest.main(arguments) == 2


def test_a_library_that_cannot_be_loaded_is_a_bad_build(build: Path) -> None:
    """The real child: the build's "library" is a text file."""
    with pytest.raises(errors.NativeCrash, match="cannot be loaded"):
        selftest.check_build(MODEL)


@pytest.mark.live
def test_the_installed_build_decodes(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH")
    assert selftest.main([str(tiny_model)]) == 0
    assert "decodes here" in capsys.readouterr().out
    speed = selftest.measure_speed(tiny_model, seconds=0.3)
    assert min(speed.prompt, speed.single, speed.batched) > 0
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(tiny_model.read_bytes()[:100_000])
    with pytest.raises(errors.ModelError):
        selftest.check_build(truncated, fresh=True)
