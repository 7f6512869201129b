"""A real model where memory runs out: at its load, and of its KV cache in mid-search.

Also chat templates made to hurt, in the header of a real model.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ttc_cli.models.gguf import read_header

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    environment = {
        **kept,
        "TTC_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # its threads take addresses that a limit is about
    }

    def start(model, *arguments, megabytes=None):
        def limit():
            if megabytes is not None:
                resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

        return subprocess.run(
            [sys.executable, "-m", "ttc_cli", "solve", "-m", str(model), "-q", "--threads", "1",
             *arguments],
            env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, preexec_fn=limit,
        )  # fmt: skip

    return start


@pytest.mark.parametrize("megabytes", [260, 420])
def test_no_room_for_the_model_is_exit_5_in_words(run, tiny_model, megabytes):
    done = run(tiny_model, "What is 2 + 2?", "--max-tokens", "20", megabytes=megabytes)
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kv_cache_that_fills_in_mid_search_ends_branches_and_not_the_run(run, tiny_model):
    done = run(
        tiny_model, "Count from 1 to 1000.", "--answer-type", "free", "--strategy", "best-of-n",
        "--verifier", "confidence", "--samples", "3", "--context", "64", "--json",
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    result = json.loads(done.stdout)
    assert len(result["candidates"]) == 3
    assert any(each["finish"] == "context" for each in result["candidates"])
    assert all(each["text"] for each in result["candidates"])  # what was written is kept
    assert result["usage"]["generated_tokens"] > 0


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_a_hostile_template_of_a_file_is_exit_2(run, tiny_model, tmp_path, source):
    template = read_header(tiny_model).chat_template
    content = tiny_model.read_bytes()
    hostile = source.ljust(len(template.encode()))
    changed = tmp_path / "hostile.gguf"
    changed.write_bytes(content.replace(template.encode(), hostile.encode(), 1))
    started = time.monotonic()
    done = run(changed, "What is 2 + 2?", "--max-tokens", "20")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "chat template" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 30  # loading and testing the build included
