"""The file of the log: made, migrated, shared, and set aside where it is damaged."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest

from ttc_cli.errors import RunsUnavailable
from ttc_cli.runs import database
from ttc_cli.runs.database import open_database, open_to_read, set_aside


def complain(text):
    raise AssertionError(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def read_version(path):
    with contextlib.closing(sqlite3.connect(path)) as direct:
        return direct.execute("PRAGMA user_version").fetchone()[0]


def test_a_new_file_is_of_this_version_and_in_wal_mode(path):
    connection = open_database(path, complain)
    assert read_version(path) == len(database.MIGRATIONS)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_an_older_one_is_migrated_and_keeps_what_it_holds(path, monkeypatch):
    connection = open_database(path, complain)
    connection.execute("INSERT INTO notes VALUES ('told', 'yes')")
    connection.close()
    step = ("ALTER TABLE notes ADD COLUMN more TEXT", "UPDATE notes SET more = value")
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, step))
    connection = open_database(path, complain)
    assert connection.execute("SELECT more FROM notes").fetchone() == ("yes",)
    connection.close()
    assert read_version(path) == len(database.MIGRATIONS)


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    open_database(path, complain).close()
    before = read_version(path)
    step = ("ALTER TABLE notes ADD COLUMN more TEXT", "this is no SQL")
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, step))
    with pytest.raises(RunsUnavailable):
        open_database(path, complain)
    assert read_version(path) == before
    with contextlib.closing(sqlite3.connect(path)) as direct, pytest.raises(sqlite3.Error):
        direct.execute("SELECT more FROM notes")


def test_one_of_a_newer_ttc_is_left_alone(path):
    open_database(path, complain).close()
    with contextlib.closing(sqlite3.connect(path)) as direct:
        direct.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(RunsUnavailable, match="by a newer ttc") as caught:
        open_database(path, complain)
    assert "update ttc" in caught.value.hint
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir() if "damaged" in each.name] == []


@pytest.mark.parametrize("garbage", [b"x", b"no database " * 400, b"\0" * 8192])
def test_garbage_is_moved_aside_and_said(path, garbage):
    path.write_bytes(garbage)
    said = []
    connection = open_database(path, said.append)
    connection.execute("INSERT INTO notes VALUES ('a', 'b')")
    connection.close()
    (aside,) = (each for each in path.parent.iterdir() if "damaged" in each.name)
    assert aside.read_bytes() == garbage
    (words,) = said
    assert str(aside) in words
    open_database(path, complain).close()


def test_damage_in_the_middle_is_found_when_it_is_asked_for(path):
    connection = open_database(path, complain)
    connection.execute("PRAGMA journal_mode = DELETE")
    rows = ((str(number), "x" * 100) for number in range(500))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO notes VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    connection.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xa5" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    said = []
    aside = set_aside(path, said.append)
    assert aside.read_bytes() == content
    assert not path.exists()
    assert len(said) == 1


def test_a_sound_one_is_not_moved(path):
    open_database(path, complain).close()
    assert set_aside(path, complain) is None
    assert path.exists()


def test_a_locked_one_is_said_to_be_locked(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    open_database(path, complain).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunsUnavailable, match="locked by another process"):
        open_database(path, complain)
    holder.close()


@pytest.mark.slow
def test_many_processes_may_make_it_at_once(path):
    code = (
        "import sys; from pathlib import Path; from ttc_cli.runs.store import RunStore\n"
        "for _ in range(5):\n"
        "    with RunStore.open(Path(sys.argv[1]), print) as store:\n"
        "        store.begin(question='Q', model='m', strategy='s', level='l', request={})\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(6)]
    assert [(child.communicate()[0], child.returncode) for child in children] == [(b"", 0)] * 6
    connection = open_database(path, complain)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (30,)
    connection.close()


def test_where_nothing_can_be_written_it_can_be_read(path):
    connection = open_database(path, complain)
    connection.execute("INSERT INTO notes VALUES ('a', 'b')")
    connection.close()
    reader = open_to_read(path)
    assert reader.execute("SELECT value FROM notes").fetchone() == ("b",)
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM notes")
    reader.close()
