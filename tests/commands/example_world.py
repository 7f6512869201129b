"""Where the examples of ``--help`` run: a home with small fake models, files, and a hub.

``EXAMPLE_FILES`` lie in the working directory; a command whose examples need another file adds it
there, and one that needs something done before adds commands to ``BEFORE``. Only what computes is
played: the engine, the trials of ``ttc models tune``, and the check of the build. As a program
this is ``ttc`` under those conditions, for examples that need a shell.
"""

import hashlib
import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ttc_cli.engines.scripted import CHATML, Ask, ScriptedEngine

ROOT = Path(__file__).parents[2]

SUMS = [{"question": f"What is {n}+{n}?", "answer": str(2 * n)} for n in range(1, 9)]
PEER = [
    {"question": f"questions/{n}", "strategy": "peer", "text": f"\\boxed{{{2 * n + 2}}}"}
    | {"tokens": 9, "flops": 1e9}
    for n in range(6)
]


def write_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}},
    "required": ["name"],
    "additionalProperties": False,
}
CHECK = """\
import runpy, sys

assert runpy.run_path(sys.argv[1])["median"]([3, 1, 2]) == 2
"""

EXAMPLE_FILES = {
    "questions.jsonl": write_lines(SUMS),
    "questions.csv": "question,answer\n" + "".join(f"What is {n}+{n}?,{2 * n}\n" for n in (2, 3)),
    "question.txt": "What is 17 * 23?\n",
    "notes.txt": "Small models agree more often on right answers than on wrong ones.\n",
    "other-tool.jsonl": write_lines(PEER),
    "essay.txt": "Small models are worth asking twice.\n",
    "review.md": "Is this prime?\n\n{{ input }}\n",
    "letter.txt": "With kind regards, Hedwig\n",
    "person.json": json.dumps(PERSON),
    "test.py": CHECK,
}

BEFORE = (
    "ttc calibrate questions.jsonl --model qwen2.5-coder-0.5b --name qwen2.5-coder-0.5b-gsm8k",
    "ttc bench questions.jsonl --out before",
    "cp -r before after",
    "ttc verifiers fit questions.jsonl --out probe.json",
    "ttc verifiers test judge --model qwen2.5-coder-0.5b",
    "ttc solve --budget deep --answer-type number --save maths",
    "ttc config set budget quick",
    'ttc solve "What is 17 * 23?"',
)
"""What whoever reads the examples did before."""

LIGHTER = {
    "ttc bench": ["--samples", "4", "--runs", "1"],
    "ttc calibrate": ["--samples", "4", "--runs", "1"],
}
"""Flags that are added to examples: their defaults simulate for minutes, on whatever engine."""

MODELS = {
    "qwen2.5-coder-0.5b": "here",
    "qwen2.5-coder-1.5b": "here",
    "qwen3-1.7b": "on the hub",
}
HUB_FILE = ("bartowski/Qwen2.5-0.5B-Instruct-GGUF", "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf")


def answer(ask: Ask) -> str:
    """Sums rightly, every third time wrongly; a median in Python; else no, or 391."""
    if "median" in ask.text:
        return "```python\ndef median(numbers):\n    return sorted(numbers)[len(numbers) // 2]\n```"
    if "prime?" in ask.text:
        return "7 * 13 is 91.\n\nThe final answer is no."
    head, plus, _ = ask.text.rpartition("What is ")[2].partition("+")
    right = 2 * int(head) if plus and head.isdigit() else 391
    said = "" if ask.text.endswith("\n\n") else "It is that.\n\n"
    return f"{said}The final answer is {right + (ask.sample % 3 == 2)}."


