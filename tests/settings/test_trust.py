"""What only the user's own hand may set, and which files are the user's own."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.errors import UsageError
from ttc_cli.settings.config import load_config
from ttc_cli.settings.trust import belongs_to_user, require_own_hand

HARMLESS = [
    ("model", "qwen2.5-coder-0.5b"),
    ("model", "Qwen2.5-Coder-0.5B"),
    ("strategy", "auto"),
    ("strategy", "best-of-n"),
    ("form", "auto"),
    ("form", "program"),
    ("verifier", "judge"),
    ("verifier", " judge:2 , confidence=tail:0.5,arithmetic,"),
    ("verifier", "prm=rlhflow-prm-8b"),
    ("verifier", "prm=rlhflow-prm-8b@rlhflow:2"),
    ("verifier", "generative"),
    ("keep_runs", "no"),
    ("option", "width=4"),
    ("system", "Be brief."),
    ("budget", "max"),
    ("threads", 512),
    ("temperature", 0.5),
]
HARMFUL = [
    ("server", "http://127.0.0.1:8080"),
    ("server", "http://localhost"),
    ("server", "https://example.org/v1"),
    ("server", "toy:x"),
    ("server", ""),
    ("chat_template", "chat.jinja"),
    ("chat_template", "qwen2.5-coder-0.5b"),
    ("check", "true {file}"),
    ("model", "/etc/passwd"),
    ("model", "model.gguf"),
    ("model", "./qwen2.5-coder-0.5b"),
    ("model", "~/x.gguf"),
    ("model", "user/repo:Q4_K_M"),
    ("model", "hf:user/repo"),
    ("model", ""),
    ("strategy", "shortest-of-n"),
    ("strategy", "Auto"),
    ("form", "sonnet"),
    ("verifier", "check=touch x {file}"),
    ("verifier", " check=touch x {file}"),
    ("verifier", "judge,\tcheck=touch x {file}"),
    ("verifier", "CHECK=touch x {file}"),
    ("verifier", "check =touch x {file}"),
    ("verifier", "check"),
    ("verifier", "check:2"),
    ("verifier", "probe=probe.json"),
    ("verifier", "probe"),
    ("verifier", "prm=/etc/passwd"),
    ("verifier", "prm=user/repo:Q8_0@rlhflow"),
    ("verifier", "prm=model.gguf@rlhflow"),
    ("verifier", "generative=./x.gguf@thinkprm"),
    ("verifier", "generative=user/repo"),
    ("verifier", "brevity=100"),
    ("keep_runs", "yes"),
    ("a_key_of_tomorrow", "x"),
]


def require(key, value):
    require_own_hand(key, value, "ttc.toml")


@pytest.mark.parametrize(("key", "value"), HARMLESS)
def test_what_does_no_harm_anybody_may_set(key, value):
    require(key, value)


@pytest.mark.parametrize(("key", "value"), HARMFUL)
def test_what_does_harm_is_refused_with_place_key_and_flag(key, value):
    with pytest.raises(UsageError) as caught:
        require(key, value)
    assert f"ttc.toml sets {key} to" in caught.value.message
    assert f"--{key.replace('_', '-')}" in caught.value.hint or key == "keep_runs"


@settings(deadline=None)
@given(st.text())
def test_no_text_is_a_server_a_template_or_a_command(text):
    for key in ("server", "chat_template", "check"):
        with pytest.raises(UsageError):
            require(key, text)


@pytest.mark.slow
@settings(deadline=None)
@given(st.from_regex(r"(judge|tail)?[ ,\t:]*((check|probe)\s*=?|prm=[/.~]).*", fullmatch=True))
def test_no_spelling_names_a_command_or_a_file(text):
    with pytest.raises(UsageError):
        require("verifier", text)


@pytest.mark.parametrize(
    ("link", "target", "user", "sudo", "own"),
    [
        (7, 7, 7, None, True),
        (7, 7, 8, None, False),
        (0, 0, 7, None, False),
        (7, 8, 7, None, False),
        (8, 7, 7, None, False),
        (7, 7, 8, "7", False),
        (0, 0, 0, None, True),
        (7, 7, 0, None, False),
        (7, 7, 0, "7", True),
        (0, 7, 0, "7", True),
        (8, 7, 0, "7", False),
        (7, 7, 0, "seven", False),
        (7, 7, 0, "", False),
    ],
)
def test_a_file_is_the_users_where_its_owner_is(monkeypatch, link, target, user, sudo, own):
    def owned(by):
        return os.stat_result([0] * 4 + [by] + [0] * 5)

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "lstat", lambda path: owned(link))
    monkeypatch.setattr(Path, "stat", lambda path: owned(target))
    monkeypatch.delenv("SUDO_UID", raising=False)
    if sudo is not None:
        monkeypatch.setenv("SUDO_UID", sudo)
    assert belongs_to_user(Path("file")) is own


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A ttc.toml; the working folder is below it."""
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    below = tmp_path / "project" / "below"
    below.mkdir(parents=True)
    (below.parent / "ttc.toml").write_text("threads = 2\n")
    monkeypatch.delenv("TTC_THREADS", raising=False)
    monkeypatch.chdir(below)
    return below.parent / "ttc.toml"


@pytest.mark.parametrize("others", ["file", "folder"])
def test_what_is_another_users_is_not_read_and_said_once(project, monkeypatch, capsys, others):
    file = project
    (file.parents[1] / "ttc.toml").write_text("threads = 1\n")  # the user's own, further up
    foreign = file if others == "file" else file.parent
    monkeypatch.setattr("ttc_cli.settings.config.belongs_to_user", lambda path: path != foreign)
    for _ in range(2):
        assert load_config().get("threads") == 1
    assert capsys.readouterr().err == (
        f"warning: {file} is not read: it, or its folder, belongs to another user\n"
    )


def test_ones_own_file_is_read_through_ones_own_link(project):
    file = project
    file.rename(file.with_name("target.toml"))
    file.symlink_to("target.toml")
    assert load_config().get("threads") == 2
