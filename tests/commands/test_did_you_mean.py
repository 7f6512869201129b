"""Whatever is mistyped, the nearest thing that exists is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ttc_cli.main import main
from ttc_cli.verifiers.verdicts import Verdict, write_verdicts


@pytest.fixture
def ttc(bare_home, capsys):
    (Path("ttc.toml")).write_text("[presets.maths]\nbudget = 'deep'\n")

    def run(*arguments):
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("sovle Q", "'solve'"),
        ("modles", "'models'"),
        ("models lsit", "'list'"),
        ("verifiers tset judge", "'test'"),
        ("policy shwo", "'show'"),
        ("config lsit", "'list'"),
        ("bench comapre a b", "compare"),
        ("solve --bugdet deep Q", "--budget"),
        ("models list --jsno", "--json"),
        ("config list --show-orign", "--show-origin"),
        ("solve --strategy majorty Q", "majority"),
        ("solve --strategy best_of_n Q", "best-of-n"),
        ("solve --strategy atuo Q", "auto"),
        ("solve --strategy beam -o widht=3 Q", "width"),
        ("solve --form porgram Q", "program"),
        ("solve --form auot Q", "auto"),
        ("config set form pose", "prose"),
        ("solve --verifier jugde Q", "judge"),
        ("solve --verifier confidence=tial Q", "tail"),
        ("solve --verifier prm=rlhflow-prm-8 Q", "rlhflow-prm-8b"),
        ("solve --model qwen2.5-codr-0.5b Q", "qwen2.5-coder-0.5b"),
        ("solve --cascade qwen2.5-coder-0.5b,qwen2.5-codr-1.5b Q", "qwen2.5-coder-1.5b"),
        ("models show qwen2.5-codr-0.5b", "qwen2.5-coder-0.5b"),
        ("models pull qwen2.5-codr-0.5b", "qwen2.5-coder-0.5b"),
        ("solve --preset mahts Q", "maths"),
        ("verifiers forget jugde", "judge"),
        ("config set bugdet deep", "'budget'"),
        ("config set kv_type q8", "'q8_0'"),
    ],
)
def test_the_nearest_is_named(ttc, line, meant):
    home = Path(os.environ["TTC_HOME"])
    verdict = Verdict("judge", "m", True, 0.9, 0.8, 1.0, 9, "planted", "2026-01-02")
    write_verdicts(home / "data" / "verifiers.json", {("a" * 64, "judge"): verdict})
    code, out, err = ttc(*line.split())
    assert (code, out) == (2, "")
    said = err.lower()
    assert f"did you mean {meant}" in said, err


@pytest.mark.parametrize(
    ("file", "content", "meant"),
    [
        ("ttc.toml", "bugdet = 'deep'", "'budget'"),
        ("ttc.toml", "strategy = 'majorty'", "majority"),
        ("ttc.toml", "form = 'porgram'", "program"),
        ("ttc.toml", "verifier = 'jugde'", "judge"),
        ("home/config/config.toml", "modle = 'x'", "'model'"),
    ],
)
def test_the_nearest_to_what_a_file_says_is_named(ttc, file, content, meant):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(content)
    code, out, err = ttc("solve", "Q")
    assert (code, out) == (2, "")
    assert f"did you mean {meant}?" in err.lower()


@pytest.mark.slow
def test_a_variable_that_is_set_to_no_strategy_is_refused(ttc):
    child = subprocess.run(
        [sys.executable, "-m", "ttc_cli", "solve", "Q"],
        env={**os.environ, "TTC_STRATEGY": "majorty"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert child.returncode == 2
    assert "Did you mean majority?" in child.stderr
