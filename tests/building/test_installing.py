"""Whole installations on a made-up machine, where programs are played and all else is real."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from made_up import Computer

from ttc_cli.building.installing import Installation, Options
from ttc_cli.errors import TtcError


def speed(batched: int, *, busy: bool = False) -> str:
    beside = ", while other programs compute" if busy else ""
    return f"20 tokens/s alone, {batched} at 16 candidates, reads 100/s (2 threads){beside}"


def compiled(computer: Computer) -> bool:
    return any(" wheel " in line for line in computer.ran)


def test_a_fresh_machine_is_set_up_in_the_right_order(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_clang(19)
    computer.install()
    order = [
        "-m venv",
        "scikit-build-core",
        "wheel -v",  # the engine is compiled …
        "--force-reinstall",  # … and installed before ttc, which would compile a plain one
        "install -e",
        "models pull smollm2-135m",
        f"selftest {computer.folder}/models/smollm2-135m.gguf --fresh",
        "models pull --yes",
        f"selftest {computer.folder}/models/default.gguf --speed",
        f"ttc_cli.tuning.fit {computer.folder}/models/default.gguf",
    ]
    ran = "\n".join(computer.ran)
    places = [ran.index(step) for step in order]
    assert places == sorted(places)
    said = capsys.readouterr().out
    assert "Built    llama.cpp (clang 19, native instructions)" in said
    assert "Tested   a real decode in a child process" in said
    assert "Speed    default.gguf: 42 tokens/s alone" in said
    assert "Fit  " not in said
    assert "To take another: ./install.sh --model NAME" in said
    assert (
        "Model    default.gguf, 0.00 GB; the others: .venv/bin/ttc models default --explain" in said
    )
    assert '.venv/bin/ttc solve "' in said
    assert "LLAMA_BUILD_COMMON OFF" in computer.installed
    assert len(computer.wheels) == 1
    assert not (computer.home / ".cache/ttc/build").exists()


def test_a_second_run_installs_nothing(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.install()
    computer.install()
    said = capsys.readouterr().out
    assert "set up already" in said
    assert said.count("42 tokens/s alone") == 2
    assert [line for line in computer.ran if "import ttc_cli" not in line] == []


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_clang(19)
    computer.install(dry_run=True, jobs=3)
    said = capsys.readouterr().out
    assert "engine       llama-cpp-python 1.2.3" in said
    assert "jobs         3" in said
    assert f"compiler {computer.folder}/bin/clang-19" in said
    assert computer.ran == []
    assert list(computer.home.iterdir()) == []
    assert not (computer.clone / ".venv").exists()


def test_a_model_that_is_gone_is_fetched_again(computer: Computer) -> None:
    computer.install()
    (computer.folder / "models/default.gguf").unlink()
    computer.install()
    assert computer.ran[-1].endswith("models pull --yes")


@pytest.mark.parametrize("lost", [".venv", ".venv/bin", ".venv/installed", ".venv/.ttc-install"])
def test_what_was_lost_is_made_again_from_the_kept_wheel(
    computer: Computer, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    computer.install()
    gone = computer.clone / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    computer.install()
    assert "was built before" in capsys.readouterr().out
    assert not compiled(computer)


def test_what_a_changed_project_needs_is_installed(computer: Computer) -> None:
    computer.install()
    project = computer.clone / "pyproject.toml"
    project.write_text(project.read_text() + "# and more\n")
    computer.install()
    assert any("install -e" in line for line in computer.ran)


def test_dev_tools_and_models_come_with_dev_and_stay(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.install()
    computer.install(dev=True)
    assert any(line.endswith("a clone[dev]'") for line in computer.ran)
    assert any(line.endswith("models pull --yes qwen2.5-coder-0.5b") for line in computer.ran)
    capsys.readouterr()
    computer.no_network = "qwen"
    computer.install()
    said = capsys.readouterr()
    assert "set up already" in said.out
    assert "Later: .venv/bin/ttc models pull qwen2.5-coder-0.5b" in said.err


def test_a_build_that_crashes_is_followed_by_the_next_profile(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_gcc(12)
    computer.crashes = "GGML_NATIVE=ON"
    computer.install()
    said = capsys.readouterr()
    assert "crashes here (zig 0.17, native instructions)" in said.err
    assert "crashes here (gcc 12, native instructions, AMX cure)" in said.err
    assert "GGML_AVX512=ON" in computer.installed
    assert "zig 0.17, avx512 instructions" in said.out
    # What crashed once is not built again, even with a new environment.
    shutil.rmtree(computer.clone / ".venv")
    computer.install()
    assert "it crashed here before" in capsys.readouterr().out
    assert not compiled(computer)
    # --rebuild gives it another chance.
    computer.crashes = "no such thing"
    computer.install(rebuild=True)
    assert "GGML_NATIVE=ON" in computer.installed


def test_when_every_build_crashes_it_says_so(computer: Computer) -> None:
    computer.crashes = "."
    with pytest.raises(TtcError, match=r"No build of llama.cpp works here.*baseline.*install.log"):
        computer.install()
    with pytest.raises(TtcError, match="all crashed before"):
        computer.install()


def test_a_test_that_cannot_be_run_condemns_no_build(computer: Computer) -> None:
    computer.test_status = 1
    with pytest.raises(TtcError, match="could not be run"):
        computer.install()
    assert computer.wheels


def test_a_gpu_build_that_fails_is_followed_by_one_for_the_processor(computer: Computer) -> None:
    computer.add("nvcc")
    computer.add("nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA H100'\n")
    computer.add_gcc(12)
    computer.install()
    assert "-DGGML_CUDA=on" in computer.installed
    computer.fails = "GGML_CUDA"
    computer.install(rebuild=True)
    assert "-DGGML_CUDA=on" not in computer.installed
    with pytest.raises(TtcError, match="No build"):  # what is asked for by name is not replaced
        computer.install(rebuild=True, accelerator="cuda")


def test_a_prebuilt_library_that_cannot_be_had_is_followed_by_a_compiled_one(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add("nvidia-smi", "#!/bin/sh\necho 'GPU 0: X | CUDA Version: 12.4 |'\n")
    computer.missing = {"upstream"}
    computer.install()
    said = capsys.readouterr()
    assert "A CUDA GPU but no nvcc" in said.out
    assert "that did not work (upstream's prebuilt library (cu124))" in said.err
    assert "GGML_CUDA" not in computer.installed
    computer.missing = set()
    computer.install(rebuild=True)
    assert computer.installed == "prebuilt"


def test_without_zig_it_goes_on_with_gcc(computer: Computer) -> None:
    computer.add_gcc(12)
    computer.missing = {"ziglang"}
    computer.install()
    assert f"cc={computer.folder}/bin/gcc" in computer.installed


def test_what_no_index_has_is_asked_for_once(computer: Computer) -> None:
    computer.missing = {"ziglang"}
    with pytest.raises(TtcError, match=r"Tried: zig .*; zig .*baseline"):
        computer.install()
    assert sum("ziglang" in line for line in computer.ran) == 1
    assert sum("scikit-build-core" in line for line in computer.ran) == 1


def test_a_compiler_that_fails_is_followed_by_the_next(computer: Computer) -> None:
    computer.add_clang(19)
    computer.add_gcc(14)
    computer.fails = "clang"
    computer.install()
    assert "/gcc" in computer.installed


def test_on_macos_metal_is_left_out_where_the_processor_is_asked_for(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    computer.install(accelerator="cpu")
    assert "set(GGML_METAL OFF)" in computer.installed
    [cache] = (computer.home / "Library/Caches").iterdir()
    assert cache.name == "ttc"


def test_an_index_that_cannot_be_reached_is_told_once(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_gcc(12)
    computer.add_clang(19)
    computer.missing = {"scikit-build-core"}
    with pytest.raises(TtcError, match="is the package index reachable") as caught:
        computer.install()
    assert caught.value.hint
    assert "--rebuild" not in caught.value.hint
    said = capsys.readouterr()
    assert said.out.count("Compiling llama.cpp") == 1
    assert "scikit-build-core" in said.err  # the end of the log


def test_without_models_nothing_is_fetched_and_nothing_tested(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.install(models=False)
    assert not any("models pull" in line or "selftest" in line for line in computer.ran)
    assert "not tested" in capsys.readouterr().out
    computer.install()  # made good as soon as models may come
    assert "not tested" not in capsys.readouterr().out
    assert any("--fresh" in line for line in computer.ran)


def test_a_model_that_cannot_be_fetched_is_an_error_with_the_next_command(
    computer: Computer,
) -> None:
    computer.no_network = "models"
    with pytest.raises(TtcError, match=r"could not be fetched\. What was built is kept\."):
        computer.install()
    computer.no_network = "no such thing"
    computer.install()
    assert not compiled(computer)


def test_without_the_smallest_model_the_default_one_tests_the_build(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.no_network = "smollm2"
    computer.install()
    assert "Tested   a real decode" in capsys.readouterr().out


def test_a_model_of_choice_stays(computer: Computer) -> None:
    computer.install(model="qwen2.5-math-1.5b")
    assert any(line.endswith("pull --yes qwen2.5-math-1.5b") for line in computer.ran)
    assert any(line.endswith("models default qwen2.5-math-1.5b") for line in computer.ran)
    computer.install()
    assert not any("models pull" in line for line in computer.ran)
    computer.install(model="other")
    assert computer.ran[-3].endswith("models pull --yes other")
    assert computer.ran[-2].endswith("models default other")
    assert computer.ran[-1].endswith("other.gguf")  # whether another type of it is faster


def test_a_build_that_was_measured_faster_here_is_preferred(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_clang(19)
    computer.add_gcc(14)
    computer.speed = speed(90)
    computer.install(compiler="gcc")
    # One measurement says nothing of the other compiler: the order from elsewhere holds.
    computer.speed = speed(80)
    computer.install()
    assert "clang" in computer.installed
    told = "gcc 14, native instructions: 90 tokens/s at 16 candidates here"
    assert told in capsys.readouterr().out
    computer.speed = speed(91)
    computer.install()
    assert "/gcc" in computer.installed
    assert "tokens/s at 16 candidates here" not in capsys.readouterr().out
    assert not compiled(computer)
    computer.install(dry_run=True)
    said = capsys.readouterr().out
    assert said.index("gcc 14, native") < said.index("clang 19, native")
    assert "measured 91 tokens/s at 16 candidates (default.gguf)" in said
    computer.install(dry_run=True, rebuild=True)  # forgets what was measured
    said = capsys.readouterr().out
    assert said.index("clang 19, native") < said.index("gcc 14, native")


def test_a_build_with_gcc_names_the_clang_that_could_be_installed(
    computer: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.add_gcc(12)
    computer.missing = {"ziglang"}
    computer.install()
    assert "Faster   a build with clang 17 or newer" in capsys.readouterr().out
    assert "faster_command=" in (computer.clone / ".venv/.ttc-install").read_text()


def test_two_installers_do_not_meet_in_the_cache(computer: Computer) -> None:
    lock = computer.home / ".cache/ttc/install.pid"
    lock.parent.mkdir(parents=True)
    for written, said in (("", r"is at work\."), (f"{os.getpid()}\n", f"process {os.getpid()}")):
        lock.write_text(written)  # nothing: it has just begun
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(TtcError, match=said):
                computer.install()
        assert computer.ran == []
    computer.install()  # its holder died


@pytest.mark.parametrize("harm", ["changed", "no hash", "another beside it", "gone"])
def test_a_kept_wheel_that_is_not_what_was_built_is_built_again(
    computer: Computer, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    computer.install()
    built = computer.installed
    [wheel] = computer.wheels
    if harm == "changed":
        wheel.write_text("another program")
    elif harm == "no hash":
        (wheel.parent / "sha256.txt").unlink()
    elif harm == "another beside it":
        wheel.with_name("another.whl").write_text("another program")
    else:
        wheel.unlink()
    shutil.rmtree(computer.clone / ".venv")
    computer.install()
    assert "is not what was built here: building it again" in capsys.readouterr().err
    assert computer.installed == built


def test_what_a_killed_run_left_is_cleared_away(computer: Computer) -> None:
    left = computer.home / ".cache/ttc/wheels/.new-half"
    left.mkdir(parents=True)
    computer.install()
    assert not left.exists()


@pytest.mark.parametrize("home", ["/proc/ttc", "/dev/null"])
def test_without_a_place_for_what_is_built_it_says_what_to_set(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("TTC_HOME", home)
    with pytest.raises(TtcError, match=f"Nothing can be kept in {home}/cache: ") as caught:
        computer.install()
    assert (caught.value.hint or "").startswith("TTC_HOME=/path/with/room ")


def test_without_room_it_says_so(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttc_cli.building.compiling.read_free_disk", lambda path: 10**9)
    with pytest.raises(TtcError, match=r"about 3000 MB of disk; .* has 953 MB"):
        computer.install()


def test_an_installed_package_is_built_for_where_it_is(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ``ttc build`` does."""
    prefix = computer.folder / "environment"
    (prefix / "bin").mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(prefix))
    monkeypatch.setattr("sys.executable", str(prefix / "bin/python"))
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["llama-cpp-python==1.2.3"])
    monkeypatch.setattr("ttc_cli.paths.find_clone", lambda: None)
    with pytest.raises(TtcError, match="no pip") as caught:
        Installation(Options()).run()
    assert (caught.value.hint or "").endswith("-m ensurepip && ttc build")
    (prefix / "bin/python").touch()
    Installation(Options()).run()
    assert (prefix / "installed").exists()
    assert not any("install -e" in line for line in computer.ran)
    said = capsys.readouterr().out
    assert "Next     ttc solve" in said
    computer.ran.clear()
    Installation(Options()).run()
    assert "set up already" in capsys.readouterr().out
    prefix.joinpath(".ttc-install").unlink()
    prefix.joinpath(".ttc-install").mkdir()  # nothing can be noted there
    Installation(Options(models=False)).run()
    assert Path(prefix, "installed").exists()
