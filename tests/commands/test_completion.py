"""Completion: what is offered for each word, and whether real shells offer it at a Tab."""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

from ttc_cli import builtin
from ttc_cli.settings.config import KEYS
from ttc_cli.types import AnswerType
from ttc_cli.verifiers.verdicts import Verdict, write_verdicts

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds that a shell on a loaded machine may take for a Tab."""

ASK = """
import json, os, sys
from ttc_cli.main import main
answers = []
for words in json.load(sys.stdin):
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\\n".join(words), str(len(words) - 1)
    out, sys.stdout = sys.stdout, __import__("io").StringIO()
    code = main([])
    answers.append([code, sys.stdout.getvalue().split()])
    sys.stdout = out
print(json.dumps(answers))
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def home(bare_home):
    folder = Path(os.environ["TTC_HOME"])
    (folder / "config").mkdir(parents=True)
    return folder


def ask(*lines):
    """What bash is told for each of these lines, and the modules that this took."""
    child = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([["ttc", *line.split(" ")] for line in lines]),
        env={**os.environ, "_TTC_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    *said, modules = child.stderr.splitlines()
    assert said == []
    answers = json.loads(child.stdout)
    assert all(code == 0 for code, _ in answers)
    return [words for _, words in answers], set(json.loads(modules))


@pytest.mark.slow
def test_every_kind_of_word_is_offered(home):
    (home / "config" / "config.toml").write_text("[presets.maths]\nbudget = 'deep'\n")
    (home / "data" / "policies").mkdir(parents=True)
    (home / "data" / "policies" / "mine.json").write_text("{}")
    verdict = Verdict("judge", "m", True, 0.9, 0.8, 1.0, 9, "planted", "2026-01-02")
    write_verdicts(home / "data" / "verifiers.json", {("a" * 64, "judge"): verdict})
    wanted = {
        "so": {"solve"},
        "config ": {"list", "get", "set", "unset", "path", "edit", "presets"},
        "models pu": {"pull"},
        "solve --budg": {"--budget"},
        "solve --budget ": {"quick", "normal", "deep", "max"},
        "solve --answer-type ": {each.value for each in AnswerType},
        "solve --strategy ": {"auto", *builtin.STRATEGIES},
        "solve --form ": {"auto", *builtin.FORMS},
        "solve --verifier j": {"judge"},
        "solve --verifier judge,conf": {
            "judge,confidence",
            *(f"judge,confidence={each}" for each in ("tail", "mean", "self-certainty")),
        },
        "solve --verifier prm=rlh": {"prm=rlhflow-prm-8b"},
        "solve --model qwen2.5-coder-0": {"qwen2.5-coder-0.5b"},
        "solve --cascade qwen2.5-coder-0.5b,qwen2.5-coder-1": {
            "qwen2.5-coder-0.5b,qwen2.5-coder-1.5b"
        },
        "solve --preset ": {"maths"},
        "solve --save m": {"maths"},
        "models show qwen3-1": {"qwen3-1.7b"},
        "verifiers test ju": {"judge"},
        "verifiers forget ": {"judge"},
        "policy show m": {"mine"},
        "bench --policy m": {"mine"},
        "config get ": set(KEYS),
        "config unset pres": {"presets.maths"},
        "config set budget ": {"quick", "normal", "deep", "max"},
        "config set strategy gr": {"greedy"},
        "config set form pro": {"prose", "program"},
        "config set verifier gen": {"generative"},
        "config set model smol": {"smollm2-135m"},
        "config set threads ": set(),
    }
    answers, modules = ask(*wanted)
    for line, found in zip(wanted, answers, strict=True):
        assert set(found) >= wanted[line], line
        assert len(found) == len(set(found)), line
    heavy = {"llama_cpp", "rich", "pydantic_core", "huggingface_hub", "numpy", "sympy", "jinja2"}
    assert not {name.partition(".")[0] for name in modules} & heavy


def test_the_models_that_are_here_come_first(home):
    folder = home / "data" / "models" / "qwen3-1.7b"
    folder.mkdir(parents=True)
    file = folder / "x.gguf"
    file.write_bytes(b"x")
    record = {"name": "qwen3-1.7b", "path": "x.gguf", "size": 1, "sha256": "a" * 64}
    (folder / "model.json").write_text(json.dumps(record | {"mtime_ns": 0}))
    ((all_models, of_one_kind), _) = ask("solve --model ", "models rm q")
    assert (all_models[0], of_one_kind[0]) == ("qwen3-1.7b", "qwen3-1.7b")
    assert all_models.count("qwen3-1.7b") == 1


@pytest.mark.parametrize("name", ["$(touch ran)", "a b", "`touch ran`", "a;touch ran", "a\\nb"])
def test_a_folder_cannot_speak_to_the_shell(home, name):
    Path("ttc.toml").write_text(f'[presets."{name}"]\n[presets.fine]\nbudget = "deep"\n')
    ((found,), _) = ask("solve --preset ")
    assert found == ["fine"]


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("home/config/config.toml", "ttc solve --preset "),
        ("home/config/models.toml", "ttc solve --model "),
        ("ttc.toml", "ttc config unset "),
    ],
)
def test_a_damaged_file_is_no_business_of_the_prompt(home, shell, file, words):
    Path(file).write_text("[[[")
    child = subprocess.run(
        [sys.executable, "-m", "ttc_cli"],
        env={
            **os.environ,
            "TTC_DEBUG": "1",
            "_TTC_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": words,
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )
    assert (child.stdout, child.stderr) == ("", "")


class Shell:
    """An interactive shell on a terminal, with ``ttc`` in its path."""

    START = {  # noqa: RUF012
        "bash": ["bash", "-i"],
        "zsh": ["zsh", "-i"],
        "fish": ["fish", "-i"],
    }

    def __init__(self, name, home):
        columns, lines = 160, 40
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.pid, self.ours = pty.fork()
        if self.pid == 0:
            # Else the shell breaks lines at 80, which depends on how long the machine's prompt is.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.environ.update(HOME=str(home), TERM="xterm", HISTFILE="/dev/null", PS1="$ ")
            os.environ["PATH"] = f"{home / 'bin'}:{os.environ['PATH']}"
            with contextlib.suppress(OSError):
                os.execvp(self.START[name][0], self.START[name])
            os._exit(127)

    def wait_for(self, text):
        end = time.monotonic() + PATIENCE
        while text not in "\n".join(line.rstrip() for line in self.screen.display):
            assert time.monotonic() < end, "\n".join(self.screen.display).strip()
            if select.select([self.ours], [], [], 0.1)[0]:
                self._stream.feed(os.read(self.ours, 1 << 16))

    def type(self, text):
        os.write(self.ours, text.encode())

    def close(self):
        os.close(self.ours)  # hangs up
        os.waitpid(self.pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_real_shell_completes_at_a_tab_once_it_is_installed(home, tmp_path, name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    program = tmp_path / "person" / "bin" / "ttc"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m ttc_cli "$@"\n')
    program.chmod(0o755)
    environ = {**os.environ, "HOME": str(tmp_path / "person")}
    environ["PATH"] = f"{program.parent}:{environ['PATH']}"
    # Two commands, so that the shell does not put the program in its own place.
    install = subprocess.run(
        [name, "-c", "ttc --install-completion; true"], env=environ, capture_output=True, text=True
    )
    assert f"{name} completion installed" in install.stdout, install.stderr
    shown = subprocess.run(
        [name, "-c", "ttc --show-completion; true"], env=environ, capture_output=True, text=True
    )
    assert "_TTC_COMPLETE=complete_" in shown.stdout, shown.stderr
    (home / "config" / "config.toml").write_text("[presets.maths]\nbudget = 'deep'\n")
    shell = Shell(name, tmp_path / "person")
    try:
        shell.type("echo rea''dy\r")
        shell.wait_for("\nready")
        shell.type("ttc sol\t")
        shell.wait_for("ttc solve")
        shell.type("--strategy best\t")
        shell.wait_for("ttc solve --strategy best-of-n")
        shell.type("--preset ma\t")
        shell.wait_for("--preset maths")
        shell.type("--model qwen2.5-coder-0\t")
        shell.wait_for("--model qwen2.5-coder-0.5b")
    finally:
        shell.close()
