"""``ttc calibrate`` and ``ttc policy`` end to end on a scripted engine."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest

from ttc_cli.engines.scripted import Ask, ScriptedEngine
from ttc_cli.main import main
from ttc_cli.policy.file import SHIPPED_FOLDER
from ttc_cli.types import AnswerType

pytestmark = pytest.mark.slow

QUESTIONS = [{"question": f"What is {n}+{n}?", "answer": str(2 * n)} for n in range(1, 21)]


@pytest.fixture(autouse=True)
def _data(scripted_model, tmp_path):
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))


def add(ask: Ask) -> str:
    """Small sums always right, larger ones by luck, the largest never."""
    number = int(ask.text.split("What is ")[1].split("+")[0])
    luck = random.Random(f"{number}:{ask.seed}").random()
    wrong = 0 if number < 5 else int(luck * 10) % 2 if number < 17 else 1 + int(luck * 10) % 7
    said = "" if ask.text.endswith("\n\n") else "It is that.\n\n"
    return f"{said}The final answer is {2 * number + wrong}."


@pytest.fixture
def ttc(monkeypatch, capsys):
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine",
        lambda path, settings, name, planned=None: ScriptedEngine(add, parallel=8),
    )

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("calibrated")


@pytest.fixture
def calibrated(ttc, kept, tmp_path):
    """A home that has been calibrated, and what was printed: done once, and copied for each."""
    if not (kept / "home").exists():
        code, out, err = ttc("calibrate", "sums.jsonl", "--samples", 8, "--runs", 1)
        assert code == 0, err
        (kept / "printed.json").write_text(json.dumps([out, err]))
        shutil.copytree(tmp_path / "home", kept / "home")
    else:
        shutil.copytree(kept / "home", tmp_path / "home", dirs_exist_ok=True)
    return tuple(json.loads((kept / "printed.json").read_text()))


def test_calibrating_says_what_was_fitted_and_where_it_is(calibrated) -> None:
    out, err = calibrated
    assert "script-sums: for script" in out
    assert "on 20 questions of sums × 8 samples" in out
    assert "few questions" in out
    assert "P(RIGHT)" in out
    assert "majority@8" in out or "weighted@8" in out
    assert "normal" in out
    assert "judge" in out
    assert "no better than chance" in err
    assert "policies/script-sums.json" in err


def test_list_and_show_tell_of_it(ttc, calibrated) -> None:
    code, out, _ = ttc("policy", "list")
    assert code == 0
    assert "script-sums" in out
    assert "20 of sums" in out
    code, shown, _ = ttc("policy", "show", "script-sums")
    assert (code, shown) == (0, calibrated[0])
    code, out, _ = ttc("policy", "show", "script-sums", "--json")
    assert json.loads(out)["policy"]["source"]["labels"] == "given"


@pytest.mark.parametrize("action", ["show", "use"])
def test_a_mistyped_name_is_told_the_nearest(ttc, calibrated, action) -> None:
    code, _, err = ttc("policy", action, "script-smus")
    assert (code, "Did you mean script-sums?" in err) == (2, True)


def write_well(ask: Ask) -> str:
    """Programs are right where prose is a matter of luck."""
    if not ask.text.endswith("```python\n"):
        return add(ask)
    number = int(ask.text.split("What is ")[1].split("+")[0])
    return f"print({2 * number})\n```"


def test_a_model_that_programs_help_is_given_them_from_then_on(ttc, monkeypatch) -> None:
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine",
        lambda path, settings, name, planned=None: ScriptedEngine(write_well, parallel=8),
    )
    code, out, err = ttc("calibrate", "sums.jsonl", "--samples", 4, "--runs", 1)
    assert code == 0, err
    assert "and × 8 programs (T 0.6): one costs" in out
    assert re.search(r"normal +\d \(\d programs?\)", out)
    code, out, _ = ttc("solve", "--json", "What is 16+16?")
    result = json.loads(out)
    assert (code, result["answer"]) == (0, "32")
    assert "program" in [each["form"] for each in result["candidates"]]
    # Asked for in another way than they were measured, they are not drawn.
    changed = dict.fromkeys(AnswerType, "Write a program.")
    monkeypatch.setattr("ttc_cli.forms.program._INSTRUCTIONS", changed)
    code, out, err = ttc("solve", "--json", "--explain", "What is 16+16?")
    assert {each["form"] for each in json.loads(out)["candidates"]} == {"prose"}
    assert "in prose alone: programs are asked for in another way now" in err


def test_a_model_that_programs_do_not_help_is_given_none(calibrated) -> None:
    assert "and × 8 programs (T 0.6), which do not pay here: none are drawn" in calibrated[0]


def test_solve_uses_it_and_says_so(ttc, calibrated) -> None:
    code, out, err = ttc("solve", "--explain", "What is 3+3?")
    assert (code, out) == (0, "6\n")
    assert "by the policy script-sums" in err
    assert "probability right" in err
    code, out, _ = ttc("solve", "--json", "What is 3+3?")
    assert 0.5 < json.loads(out)["confidence"] <= 1.0


def test_none_goes_back_to_the_defaults_and_use_returns(ttc, calibrated) -> None:
    assert ttc("policy", "use", "--none")[0] == 0
    _, _, err = ttc("solve", "--explain", "What is 3+3?")
    assert "by the policy" not in err
    assert "Not calibrated for this model" in err
    Path("script-sums").write_text("{}")  # a file of the folder is not meant by the bare name
    code, _, err = ttc("policy", "use", "script-sums")
    assert code == 0
    assert "auto uses script-sums with script" in err
    _, _, err = ttc("solve", "--explain", "What is 3+3?")
    assert "by the policy script-sums" in err


def test_an_exported_policy_can_be_used_elsewhere(ttc, calibrated, monkeypatch, tmp_path) -> None:
    assert ttc("policy", "export", "script-sums", "away.json")[0] == 0
    assert ttc("policy", "export", "script-sums", "away.json")[0] == 2
    code, _, err = ttc("policy", "export", "script-sums", "nowhere/away.json")
    assert (code, "nowhere/away.json cannot be written" in err) == (2, True)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "elsewhere"))
    assert "script-sums" not in ttc("policy", "list")[1]
    assert ttc("policy", "use", "away.json")[0] == 0
    _, _, err = ttc("solve", "--explain", "What is 3+3?")
    assert "by the policy script-sums" in err


def test_a_file_of_the_policys_own_name_is_copied_too(
    ttc, calibrated, monkeypatch, tmp_path
) -> None:
    assert ttc("policy", "export", "script-sums", "script-sums.json")[0] == 0
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "elsewhere"))
    assert ttc("policy", "use", "script-sums.json")[0] == 0
    (tmp_path / "script-sums.json").unlink()
    assert "script-sums" in ttc("policy", "list")[1]
    assert ttc("policy", "use", "gsm8k-qwen2.5-coder-0.5b")[0] == 0
    assert not list((tmp_path / "elsewhere").rglob("gsm8k-*.json"))  # it comes with ttc


def test_a_file_does_not_take_the_place_of_another_policy(ttc, calibrated) -> None:
    [own] = Path("home").rglob("script-sums.json")
    before = own.read_text()
    Path("given.json").write_text(before)
    assert ttc("policy", "use", "./given.json")[0] == 0  # it is the same
    Path("given.json").write_text(json.dumps({**json.loads(before), "date": "2030-01-01"}))
    code, _, err = ttc("policy", "use", "./given.json")
    assert (code, own.read_text()) == (2, before)
    assert "You have another policy called script-sums" in err


@pytest.mark.parametrize("name", ["../../sums", "active", "Active", "a/b", ""])
def test_a_file_cannot_choose_where_it_is_put(ttc, calibrated, name, tmp_path) -> None:
    policy = json.loads(next(Path("home").rglob("script-sums.json")).read_text())
    Path("given.json").write_text(json.dumps({**policy, "name": name}))
    before = sorted(tmp_path.rglob("*.json"))
    code, _, err = ttc("policy", "use", "given.json")
    assert (code, sorted(tmp_path.rglob("*.json"))) == (2, before)
    assert "cannot be the name of a policy" in err


def test_stats_go_by_the_policy_that_the_run_went_by(ttc, calibrated, monkeypatch) -> None:
    """Another one for the same model and another way of asking is newer, and has other caps."""
    [path] = Path("home").rglob("script-sums.json")
    policy = json.loads(path.read_text())
    cap = policy["table"]["rows"]["quick"]["cap"]
    policy["table"]["rows"]["quick"]["cap"] = 5 * cap
    other = {**policy, "name": "other", "prompt_format": "other", "date": "2999-01-01"}
    path.with_name("other.json").write_text(json.dumps(other))
    monkeypatch.setenv("TTC_KEEP_RUNS", "yes")
    _, out, _ = ttc("solve", "What is 3+3?", "--budget", "quick", "--json")
    ended = [each for each in json.loads(out)["candidates"] if each["finish"] == "stop"]
    (level,) = json.loads(ttc("runs", "stats", "--json")[1])["bins"]
    mean = sum(each["tokens"] for each in ended) / len(ended)
    assert level["full_tokens"] == pytest.approx(cap * mean)


def test_bench_uses_it_like_solve_unless_told_otherwise(ttc, calibrated) -> None:
    bench = ("bench", "sums.jsonl", "--samples", 8, "--runs", 1)
    assert "Policy of auto: script-sums" in ttc(*bench)[1]
    assert "Policy of auto: shipped defaults" in ttc(*bench, "--policy", "none")[1]
    code, _, err = ttc(*bench, "--policy", "absent")
    assert code == 2
    assert "script-sums" in err


def test_without_labels_it_warns_what_it_learns(ttc) -> None:
    least = ("--limit", 10, "--samples", 4, "--runs", 1)
    code, out, err = ttc("calibrate", "sums.jsonl", *least, "--self")
    assert code == 0
    assert "labelled by the majority" in out
    assert "not when it is right" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("calibrate", "sums.jsonl", "--name", "../x"), "cannot be the name"),
        (("calibrate", "sums.jsonl", "--limit", "3", "--part", "0:3"), "contradict"),
        (("calibrate", "sums.jsonl", "--limit", "3", "--samples", "4"), "too few"),
        (("policy", "show", "nothing"), "no policy called"),
        (("policy", "show", "../../etc/passwd"), "no policy called"),
        (("policy", "use"), "Name one policy"),
    ],
)
def test_wrong_usage_is_told(ttc, arguments, word) -> None:
    code, _, err = ttc(*arguments)
    assert code == 2
    assert word in err


def test_a_damaged_policy_is_told_and_does_not_stop_solve(ttc, calibrated) -> None:
    [path] = Path("home").rglob("script-sums.json")
    path.write_text("{}")
    code, _, err = ttc("policy", "show", "script-sums")
    assert code == 2
    assert "not a policy of the format" in err
    code, out, _ = ttc("solve", "What is 3+3?")
    assert (code, out) == (0, "6\n")


def test_show_words_the_forms_of_a_policy(ttc) -> None:
    shipped = json.loads((SHIPPED_FOLDER / "gsm8k-qwen2.5-coder-1.5b.json").read_text())
    shipped["name"], table, source = "plain", shipped["table"], shipped["source"]
    del shipped["probe"]
    table["forms"], source["programs"] = {}, 0
    for row in (*table["rows"].values(), *(row for _, row in table["frontier"])):
        row["mix"] = {}
    Path("plain.json").write_text(json.dumps(shipped))
    code, out, _ = ttc("policy", "show", "plain.json")
    assert code == 0
    assert "it draws candidates in prose alone" in out
    assert "program" not in out
    traits = {"cost": 0.42, "first": 1.0, "further": 0.6, "accord": 1.5, "weight": 0.9}
    table["forms"] = {"program": {**traits, "types": ["number", "latex"]}}
    table["rows"]["normal"] |= {"probe": 4, "mix": {"program": 3}}
    source |= {"programs": 8, "program_temperature": 0.6}
    Path("mixed.json").write_text(json.dumps(shipped))
    code, out, _ = ttc("policy", "show", "mixed.json")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    (told,) = (line for line in lines if line.startswith("and × 8 programs (T 0.6)"))
    assert told.endswith("drawn for answers of the kind number, latex")
    assert any(line.startswith("normal 4 (3 programs) ") for line in lines)
    assert any(line.startswith("1 program and 1 in prose to 0 ") for line in lines)
    assert any("go on: p" in line for line in lines)
    assert "prose alone" not in out
