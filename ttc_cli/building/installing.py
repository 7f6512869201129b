"""An installation from beginning to end: the plan, the first build that decodes here, models."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ttc_cli import children, paths
from ttc_cli.building import report, wheels
from ttc_cli.building.compilers import find_compilers
from ttc_cli.building.compiling import Workshop
from ttc_cli.building.machine import read_machine
from ttc_cli.building.profiles import Profile, choose_targets, plan_profiles
from ttc_cli.building.running import Runner, warn
from ttc_cli.errors import TtcError
from ttc_cli.paths import name_installer

CHECK_MODEL = "smollm2-135m"
_TEST_MODELS = (CHECK_MODEL, "qwen2.5-coder-0.5b")  # the latter is the smallest that can reason
_BAD_BUILD = 70  # exit status of the self-test for a bad build, as opposed to a bad model
_UNTESTED = "not tested: no model here yet"
_ROOM = "TTC_HOME=/path/with/room"


@dataclass(frozen=True, slots=True)
class Options:
    """What to install: the flags of ``install.sh``; None and empty stand for the default."""

    accelerator: str = "auto"
    compiler: str = "auto"
    prebuilt: bool = False
    rebuild: bool = False
    jobs: int | None = None
    model: str = ""
    models: bool = True
    tune: bool = True
    dev: bool = False
    dry_run: bool = False


class Installation:
    """llama.cpp for one environment: ``.venv`` of ``clone``, or the one that this runs in.

    Raises:
        TtcError: what ``options`` name is not here; the hint is the next command.
    """

    def __init__(self, options: Options, clone: Path | None = None) -> None:
        self._options = options
        self._clone = clone
        self._prefix = clone / ".venv" if clone else Path(sys.prefix)
        self._python = str(clone / ".venv/bin/python") if clone else sys.executable
        self._machine = read_machine()
        self._jobs = options.jobs or self._machine.jobs
        self._cache = paths.cache_dir().absolute()
        self._version = _read_version(clone)
        targets = choose_targets(options.accelerator, self._machine, prebuilt=options.prebuilt)
        compilers = {
            accelerator: find_compilers(options.compiler, accelerator, self._machine)
            for accelerator, folder in targets
            if not folder
        }
        variables = (os.environ.get(each, "") for each in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS"))
        surroundings = " | ".join((f"llama-cpp-python {self._version}", *variables))
        self._planned = plan_profiles(targets, self._machine, compilers, surroundings)
        self._profiles = self._prefer_measured()
        self._noted = report.read_stamp(self._prefix)
        # A later run without options keeps what an earlier one was asked for.
        self._dev = options.dev or self._noted.get("dev") == "1"
        self._model = options.model or self._noted.get("model", "")

    def run(self) -> None:
        """Build, test and fetch a model, or say only what would be done; seconds where it was.

        Raises:
            TtcError: it cannot be done; the hint is the next command.
        """
        if self._options.dry_run:
            plan = (self._profiles, self._machine, self._version, self._jobs, self._cache)
            return report.print_plan(*plan)
        hindrance = paths.find_hindrance()
        if hindrance:
            message = f"Nothing can be kept in {self._cache}: {hindrance}."
            raise TtcError(message, f"{_ROOM} {name_installer()}")
        with _take_lock(self._cache / "install.pid") as lock:
            self._runner = Runner(self._cache / "install.log", lock.fileno())
            if self._is_set_up():
                print("==> ttc is set up already")
            else:
                self._make_environment()
                self._install_engine()
            self._fetch_models()
            self._measure_speed()
            self._fit_processor()
            self._find_faster()
            shutil.rmtree(self._cache / "build", ignore_errors=True)
        report.summarise(self._noted, self._ttc, models=self._options.models)

    @property
    def _ttc(self) -> str:
        return ".venv/bin/ttc" if self._clone else "ttc"

    def _prefer_measured(self) -> list[Profile]:
        if self._options.rebuild:
            return self._planned
        return wheels.prefer_measured(self._planned, self._cache / "wheels")

    def _is_set_up(self) -> bool:
        if self._options.rebuild or self._noted.get("fingerprint") != self._fingerprint():
            return False
        if self._options.models and self._noted["checked"] == _UNTESTED:
            return False
        code = "import ttc_cli, importlib.metadata as m; m.version('llama-cpp-python')"
        return self._runner.run("is it there", [self._python, "-c", code]) == 0

    def _fingerprint(self) -> str:
        """Everything the result depends on that is cheap to know."""
        digest = hashlib.sha256(f"{self._prefix} {self._dev}".encode())
        project = [self._clone / "pyproject.toml"] if self._clone else []
        for file in (*sorted(Path(__file__).parent.glob("*.*")), *project):
            digest.update(file.read_bytes())
        for profile in (*self._planned, *self._profiles[:1]):
            digest.update(profile.recipe.encode())
        return digest.hexdigest()[:16]

    def _make_environment(self) -> None:
        """Make the clone's ``.venv``, unless a good one is there."""
        code = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        if self._runner.run("is it there", [self._python, "-c", code]) == 0:
            return
        if not self._clone:
            raise TtcError(
                "This Python has no pip to install llama.cpp with.",
                f"{self._python} -m ensurepip && {name_installer()}",
            )
        print(f"==> Making .venv with {sys.executable}")
        shutil.rmtree(self._prefix, ignore_errors=True)
        if self._runner.run("venv", [sys.executable, "-m", "venv", str(self._prefix)]) != 0:
            raise self._runner.fail("python could not make .venv")

    def _install_engine(self) -> None:
        """Install the first profile that builds, decodes in a child process and does not crash.

        Raises:
            TtcError: none does, or something that all of them take cannot be had.
        """
        report.write_stamp(self._prefix, {})
        workshop = Workshop(self._runner, self._cache, self._python, self._version, self._jobs)
        model: str | None = None
        failed = []
        for profile in self._profiles:
            folder = self._cache / "wheels" / profile.key
            if self._options.rebuild:
                shutil.rmtree(folder, ignore_errors=True)
            if (folder / "crashed").exists():
                print(f"    Skipping {profile.label}: it crashed here before.")
                continue
            wheel = wheels.find_kept(folder, profile)
            if wheel:
                print(f"==> llama.cpp was built before: {profile.label}")
            else:
                wheel = workshop.build(profile)
            if not wheel:
                warn(f"that did not work ({profile.label}); the log: {self._runner.log}")
                failed.append(profile.label)
                continue
            if not self._pip("install", "--no-deps", "--force-reinstall", str(wheel)):
                raise self._runner.fail(f"{wheel} could not be installed", "--rebuild")
            if model is None:
                # Only now: with no engine there, ttc would pull in and compile a plain one.
                self._install_ttc()
                model = self._fetch_check_model()
            if not model or self._decodes(model):
                self._noted = {
                    "fingerprint": self._fingerprint(),
                    "dev": str(int(self._dev)),
                    "built": profile.label,
                    "key": profile.key,
                    "checked": "a real decode in a child process" if model else _UNTESTED,
                }
                return
            warn(f"this build crashes here ({profile.label}): taking a safer one")
            failed.append(profile.label)
            wheels.mark_crashed(folder)
        tried = "; ".join(failed) or "nothing new; all crashed before"
        raise self._runner.fail(f"No build of llama.cpp works here. Tried: {tried}", "--rebuild")

    def _install_ttc(self) -> None:
        if self._clone:
            print("==> Installing ttc and what it needs")
            if not self._pip("install", "-e", f"{self._clone}{'[dev]' * self._dev}"):
                raise self._runner.fail(
                    "ttc's Python packages could not be installed (is the package index reachable?)"
                )

    def _decodes(self, model: str) -> bool:
        """Whether the build that is installed survives a real decode."""
        print("==> Testing it: a real decode in a child process")
        status = self._runner.run("test", self._name_test(model, "--fresh"))
        if status not in (0, _BAD_BUILD):
            raise self._runner.fail("the test could not be run", "--rebuild")
        return status == 0

    def _fetch_check_model(self) -> str:
        """The file of the smallest model, or of the one to be used; empty without models."""
        if not self._options.models:
            return ""
        print("==> Fetching the smallest model, for the test")
        return self._pull(CHECK_MODEL) or self._fetch_model()

    def _fetch_model(self) -> str:
        print(f"==> Fetching {self._model or 'the model that suits this machine'}")
        if not self._model and self._clone:
            print(f"    To take another: {name_installer()} --model NAME")
        file = self._pull("--yes", *filter(None, [self._model]))  # pull knows the default
        if not file:
            message = "The model could not be fetched. What was built is kept."
            raise TtcError(message, name_installer())
        return file

    def _pull(self, *arguments: str) -> str:
        return self._ask_ttc("models", "pull", *arguments)

    def _ask_ttc(self, *arguments: str) -> str:
        """What the ttc that is installed prints; empty where it fails."""
        command = children.name_python("-m", "ttc_cli", *arguments, python=self._python)
        return self._runner.read(command)

    def _fetch_models(self) -> None:
        """Fetch the model that will be used; for development also those of the live tests."""
        report.write_stamp(self._prefix, self._noted)
        if not self._options.models:
            return
        known = self._noted.get("model", ""), Path(self._noted.get("file", "")).is_file()
        if known != (self._model, True):
            self._noted |= {"file": self._fetch_model(), "model": self._model, "fit": ""}
            if self._options.model:
                self._ask_ttc("models", "default", self._model)
        if self._dev:
            print("==> Fetching the models of the tests")
            for name in _TEST_MODELS:
                if not self._pull("--yes", name):
                    warn(f"live tests will be skipped. Later: {self._ttc} models pull {name}")

    def _measure_speed(self) -> None:
        file = self._noted.get("file")
        if file and "speed" not in self._noted:
            print("==> Measuring its speed (5 seconds)")
            speed = self._runner.read(self._name_test(file, "--speed"), log_errors=True)
            if not speed:
                warn(f"the speed could not be measured: {self._ttc} doctor says why")
                return
            self._noted["speed"] = f"{Path(file).name}: {speed}"
        if "speed" in self._noted:
            wheels.keep_speed(self._cache / "wheels" / self._noted["key"], self._noted["speed"])

    def _fit_processor(self) -> None:
        """Use the file type that is faster here, where one is known to be; tried once for a file.

        Not for development: tests should run the published files.
        """
        file, options = self._noted.get("file"), self._options
        left_out = not (options.models and options.tune) or self._dev or os.environ.get("CI")
        if not file or left_out or self._noted.get("fitted") == file:
            return
        command = children.name_python("-m", "ttc_cli.tuning.fit", file, python=self._python)
        if said := self._runner.read(command):
            name, gain, file = said.split("\n", 2)
            undo = f"{self._ttc} models tune {name} --undo"
            self._noted |= {"file": file, "fit": f"{gain}; to go back: {undo}"}
        self._noted["fitted"] = file

    def _find_faster(self) -> None:
        """Note a build that was measured here and beats this one, or a compiler to install."""
        built, compiler = self._noted["built"], self._options.compiler
        faster = report.name_faster(built, self._machine, compiler)
        best = self._prefer_measured()[0]
        speed = wheels.read_speed(self._cache / "wheels" / best.key)
        if speed and best != self._profiles[0] and best.key != self._noted["key"]:
            what = f"{best.label}: {speed[0]} tokens/s at 16 candidates here"
            faster = what, name_installer()
        self._noted["faster"], self._noted["faster_command"] = faster or ("", "")
        report.write_stamp(self._prefix, self._noted)

    def _name_test(self, model: str, flag: str) -> tuple[str, ...]:
        command = ("-m", "ttc_cli.engines.llamacpp.selftest", model, flag)
        return children.name_python(*command, python=self._python)

    def _pip(self, *arguments: str) -> bool:
        command = [self._python, "-m", "pip", "--no-input", *arguments]
        return self._runner.run("pip", command) == 0


def _read_version(clone: Path | None) -> str:
    """The version of llama-cpp-python that ttc needs."""
    if clone:
        project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))
        needed = project["project"]["dependencies"]
    else:
        needed = importlib.metadata.requires("ttc-cli") or []
    (version,) = (each[18:] for each in needed if each.startswith("llama-cpp-python=="))
    return str(version)


def _take_lock(file: Path) -> BinaryIO:
    """Lock the cache, which several environments share, until the result is closed.

    Programs inherit it, so that it goes with the last of them, however that ends.

    Raises:
        TtcError: another installation holds it.
    """
    lock = paths.open_in_place(file, "ab+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with lock:
            lock.seek(0)
            holder = lock.read(20).decode(errors="replace").strip()
        process = f" (process {holder})" if holder else ""
        message = f"Another {name_installer()} is at work{process}."
        raise TtcError(message, name_installer()) from None
    except OSError:
        pass  # a file system without locks
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    lock.flush()
    return lock