def play(put: Callable[[str, Any], None]) -> None:
    """Replace what computes; ``put`` sets the attribute of that dotted name."""
    from ttc_cli.engines.llamacpp.selftest import BuildCheck, Speed
    from ttc_cli.models.hardware import Contention, Memory
    from ttc_cli.tuning.comparison import Agreement, Rates

    def open_engine(path: Path, settings: Any, name: str, planned: Any = None) -> ScriptedEngine:
        return ScriptedEngine(answer, parallel=8)

    def quantise(source: Path, target: Path, kind: str, report: Any) -> None:
        target.write_bytes(make_gguf("tuned"))

    fast = {"prompt": 800, "one": 40, "eight": 150, "sixteen": 230}
    slow = {"prompt": 200, "one": 20, "eight": 80, "sixteen": 100}
    comparison = "ttc_cli.tuning.comparison"
    put("ttc_cli.solving.loading.open_engine", open_engine)
    put(f"{comparison}.quantise", quantise)
    put(
        f"{comparison}.time_file",
        lambda path: Rates(**(fast if ".tuned-" in path.name else slow)),
    )
    put(
        f"{comparison}.compare",
        lambda before, after: Agreement(13.68, 13.70, 0.002, 0.995, 0.99, 212),
    )
    selftest = "ttc_cli.engines.llamacpp.selftest"
    built = BuildCheck("0.3", "CPU : AVX2 = 1 | ", offloads=False)
    put(f"{selftest}.check_build", lambda path, fresh=False: built)
    put(f"{selftest}.measure_speed", lambda path: Speed(300.0, 17.0, 60.0, 2))
    put("ttc_cli.models.hardware.watch_contention", lambda: Contention((), 0.0))
    put("ttc_cli.models.hardware.read_memory", lambda: Memory(16 * 10**9, 12 * 10**9))

    from ttc_cli.serving import running

    async def serve(service: Any, app: Any, taken: Any, ready: Callable[[], None]) -> None:
        ready()  # and nobody comes

    async def serve_agent(solver: Any, seconds: float) -> None:
        pass

    take_port = running.take_port
    put("ttc_cli.serving.running.take_port", lambda host, port: take_port(host, 0))
    put("ttc_cli.serving.running.serve", serve)
    if find_spec("mcp") is not None:
        put("ttc_cli.serving.agents.serve_agent", serve_agent)


def make_gguf(name: str) -> bytes:
    """A sound model file of a few hundred bytes."""
    made = runpy.run_path(str(ROOT / "tests/tiny_gguf.py"))
    kind, size = (8, 160) if name == "tuned" else (6, 96)
    fields = {"general.name": name, "tokenizer.chat_template": CHATML}
    content: bytes = made["gguf"](
        fields, tensors=[("token_embd.weight", (32, 4), kind)], data_bytes=size
    )
    return content


def furnish(folder: Path, hub_files: dict[tuple[str, str], bytes]) -> None:
    """Put home, files and programs below ``folder``, and onto the hub what is to be there."""
    import tomli_w

    work = folder / "work"
    work.mkdir()
    for name, text in EXAMPLE_FILES.items():
        (work / name).write_text(text)
    (work / "my-model.gguf").write_bytes(make_gguf("mine"))
    entries = {}
    for name, where in MODELS.items():
        content = make_gguf(name)
        hub_files["fake/models", f"{name}.gguf"] = content
        source = {"type": "hub", "repo": "fake/models", "file": f"{name}.gguf"}
        entries[name] = {
            "sources": [source],
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "license": "Apache-2.0",
            "tier": "starter",
        }
        if where == "here":
            place = folder / "home" / "data" / "models" / name
            place.mkdir(parents=True)
            (place / f"{name}.gguf").write_bytes(content)
    hub_files[HUB_FILE] = make_gguf("hub")
    hub_files["datasets/openai/gsm8k", "main/test-00000-of-00001.parquet"] = make_parquet(8)
    hub_files["datasets/openai/gsm8k", "main/train-00000-of-00001.parquet"] = make_parquet(8)
    own = folder / "home" / "config" / "models.toml"
    own.parent.mkdir(parents=True)
    own.write_text(tomli_w.dumps({"models": entries}))
    programs = folder / "bin"
    programs.mkdir()
    write_program(programs / "ttc", f'exec "{sys.executable}" "{__file__}" "$@"')
    write_program(programs / "nano", "exit 0")
    read = "import json, sys; print(json.load(sys.stdin)[sys.argv[-1][1:]])"
    write_program(programs / "jq", f'exec "{sys.executable}" -c \'{read}\' "$@"')


def make_parquet(rows: int) -> bytes:
    """GSM8K's columns."""
    import io

    import pyarrow as pa
    from pyarrow import parquet

    numbers = range(1, rows + 1)
    table = pa.table(
        {
            "question": [f"What is {n}+{n}?" for n in numbers],
            "answer": [f"It is so.\n#### {2 * n}" for n in numbers],
        }
    )
    written = io.BytesIO()
    parquet.write_table(table, written)
    return written.getvalue()


def write_program(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def environment(folder: Path, hub: str) -> dict[str, str]:
    """Of everything that runs there."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TTC_", "HF_", "OPENAI_", "XDG_"))
    }
    return kept | {
        "TTC_HOME": str(folder / "home"),
        "TTC_KEEP_RUNS": "yes",
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub,
        "HOME": str(folder),
        "EDITOR": "true",
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def copy_world(template: Path, folder: Path) -> None:
    """A world of its own, for examples that change or delete what is there."""
    shutil.copytree(template, folder, dirs_exist_ok=True)


def put_for_good(name: str, value: Any) -> None:
    """Set the attribute of that dotted name in this process."""
    import importlib

    module, _, attribute = name.rpartition(".")
    setattr(importlib.import_module(module), attribute, value)


if __name__ == "__main__":
    from ttc_cli.main import main

    play(put_for_good)
    sys.exit(main())
