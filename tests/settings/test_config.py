"""Which setting wins, and what is refused."""

import contextlib
import os
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.errors import UsageError
from ttc_cli.settings.config import find_project_file, load_config
from ttc_cli.settings.keys import KEYS


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    user = tmp_path / "home" / "config"
    project = tmp_path / "project" / "deep"
    user.mkdir(parents=True)
    project.mkdir(parents=True)
    return user / "config.toml", project.parent / "ttc.toml", project


def load(environ, folder):
    """The settings in ``folder``, where of ttc's variables there are those of ``environ``."""
    others = {name: os.environ[name] for name in os.environ if not name.startswith("TTC_")}
    home = {"TTC_HOME": os.environ["TTC_HOME"]} if "TTC_HOME" in os.environ else {}
    variables = {**others, **home, **environ}
    with contextlib.chdir(folder), mock.patch.dict(os.environ, variables, clear=True):
        return load_config()


def test_flag_beats_variable_beats_project_beats_user_beats_default(folders):
    user, project, here = folders
    assert load({}, here).get("threads", default=7) == 7
    user.write_text("threads = 1\nmodel = 'mine'\n")
    assert load({}, here).get("threads", default=7) == 1
    project.write_text("threads = 2\n")
    assert load({}, here).get("threads", default=7) == 2
    config = load({"TTC_THREADS": "3"}, here)
    assert config.get("threads", default=7) == 3
    assert config.get("threads", 4, 7) == 4
    assert config.get("model") == "mine"
    assert (config.origin("threads"), config.origin("model")) == ("TTC_THREADS", str(user))


def test_an_empty_variable_is_no_setting(folders):
    assert load({"TTC_MODEL": ""}, folders[2]).get("model") is None


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
        ("threads = 513", "threads must be at most 512", None),
        ("parallel = 1_000_000_000", "parallel must be at most 4,096", None),
        ("context = 2147483648", "context must be at most 16,777,216", None),
        ("max_tokens = 9223372036854775807", "must be at most 2,147,483,647", None),
        ("max_seconds = inf", "must be at most", None),
        ("temperature = 1e300", "must be at most 100", None),
        (f"max_tokens = {'9' * 5000}", "not valid TOML", None),
        (f"threads = 0x{'f' * 5000}", "threads must be at most 512", None),
        (f"model = [0x{'f' * 5000}]", "must be text, not a number without end", None),
        (f"max_flops = {'9' * 4000}", "must be a number", None),
        (f"modle{'e' * 10_000} = 1", "eeee…", "known keys"),
        ("budget = " + "[" * 100_000, "nested too deeply", None),
        ("a" + ".a" * 30_000 + " = 1", "more than 200 dots", None),
        ("[a" + " . 'a'" * 30_000 + "]", "more than 200 dots", None),
        ("#" * (1 << 20) + "#", "larger than 1 MiB", None),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(folders, content, said, hint):
    _, project, here = folders
    project.write_text(content)
    with pytest.raises(UsageError) as caught:
        load({}, here)
    assert said in caught.value.message
    assert str(project) in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_a_file_that_is_not_text_is_named(folders):
    folders[1].write_bytes(b"\xff\xff")
    with pytest.raises(UsageError, match=r"ttc\.toml is not UTF-8 text"):
        load({}, folders[2])


def test_a_variable_of_the_wrong_kind_is_named(folders):
    with pytest.raises(UsageError, match="TTC_GPU_LAYERS: gpu_layers must be a whole number"):
        load({"TTC_GPU_LAYERS": "many"}, folders[2])


def test_a_variable_that_is_called_otherwise_now_is_refused(folders):
    with pytest.raises(UsageError) as caught:
        load({"TTC_TEMPLATE": "chat.jinja"}, folders[2])
    assert "TTC_CHAT_TEMPLATE" in caught.value.hint


@pytest.mark.parametrize("flag", [0, 513, 2**63, float("nan")])
def test_a_flag_keeps_to_the_same_range(folders, flag):
    with pytest.raises(UsageError, match="--threads: threads must be"):
        load({}, folders[2]).get("threads", flag)


def test_no_number_goes_further_than_its_kind(folders):
    for key, rule in KEYS.items():
        if rule.type is not str:
            assert rule.most < float("inf"), key
            for text in ("1e400", "nan", "-1e400", "9" * 400):
                with pytest.raises(UsageError):
                    load({f"TTC_{key.upper()}": text}, folders[2])


SCRAPS = st.lists(
    st.sampled_from(["threads", "presets", "=", ".", "[", "]", "{", "}", '"', "'", "#", "\n", " "])
    | st.sampled_from(["0x" + "f" * 5000, "9" * 5000, "1e999", "nan", "1979-05-27", "\\ud800"])
    | st.text(max_size=3)
)


@settings(deadline=None)
@given(st.binary() | SCRAPS.map(lambda words: "".join(words).encode("utf-8", "replace")))
def test_any_bytes_are_settings_or_an_error_in_words(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "ttc.toml").write_bytes(data)
    with contextlib.suppress(UsageError):
        load({}, folder)


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "device"])
def test_what_is_no_regular_file_is_not_waited_for(folders, kind):
    user, project, here = folders
    for path in (user, project):
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(path if kind == "loop" else "/dev/zero")
    with contextlib.chdir(here):
        assert find_project_file() is None
    with pytest.raises(UsageError, match=r"config\.toml"):
        load({}, here)


def test_a_folder_that_is_gone_holds_no_project(folders, monkeypatch):
    here = folders[2]
    monkeypatch.chdir(here)
    here.rmdir()
    assert load_config().get("threads") is None
