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
from ttc_cli.models import hardware

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


def check(command: list[str], *, fresh: bool = False) -> selftest.BuildCheck:
    """Check the build by ``command`` in place of the real test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "_CHILD", command)
        return selftest.check_build(MODEL, fresh=fresh)


def test_a_build_that_passes_is_tested_once() -> None:
    first = check(PASSES)
    assert (first.version, first.system, first.offloads) == ("1.2", "CPU : AVX2 = 1", False)
    assert check(dies("SIGSEGV")) == first


def test_fresh_tests_it_again() -> None:
    check(PASSES)
    with pytest.raises(errors.NativeCrash):
        check(dies("SIGSEGV"), fresh=True)


def test_another_build_is_tested_anew(build: Path) -> None:
    check(PASSES)
    (build / "libllama.so").write_text("other machine code")
    with pytest.raises(errors.NativeCrash):
        check(dies("SIGILL"))


def test_a_build_rewritten_in_place_with_the_same_size_is_tested_anew(build: Path) -> None:
    before = selftest.build_key()
    os.utime(build / "libllama.so", ns=(1, 1))
    assert selftest.build_key() != before


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGBUS", "SIGFPE", "SIGABRT"])
def test_a_crash_names_its_signal_and_the_next_command(name: str) -> None:
    with pytest.raises(errors.NativeCrash, match=name) as caught:
        check(dies(name))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("install.sh --rebuild")
    assert stamps() == []


def test_running_out_of_memory_is_no_fault_of_the_build() -> None:
    code = "sys.stderr.write('GGML_ASSERT(ctx->mem_buffer != NULL) failed'); sys.stderr.flush()"
    with pytest.raises(errors.MemoryShort, match="ran out of memory"):
        check(child(f"{code}; os.kill(os.getpid(), signal.SIGABRT)"))
    assert stamps() == []


def test_being_killed_is_no_crash_of_the_build() -> None:
    with pytest.raises(errors.EngineError, match="memory ran out") as caught:
        check(dies("SIGKILL"))
    assert not isinstance(caught.value, errors.NativeCrash)


def test_a_child_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_TIMEOUT", 0.5)
    with pytest.raises(errors.EngineError, match="did not end within"):
        check(child("import time; time.sleep(60)"))


def test_a_child_without_a_report_is_an_error_with_its_last_words() -> None:
    with pytest.raises(errors.EngineError, match=r"status 3 .* It said: no such thing"):
        check(child("sys.stderr.write('no such thing'); sys.exit(3)"))
    with pytest.raises(errors.EngineError, match="could not be started"):
        check(["/no/such/program"])


def test_a_bad_model_is_not_blamed_on_the_build() -> None:
    bad = reports({"error": "ModelCorrupt", "message": "no GGUF", "hint": "ttc models verify x"})
    with pytest.raises(errors.ModelCorrupt, match="no GGUF") as caught:
        check(bad)
    assert caught.value.hint == "ttc models verify x"
    assert stamps() == []


def test_a_damaged_stamp_costs_a_test_and_is_mended() -> None:
    check(PASSES)
    (stamp,) = stamps()
    stamp.write_text("{")
    with pytest.raises(errors.NativeCrash):
        check(dies("SIGSEGV"))
    assert check(PASSES) == check(dies("SIGSEGV"))


def test_a_cache_that_cannot_be_written_costs_a_test_only(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    assert check(PASSES) == check(PASSES)
    with pytest.raises(errors.NativeCrash):
        check(dies("SIGSEGV"))


def test_speed_is_reported_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = reports({"prompt": 200.4, "single": 17.5, "batched": 101.0})
    monkeypatch.setattr(selftest, "_CHILD", rates)
    monkeypatch.setattr(hardware, "count_cores", lambda: 2)
    speed = selftest.measure_speed(MODEL)
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
    monkeypatch.setattr(selftest, "_SECONDS", 0.3)
    speed = selftest.measure_speed(tiny_model)
    assert min(speed.prompt, speed.single, speed.batched) > 0
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(tiny_model.read_bytes()[:100_000])
    with pytest.raises(errors.ModelError):
        selftest.check_build(truncated, fresh=True)
