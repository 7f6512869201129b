"""What the speed benchmarks share: a quiet machine, interleaved sides, medians and ratios."""

from __future__ import annotations

import argparse
import functools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ttc_cli.models import hardware

QUIET = 0.10
"""Other processes may use this share of one core; one busy process makes a step 4 × slower."""

HERE = Path(__file__).resolve().parent
GSM8K = HERE.parent / "tests" / "data" / "gsm8k" / "test_0_199.jsonl"
"""The labelled questions that searches are timed on."""


@dataclass(frozen=True)
class Line:
    """A comparison: medians of both sides and ours ÷ theirs, held against ``target``.

    ``better`` is ``high`` where the ratio should be at least the target, else ``low``.
    """

    what: str
    ours: float
    theirs: float
    unit: str
    target: float
    better: str = "high"
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs else float("nan")

    @property
    def met(self) -> bool:
        """Whether the ratio is at least, or at most, the target."""
        return self.ratio >= self.target if self.better == "high" else self.ratio <= self.target


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all speed benchmarks have."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3, help="times each side runs")
    options.add_argument("--force", action="store_true", help="measure on a loaded machine too")
    return options


def add_model(options: argparse.ArgumentParser) -> None:
    """``--model`` and ``--threads``."""
    options.add_argument("--model", type=Path, required=True, help="a GGUF file")
    options.add_argument("--threads", type=int, default=hardware.count_cores())


def add_peers(options: argparse.ArgumentParser) -> None:
    """``--peers``: where build_peers.sh put its programs."""
    options.add_argument(
        "--peers",
        type=Path,
        default=HERE.parent / "build" / "peers" / "cmake" / "bin",
        help="folder of llama-batched-bench and llama-server (benchmarks/build_peers.sh)",
    )


def find_peer(given: argparse.Namespace, name: str) -> str:
    """The path of the program ``name``; ends the script where ``--peers`` has none."""
    path = given.peers / name
    if not path.is_file():
        sys.exit(f"There is no {path}: benchmarks/build_peers.sh builds it, --peers names another.")
    return str(path)


@functools.cache
def _ggml_folder() -> tempfile.TemporaryDirectory[str]:
    import llama_cpp

    folder = tempfile.TemporaryDirectory(prefix="ttc-peers-")
    for library in (Path(llama_cpp.__file__).parent / "lib").glob("libggml*"):
        (Path(folder.name) / library.name).symlink_to(library)
    return folder


def peer_environment() -> dict[str, str]:
    """The environment in which a peer computes with the wheel's own libggml.

    All computing is in there. libllama stays the peer's own, of the same source: C++ objects
    cross between it and the peer, and the wheel's may bring another C++ library.
    """
    libraries = _ggml_folder().name
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "DYLD_LIBRARY_PATH": libraries}


def require_quiet(force: bool) -> None:
    """End the program if others use the processor, unless ``force``."""
    me = psutil.Process()
    mine = {me.pid, *(parent.pid for parent in me.parents())}
    others = [process for process in psutil.process_iter(["name"]) if process.pid not in mine]
    for process in others:
        _percent(process)
    psutil.cpu_percent(interval=1.0)
    busy = sorted(((_percent(p), p) for p in others), key=lambda pair: pair[0], reverse=True)
    used = sum(share for share, _ in busy)
    if used > QUIET * 100:
        names = ", ".join(f"{p.info['name']} {share:.0f} %" for share, p in busy[:3] if share)
        print(f"Other processes use the processor ({names}).", file=sys.stderr)
        if not force:
            sys.exit("Timings would mean nothing. Stop them, or measure anyway with --force.")


def _percent(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run the sides in turn (A B A B …), so that a drifting machine drifts for both."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            value = run()
            found[name].append(value)
            print(f"  round {number + 1}/{rounds} {name}: {value:.4g}", file=sys.stderr, flush=True)
    return found


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Least and greatest value, to print beside a median."""
    return f"{min(values):.4g}–{max(values):.4g}"


def print_lines(title: str, lines: Sequence[Line], facts: Mapping[str, object]) -> None:
    """Print a Markdown table on stdout, with what it was measured on beneath."""
    print(f"\n### {title}\n")
    print("| what | ours | theirs | ratio | target | |")
    print("|---|---:|---:|---:|---:|---|")
    for line in lines:
        sign = "≥" if line.better == "high" else "≤"
        verdict = "met" if line.met else "missed"
        ours, theirs = f"{line.ours:.4g} {line.unit}", f"{line.theirs:.4g} {line.unit}"
        remark = "; ".join(filter(None, (verdict, line.note)))
        print(
            f"| {line.what} | {ours} | {theirs} | {line.ratio:.3f} | {sign} {line.target:g} "
            f"| {remark} |"
        )
    known = {**facts, "processor": hardware.read_cpu().model, "system": platform.platform()}
    print("\n" + " · ".join(f"{name}: {value}" for name, value in known.items()))
