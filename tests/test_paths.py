"""Writing: whole or not at all, and never through a link that somebody put there."""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import ttc_cli
from ttc_cli import crash, paths
from ttc_cli.bench import pool, report
from ttc_cli.errors import TtcError
from ttc_cli.models import own
from ttc_cli.models.registry import user_file
from ttc_cli.paths import open_in_place, write_whole
from ttc_cli.solving.batch.answers import open_answers
from ttc_cli.toml_files import change

PACKAGE = Path(ttc_cli.__file__).parent


@pytest.fixture
def link(tmp_path: Path) -> Callable[[Path], None]:
    """Puts a link to ``precious``, and one to a file that is not there, where it is told."""
    (tmp_path / "precious").write_text("precious")

    def put(place: Path, target: str = "precious") -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(tmp_path / target)

    return put


def failed(path: Path) -> None:
    path.write_bytes(b'{"id":1,"type":"error","error":"x"}\n{"id":9,"type":"result"}\n')
    with open_answers(path, "s", {"1": "q"}, (), "questions.jsonl"):
        pass


def config(path: Path) -> None:
    path.write_text("# mine\nt.x = { a = 1 }\n")
    change(path, ("t", "x"), {"a": 2}, lambda told: None)


def models(path: Path) -> None:
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(
        f'# mine\nmodels.m = {{ sources = [{{ type = "file", path = "{path}" }}] }}'
    )
    own.forget_entry("m", lambda told: None)


def outcomes(path: Path) -> None:
    report.write_outcomes(path, "m", {}, first=True)


WRITERS = [
    pytest.param("x.toml", lambda path: write_whole(path, "new"), id="whole"),
    pytest.param("answers.jsonl.part", lambda p: failed(p.with_suffix("")), id="answers"),
    pytest.param("ttc.toml.bak", lambda path: config(path.with_suffix("")), id="settings"),
    pytest.param("home/config/models.toml.bak", models, id="models"),
    pytest.param("rows.jsonl", outcomes, id="outcomes"),
]


@pytest.mark.parametrize("target", ["precious", "missing"])
@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_what_a_planted_link_leads_to_stays(
    name: str,
    write: Callable[[Path], None],
    target: str,
    link: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    link(tmp_path / name, target)
    write(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


IN_PLACE = [
    pytest.param(lambda path: open_in_place(path, "a+b").close(), id="append"),
    pytest.param(lambda path: open_in_place(path, "wb").close(), id="anew"),
    pytest.param(lambda path: pool.write(path, None).__enter__(), id="pool"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("target", ["precious", "missing"])
@pytest.mark.parametrize("write", IN_PLACE)
def test_what_is_written_in_place_follows_no_link(
    write: Callable[[Path], None], target: str, link: Callable[..., None], tmp_path: Path
) -> None:
    link(tmp_path / "x", target)
    with pytest.raises(OSError, match="link"):
        write(tmp_path / "x")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_a_crash_is_noted_nowhere_else(
    link: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTC_HOME", str(tmp_path / "home"))
    link(paths.crashes_dir() / f"{os.getpid()}.txt")
    with crash.watched():
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_the_new_file_has_the_rights_of_the_old_one_or_of_another(tmp_path: Path) -> None:
    old, new, copy = (tmp_path / name for name in ("old", "new", "copy"))
    old.write_text("old")
    old.chmod(0o640)
    write_whole(old, "new")
    write_whole(copy, b"\xff", like=old)
    mask = os.umask(0o077)
    try:
        write_whole(new, "é\r\n")
    finally:
        os.umask(mask)
    rights = [stat.S_IMODE(path.stat().st_mode) for path in (old, copy, new)]
    assert rights == [0o640, 0o640, 0o600]
    assert [path.read_bytes() for path in (old, copy, new)] == [b"new", b"\xff", b"\xc3\xa9\r\n"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match=r".*"):
        write_whole(tmp_path / "folder", "text")
    with pytest.raises(FileNotFoundError) as missing:
        write_whole(tmp_path / "nowhere" / "x", "text")
    assert missing.value.filename == str(tmp_path / "nowhere" / "x")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "half", "\ud800")
    write_whole(tmp_path / ("é" * 127), "a long name, twice as long in bytes")
    assert sorted(os.listdir(tmp_path)) == ["folder", "é" * 127]


ELSEWHERE = {
    "paths.py",
    "output.py",  # descriptors
    "views/tree.py",
    "verifiers/checking/cells.py",  # in a folder that was just made for it
    "verifiers/checking/confine.py",  # below /proc
    "forms/runner.py",  # a pipe
    "tuning/comparison.py",  # temporary files, and the copy that was just written
}


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in ("open", "fdopen"):
        modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
        return any(
            isinstance(mode, str) and re.fullmatch(r"[rb]*[wax+][wax+bt]*", mode) for mode in modes
        )
    return name in ("write_text", "write_bytes", "copyfile", "copy2", "mkstemp")


@pytest.mark.slow
def test_files_are_written_through_paths_alone() -> None:
    found = [
        f"{path.name}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() not in ELSEWHERE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _writes(node)
    ]
    assert found == []


FOLDERS = [
    ({}, "linux", ".config/ttc", ".local/share/ttc", ".cache/ttc"),
    ({}, "darwin", *["Library/Application Support/ttc"] * 2, "Library/Caches/ttc"),
    ({"XDG_CACHE_HOME": "/x y/c"}, "linux", ".config/ttc", ".local/share/ttc", "/x y/c/ttc"),
    ({"XDG_CACHE_HOME": "relative"}, "linux", ".config/ttc", ".local/share/ttc", ".cache/ttc"),
    ({"TTC_HOME": "~/t", "XDG_CACHE_HOME": "/x"}, "linux", "t/config", "t/data", "t/cache"),
    ({"TTC_HOME": "/t"}, "darwin", "/t/config", "/t/data", "/t/cache"),
]


@pytest.mark.parametrize(("variables", "system", "config", "data", "cache"), FOLDERS)
def test_where_things_are_kept(
    variables: dict[str, str],
    system: str,
    config: str,
    data: str,
    cache: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TTC_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("sys.platform", system)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    home = Path("/home/me")
    found = (paths.config_dir(), paths.data_dir(), paths.cache_dir())
    assert found == (home / config, home / data, home / cache)


def test_without_any_home_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TTC_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(TtcError, match="no home folder") as caught:
        paths.cache_dir()
    assert (caught.value.hint or "").startswith("TTC_HOME=")


def test_the_installer_is_named_as_ttc_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a clone" / "ttc_cli"
    package.mkdir(parents=True)
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert paths.name_installer() == "ttc build"
    (tmp_path / "a clone" / "install.sh").touch()
    assert paths.name_installer() == f"'{tmp_path}/a clone/install.sh'"
    monkeypatch.chdir(package.parent)
    assert paths.name_installer() == "./install.sh"
