"""What a check leaves, and what killed runs left."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from attacks import FOUND, LEAVINGS, run
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.verifiers.checking import removal


@pytest.mark.parametrize("kind", [None, FOUND], ids=["bare", "sandbox"])
@pytest.mark.parametrize("text", LEAVINGS.values(), ids=LEAVINGS)
def test_whatever_it_leaves_is_removed_and_no_more(kind, text, tmp_path, monkeypatch) -> None:
    temporary, place = tmp_path / "tmp", tmp_path / "place"
    temporary.mkdir()
    place.mkdir(mode=0o750)
    (place / "old").touch(mode=0o400)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ran = run(f"PLACE = {str(place)!r}\n{text}\nprint('done')", kind)
    assert (ran.code, ran.output) == (0, "done\n")
    assert os.listdir(temporary) == []
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (place, place / "old")]
    assert modes == [0o750, 0o400]


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)
TREES = st.recursive(
    st.sampled_from(["file", "link", "pipe"]),
    lambda below: st.dictionaries(NAMES.map(lambda name: name[:60]), below, max_size=4),
    max_leaves=12,
)


def plant(at: bytes, tree, modes) -> None:
    if isinstance(tree, dict):
        os.mkdir(at)
        for name, below in tree.items():
            if name not in (".", ".."):
                plant(at + b"/" + name.encode(), below, modes)
        os.chmod(at, modes.draw(st.integers(0, 0o777)))
    elif tree == "link":
        os.symlink("..", at)
    elif tree == "pipe":
        os.mkfifo(at)
    else:
        os.close(os.open(at, os.O_CREAT, 0))


@given(tree=TREES, modes=st.data())
@settings(max_examples=30, deadline=None)
def test_any_tree_is_removed(tree, modes) -> None:
    with tempfile.TemporaryDirectory() as made:
        plant(os.fsencode(made) + b"/tree", {"top": tree}, modes)
        assert removal.remove(Path(made) / "tree")
        assert os.listdir(made) == []


def test_what_cannot_be_removed_is_left_and_nothing_raised(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unlink = os.unlink

    def refuse(path, **named):
        if path == "held":
            raise PermissionError
        unlink(path, **named)

    monkeypatch.setattr(os, "unlink", refuse)
    assert run("open('held', 'w'); open('other', 'w')", None).passed
    [left] = tmp_path.iterdir()
    assert [each.name for each in left.iterdir()] == ["held"]
    monkeypatch.setattr(removal, "AGE", -1.0)
    assert removal.sweep() == [left]
    monkeypatch.undo()


def test_what_killed_runs_left_is_swept_and_what_is_in_use_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(removal, "AGE", -1.0)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (tmp_path / "ttc-check-link").symlink_to(victim)
    (tmp_path / "ttc-check-file").touch()
    (tmp_path / "ttc-check-left" / "a").mkdir(parents=True)
    with removal.make_folder() as used:
        assert removal.sweep() == []
        names = {each.name for each in tmp_path.iterdir()}
        assert names == {used.name, "victim", "ttc-check-link", "ttc-check-file"}
    monkeypatch.setattr(removal, "AGE", 60.0)
    (tmp_path / "ttc-check-new").mkdir()
    removal.sweep()
    assert (tmp_path / "ttc-check-new").is_dir()
