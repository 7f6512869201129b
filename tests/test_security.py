"""What docs/security.md promises and no other test holds."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "TTC_API_KEY": "sk-own-123",
    "OPENAI_API_KEY": "sk-common-456",
    "HF_TOKEN": "hf_secret789",
}


GUARDED = textwrap.dedent(
    """
    import os, runpy, socket, sys
    def audit(event, arguments):
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            place = arguments[1] if event != "socket.getaddrinfo" else arguments
            print("NETWORK", event, place, file=sys.stderr, flush=True)
    sys.addaudithook(audit)
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
    """
)


def test_a_solve_on_this_machine_asks_no_network_and_writes_no_key_down(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    scripted = ROOT / "tests" / "commands" / "scripted_ttc.py"
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(scripted), "solve", "What is 2+2?", "--jsonl", "-v"],
        env={
            **kept,
            **SECRETS,
            "TTC_HOME": str(tmp_path / "home"),
            "HF_HOME": str(tmp_path / "hub"),
            "PYTHONPATH": str(ROOT),
            "SCENARIO": json.dumps({"texts": ["So.\n\nThe final answer is 4."]}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        assert not any(secret.encode() in content for content in written)


def test_no_code_is_made_of_text_or_of_files() -> None:
    """No ``eval``, ``exec``, ``pickle`` or shell anywhere in the package.

    Only the script that runs models' programs in a confined process of its own makes code of them.
    """
    for path in (ROOT / "ttc_cli").rglob("*.py"):
        if path == ROOT / "ttc_cli" / "forms" / "runner.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                own = isinstance(node.func, ast.Name)
                assert not (own and name in ("eval", "exec", "compile")), path
                assert name not in ("system", "popen"), path
                shell = [word for word in node.keywords if word.arg == "shell"]
                assert not shell, path
            if isinstance(node, ast.Import):
                assert not {"pickle", "marshal", "shelve"} & {a.name for a in node.names}, path


STARTS = r"(os\.)(exec|fork|popen|posix_spawn|spawn|startfile)\w*|\w+\.(create_)?subprocess_\w+"
STARTERS = {"subprocess", "multiprocessing", "pty", "_posixsubprocess", "ProcessPoolExecutor"}
EXCEPTIONS = {"children.py", "confine.py"}
"""Where processes are started; and what runs in one to become the user's check."""


def test_one_module_starts_processes() -> None:
    for path in (ROOT / "ttc_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            used = set()
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                used = STARTERS & {part for name in named for part in name.split(".")}
            elif isinstance(node, ast.Attribute) and re.fullmatch(STARTS, ast.unparse(node)):
                used = {node.attr}
            assert not used or path.name in EXCEPTIONS, (path, used)
