"""Texts that begin with a dash, beside options that do."""

import json

import pytest
from scripted_ttc import make_engine, make_model

from ttc_cli.main import main

pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def ask(monkeypatch, capsys):
    """Runs ``ttc solve`` and returns the exit code, what was asked, and stderr."""
    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine",
        lambda path, settings, name: make_engine(("The final answer is 4.",)),
    )

    def run(*arguments):
        code = main(["solve", "--json", *arguments])
        out, err = capsys.readouterr()
        return code, json.loads(out).get("question") if out else None, err

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [
        "-5 + 3 = ?",
        "-5+3",
        "-5",
        "--5",
        "-.5 * 2",
        "-(3+4)*2",
        "-√2·√2",
        "-\\frac{1}{2} + 1",
        "-$5 and $7",
        "- 5 + 3",
        "-- 5 + 3",
        "---",
        "-x + 3 = 5, x?",
        "-x = 3\nx?",
        "-m + 3 = 5, m?",
        "-q - 3 = 5",
        "-x=3 + 2, x?",
        "-x^2 + 4 = 0",
        "--x + 3",
        "-é?",
    ],
)
@pytest.mark.parametrize("flags", [((), ()), (("--seed", "7"), ("-q",)), ((), ("--samples=2",))])
def test_what_is_no_option_is_the_question(ask, question, flags):
    before, after = flags
    code, asked, err = ask(*before, question, *after)
    assert (code, asked) == (0, question), err
    assert ask(*before, *after, "--", question)[:2] == (0, question)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-x"], "-- "),
        (["-x+1"], "-- "),
        (["--x=1"], "-- "),
        (["--bugdet", "deep", "Q"], "did you mean --budget"),
        (["--bugdet=deep and wide", "Q"], "did you mean --budget"),
        (["--budget deep", "Q"], "No such option"),
        (["-t no such template", "Q"], "no template"),
        (["--seed", "-5", "Q"], "--seed"),
        (["--temperature", "-1", "Q"], "--temperature"),
        (["-4", "Q"], "one argument"),
    ],
)
def test_what_may_be_an_option_is_one(ask, arguments, said):
    code, _, err = ask(*arguments)
    assert code in (2, 3)
    assert said in err


@pytest.mark.parametrize("words", [["-5"], ["-x + 3"], ["7", "-5"]])
def test_runs_are_searched_for_them(capsys, words):
    assert main(["runs", "search", *words]) == 0
    assert "No run has these words" in capsys.readouterr().err


def test_a_setting_is_refused_for_its_value(capsys):
    assert main(["config", "set", "threads", "-1"]) == 2
    assert "threads" in capsys.readouterr().err
