"""``ttc solve`` on a real model: a solve, its limits and signals, and files that are no good.

Needs the compiled engine and SmolLM2-135M.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What is 2 + 2?"

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A home of its own, so that the build is tested once for all of this module."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TTC_")}
    home = str(tmp_path_factory.mktemp("home"))
    own = {"TTC_HOME": home, "TTC_KEEP_RUNS": "no", "TTC_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**kept, **own, "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def start(environment, tmp_path, tiny_model):
    def take_signals():
        for number in (signal.SIGINT, signal.SIGHUP):  # ignored where tests run in background
            signal.signal(number, signal.SIG_DFL)

    def run(*arguments, model=tiny_model):
        return subprocess.Popen(
            [sys.executable, "-m", "ttc_cli", "solve", "-m", str(model), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=tmp_path,
            text=True,
            preexec_fn=take_signals,
        )

    return run


@pytest.fixture
def solve(start, tiny_model):
    def run(*arguments, model=tiny_model):
        child = start(*arguments, model=model)
        out, err = child.communicate(timeout=240)
        return child.returncode, out, err

    return run


def test_a_real_solve_keeps_its_cap_and_repeats_itself(solve, tiny_model):
    arguments = (QUESTION, "--strategy", "majority", "--samples", "3", "--max-tokens", "150")
    runs = []
    for _ in range(2):
        code, out, err = solve(*arguments, "--seed", "3", "--json")
        assert code in (0, 4), err
        runs.append(json.loads(out))
    first, second = runs
    assert first["model"] == tiny_model.stem
    assert 0 < first["usage"]["generated_tokens"] <= 150 + 3
    assert len(first["candidates"]) == 3
    assert [each["text"] for each in first["candidates"]] == [
        each["text"] for each in second["candidates"]
    ]


def test_a_small_model_answers_and_says_what_it_cost(solve, starter_model):
    code, out, err = solve("What is 17 + 25?", "--budget", "quick", "--json", model=starter_model)
    assert code == 0, err
    result = json.loads(out)
    assert result["answer"] == "42"
    assert len(result["candidates"]) >= 2
    assert result["usage"]["flops"] >= 2 * 494_032_768 * result["usage"]["generated_tokens"] * 0.9


def test_nothing_of_the_native_library_reaches_the_streams(solve):
    code, out, err = solve(QUESTION, "--answer-type", "free", "--strategy", "greedy",
                           "--max-tokens", "200", "-q")  # fmt: skip
    if code == 0:
        assert out.strip()
        assert err == ""
    else:
        assert (code, out) == (4, "")
        assert err.startswith("error: No candidate")


def test_a_time_cap_holds_within_a_second(solve):
    code, out, _ = solve(QUESTION, "--budget", "max", "--max-seconds", "2", "--json")
    assert code in (0, 4)
    assert json.loads(out)["usage"]["seconds"] < 3


def test_ctrl_c_ends_a_real_decode_soon(start):
    child = start("Write a very long story.", "--answer-type", "free", "--budget", "max")
    for line in child.stderr:
        if line.startswith("policy: wave"):
            break
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    # Sixteen stories of up to 768 tokens were begun, and none came to its own end.
    assert "from 0 candidates (16 cancelled)" in err
    assert "stopped: interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_ends_a_real_decode_soon(start, number, code):
    child = start("Write a very long story.", "--answer-type", "free", "--budget", "max")
    for line in child.stderr:
        if line.startswith("policy: wave"):
            break
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (code, "")
    assert "Traceback" not in err


def test_a_truncated_file_is_exit_3(solve, tmp_path, tiny_model):
    cut = tmp_path / "cut.gguf"
    content = tiny_model.read_bytes()
    for size in (100_000, len(content) // 2):
        cut.write_bytes(content[:size])
        code, out, err = solve(QUESTION, "-q", model=cut)
        assert (code, out) == (3, "")
        assert "cut.gguf" in err
        assert "Traceback" not in err


def test_a_model_without_a_template_is_exit_2(solve, tmp_path, tiny_model):
    plain = tmp_path / "plain.gguf"
    plain.write_bytes(
        tiny_model.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_templatX")
    )
    code, out, err = solve(QUESTION, "-q", model=plain)
    assert (code, out) == (2, "")
    assert "plain has no chat template" in err
    assert "ttc models list" in err


def test_a_prompt_longer_than_the_context_is_exit_5_in_tokens(solve, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("How many words are these? " * 40_000)
    code, out, err = solve("--file", str(long), "-q")
    assert (code, out) == (5, "")
    assert "tokens" in err
    assert "context" in err


def test_too_little_memory_is_exit_5_in_bytes(environment, tmp_path, tiny_model):
    script = (
        "import sys\n"
        "from ttc_cli.models import hardware\n"
        "hardware.read_memory = lambda *paths: hardware.Memory(10**9, 5 * 10**7)\n"
        "from ttc_cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "solve", "-m", str(tiny_model), QUESTION, "-q"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert "GiB of weights" in done.stderr


def test_a_dry_run_plans_the_memory(solve, tiny_model):
    code, out, err = solve(QUESTION, "--dry-run", "--json", "--parallel", "4")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["memory"]["parallel"] == 4
    assert plan["memory"]["weights"] >= tiny_model.stat().st_size * 0.9
    assert plan["max_flops"] > 0
