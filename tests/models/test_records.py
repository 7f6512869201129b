import hashlib

import pytest

from ttc_cli import paths
from ttc_cli.models import files, records


@pytest.fixture
def mine(monkeypatch, tmp_path):
    """A file of the user's own, and how often its bytes were read for a hash."""
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF, as far as a hash can tell")
    read = []

    def hash_anew(path, pinned, name):
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(records, "check_file", hash_anew)
    return path, read


def ask(path):
    return files.read_hash(files.resolve(str(path)))


def test_a_file_is_read_once_and_again_when_it_changed(mine) -> None:
    path, read = mine
    first = ask(path)
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ask(path) == first
    assert len(read) == 1
    path.write_bytes(b"other bytes")
    assert ask(path) == hashlib.sha256(b"other bytes").hexdigest() != first
    assert len(read) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}', '{"x": {"stamp": 1}}'])
def test_a_damaged_memory_is_none(mine, content) -> None:
    path, read = mine
    paths.cache_dir().mkdir(parents=True)
    (paths.cache_dir() / records.HASHES).write_text(content)
    assert ask(path) == ask(path)
    assert len(read) == 1


def test_where_nothing_can_be_kept_it_is_hashed_again(mine) -> None:
    path, read = mine
    paths.cache_dir().parent.mkdir(parents=True)
    paths.cache_dir().write_text("a file where the folder should be")
    assert ask(path) == ask(path)
    assert len(read) == 2


def test_the_oldest_are_forgotten(mine, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(records, "MAX_HASHES", 3)
    made = [tmp_path / f"{n}.gguf" for n in range(5)]
    for each in made:
        each.write_bytes(each.name.encode())
        ask(each)
    _, read = mine
    read.clear()
    for each in (*made[2:], *made[:2]):
        ask(each)
    assert read == made[:2]
