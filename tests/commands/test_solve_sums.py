"""``ttc solve`` with candidates that write out sums: who is heard, and who goes on anew."""

import pytest
from scripted_ttc import make_model

from ttc_cli.engines.scripted import Reply, ScriptedEngine
from ttc_cli.main import main

pytestmark = pytest.mark.usefixtures("bare_home")


@pytest.fixture
def solve(monkeypatch, capsys):
    """Run ``ttc solve`` at ``quick`` on a scripted engine; returns stdout and stderr."""

    def run(script):
        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name: ScriptedEngine(script),
        )
        code = main(
            [
                "solve",
                "How much is it?",
                "--budget",
                "quick",
                "--answer-type",
                "number",
                "--explain",
            ]
        )
        out, err = capsys.readouterr()
        assert code == 0
        return out.strip(), err

    return run


@pytest.mark.parametrize(
    ("sum", "right"),
    [
        ("$80 - 25% = 60$ dollars.", "60"),
        ("It is $2 + 50 cents = $2.50.", "2.50"),
        ("2 million + 500,000 = 2,500,000", "2500000"),
        ("sqrt(9 + 16) = 5", "5"),
        ("Not 2 + 2 = 5, of course.", "4"),
        ("In base 8, 7 + 1 = 10.", "10"),
        ("2 feet + 6 inches = 30 inches", "30"),
    ],
)
def test_right_sums_in_other_notations_are_not_voted_down(solve, sum, right):
    good = f"{sum}\n\nSo the answer is \\boxed{{{right}}}."
    bad = "I think it is a bit more than half of it.\n\nSo the answer is \\boxed{55}."
    out, err = solve([good, good, bad, good])
    assert out == right
    assert "wrong sum" not in err


def test_wrong_sums_still_are_and_go_on_with_the_right_number(solve):
    def script(ask):
        if ask.text.endswith("32 + 16 = 48"):
            return Reply(" slices.\n\nSo the answer is \\boxed{48}.")
        return Reply("Together 32 + 16 = 58 slices.\n\nSo the answer is \\boxed{58}.")

    out, err = solve(script)
    assert out == "48"
    assert "wrong sum" in err
