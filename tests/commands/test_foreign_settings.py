"""What only the user may say: from whose hand ``ttc solve`` takes it, over all ways there are."""

import json
import socket
from pathlib import Path

import pytest
from scripted_ttc import make_engine

from ttc_cli import children
from ttc_cli.main import main

SETTINGS = {
    "server here": ("server", "http://127.0.0.1:9"),
    "server there": ("server", "http://evil.example/v1"),
    "engine": ("server", "toy:x"),
    "chat template": ("chat_template", "private.txt"),
    "check": ("verifier", "judge, check=touch ran {file}"),
    "probe": ("verifier", "probe=private.txt"),
    "reward model": ("verifier", "prm=private.txt@rlhflow"),
    "plugin": ("verifier", "brevity=100"),
    "strategy": ("strategy", "shortest-of-n"),
    "form": ("form", "sonnet"),
    "model": ("model", "./private.txt"),
    "hub model": ("model", "user/repo"),
}


def write(place: str, key: str, value: str) -> tuple[Path, list[str]]:
    """Set ``key`` in ``place``; the file, and the words of the command that comes upon it."""
    line = f"{key} = {json.dumps(value)}"
    template = f"+++\n{line}\n+++\n{{{{ question }}}}"
    path, text, words = {
        "ttc.toml": ("ttc.toml", line, []),
        "ttc.toml above": ("../ttc.toml", line, []),
        "preset": ("ttc.toml", f"[presets.maths]\n{line}", ["--preset", "maths"]),
        "list": ("ttc.toml", f"presets.a.{key} = [{json.dumps(value)}]", ["--preset", "a"]),
        "inline": ("ttc.toml", f"presets = {{ a = {{ {line} }} }}", ["--preset", "a"]),
        "template": ("review.md", template, ["--template", "review.md"]),
        "config.toml": ("../home/config/config.toml", line, []),
        "own preset": (
            "../home/config/config.toml", f"[presets.maths]\n{line}", ["--preset", "maths"],
        ),
        "own template": ("../home/config/templates/own.md", template, ["--template", "own"]),
    }[place]  # fmt: skip
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file, words


@pytest.fixture
def solve(scripted_model, tmp_path, monkeypatch, capsys):
    """Runs ``ttc solve`` in a folder below the temporary one, where nothing may be asked for."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TTC_API_KEY", "sk-own-123")
    work.joinpath("private.txt").write_text("private")
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, lambda *_, **__: pytest.fail("asked the network"))
    monkeypatch.setattr(children, "start", lambda *_, **__: pytest.fail("started a process"))
    monkeypatch.setattr("ttc_cli.solving.verifier_models.find_sandbox", lambda *_: None)
    monkeypatch.setattr(
        "ttc_cli.solving.loading.open_engine",
        lambda path, settings, name: make_engine(["The final answer is 4."]),
    )

    def run(*words):
        question = [] if "--batch" in words else ["What is 2+2?"]
        code = main(["solve", *question, *words])
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "place", ["ttc.toml", "ttc.toml above", "preset", "list", "inline", "template"]
)
@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--batch", "private.txt"]])
def test_a_folder_may_not_say_it(solve, place, setting, more):
    key, value = SETTINGS[setting]
    file, words = write(place, key, value)
    code, out, err = solve(*words, *more)
    assert (code, out) == (2, ""), err
    assert f"{file.resolve() if place != 'template' else file}" in err
    if place != "list" or key == "verifier":
        assert f"sets {key} to" in err
        assert f"--{key.replace('_', '-')} " in err
    assert not Path("ran").exists()


@pytest.mark.parametrize("place", ["config.toml", "own preset", "own template", "variable", "flag"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", "http://127.0.0.1:9"),
        ("verifier", "check=true {file}"),
        ("verifier", "check=true a,b {file}"),
    ],
)
def test_the_user_may(solve, monkeypatch, place, key, value):
    words = [f"--{key}", value]
    if place == "variable":
        monkeypatch.setenv(f"TTC_{key.upper()}", value)
        words = []
    elif place != "flag":
        _, words = write(place, key, value)
    planned = []
    monkeypatch.setattr("ttc_cli.solving.dry_run.make_plan", planned.append)
    monkeypatch.setattr("ttc_cli.solving.dry_run.word_plan", lambda plan: {})
    code, _, err = solve(*words, "--dry-run")
    assert code == 0, err
    [request] = planned
    assert value == (request.server.url if key == "server" else request.verifiers[0])


def test_a_flag_of_the_users_takes_the_place_of_what_a_folder_says(solve):
    write("ttc.toml", "server", "http://evil.example/v1")
    code, out, _ = solve("--server", "http://127.0.0.1:9", "--dry-run")
    assert code == 0
    assert "http://127.0.0.1:9" in out


def test_it_is_said_where_settings_are_listed(solve, capsys):
    write("ttc.toml", "server", "http://evil.example/v1")
    assert main(["config", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = {row["key"]: row["value"] for row in json.loads(out)["settings"]}
    assert rows["server"] is None
    assert "may ask for a server" in err
    assert main(["config", "get", "server"]) == 2
