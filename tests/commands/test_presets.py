"""``ttc solve --save`` and ``--preset``: flags kept under a name, and what wins over them."""

import json
import tomllib
from pathlib import Path

import pytest
from scripted_ttc import make_engine

from ttc_cli.main import main
from ttc_cli.settings.keys import PRESET_KEYS

USER = Path("home/config/config.toml")
SAY = ["So it is.\n\nThe final answer is 4."]


@pytest.fixture
def ttc(scripted_model, monkeypatch, capsys):
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine", lambda path, settings, name: make_engine(SAY)
    )

    def run(*arguments):
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def planned(monkeypatch):
    """What ``ttc solve --dry-run`` was asked to plan."""
    found = []
    monkeypatch.setattr("ttc_cli.solving.dry_run.make_plan", found.append)
    monkeypatch.setattr("ttc_cli.solving.dry_run.word_plan", lambda plan: {})
    return found


def test_flags_are_kept_under_a_name_and_used_by_it(ttc, planned):
    given = ("--strategy", "beam", "-o", "width=3", "--form", "program", "--verifier", "judge",
             "--verifier", "confidence", "--samples", "6", "--answer-type", "number",
             "--system", "Be brief.", "--budget", "deep", "--max-seconds", "9",
             "--check", "true {file}")  # fmt: skip
    code, out, err = ttc("solve", *given, "--save", "maths")
    assert (code, out) == (0, "")
    assert "ttc solve --preset maths" in err
    assert tomllib.loads(USER.read_text())["presets"]["maths"] == {
        "strategy": "beam",
        "form": "program",
        "option": ["width=3"],
        "verifier": ["judge", "confidence"],
        "samples": 6,
        "answer_type": "number",
        "system": "Be brief.",
        "budget": "deep",
        "max_seconds": 9.0,
        "check": "true {file}",
    }
    assert ttc("solve", *given, "--dry-run", "Q")[0] == 0
    assert ttc("solve", "--preset", "maths", "--dry-run", "Q")[0] == 0
    assert planned[0] == planned[1]


def test_a_preset_is_weaker_than_a_flag_and_stronger_than_a_variable(ttc, planned, monkeypatch):
    ttc("solve", "--samples", "6", "--budget", "deep", "--threads", "1", "--save", "mine")
    monkeypatch.setenv("TTC_BUDGET", "max")
    monkeypatch.setenv("TTC_MAX_TOKENS", "99")
    assert ttc("solve", "--preset", "mine", "--threads", "2", "--dry-run", "Q")[0] == 0
    (request,) = planned
    assert (request.samples, request.budget.level, request.budget.max_tokens) == (6, "deep", 99)
    assert request.settings.threads == 2


def test_with_a_prompt_it_is_saved_and_solved(ttc):
    code, out, _ = ttc("solve", "--strategy", "greedy", "--save", "one", "What is 2+2?")
    assert (code, out) == (0, "4\n")
    assert ttc("solve", "--preset", "one", "-q", "What is 2+2?") == (0, "4\n", "")


def test_a_preset_grows_from_another(ttc):
    ttc("solve", "--budget", "deep", "--samples", "6", "--save", "one")
    ttc("solve", "--preset", "one", "--samples", "8", "--save", "two")
    presets = tomllib.loads(USER.read_text())["presets"]
    assert presets["two"] == {"budget": "deep", "samples": 8}
    ttc("solve", "--budget", "quick", "--save", "two")
    assert tomllib.loads(USER.read_text())["presets"]["two"] == {"budget": "quick"}


def test_flags_that_say_the_default_are_not_kept(ttc):
    code, _, err = ttc("solve", "--json", "--seed", "0", "--save", "x")
    assert code == 2
    assert "nothing to save" in err
    assert not USER.exists()


def test_the_list_shows_where_each_is_from(ttc, tmp_path):
    assert "No presets" in ttc("config", "presets")[2]
    ttc("solve", "--system", "Be brief.", "--save", "mine")
    (tmp_path / "ttc.toml").write_text("[presets.ours]\nbudget = 'deep'\nverifier = 'judge'\n")
    _, out, _ = ttc("config", "presets", "--json")
    rows = json.loads(out)["presets"]
    assert [(row["name"], row["flags"]) for row in rows] == [
        ("mine", ["--system", "Be brief."]),
        ("ours", ["--budget", "deep", "--verifier", "judge"]),
    ]
    assert [Path(row["origin"]).name for row in rows] == ["config.toml", "ttc.toml"]
    assert "--system 'Be brief.'" in ttc("config", "presets")[1]


def test_the_users_preset_hides_the_projects_of_that_name(ttc, planned, tmp_path):
    ttc("solve", "--budget", "deep", "--samples", "9", "--save", "maths")
    (tmp_path / "ttc.toml").write_text(
        "[presets.maths]\nbudget = 'quick'\n[presets.ours]\nbudget = 'max'\n"
    )
    for name in ("maths", "ours"):
        assert ttc("solve", "--preset", name, "--dry-run", "Q")[0] == 0
    assert [(each.budget.level, each.samples) for each in planned] == [("deep", 9), ("max", None)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("bugdet = 'deep'", "did you mean 'budget'?"),
        ("samples = 0", "samples must be at least 1"),
        ("check_seconds = 1e300", "check_seconds must be at most 86,400"),
        ("budget = 3", "budget must be text"),
        ("answer_type = 'numbr'", "did you mean 'number'?"),
        ("verifier = [3]", "verifier must be text"),
        ("yes = true", "unknown key 'yes'"),
    ],
)
def test_a_wrong_preset_is_named_with_its_place(ttc, tmp_path, content, said):
    (tmp_path / "ttc.toml").write_text(f"[presets.maths]\n{content}\n")
    code, _, err = ttc("solve", "--preset", "maths", "Q")
    assert code == 2
    assert f"{tmp_path / 'ttc.toml'}: presets.maths" in err
    assert said in err


def test_a_preset_of_any_content_is_listed(ttc, tmp_path):
    (tmp_path / "ttc.toml").write_text(
        f"[presets.odd]\nsamples = 0x{'f' * 5000}\nverifier = [{{ a = 1 }}]\nseed = 1979-05-27\n"
    )
    code, out, _ = ttc("config", "presets")
    assert code == 0
    assert "--samples 'a number without end'" in out


def test_presets_that_are_no_tables_are_refused(ttc, tmp_path):
    (tmp_path / "ttc.toml").write_text("presets = 3\n")
    assert "a preset is a table" in ttc("solve", "--preset", "maths", "Q")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "mahts", "Q"), "Did you mean maths?"),
        (("--preset", "zzz", "Q"), "There is: maths"),
        (("--budget", "deep", "--save", "../x"), "cannot be the name of a preset"),
        (("--strategy", "bean", "--save", "x"), "Did you mean beam?"),
        (("--form", "progam", "--save", "x"), "Did you mean program?"),
        (("-o", "width=3", "--save", "x"), "takes no options of its own"),
        (("--verifier", "jugde", "--save", "x"), "Did you mean judge?"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(ttc, arguments, said):
    ttc("solve", "--budget", "deep", "--save", "maths")
    before = USER.read_text()
    code, out, err = ttc("solve", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert USER.read_text() == before


def test_every_key_of_a_preset_is_a_flag_of_solve():
    from ttc_cli.main import load_command

    flags = {name for each in load_command("solve").params for name in each.opts}
    assert {f"--{key.replace('_', '-')}" for key in PRESET_KEYS} <= flags
