"""Sets of questions that ``ttc bench`` knows by name, from a hub on the loopback interface."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{"problem": "What is $1+1$?", "answer": "2", "unique_id": "test/1"}]


def find(endpoint: str, name: str = "math500", **environment: str):
    """``datasets.find`` in a process of its own: the hub's address is read at import."""
    script = (
        "import sys\n"
        "from ttc_cli.bench.datasets import find\n"
        "from ttc_cli.errors import TtcError\n"
        "try:\n"
        f"    print([(q.id, q.answer) for q in find({name!r})])\n"
        "except TtcError as error:\n"
        "    print(error.message, error.hint, file=sys.stderr)\n"
        "    sys.exit(error.exit_code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_named_set_is_fetched_once_and_then_read_from_the_cache(server: FakeHub) -> None:
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    server.files["datasets/HuggingFaceH4/MATH-500", "test.jsonl"] = text.encode()
    done = find(server.url)
    assert done.stdout == "[('test/1', '2')]\n", done.stderr
    fetched = len(server.gets())
    assert fetched == 1
    again = find("http://127.0.0.1:9")
    assert again.stdout == done.stdout, again.stderr
    assert len(server.gets()) == fetched


def test_a_hub_that_is_not_there_or_refuses_is_told(server: FakeHub) -> None:
    nowhere = find("http://127.0.0.1:9")
    assert nowhere.returncode == 6
    assert "cannot be reached" in nowhere.stderr
    missing = find(server.url, "arc")
    assert missing.returncode == 3
    assert "datasets/allenai/ai2_arc" in missing.stderr
