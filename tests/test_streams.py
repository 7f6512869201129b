"""Standard streams that were closed before the start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTED = Path(__file__).parent / "commands" / "scripted_ttc.py"
FOUR = '{"texts": ["Two and two.\\n\\nThe final answer is 4."]}'


def run(folder: Path, program: str, closing: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    return subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} {program} {closing}"],
        env={**kept, "TTC_HOME": str(folder), "PYTHONPATH": str(ROOT), "SCENARIO": FOUR},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closing", "flag"), [("0<&-", ""), ("2>&-", "--jsonl"), ("0<&- 2>&-", "--json")]
)
def test_a_closed_stream_costs_no_answer(tmp_path: Path, closing: str, flag: str) -> None:
    done = run(tmp_path, f"{SCRIPTED} solve 'What is 2+2?' {flag}", closing)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert (json.loads(last)["answer"] if flag else last.decode()) == "4"
    if "2" in closing:
        assert done.stderr == b""
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["solve 'What is 2+2?'", "models list", "--help"])
def test_a_closed_stdout_is_said_before_anything_is_computed(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, f"{SCRIPTED} {command}", "1>&-")
    assert done.returncode == 2
    assert b"Standard output is closed" in done.stderr
    assert b"started: " not in done.stderr
    assert b"Traceback" not in done.stderr


def test_all_closed_is_quiet(tmp_path: Path) -> None:
    done = run(tmp_path, f"{SCRIPTED} solve 'What is 2+2?'", "0<&- 1>&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_what_is_said_never_goes_into_a_file_that_is_opened_later(tmp_path: Path) -> None:
    """Without a place for stderr, the first file that is opened would get its number."""
    code = (
        "import sys; from ttc_cli.main import main; code = main(['models', 'list']); "
        "file = open('kept', 'wb', buffering=0); import os; os.write(2, b'noise'); "
        "sys.exit(code)"
    )
    done = run(tmp_path, f'-c "{code}"', "2>&-")
    assert done.returncode == 0
    assert (tmp_path / "kept").read_bytes() == b""
