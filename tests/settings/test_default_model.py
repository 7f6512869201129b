"""The model that is used when nobody names one, as far as the settings say."""

import pytest

from ttc_cli.errors import UsageError
from ttc_cli.settings.default_model import find_default, set_default


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TTC_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_settings_decide_before_the_machine(monkeypatch, home):
    assert set_default("QWEN2.5-0.5B") == "qwen2.5-0.5b"
    assert find_default().name == "qwen2.5-0.5b"
    assert 'model = "qwen2.5-0.5b"' in (home / "config" / "config.toml").read_text()
    monkeypatch.setenv("TTC_MODEL", "qwen3-8b")
    found = find_default()
    assert (found.name, found.reason) == ("qwen3-8b", "set in TTC_MODEL")


def test_setting_a_default_keeps_the_other_settings(home):
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text('budget = "deep"\n')
    set_default("qwen2.5-0.5b")
    assert 'budget = "deep"' in (home / "config" / "config.toml").read_text()
    with pytest.raises(UsageError, match="verifier"):
        set_default("rlhflow-prm-8b")
    with pytest.raises(UsageError):
        set_default("no-such-model")
