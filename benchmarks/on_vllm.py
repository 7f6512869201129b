#!/usr/bin/env python3
r"""ttc on a real vLLM on this machine's processor: the engine contract, and searches.

    benchmarks/build_vllm.sh
    benchmarks/on_vllm.py --tiny SMALL.gguf --model M.gguf

The contract suite of the engines runs on SMALL, in float32, so that no rounding excuses another
text. ``ttc solve --server`` runs on M in bfloat16: programs, a schema, six questions at once,
``auto``, and a beam search with its judge. Either is left out where its file is not given.

Both files are unpacked for vLLM once (``vllm_folder.py``). What the servers and commands print is
kept in the folder of logs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from measure import GSM8K, HERE
from serving import find_port

from ttc_cli.answers.validating import conforms
from ttc_cli.bench import datasets

QUESTION = (
    "A shop sells pens in packs of 6 for $4 and single pens for $1. What is the least that 20 pens "
    "cost, in dollars?"
)
LETTER = "Dear Ms Hart, I am Tom Reed, 42 years old, and I would like to rent your boat in May."
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
)
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Of the servers: nothing is fetched or reported, and a GiB of KV cache each."""

ROOM = ["--max-model-len", "2048", "--block-size", "32"]
"""The cache finds whole blocks again; on a processor one has 128 tokens by default."""
COMPACT = [
    "--structured-outputs-config",
    json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}),
]
"""For schemas: by default a text may have blanks without end between two values."""


@dataclass(frozen=True)
class Row:
    """One thing that ran."""

    what: str
    passed: bool
    seconds: float
    note: str = ""


class Trouble(Exception):
    """Why a part could not run to its end."""


@contextlib.contextmanager
def begin(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] = QUIET
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group; it ends with all its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(each) for each in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process, grace=10)


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and all its children: by force after ``grace`` seconds."""
    if process.poll() is None:
        own = psutil.Process(process.pid)
        whole = [own, *own.children(recursive=True)]
        if grace:
            process.terminate()
            psutil.wait_procs(whole, timeout=grace)
        for each in whole:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def await_reply(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until ``url`` answers.

    Raises:
        Trouble: the process has ended, or the time is over.
    """

    def answers() -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(url, timeout=5).status_code == 200
        return False

    await_that(answers, f"{url} answers", seconds, process, log)


def await_that(
    holds: Callable[[], bool],
    what: str,
    seconds: float,
    process: subprocess.Popen[bytes],
    log: Path,
) -> None:
    """Wait until ``holds`` says yes.

    Raises:
        Trouble: the process has ended, or the time is over.
    """
    until = time.monotonic() + seconds
    while not holds():
        if process.poll() is not None:
            raise Trouble(f"status {process.returncode} before {what}; see {log}")
        if time.monotonic() > until:
            raise Trouble(f"{seconds:.0f} s are over before {what}; see {log}")
        time.sleep(0.2)


