import os

import pytest
from scripted_ttc import make_model


@pytest.fixture
def bare_home(monkeypatch, tmp_path):
    """An empty home, no hub, none of ttc's variables; the current folder is a temporary one."""
    for name in list(os.environ):
        if name.startswith(("TTC_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TTC_KEEP_RUNS", "no")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kept_runs(monkeypatch, bare_home):
    """As ``bare_home``, but runs are kept, as they are for users."""
    monkeypatch.delenv("TTC_KEEP_RUNS")


@pytest.fixture
def scripted_model(monkeypatch, bare_home):
    """Whatever model is asked for is the scripted one, whose file has this hash."""
    monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
    monkeypatch.setattr("ttc_cli.models.files.read_hash", lambda model: "a" * 64)
