"""Building one profile: tools, source, compiler, wheel."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from functools import cached_property
from pathlib import Path

from ttc_cli.building import patches, wheels
from ttc_cli.building.compilers import ZIG, compiles
from ttc_cli.building.profiles import Profile
from ttc_cli.building.running import Runner
from ttc_cli.children import find_program
from ttc_cli.errors import TtcError
from ttc_cli.models.hardware import read_free_disk
from ttc_cli.paths import name_installer, write_whole

_NEEDED_MB = 3000
_UPSTREAM = "https://abetlen.github.io/llama-cpp-python/whl"

# Without a CPU, zig compiles for this one, whatever is switched on by name.
_ZIG = """\
#!/bin/sh
export ZIG_GLOBAL_CACHE_DIR="{cache}" ZIG_LOCAL_CACHE_DIR="{cache}"
exec "{python}" -m ziglang {name} {cpu} "$@"
"""


class Workshop:
    """Builds wheels of llama-cpp-python ``version``, ``jobs`` files at once, for ``target``.

    Build tools live in the cache, not in the environment of the Python ``target``: a compiler is no
    part of ttc.
    """

    def __init__(self, runner: Runner, cache: Path, target: str, version: str, jobs: int) -> None:
        self._runner = runner
        self._target = target
        self._wheels = cache / "wheels"
        self._build = cache / "build"
        self._tools = self._build / "tools"
        self._python = str(self._tools / "bin" / "python")
        self._wanted = f"llama-cpp-python=={version}"
        self._source = self._build / f"llama_cpp_python-{version}"
        self._jobs = jobs

    def build(self, profile: Profile) -> Path | None:
        """Build the wheel of ``profile`` and keep it; None if that fails.

        Raises:
            TtcError: no other profile can be built either.
        """
        where = self._wheels.parent
        free = read_free_disk(where) >> 20
        if free < _NEEDED_MB:
            message = f"Compiling needs about {_NEEDED_MB} MB of disk; {where} has {free} MB."
            raise TtcError(message, f"TTC_HOME=/path/with/room {name_installer()}")
        if profile.compiler:
            print(f"==> Compiling llama.cpp: {profile.label}, {self._jobs} at once (minutes)")
        else:
            print(f"==> Fetching {profile.label}")
        self._wheels.mkdir(parents=True, exist_ok=True)
        for left in self._wheels.glob(".new-*"):  # by a run that was killed
            shutil.rmtree(left)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._wheels))
        made = self._compile(profile, new) if profile.compiler else self._fetch(profile, new)
        found = list(new.glob("*.whl"))
        if made and len(found) == 1:
            return wheels.keep(found[0], self._wheels / profile.key, profile)
        shutil.rmtree(new)
        return None

    def _fetch(self, profile: Profile, new: Path) -> bool:
        """Fetch a prebuilt wheel, and nothing else, from upstream's own index."""
        command = [self._target, "-m", "pip", "--no-input", "--timeout", "10", "--retries", "1"]
        command += ["download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
        command += ["-d", str(new), self._wanted]
        command += ["--index-url", f"{_UPSTREAM}/{profile.instructions}"]
        return self._runner.run("prebuilt library", command) == 0

    def _compile(self, profile: Profile, new: Path) -> bool:
        assert profile.compiler
        if not (self._has_tools and self._fetch_source()):
            raise self._runner.fail(
                "What compiling needs could not be fetched (is the package index reachable?)"
            )
        cc, cxx = profile.compiler.cc, profile.compiler.cxx
        if profile.compiler == ZIG:
            cc, cxx = str(self._tools / "zig-cc"), str(self._tools / "zig-c++")
            if not self._make_zig("" if profile.instructions == "native" else "-mcpu=baseline"):
                return False
        work = self._build / profile.key
        without_metal = sys.platform == "darwin" and profile.accelerator == "cpu"
        overrides = patches.write_fixes(work, without_metal=without_metal)
        if not patches.quicken_attention(self._source):
            self._runner.note("attention is not quickened: ops.cpp has changed")
        # Upstream installs into its source tree as well: another profile's libraries must not stay.
        shutil.rmtree(self._source / "llama_cpp" / "lib", ignore_errors=True)
        # pip's own cache knows nothing of CMAKE_ARGS: it would hand back a wheel that crashes.
        command = ("wheel", "-v", "--no-build-isolation", "--no-deps", "--no-cache-dir")
        own = os.environ.get("CMAKE_ARGS", "")
        return self._pip(
            *("compile", *command, "-w", str(new), str(self._source)),
            CC=cc,
            CXX=cxx,
            CMAKE_BUILD_PARALLEL_LEVEL=str(self._jobs),
            SKBUILD_BUILD_DIR=str(work / "cmake"),
            PATH=f"{self._tools / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            CMAKE_ARGS=f"{profile.flags} '-DCMAKE_PROJECT_llama_cpp_INCLUDE={overrides}' {own}",
        )

    @cached_property
    def _has_tools(self) -> bool:
        """Install what builds the wheel; cmake and ninja may also be the system's."""
        if self._runner.run("build tools", [self._python, "-c", ""]) != 0:
            shutil.rmtree(self._tools, ignore_errors=True)
            self._runner.run("build tools", [sys.executable, "-m", "venv", str(self._tools)])
        if not self._pip("build tools", "install", "scikit-build-core>=0.9.2"):
            return False
        cmake = self._pip("cmake", "install", "cmake>=3.21") or find_program("cmake")
        ninja = self._pip("ninja", "install", "ninja") or find_program("ninja")
        return bool(cmake and (ninja or find_program("make")))

    @cached_property
    def _has_zig(self) -> bool:
        return self._pip("zig", "install", f"{ZIG.name.replace('zig ', 'ziglang==')}.*")

    def _make_zig(self, cpu: str) -> bool:
        """Make programs that call zig as a compiler for ``cpu``."""
        if not self._has_zig:
            return False
        cache = self._build / "zig-cache"
        for name in ("cc", "c++"):
            wrapper = self._tools / f"zig-{name}"
            text = _ZIG.format(cache=cache, python=self._python, name=name, cpu=cpu)
            write_whole(wrapper, text)
            wrapper.chmod(0o755)
        return compiles(str(self._tools / "zig-c++"))

    def _fetch_source(self) -> bool:
        if (self._source / "pyproject.toml").is_file():
            return True
        command = ("download", "--no-deps", "--no-build-isolation", "--no-binary")
        where = ("-d", str(self._build), self._wanted)
        if not self._pip("source", *command, "llama-cpp-python", *where):
            return False
        archive = self._source.with_name(f"{self._source.name}.tar.gz")
        with tempfile.TemporaryDirectory(dir=self._build) as folder:
            unpack = [self._python, "-m", "tarfile", "-e", str(archive), folder]
            if self._runner.run("unpack", unpack) != 0:
                return False
            Path(folder, self._source.name).rename(self._source)
        return True

    def _pip(self, what: str, *arguments: str, **environment: str) -> bool:
        command = [self._python, "-m", "pip", "--no-input", *arguments]
        return self._runner.run(what, command, **environment) == 0
