"""Which setting wins, and what is refused."""

import pytest

from ttc_cli.config import load_config
from ttc_cli.errors import UsageError


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    user = tmp_path / "home" / "config"
    project = tmp_path / "project" / "deep"
    user.mkdir(parents=True)
    project.mkdir(parents=True)
    return user / "config.toml", project.parent / "ttc.toml", project


def test_flag_beats_variable_beats_project_beats_user_beats_default(folders):
    user, project, here = folders
    assert load_config({}, here).get("threads", default=7) == 7
    user.write_text("threads = 1\nmodel = 'mine'\n")
    assert load_config({}, here).get("threads", default=7) == 1
    project.write_text("threads = 2\n")
    assert load_config({}, here).get("threads", default=7) == 2
    config = load_config({"TTC_THREADS": "3"}, here)
    assert config.get("threads", default=7) == 3
    assert config.get("threads", 4, 7) == 4
    assert config.get("model") == "mine"
    assert (config.origin("threads"), config.origin("model")) == ("TTC_THREADS", str(user))


def test_an_empty_variable_is_no_setting(folders):
    assert load_config({"TTC_MODEL": ""}, folders[2]).get("model") is None


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        ("modle = 'x'", "unknown key 'modle'", "did you mean 'model'?"),
        ("template = 'x'", "unknown key 'template'", "did you mean 'chat_template'?"),
        ("zzz = 1", "unknown key 'zzz'", "known keys"),
        ("threads = true", "threads must be a whole number", None),
        ("threads = 1.5", "threads must be a whole number", None),
        ("threads = 0", "threads must be at least 1", None),
        ("max_seconds = nan", "max_seconds must be at least 0", None),
        ("budget = 'huge'", "one of quick, normal, deep, max", None),
        ("model = 3", "model must be text", None),
        ("model = ", "not valid TOML", None),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(folders, content, said, hint):
    _, project, here = folders
    project.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_config({}, here)
    assert said in caught.value.message
    assert str(project) in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_a_file_that_is_not_text_is_named(folders):
    folders[1].write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_config({}, folders[2])


def test_a_variable_of_the_wrong_kind_is_named(folders):
    with pytest.raises(UsageError, match="TTC_GPU_LAYERS: gpu_layers must be a whole number"):
        load_config({"TTC_GPU_LAYERS": "many"}, folders[2])


def test_a_variable_that_is_called_otherwise_now_is_refused(folders):
    with pytest.raises(UsageError) as caught:
        load_config({"TTC_TEMPLATE": "chat.jinja"}, folders[2])
    assert "TTC_CHAT_TEMPLATE" in caught.value.hint
