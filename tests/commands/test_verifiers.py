"""``ttc verifiers`` and ``--check`` end to end on a scripted engine."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.main import main
from ttc_cli.types import Confidence

SHA256 = "a" * 64
QUESTIONS = [{"question": f"What is {n}+{n}?", "answer": str(2 * n)} for n in range(1, 13)]


pytestmark = pytest.mark.usefixtures("scripted_model")


def knows_the_wrong_ones(text: str) -> float:
    """A judge that can tell: it has the planted solutions before it."""
    from ttc_cli.verifiers.planted import PLANTED

    asked = next(each for each in PLANTED if each.question in text)
    wrong = any(step in text for step in asked.wrong if step not in asked.right)
    return 0.1 if wrong else 0.9


def add(ask: Ask) -> str:
    """Answers sums, every other time rightly."""
    number = int(ask.text.split("What is ")[1].split("+")[0])
    answer = 2 * number + ask.sample % 2
    said = "" if ask.text.endswith("\n\n") else "It is that.\n\n"
    return f"{said}The final answer is {answer}."


@pytest.fixture
def ttc(monkeypatch, capsys):
    """Run ttc in this process on a scripted engine; returns exit code, stdout and stderr."""

    def run(*arguments, script=("Four.\n\nThe final answer is 4.",), **options):
        monkeypatch.setattr(
            "ttc_cli.solving.loading.open_engine",
            lambda path, settings, name, planned=None: ScriptedEngine(script, **options),
        )
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_list_shows_every_verifier_with_its_cost(ttc):
    code, out, _ = ttc("verifiers", "list")
    assert code == 0
    for name in ("judge", "confidence[=STATISTIC]", "prm=MODEL", "probe=FILE", "check=COMMAND"):
        assert name in out
    code, out, _ = ttc("verifiers", "list", "--json")
    listed = json.loads(out)
    assert {"name", "scores", "cost", "usable", "note", "summary", "tests"} == set(
        listed["verifiers"][0]
    )


def test_a_verifier_that_can_tell_is_trusted(ttc):
    code, out, err = ttc("verifiers", "test", "judge", "--json", yes=knows_the_wrong_ones)
    assert (code, err) == (0, "")
    whole, step = json.loads(out)["tests"]
    assert (whole["part"], step["part"]) == ("whole", "step")
    for each in (whole, step):
        assert (each["on"], each["scored"], each["compared"]) == ("planted", 48, 24)
        assert each["auc"] == each["auc_within"] == 1.0
        assert each["trusted"] is True
        assert each["read_tokens"] > 0
        assert each["written_tokens"] == 0
    assert whole["mean_right"] == pytest.approx(0.9)
    assert whole["ece"] == pytest.approx(0.1)
    assert [b["count"] for b in whole["reliability"]] == [24, 0, 0, 0, 24]


def test_one_that_cannot_is_refused_out_loud_and_remembered(ttc):
    code, out, err = ttc("verifiers", "test", "judge", yes=lambda text: 0.6)
    assert code == 0
    assert "refused" in out
    assert "0.50 [0.50, 0.50] n=24" in out
    assert "warning: judge cannot tell right from wrong" in err

    code, out, err = ttc(
        "solve", "What is 2+2?", "--strategy", "weighted", "--samples", "3", "--json"
    )
    assert code == 0
    result = json.loads(out)
    assert all(s["weight"] == 0 for c in result["candidates"] for s in c["scores"])
    assert result["score"] is None

    _, _, err = ttc("solve", "What is 2+2?", "--view", "plain")
    assert "judge cannot tell right from wrong" in err
    Path("script.gguf").touch()
    _, out, _ = ttc("verifiers", "list", "--json")
    judge = json.loads(out)["verifiers"][0]
    assert judge["tests"] == [{"verifier": "judge", "auc": 0.5, "trusted": False}]

    assert ttc("verifiers", "forget", "judge")[0] == 0
    _, out, _ = ttc("solve", "What is 2+2?", "--strategy", "weighted", "--samples", "3", "--json")
    scores = [s for c in json.loads(out)["candidates"] for s in c["scores"]]
    assert scores
    assert all(s["weight"] == 1 for s in scores)


def test_what_is_not_to_be_remembered_is_not(ttc, tmp_path):
    ttc("verifiers", "test", "judge", "--no-remember", yes=lambda text: 0.6)
    assert not (tmp_path / "home" / "data" / "verifiers.json").exists()
    code, _, err = ttc("verifiers", "forget", "judge")
    assert code == 2
    assert "No test of 'judge' is remembered" in err


def test_confidence_is_tested_on_what_the_model_draws(ttc, tmp_path):
    from ttc_cli.engines.scripted import Reply

    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))

    def sure_when_right(ask: Ask) -> Reply:
        logprob = -2.0 if ask.sample % 2 else -0.1
        return Reply(add(ask), confidence=Confidence(logprob, logprob, 1.0, 1.0))

    code, out, _ = ttc(
        "verifiers", "test", "confidence", "judge", "--data", str(path), "--part", "0:10", "--json",
        script=sure_when_right, yes=lambda text: 0.7,
    )  # fmt: skip
    assert code == 0
    confidence, judge = json.loads(out)["tests"]
    assert (confidence["on"], confidence["solutions"], confidence["compared"]) == (
        "sampled",
        40,
        10,
    )
    assert confidence["auc_within"] == 1.0
    assert (confidence["read_tokens"], confidence["written_tokens"]) == (0, 0)
    assert (judge["on"], judge["auc_within"], judge["trusted"]) == ("sampled", 0.5, False)


def test_too_few_questions_decide_nothing(ttc, tmp_path):
    path = tmp_path / "own.jsonl"
    row = {"question": "1+1?", "answer": "2", "right": ["1", "2"], "wrong": ["1", "3"]}
    path.write_text(json.dumps(row))
    code, out, err = ttc("verifiers", "test", "judge", "--data", str(path), yes=lambda text: 0.6)
    assert (code, err) == (0, "")
    assert "too few" in out
    assert not (tmp_path / "home" / "data" / "verifiers.json").exists()


def test_a_verifier_that_fails_says_so(ttc):
    code, _, err = ttc("verifiers", "test", "confidence=self-certainty", script=add_anything)
    assert code == 0
    assert "confidence=self-certainty failed" in err


def add_anything(ask: Ask):
    from ttc_cli.engines.scripted import Reply

    return Reply("The final answer is 1.", confidence=Confidence(-1.0, -1.0, 1.0, 1.0))


def test_a_probe_is_fitted_saved_and_used(ttc, tmp_path):
    path, probe = tmp_path / "sums.jsonl", tmp_path / "probe.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))

    def state(text: str) -> tuple[float, ...]:
        if "What is " not in text:
            return (0.0, 0.0)
        number = int(text.split("What is ")[1].split("+")[0])
        return (1.0 if text.endswith(f"is {2 * number}.") else -1.0, number / 12)

    pools = str(tmp_path / "pools")
    fit = ("verifiers", "fit", str(path), "--out", str(probe), "--samples", "4", "--pools", pools)
    code, out, err = ttc(*fit, script=add, state=state)
    assert code == 0, err
    head, whole, steps = out.splitlines()
    assert head.split() == [
        *[
            "candidates",
            "of",
            "right",
            "view",
            "objective",
            "AUC",
            "within",
            "a",
            "question,",
            "95",
            "%",
        ]
    ]
    assert whole.startswith("48 whole, prose")
    assert "12 questions" in whole
    assert "50%" in whole
    assert "1.00 [1.00, 1.00]" in whole
    assert steps.startswith("48 steps, prose")
    assert f"--verifier probe={probe}" in err

    # Once more from the same pool: nothing is drawn; every view and objective is told of.
    def fail(ask):
        raise AssertionError("drawn again")

    code, out, err = ttc(*fit, "--compare", "--json", script=fail)
    assert code == 0, err
    told = json.loads(out)
    assert [(each["form"], each["part"]) for each in told["heads"]] == [
        ("prose", "whole"),
        ("prose", "step"),
    ]
    assert "weights" not in told["heads"][0]
    whole = [each for each in told["compared"] if each["part"] == "whole"]
    assert len(whole) == len({(each["view"], each["objective"]) for each in whole}) == 16

    code, out, _ = ttc(
        "solve", "What is 5+5?", "--verifier", f"probe={probe}", "--strategy", "best-of-n",
        "--samples", "4", "--json", script=add, state=state,
    )  # fmt: skip
    result = json.loads(out)
    assert (code, result["answer"]) == (0, "10")
    assert {s["verifier"] for c in result["candidates"] for s in c["scores"]} == {"probe"}


def test_a_probe_of_another_model_stops_the_run(ttc, tmp_path, monkeypatch):
    from ttc_cli.verifiers.probe import Head, Probe, View

    fitted = (View.TAIL, "ridge", 0.1, (0.0,) * 4, 0.0, 8, 4, 0.5, 4, *(None,) * 4)
    Probe("other", "b" * 64, 4, "2026-01-01", (Head("prose", "whole", *fitted),)).save(
        tmp_path / "p.json"
    )
    code, out, err = ttc("solve", "What is 2+2?", "--verifier", "probe=p.json")
    assert (code, out) == (2, "")
    assert "fitted on other" in err


def test_check_chooses_what_passes(ttc, tmp_path):
    (tmp_path / "check.py").write_text(
        "import sys\nsys.exit(open(sys.argv[1]).read().strip() != '7')\n"
    )
    texts = [f"So.\n\nThe final answer is {n}." for n in (4, 4, 7, 4)]
    code, out, err = ttc(
        "solve", "Which number?", "--check", f"{sys.executable} check.py {{file}}",
        "--check-seconds", "60", "--strategy", "best-of-n", "--samples", "4", "--answer-type",
        "number", script=texts,
    )  # fmt: skip
    assert (code, out) == (0, "7\n")
    from ttc_cli.verifiers.checking.sandbox import explain_sandbox

    assert ("the check runs model-written text" in err) is bool(explain_sandbox())


def test_what_a_check_leaves_costs_no_answer(ttc, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    deep = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\nraise ValueError"
    texts = [
        f"```py\n{deep}\n```\n\nThe final answer is 5.",
        "```py\npass\n```\n\nThe final answer is 7.",
    ]
    code, out, _err = ttc(
        "solve", "Which number?", "--check", f"{sys.executable} {{file}}", "--check-seconds", "60",
        "--strategy", "best-of-n", "--samples", "2", "--answer-type", "number", script=texts,
    )  # fmt: skip
    assert (code, out) == (0, "7\n")
    assert not list(tmp_path.glob("ttc-check-*"))


def test_what_a_check_cannot_open_is_named_before_anything_runs(ttc, monkeypatch):
    monkeypatch.setattr(
        "ttc_cli.verifiers.checking.sandbox.find_hidden", lambda *_: ("/private/check.py",)
    )
    words = ("--check", f"{sys.executable} {{file}}")
    code, out, err = ttc("solve", "Which number?", *words, script=["The final answer is 5."])
    assert (code, out) == (2, "")
    assert "cannot open /private/check.py" in err


@pytest.mark.parametrize("words", [["--check", "true"], ["--verifier", "check"]])
def test_a_check_that_checks_nothing_is_refused(ttc, words):
    code, out, err = ttc("solve", "What is 2+2?", *words)
    assert (code, out) == (2, "")
    assert "error:" in err


def test_a_folder_cannot_have_a_check_run(ttc, tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "ttc.toml").write_text(f'verifier = "check=touch {marker} {{file}}"\n')
    code, _, err = ttc("solve", "What is 2+2?", "--strategy", "best-of-n")
    assert code == 2, err
    assert "may ask for a verifier that is not ttc's own, runs a command" in err
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["test", "oracle"], "no verifier called 'oracle'"),
        (["test", "judge", "--data", "none.jsonl"], "cannot be read"),
        (["fit", "none.jsonl", "--out", "x"], "There is no file 'none.jsonl'"),
        (["forget"], "Name one verifier"),
    ],
)
def test_mistakes_are_told_in_words(ttc, arguments, told):
    code, _, err = ttc("verifiers", *arguments)
    assert code == 2
    assert told in err
