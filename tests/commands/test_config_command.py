"""``ttc config``: what is set, where it comes from, and changing it."""

import json
import sys
from pathlib import Path

import pytest

from ttc_cli.main import main
from ttc_cli.settings.config import KEYS

USER = Path("home/config/config.toml")


@pytest.fixture
def ttc(kept_runs, capsys):
    def run(*arguments):
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return run


def settings(ttc):
    code, out, err = ttc("config", "list", "--json")
    assert (code, err) == (0, "")
    return {row["key"]: row for row in json.loads(out)["settings"]}


def test_every_setting_is_listed_with_what_it_is(ttc):
    rows = settings(ttc)
    assert list(rows) == list(KEYS)
    for key, row in rows.items():
        assert row["summary"], key
        assert "[default" not in row["summary"], key
        assert (row["value"], row["origin"]) == (None, "default"), key
    assert rows["budget"]["default"] == "normal"
    assert rows["gpu_layers"]["variable"] == "TTC_GPU_LAYERS"


@pytest.mark.slow
def test_the_strongest_place_wins_and_is_named(ttc, monkeypatch, tmp_path):
    assert ttc("config", "set", "threads", "1")[0] == 0
    assert ttc("config", "set", "budget", "deep")[0] == 0
    assert ttc("config", "set", "--project", "threads", "2")[0] == 0
    monkeypatch.setenv("TTC_BUDGET", "max")
    rows = settings(ttc)
    project, user = str(tmp_path / "ttc.toml"), str(tmp_path / USER)
    assert (rows["threads"]["value"], rows["threads"]["origin"]) == (2, project)
    assert (rows["budget"]["value"], rows["budget"]["origin"]) == ("max", "TTC_BUDGET")
    monkeypatch.delenv("TTC_BUDGET")
    assert settings(ttc)["budget"]["origin"] == user
    _, out, _ = ttc("config", "list", "--show-origin")
    assert out.splitlines()[0].split() == [
        "KEY",
        "VALUE",
        "DEFAULT",
        "SET",
        "IN",
        "WHAT",
        "IT",
        "IS",
    ]
    assert [project in line for line in out.splitlines() if line.startswith("threads")] == [True]
    assert project not in ttc("config", "list")[1]


def test_get_prints_the_value_alone(ttc):
    ttc("config", "set", "max_seconds", "1.5")
    assert ttc("config", "get", "max_seconds")[:2] == (0, "1.5\n")
    code, out, err = ttc("config", "get", "budget")
    assert (code, out) == (0, "")
    assert "default: normal" in err


def test_setting_and_unsetting_leave_the_rest_of_the_file(ttc):
    USER.parent.mkdir(parents=True)
    USER.write_text("# mine\nmodel = 'x' # y\n")
    assert ttc("config", "set", "budget", "deep")[0] == 0
    assert USER.read_text() == "# mine\nmodel = 'x' # y\nbudget = \"deep\"\n"
    assert ttc("config", "unset", "budget")[0] == 0
    assert USER.read_text() == "# mine\nmodel = 'x' # y\n"


def test_a_value_that_something_stronger_overrules_is_said(ttc, monkeypatch):
    monkeypatch.setenv("TTC_THREADS", "3")
    code, _, err = ttc("config", "set", "threads", "4")
    assert code == 0
    assert "warning: TTC_THREADS takes precedence" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "bugdet", "deep"), "did you mean 'budget'?"),
        (("get", "bugdet"), "did you mean 'budget'?"),
        (("unset", "modle"), "did you mean 'model'?"),
        (("unset", "presets.mths"), "did you mean 'presets.maths'?"),
        (("set", "budget", "dep"), "did you mean 'deep'?"),
        (("set", "threads", "0"), "at least 1"),
        (("set", "threads", "many"), "a whole number"),
        (("set", "strategy", "majorty"), "Did you mean majority?"),
        (("set", "verifier", "judge,confidense"), "Did you mean confidence?"),
        (("set", "verifier", "check=rm"), "no {file}"),
        (("set", "threads", "513"), "at most 512"),
        (("set", "--project", "verifier", "check=true {file}"), "may ask for"),
        (("set", "--project", "server", "http://127.0.0.1:1"), "may ask for a server"),
        (("set", "model", "qwen2.5-codr-0.5b"), "Did you mean qwen2.5-coder-0.5b?"),
        (("lst",), "Did you mean 'list', 'set'?"),
        (("edit",), "EDITOR=nano"),
    ],
)
def test_what_cannot_be_is_refused_and_the_nearest_named(ttc, monkeypatch, arguments, said):
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    USER.parent.mkdir(parents=True)
    USER.write_text("model = 'x'\n[presets.maths]\nbudget = 'deep'\n")
    before = USER.read_text()
    code, out, err = ttc("config", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert USER.read_text() == before


def test_a_served_model_may_have_any_name(ttc):
    assert ttc("config", "set", "server", "http://localhost:8000")[0] == 0
    assert ttc("config", "set", "model", "llama3.1:8b")[0] == 0


def test_an_unknown_key_can_be_taken_out_of_a_file(ttc):
    USER.parent.mkdir(parents=True)
    USER.write_text("modle = 'x'\n")
    assert ttc("config", "list")[0] == 2
    assert ttc("config", "unset", "modle")[0] == 0
    assert USER.read_text() == ""


def test_paths(ttc, tmp_path, monkeypatch):
    assert ttc("config", "path")[1] == f"{tmp_path / USER}\n"
    assert ttc("config", "path", "--project")[1] == f"{tmp_path / 'ttc.toml'}\n"
    (tmp_path / "ttc.toml").write_text("")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert ttc("config", "path", "--project")[1] == f"{tmp_path / 'ttc.toml'}\n"


def test_edit_opens_the_file_and_checks_it(ttc, monkeypatch, tmp_path):
    script = tmp_path / "my editor.py"
    script.write_text("import sys\nopen(sys.argv[2], 'w').write(sys.argv[1])\n")
    command = f"'{sys.executable}' '{script}' "
    monkeypatch.setenv("EDITOR", command + "threads=3")
    assert ttc("config", "edit")[0] == 0
    assert USER.read_text() == "threads=3"
    monkeypatch.setenv("VISUAL", command + "threads=none")
    code, _, err = ttc("config", "edit", "--project")
    assert (code, "ttc.toml is not valid TOML" in err) == (2, True)
    (tmp_path / "ttc.toml").unlink()
    monkeypatch.setenv("VISUAL", "no-such-editor")
    assert "Cannot start the editor" in ttc("config", "edit")[2]
    monkeypatch.setenv("VISUAL", "false")
    assert ttc("config", "edit")[0] == 2


@pytest.mark.parametrize("words", [("set", "--project", "threads", "4"), ("edit", "--project")])
def test_another_users_file_is_neither_changed_nor_opened(ttc, monkeypatch, tmp_path, words):
    project = tmp_path / "ttc.toml"
    project.write_text("threads = 2\n")
    monkeypatch.setattr("ttc_cli.settings.config.belongs_to_user", lambda path: path != project)
    monkeypatch.setenv("VISUAL", "false")
    code, _, err = ttc("config", *words)
    assert code == 2
    assert "belongs to another user" in err
    assert project.read_text() == "threads = 2\n"


def test_the_default_model_is_set_without_losing_comments(ttc):
    USER.parent.mkdir(parents=True)
    USER.write_text("# mine\nthreads = 2\n")
    assert ttc("models", "default", "qwen2.5-0.5b")[0] == 0
    assert USER.read_text() == '# mine\nthreads = 2\nmodel = "qwen2.5-0.5b"\n'
