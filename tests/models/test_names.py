"""Names that lead elsewhere: out of ttc's folders, to devices, or nowhere at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_gguf import gguf

from ttc_cli import paths
from ttc_cli.errors import UsageError
from ttc_cli.main import main
from ttc_cli.models import cleaning, files, records

HOSTILE = [
    "..",
    "../../x",
    "/etc/shadow-not-there",
    "a\0b",
    "a/b\0c",
    "a" * 300,
    "../" * 100 + "x",
    "user/repo:..",
    "user/repo:../../x.gguf",
    "user/repo:a\0b",
    "user/repo:" + "a" * 300,
    "user/" + "r" * 300,
    "user/repo:Q4@../../x",
    "user/repo:\x1b]0;owned\x07",
    "../../x:Q4",
    "CON",
    "NUL.gguf",
    "con:",
    ".",
    "~nobody-by-that-name/x",
    "-",
    " ",
    "\ud800",
]
COMMANDS = [
    ["solve", "hi", "-q", "-m"],
    ["models", "show"],
    ["models", "path"],
    ["models", "rm", "--yes"],
    ["models", "pull"],
    ["models", "verify"],
    ["models", "default"],
    ["models", "add"],
    ["policy", "show"],
    ["policy", "use"],
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_touched(
    command: list[str],
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    outside = tmp_path / "x"
    outside.write_text("kept")
    (home / "data" / "models").mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    for name in HOSTILE:
        code = main([*command, "--", name])
        _, err = capsys.readouterr()
        assert code in (2, 3, 6), (name, err)
        assert "failed unexpectedly" not in err, name
        assert "Traceback" not in err, name
        assert "\x1b" not in err, name
    assert outside.read_text() == "kept"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\0", "x" * 300, "", "..", "CON:"])
@pytest.mark.parametrize("command", [["models", "add", "m.gguf", "--name"]])
def test_a_name_to_be_given_is_plain(
    command: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf())
    code = main([*command, name])
    err = capsys.readouterr().err
    if name == "":  # as if it were not given
        assert code == 0
        return
    assert code == 2, err
    assert "failed unexpectedly" not in err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", [*HOSTILE, "aux/lpt1:com1", "user/..:.."])
def test_every_name_has_a_folder_inside(name: str) -> None:
    folder = records.folder_of(name)
    inside = paths.models_dir()
    assert folder.parent == inside or folder in (inside, inside.parent)


def test_a_symlink_in_the_models_folder_is_unlinked_and_what_it_leads_to_stays(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (elsewhere / "letters.txt").write_text("kept")
    link = home / "data" / "models" / "smollm2-135m"
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    assert main(["models", "rm", "--yes", "smollm2-135m"]) == 0
    assert not link.is_symlink()
    assert (elsewhere / "letters.txt").read_text() == "kept"


def test_a_symlinked_part_is_not_followed_by_prune(home: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.gguf"
    precious.write_text("kept")
    folder = home / "data" / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "x.part").symlink_to(precious)
    (folder / "mirror.parts").symlink_to(tmp_path)
    cleaning.prune(cleaning.find_leftovers())
    assert precious.read_text() == "kept"
    assert not (folder / "x.part").is_symlink()


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("qwen2.5-0.5b", None),
        ("hf:user/repo", None),
        ("./qwen2.5-0.5b", "qwen2.5-0.5b"),
        ("./user/repo", "user/repo"),
        ("user/model.gguf", "user/model.gguf"),
        ("model.gguf", "model.gguf"),
        ("user/repo", "may also be a repository on the hub"),
        ("user/repo:Q8_0", "may also be a repository on the hub"),
        ("stray", "no model called"),
    ],
)
def test_a_file_of_the_folder_takes_no_models_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, place: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("qwen2.5-0.5b", "hf:user/repo", "user/repo", "user/repo:Q8_0", "stray"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gguf())
    for name in ("model.gguf", "user/model.gguf"):
        (tmp_path / name).write_bytes(gguf())
    if place is not None and " " in place:
        with pytest.raises(UsageError, match=place):
            files.resolve_unchecked(reference)
        return
    found = files.resolve_unchecked(reference).path
    assert found == (None if place is None else tmp_path / place)