def call(command: Sequence[str | Path], seconds: float, **environment: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command, which Ctrl-C ends after ``seconds``."""
    process = subprocess.Popen(
        [str(each) for each in command],
        cwd=HERE.parent,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, told = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            said, told = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            said, told = process.communicate()
    return process.returncode, said, told


def unpack(given: argparse.Namespace, model: Path, dtype: str) -> Path:
    """The folder of ``model`` that vLLM loads, made where it is not there."""
    folder: Path = given.folders / f"{model.stem}-{dtype}"
    if not (folder / "config.json").is_file():
        given.folders.mkdir(parents=True, exist_ok=True)
        script = HERE / "vllm_folder.py"
        with tempfile.TemporaryDirectory(dir=given.folders) as draft:
            made = Path(draft) / "made"
            command = [given.vllm / "python", script, model.resolve(), made, "--dtype", dtype]
            status, _, told = call(command, 300, **QUIET)
            if status:
                raise Trouble(f"{script.name} ended with status {status}: {told[-500:]}")
            made.rename(folder)
    return folder


def write_command(given: argparse.Namespace, folder: Path, dtype: str, *flags: str) -> list[str]:
    """``vllm serve`` without a port."""
    command = [str(given.vllm / "vllm"), "serve", str(folder), "--served-model-name", folder.name]
    command += ["--dtype", dtype, "--enforce-eager", "--max-num-seqs", "16"]
    command += ["--max-logprobs", "100", "--enable-prompt-tokens-details", *flags]
    return command


def run_contract(given: argparse.Namespace, url: str) -> Iterator[Row]:
    """The contract suite of the engines against ``url``."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["tests/contract", "-k", "openai"]
    status, said, _ = call(command, given.most, TTC_CONTRACT_SERVER=url)
    (given.logs / "contract.txt").write_text(said, encoding="utf-8")
    last = (said.splitlines() or [""])[-1]
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", last)
    print("\n".join(re.findall(r"^(?:FAILED|ERROR) .*", said, re.M)), file=sys.stderr)
    yield Row("contract suite", status == 0, time.monotonic() - began, ", ".join(counts))


def solve(given: argparse.Namespace, url: str, *flags: str) -> list[str]:
    """The command ``ttc solve`` on the server at ``url``."""
    command = [sys.executable, "-m", "ttc_cli", "solve", "--server", url, "--no-save"]
    command += ["--chat-template", str(given.model.resolve()), "--parameters", given.parameters]
    return [*command, *flags]


def run_search(given: argparse.Namespace, url: str, what: str, *flags: str) -> Row:
    """One question; it passes where there is an answer that the flags allow."""
    began = time.monotonic()
    command = solve(given, url, "--json", "-q", "--max-seconds", given.seconds, *flags)
    status, said, told = call(command, given.most)
    seconds = time.monotonic() - began
    (given.logs / f"{what}.json").write_text(said + told, encoding="utf-8")
    if status or not said.strip():
        return Row(what, False, seconds, f"status {status}: {' '.join(told.split())[:200]}")
    found = json.loads(said)
    passed = found["answer"] is not None
    if "--schema" in flags:
        passed = passed and conforms(found["answer"], SCHEMA)
    return Row(what, passed, seconds, describe(found))


def describe(found: Mapping[str, Any]) -> str:
    """What a result says of itself, in a few words."""
    spent, judged = found["usage"]["generator"], found["usage"]["verifier"]
    answer = " ".join(str(found["answer"]).split())
    reused = spent["reused_tokens"] + judged["reused_tokens"]
    read = spent["prompt_tokens"] + judged["prompt_tokens"]
    return (
        f"{answer}; {len(found['candidates'])} candidates, {spent['generated_tokens']:,} tokens "
        f"grown, {read:,} read, {reused:,} found in its cache; {found['stop_reason']}"
    )


def run_batch(given: argparse.Namespace, url: str) -> Row:
    """Six questions of GSM8K; it passes where each gets an answer."""
    questions = datasets.load(GSM8K, "0:6")
    lines = [json.dumps({"id": each.id, "question": each.problem.text}) for each in questions]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows, answers = Path(folder) / "questions.jsonl", Path(folder) / "answers.jsonl"
        rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
        flags = ["--budget", "quick", "--batch", str(rows), "--output", str(answers)]
        command = solve(given, url, "--max-seconds", given.seconds, *flags)
        status, _, told = call(command, given.most)
        said = answers.read_text(encoding="utf-8") if answers.exists() else ""
    seconds = time.monotonic() - began
    (given.logs / "batch.txt").write_text(said + told, encoding="utf-8")
    found = {row["id"]: row.get("answer") for row in map(json.loads, said.splitlines())}
    right = sum(found.get(each.id) == each.answer for each in questions)
    answered = sum(each is not None for each in found.values())
    note = f"{answered} answered, {right} of them right; status {status}"
    return Row("a batch of six", status == 0 and answered == len(questions), seconds, note)


def run_searches(given: argparse.Namespace, url: str) -> Iterator[Row]:
    """What people do with a server."""
    yield run_search(given, url, "program", "--form", "program", "--budget", "quick", QUESTION)
    asked = f"Who wrote this, and how old is he? {LETTER}"
    yield run_search(given, url, "schema", "--schema", SCHEMA, asked)
    yield run_batch(given, url)
    yield run_search(given, url, "auto", QUESTION)
    flags = ["--strategy", "beam", "--samples", "4", "--verifier", "judge"]
    yield run_search(given, url, "beam", *flags, QUESTION)


def run_on_servers(given: argparse.Namespace) -> Iterator[Row]:
    """Everything here; both servers start at the same time."""
    kinds = (
        (run_searches, given.model, "bfloat16", ROOM),
        (run_contract, given.tiny, "float32", ["--max-model-len", "256"]),
    )
    folders = [unpack(given, model, dtype) if model else None for _, model, dtype, _ in kinds]
    began = time.monotonic()
    parts: list[tuple[str, Callable[..., Iterator[Row]], subprocess.Popen[bytes], Path]] = []
    with contextlib.ExitStack() as stack:
        for (work, _, dtype, flags), folder in zip(kinds, folders, strict=True):
            if folder is not None:
                port, log = find_port(), given.logs / f"{work.__name__}-vllm.txt"
                command = write_command(given, folder, dtype, *flags, *COMPACT)
                command += ["--host", "127.0.0.1", "--port", str(port)]
                process = stack.enter_context(begin(command, log))
                parts.append((f"http://127.0.0.1:{port}", work, process, log))
        for url, _, process, log in parts:
            await_reply(f"{url}/health", process, log, given.most)
        yield Row(f"{len(parts)} servers start", True, time.monotonic() - began)
        for url, work, _, _ in parts:
            yield from work(given, url)


def options(description: str) -> argparse.ArgumentParser:
    """What the command line of this script and of ``replicas.py`` says."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    build = HERE.parent / "build"
    parser.add_argument("--model", type=Path, help="a GGUF file")
    parser.add_argument("--parameters", default="4.94e8", help="of the model")
    parser.add_argument("--vllm", type=Path, default=build / "vllm", help="of build_vllm.sh")
    parser.add_argument("--folders", type=Path, default=build / "vllm-models", help="unpacked")
    parser.add_argument("--logs", type=Path, help="a folder that is made")
    parser.add_argument("--seconds", default="90", help="for one question")
    parser.add_argument("--most", type=float, default=300.0, help="seconds for one row")
    return parser


def report(given: argparse.Namespace, work: Callable[[argparse.Namespace], Iterator[Row]]) -> None:
    """Print what ``work`` comes to, a line of a table each, and end the program."""
    given.vllm, given.folders = given.vllm.absolute() / "bin", given.folders.absolute()
    if not (given.vllm / "vllm").is_file():
        sys.exit(f"There is no vllm in {given.vllm}: benchmarks/build_vllm.sh makes it.")
    given.logs = (given.logs or Path(tempfile.mkdtemp(prefix="ttc-vllm-"))).absolute()
    given.logs.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # servers end too
    print(f"logs: {given.logs}\n\n| what | | seconds | |\n|---|---|---:|---|", flush=True)
    failed = False
    try:
        for row in work(given):
            failed = failed or not row.passed
            verdict = "passed" if row.passed else "FAILED"
            print(f"| {row.what} | {verdict} | {row.seconds:.0f} | {row.note} |", flush=True)
    except Trouble as trouble:
        sys.exit(f"Stopped: {trouble}")
    sys.exit(failed)


def main() -> None:
    """Run what the command line names."""
    parser = options(__doc__)
    parser.add_argument("--tiny", type=Path, help="a small GGUF file, for the contract")
    given = parser.parse_args()
    if given.tiny is None and given.model is None:
        parser.error("give --tiny, --model, or both")
    report(given, run_on_servers)


if __name__ == "__main__":
    main()
