"""Does this build of llama.cpp survive a real decode on this processor, and how fast is it?

A build that does not fit the processor dies by a signal at its first decode, and takes the
process with it. So the decode runs in a child process; a build that passed leaves a stamp in the
cache, keyed by its files and the processor, and is not tested again.

``python -P -m ttc_cli.engines.llamacpp.selftest MODEL [--fresh | --speed]`` is what ``install.sh``
runs: exit 0 passed, 70 the build is bad, 1 the test could not be run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttc_cli import children, errors, paths
from ttc_cli.engines.llamacpp import isolated, speed
from ttc_cli.models import hardware

BAD_BUILD = 70
"""Exit status (EX_SOFTWARE) of this module for a build that crashes or cannot be loaded."""

STREAMS = 16
"""Streams of the batched decode: what searches use."""

_PROMPT, _STEPS = 96, 4
_SECONDS, _TIMEOUT = 5.0, 180.0
_CHILD = children.name_python("-m", "ttc_cli.engines.llamacpp.selftest")


@dataclass(frozen=True, slots=True)
class BuildCheck:
    """A build that passed. ``system`` is llama.cpp's list of what it was compiled for."""

    version: str
    system: str
    offloads: bool


def read_instructions(system: str) -> set[str]:
    """What a build uses, in llama.cpp's names (``AMX_INT8``); ``system`` as in ``BuildCheck``."""
    return set(re.findall(r"(\w+) = 1", system))


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second: reading a prompt, one stream, and ``STREAMS`` streams together."""

    prompt: float
    single: float
    batched: float
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.single:.0f} tokens/s alone, {self.batched:.0f} at {STREAMS} candidates, "
            f"reads {self.prompt:.0f}/s ({self.threads} threads)"
        )


def check_build(model: Path, *, fresh: bool = False) -> BuildCheck:
    """Make sure that the installed build decodes here; runs a child only once per build.

    ``model`` is any GGUF file that fits memory; the smaller the quicker. ``fresh`` tests even if a
    stamp says that this build passed.

    Raises:
        NativeCrash: the build crashes or cannot be loaded; the hint builds a safer one.
        MemoryShort: it ran out of memory.
        ModelError: the model file, not the build, is bad.
        EngineError: the test could not be run, or did not end in time.
    """
    stamp = paths.cache_dir() / "checked" / f"{build_key()}.json"
    if not fresh:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return BuildCheck(**json.loads(stamp.read_text()))
    found = isolated.run([*_CHILD, "--child", "decode", str(model)], timeout=_TIMEOUT)
    passed = BuildCheck(**found)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a test next time
        stamp.parent.mkdir(parents=True, exist_ok=True)
        paths.write_whole(stamp, json.dumps(found))
    return passed


def measure_speed(model: Path) -> Speed:
    """Decode for ``_SECONDS`` in a child process, beyond loading, and report the rates.

    Raises:
        NativeCrash, ModelError, EngineError: as ``check_build``.
    """
    threads = hardware.count_cores()
    command = [*_CHILD, "--child", "speed", str(model), str(_SECONDS), str(threads)]
    found = isolated.run(command, timeout=_TIMEOUT + _SECONDS)
    return Speed(**found, threads=threads)


def remember_speed(model: Path, measured: Speed) -> None:
    """Keep what was measured for the choice of a default model.

    Only for a quiet machine: what a busy one does says nothing about tomorrow. Does nothing for a
    file that is not one of ttc's own models, or with a cache that cannot be written.
    """
    from ttc_cli.models.ranking import record_speed
    from ttc_cli.models.records import list_records

    for record in list_records():
        if record.used == model:
            with contextlib.suppress(OSError):
                record_speed(record.name, measured.single)


def is_installed() -> bool:
    """Whether there is any build to test. Does not load it."""
    return importlib.util.find_spec("llama_cpp") is not None


def build_key() -> str:
    """Names the installed build and this processor, without loading the library.

    Raises:
        NativeCrash: llama-cpp-python is not installed.
    """
    digest = hashlib.sha256()
    digest.update(_installed_version().encode())
    for file in hardware.list_libraries():
        status = file.stat()
        digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    processor = hardware.read_cpu()
    digest.update(f"{processor.model} {sorted(processor.features)}".encode())
    return digest.hexdigest()[:16]


def _installed_version() -> str:
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        raise errors.NativeCrash(
            "llama-cpp-python is not installed, so no local model can run.",
            paths.name_installer(),
        ) from None


# --- in the child -------------------------------------------------------------------------------


def _decode(path: Path) -> dict[str, Any]:
    """Read a prompt, then let one and several sequences grow: all kinds of decode a search does."""
    import numpy as np

    from ttc_cli.engines.llamacpp import native
    from ttc_cli.models import gguf

    gguf.read_header(path)  # says what is wrong with a file better than the library
    model = native.NativeModel(path)
    prompt = model.tokenise(speed.PROMPT, control=False)[:_PROMPT]
    context = native.Context(
        model,
        cells=_PROMPT + STREAMS * 2 * _STEPS,
        sequences=STREAMS,
        batch=_PROMPT + STREAMS,
        threads=hardware.count_cores(),
    )

    def decode(tokens: list[int], places: list[int], rows: list[int], wanted: list[int]) -> Any:
        if context.decode(tokens, places, rows, wanted) != 0:
            raise errors.EngineError("llama.cpp did not finish a decode of the self-test")
        logits = context.logits(len(wanted))
        if not np.isfinite(logits).all() or bool((logits.max(1) == logits.min(1)).any()):
            raise errors.NativeCrash(
                "llama.cpp computes no valid numbers here: this build is broken, or the model is "
                "damaged.",
                f"{paths.name_installer()} --rebuild; ttc models verify checks the model's file",
            )
        return logits.argmax(1).tolist()

    count = len(prompt)
    likeliest = decode(prompt, list(range(count)), [0] * count, [count - 1]) * STREAMS
    for row in range(1, STREAMS):
        context.copy(0, row, count)
    lengths = [count] * STREAMS
    for width in [1] * _STEPS + [STREAMS] * _STEPS:
        rows = list(range(width))
        likeliest[:width] = decode(likeliest[:width], lengths[:width], rows, rows)
        lengths[:width] = [length + 1 for length in lengths[:width]]
    context.close()
    model.close()
    return {
        "version": native.library_version(),
        "system": native.system_info(),
        "offloads": native.offloads(),
    }


def _time(path: Path, seconds: float, threads: int) -> dict[str, Any]:
    prompt, single, batched = speed.time_file(path, seconds / 3, threads, (1, STREAMS))
    return {"prompt": prompt, "single": single, "batched": batched}


def main(arguments: Sequence[str]) -> int:
    """``MODEL [--fresh | --speed]`` from install.sh; ``--child …`` from this module itself."""
    if arguments and arguments[0] == "--child":
        isolated.leave_with_parent()
        kind, model = arguments[1], Path(arguments[2])
        if kind == "decode":
            return isolated.report(lambda: _decode(model))
        return isolated.report(lambda: _time(model, float(arguments[3]), int(arguments[4])))
    flags = {argument for argument in arguments if argument.startswith("--")}
    names = [argument for argument in arguments if not argument.startswith("--")]
    if len(names) != 1 or not flags <= {"--fresh", "--speed"}:
        print("usage: python -m ttc_cli.engines.llamacpp.selftest MODEL [--fresh | --speed]")
        return 2
    try:
        if "--speed" in flags:
            quiet = not hardware.watch_contention().cores
            measured = measure_speed(Path(names[0]))
            if quiet:
                remember_speed(Path(names[0]), measured)
            print(f"{measured}{'' if quiet else ', while other programs compute'}")
        else:
            passed = check_build(Path(names[0]), fresh="--fresh" in flags)
            print(f"llama-cpp-python {passed.version} decodes here. {passed.system}")
    except errors.NativeCrash as error:
        print(error.message, file=sys.stderr)
        return BAD_BUILD
    except errors.TtcError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
