"""Nothing that a model writes holds ttc up: 200 kB of what is hard to read, through ``ttc solve``.

A text that takes more than linear time would take minutes here; the limit only ends the test then.
"""

import pytest

from ttc_cli.engines.scripted import ScriptedEngine
from ttc_cli.main import main

SIZE, PIECE = 200_000, 50_000
END = " 4.\n\nThe final answer is 4."
UNITS = {
    "spaces": " ",
    "lines": "\n",
    "blank lines": "\n \n",
    "other line ends": "\r\n",
    "tabs": "\t\n",
    "tildes": "~",
    "backticks": "`",
    "braces": "{",
    "brackets": "[",
    "parentheses": "(",
    "boxes": r"\boxed{",
    "fractions": r"\frac{",
    "hashes": "#### ",
    "stars": "*",
    "digits": "1",
    "list": "1,",
    "sum": "1 + 1 ",
    "sign": "1=",
    "percent": "5% ",
    "phrase": "the answer is ",
    "colon": "Answer: ",
    "steps": "a\n\n",
    "choices": "\nA) ",
    "escapes": "\x1b[",
    "accents": "e\u0301",
    "letters": "a",
    "heading of tags": "\n#### " + "<b>" * (SIZE // 3 - 3) + "\n",
}
pytestmark = [pytest.mark.usefixtures("scripted_model"), pytest.mark.timeout(60)]


@pytest.fixture
def solve(monkeypatch, capsys):
    """Runs ``ttc solve`` on a model that says one text in pieces as large as a server's may be."""

    def cut(text):
        return [text[place : place + PIECE] for place in range(0, len(text), PIECE)]

    for module in ("cells", "session", "slots"):
        monkeypatch.setattr(f"ttc_cli.engines.scripted.{module}.pieces", cut)

    def run(said, *flags):
        engine = ScriptedEngine(lambda ask: "" if ask.text.endswith(END) else said, context=10**6)
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine", lambda path, settings, name: engine
        )
        code = main(["solve", "What is 2+2?", "--view", "plain", *flags])
        return code, capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_long_texts_are_read(solve, unit):
    said = unit * (SIZE // len(unit)) + END
    code, out = solve(said, "--answer-type", "number", "--strategy", "majority", "--samples", "2")
    assert (code, out) == (0, "4\n")
