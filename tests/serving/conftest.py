import pytest
from served import World


@pytest.fixture
def world(monkeypatch, tmp_path):
    world = World()
    world.install(monkeypatch, tmp_path / "home")
    yield world
    assert world.open_sessions == 0  # whatever was asked, nothing of it is left
