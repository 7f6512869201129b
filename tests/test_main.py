"""The command line as a whole: help, exit codes, errors in words, what starts quickly."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest
import typer

from ttc_cli import __version__, errors
from ttc_cli.main import EXIT_CODES, command_line, main


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("TTC_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fail(monkeypatch):
    """Run ``ttc solve`` with an error raised inside."""

    def run(error):
        def raise_it(*args, **options):
            raise error

        monkeypatch.setattr("ttc_cli.solving.prompt_templates.read_question", raise_it)
        return main(["solve", "q"])

    return run


def family(kind):
    return [kind] + [below for each in kind.__subclasses__() for below in family(each)]


@pytest.mark.parametrize("kind", family(errors.TtcError))
def test_each_error_of_the_family_ends_with_its_code_and_its_hint(fail, capsys, kind):
    assert fail(kind("It broke.", "ttc mend it")) == kind.exit_code
    assert capsys.readouterr() == ("", "error: It broke.\nhint: ttc mend it\n")
    assert f"\n  {kind.exit_code}  " in EXIT_CODES


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (typer.Abort(), 130, ""),
        (EOFError(), 130, ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (OSError(errno.ENOSPC, "No space left", "/models/x.part"), 1, "No room left"),
        (OSError(errno.EDQUOT, "Quota exceeded"), 1, "No room left"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), 1, "Too many files are open"),
        (OSError(errno.ENFILE, "Too many open files in system"), 1, "Too many files are open"),
        (MemoryError(), 5, "Not enough memory"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (SystemExit(3), 3, ""),
    ],
)
def test_other_ends_have_a_code_and_no_traceback(fail, capsys, error, code, said):
    assert fail(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert bool(err.strip()) == bool(said)


def test_a_traceback_is_for_those_who_ask(fail, capsys, monkeypatch):
    monkeypatch.setenv("TTC_DEBUG", "1")
    assert fail(errors.ModelCorrupt("Cut short.")) == 3
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("error: Cut short.\n")


def test_an_error_cannot_drive_the_terminal(fail, capsys):
    fail(errors.ModelCorrupt("\x1b]0;title\x07\x1b[31mred\u202e[/red]", "rm \x9b2Jx"))
    assert capsys.readouterr().err == "error: red[/red]\nhint: rm x\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sovle", "q"], "Did you mean 'solve'?"),
        (["solve", "--bugdet", "deep", "q"], "--budget"),
        (["solve", "--budget", "huge", "q"], "'quick', 'normal', 'deep', 'max'"),
        (["solve", "--samples", "0", "q"], "'--samples'"),
        (["solve", "--seed"], "requires an argument"),
        (["solve", "--json", "--jsonl", "q"], "--json and --jsonl contradict each other"),
        (["solve", "-q", "-v", "q"], "--quiet and --verbose contradict each other"),
        (["solve", "two", "words"], "one argument"),
        (["solve", "--strategy", "best", "q"], "no strategy called 'best'"),
        (["solve", "--verifier", "jugde", "q"], "no verifier called 'jugde'"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_2(capsys, argv, said):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert [line for line in lines if line.startswith("hint: ")] == lines[1:]


def test_ttc_alone_shows_the_help_and_is_wrong_usage(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: ttc" in err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ttc {__version__}\n"


def test_help_names_examples_and_every_exit_code(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for code in ("0", "1", "2", "3", "4", "5", "6", "129, 130, 141, 143"):
        assert re.search(rf"^ +{code} +\S", shown, re.MULTILINE), code
    assert "Examples:" in shown


def test_every_command_and_option_has_a_help_text():
    def visit(command, path):
        assert command.help, path
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.hidden, (path, parameter.name)
        for name in getattr(command, "commands", {}):
            visit(command.get_command(None, name), [*path, name])

    visit(command_line(), ["ttc"])


def test_help_loads_nothing_heavy():
    """How long it takes is measured by ``benchmarks/startup.py``, not on a busy machine."""
    script = (
        "import json, sys\n"
        "from ttc_cli.main import main\n"
        "main(['--help'])\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(child.stderr)}
    assert "ttc_cli" in loaded
    heavy = {"llama_cpp", "rich", "huggingface_hub", "numpy", "pydantic", "sympy", "jinja2"}
    assert not loaded & heavy


def test_completion_offers_commands_and_model_names():
    def complete(words, position):
        child = subprocess.run(
            [sys.executable, "-m", "ttc_cli"],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "_TTC_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
        )
        return child.stdout.split()

    assert complete("ttc so", 1) == ["solve"]
    assert "qwen2.5-coder-0.5b" in complete("ttc solve --model qwen2.5-coder", 3)


def test_a_closed_pipe_ends_the_help_quietly():
    out, into = os.pipe()
    os.close(out)
    child = subprocess.run(
        [sys.executable, "-m", "ttc_cli", "--help"], stdout=into, stderr=subprocess.PIPE
    )
    os.close(into)
    assert (child.returncode, child.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_exit_1_in_words():
    with open("/dev/full", "wb") as full:
        child = subprocess.run(
            [sys.executable, "-m", "ttc_cli", "--version"], stdout=full, stderr=subprocess.PIPE
        )
    assert child.returncode == 1
    assert b"No room left on the disk" in child.stderr
    assert b"Traceback" not in child.stderr
    assert b"Exception ignored" not in child.stderr
