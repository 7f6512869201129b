"""``ttc solve --batch`` on a real model. Needs the compiled engine and SmolLM2-135M."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ("What is 2 + 2?", "Is 7 a prime?", "What is 3 times 5?", "How many legs has a dog?")

pytestmark = pytest.mark.live


def test_four_questions_share_a_model_and_a_second_run_has_nothing_to_do(tmp_path, tiny_model):
    (tmp_path / "q.txt").write_text("".join(f"{each}\n" for each in QUESTIONS))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    home = {"TTC_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    home["TTC_THREADS"] = "1"

    def solve(*arguments):
        command = [sys.executable, "-m", "ttc_cli", "solve", "-m", str(tiny_model), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**kept, **home}, capture_output=True, text=True, timeout=240
        )

    command = ("--batch", "q.txt", "--budget", "quick", "--parallel", "8", "--max-tokens", "48")
    # Else the first run also tests whether the model writes programs: the questions then begin
    # together, in other batches, which round otherwise.
    command += ("--form", "prose")
    done = solve(*command, "--output", "a.jsonl")
    assert done.returncode in (0, 4), done.stderr
    before = (tmp_path / "a.jsonl").read_bytes()
    rows = {row["id"]: row for row in map(json.loads, before.splitlines())}
    assert {id: row["question"] for id, row in rows.items()} == dict(enumerate(QUESTIONS, 1))
    for row in rows.values():
        assert row["type"] == "result"
        # A cap is passed by no more than one step of the four branches that a question has here.
        assert 0 < row["usage"]["generated_tokens"] <= 48 + 4
    again = solve(*command, "--output", "a.jsonl")
    assert again.returncode == done.returncode
    assert " before)" in again.stderr
    assert (tmp_path / "a.jsonl").read_bytes() == before
    same = solve(*command)
    repeated = {row["id"]: row["candidates"] for row in map(json.loads, same.stdout.splitlines())}
    assert repeated == {id: row["candidates"] for id, row in rows.items()}
