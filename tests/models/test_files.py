"""Names to files: what is here, what was tampered with, what is chosen when nobody says."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import gguf

from ttc_cli.errors import (
    MemoryShort,
    ModelCorrupt,
    ModelMissing,
    ModelUnsupported,
    TtcError,
    UsageError,
)
from ttc_cli.models import cleaning, files, fitting, ranking, records
from ttc_cli.models.fitting import check_memory
from ttc_cli.models.hardware import Accelerator, Memory
from ttc_cli.models.own import add_entry, forget_entry
from ttc_cli.models.pull import ensure, verify
from ttc_cli.models.records import lock
from ttc_cli.models.registry import load_registry, user_file

TINY = gguf()
GB = 10**9


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A file of the user's, registered as ``tiny``."""
    path = tmp_path / "Tiny Model.gguf"
    path.write_bytes(TINY)
    assert add_entry(str(path), name="tiny").name == "tiny"
    return path


def install(name: str, content: bytes = TINY) -> Path:
    """Put ``content`` where the registry's model ``name`` belongs, with a record."""
    folder = records.folder_of(name)
    folder.mkdir(parents=True)
    path = folder / f"{name}.gguf"
    path.write_bytes(content)
    sha256 = load_registry().require(name).sha256 or hashlib.sha256(content).hexdigest()
    records.record_file(name, path, sha256, None)
    return path


def test_a_path_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(TINY)
    model = files.resolve(str(path))
    assert model.path == path
    assert files.resolve("x.gguf").path == path  # relative to the working directory
    assert ensure(model) == path


@pytest.mark.parametrize("name", ["none.gguf", "/no/where/at.gguf", "./folder/x", "a/b.gguf"])
def test_a_path_without_a_file(name: str) -> None:
    with pytest.raises(ModelMissing):
        files.resolve(name)


@pytest.mark.parametrize("name", ["nothing", "", "qwen2.5", "a/b/c:d:e", "..", "../../etc"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises((UsageError, ModelMissing)):
        files.resolve(name)


@pytest.mark.parametrize(
    ("text", "repo", "wanted", "revision"),
    [
        ("user/repo", "user/repo", "Q4_K_M", "main"),
        ("user/repo:Q8_0", "user/repo", "Q8_0", "main"),
        ("user/repo:sub/f.gguf@abc", "user/repo", "sub/f.gguf", "abc"),
        ("hf.co/user/repo.gguf", "user/repo.gguf", "Q4_K_M", "main"),
        ("https://huggingface.co/user/repo:Q2_K", "user/repo", "Q2_K", "main"),
    ],
)
def test_hub_references(text: str, repo: str, wanted: str, revision: str) -> None:
    model = files.resolve(text)
    assert model.path is None
    assert model.reference == files.HubReference(repo, wanted, revision)
    assert files.parse_hub_reference(model.name) == model.reference


@pytest.mark.parametrize(
    "text", ["plain", "a/b/c", "/a/b", "a/b.gguf", "a/b:c:d", "../b", "a/../b"]
)
def test_no_hub_references(text: str) -> None:
    assert files.parse_hub_reference(text) is None


def test_an_untouched_file_is_hashed_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    inner = records.check_file

    def counted(path: Path, *rest: object) -> str:
        hashed.append(path)
        return inner(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(records, "check_file", counted)
    assert files.find("tiny") == own
    assert hashed == []
    os.utime(own, (1, 1))  # same bytes, another time: hashed once more
    assert files.find("tiny") == own
    assert files.find("tiny") == own
    assert hashed == [own]


def test_a_changed_byte_of_the_right_size_is_caught(own: Path) -> None:
    own.write_bytes(TINY[:-1] + b"\x01")
    with pytest.raises(ModelCorrupt, match="not the expected one") as caught:
        files.resolve("tiny")
    assert caught.value.hint == "ttc models pull --force tiny"


def test_verify_finds_what_the_stamp_hides(own: Path) -> None:
    status = own.stat()
    own.write_bytes(TINY[:-1] + b"\x01")
    os.utime(own, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.find("tiny") == own  # size and time are what they were
    with pytest.raises(ModelCorrupt):
        verify("tiny")


def test_a_truncated_file_is_caught(own: Path) -> None:
    own.write_bytes(TINY[:-100])
    with pytest.raises(ModelCorrupt):
        files.resolve("tiny")


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"name": 1}', "\x00"])
def test_a_damaged_record_only_costs_hashing(own: Path, record: str) -> None:
    (records.folder_of("tiny") / records.RECORD).write_text(record)
    assert files.find("tiny") == own
    assert records.find_record("tiny") is not None


def test_a_finished_download_without_a_record_is_adopted(home: Path) -> None:
    digest = hashlib.sha256(TINY).hexdigest()
    user_file().parent.mkdir(parents=True)
    user_file().write_text(
        f'[models.m]\nsha256 = "{digest}"\n'
        'sources = [{ type = "hub", repo = "a/b", file = "f.gguf" }]\n'
    )
    folder = records.folder_of("m")
    folder.mkdir(parents=True)
    (folder / "f.gguf").write_bytes(TINY)  # killed between the two
    assert files.find("m") == folder / "f.gguf"
    assert records.read_record(folder) is not None


def test_ensure_asks_and_takes_no_for_an_answer() -> None:
    asked: list[int | None] = []

    def no(left: int | None) -> bool:
        asked.append(left)
        return False

    with pytest.raises(ModelMissing) as caught:
        ensure(files.resolve("qwen2.5-0.5b"), no)
    assert caught.value.hint == "ttc models pull qwen2.5-0.5b"
    assert asked == [491400032]


@pytest.fixture
def use_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a machine of so many GB and cores."""

    def use(memory: int, cores: int = 2, card: int | None = None) -> None:
        cards = () if card is None else (Accelerator("cuda", "a card", card * GB),)
        for module in (fitting, ranking):
            monkeypatch.setattr(module, "read_memory", lambda: Memory(memory * GB, memory * GB))
            monkeypatch.setattr(module, "find_usable", lambda: cards)
        monkeypatch.setattr(ranking, "count_cores", lambda: cores)

    return use


def test_memory_is_checked_before_a_download(use_machine: Callable[..., None]) -> None:
    entry = load_registry().require("qwen3-14b")
    use_machine(32)
    check_memory(entry)
    use_machine(4)
    with pytest.raises(MemoryShort) as caught:
        check_memory(entry)
    assert "These fit: qwen2.5-coder-1.5b" in caught.value.message
    assert "qwen3-8b" not in caught.value.message
    assert caught.value.exit_code == 5
    use_machine(4, card=24)
    check_memory(entry)
    use_machine(4, card=6)
    with pytest.raises(MemoryShort, match="this machine has 6"):
        check_memory(entry)
    use_machine(0)
    with pytest.raises(MemoryShort):
        check_memory(entry)


@pytest.mark.parametrize(
    ("memory", "cores", "name"),
    [
        (24, 2, "qwen2.5-coder-1.5b"),
        (4, 2, "qwen2.5-coder-1.5b"),
        (2, 2, "qwen2.5-coder-0.5b"),
        (1, 2, "qwen2.5-coder-0.5b"),
    ],
)
def test_the_default_fits_the_machine(
    memory: int, cores: int, name: str, use_machine: Callable[..., None]
) -> None:
    use_machine(memory, cores)
    found = ranking.choose_default()
    assert found.name == name
    assert found.reason


def test_a_measured_speed_counts(use_machine: Callable[..., None]) -> None:
    use_machine(24)
    assert ranking.choose_default().name == "qwen2.5-coder-1.5b"
    ranking.record_speed("qwen2.5-coder-1.5b", 1.5)
    assert ranking.choose_default().name == "qwen2.5-coder-0.5b"
    ranking.record_speed("qwen2.5-coder-1.5b", 15.5)
    chosen = ranking.choose_default()
    assert chosen.name == "qwen2.5-coder-1.5b"
    assert "measured at 16 tok/s" in chosen.reason


def test_what_is_here_is_used_before_what_is_not(use_machine: Callable[..., None]) -> None:
    use_machine(24)
    install("smollm2-135m")  # for tests only: never chosen
    assert ranking.choose_default().name == "qwen2.5-coder-1.5b"
    install("qwen2.5-1.5b")
    assert ranking.choose_default().name == "qwen2.5-1.5b"
    install("qwen2.5-coder-0.5b")
    assert ranking.choose_default().name == "qwen2.5-coder-0.5b"
    assert ranking.choose_default(here=False).name == "qwen2.5-coder-1.5b"


def test_adding_keeps_what_the_user_wrote(own: Path) -> None:
    user_file().write_text("# mine\n" + user_file().read_text())
    other = own.with_name("other.gguf")
    other.write_bytes(gguf({"general.name": "other"}))
    entry = add_entry(str(other), verifier_format="rlhflow", thinks=True)
    assert entry.name == "other"
    assert (entry.kind, entry.format, entry.thinks) == ("verifier", "rlhflow", True)
    assert user_file().read_text().startswith("# mine\n")
    assert set(load_registry().entries) >= {"tiny", "other"}
    assert load_registry().require("other").context == 64


def test_forgetting_keeps_what_the_user_wrote(own: Path) -> None:
    own.with_name("other.gguf").write_bytes(gguf())
    user_file().write_text("# mine\n" + user_file().read_text() + "# the end\n")
    before = user_file().read_text()
    add_entry(str(own.with_name("other.gguf")))
    assert before in user_file().read_text()
    forget_entry("other", pytest.fail)
    assert user_file().read_text().strip() == before.strip()
    assert "other" not in load_registry().entries
    forget_entry("tiny", pytest.fail)
    assert user_file().read_text().split() == ["#", "mine", "#", "the", "end"]


def test_adding_refuses_what_is_wrong(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        add_entry(str(own), name="tiny")
    with pytest.raises(ModelCorrupt):
        add_entry(str(own), name="t2", sha256="0" * 64)
    with pytest.raises(UsageError, match="neither a file"):
        add_entry("nothing at all")
    hybrid = tmp_path / "hybrid.gguf"
    hybrid.write_bytes(gguf({"general.architecture": "jamba"}))
    with pytest.raises(ModelUnsupported):
        add_entry(str(hybrid))
    assert "t2" not in load_registry().entries


def test_pruning_takes_what_nobody_needs(home: Path) -> None:
    path = install("qwen2.5-0.5b")
    old = install("qwen2.5-1.5b")
    record = json.loads((old.parent / records.RECORD).read_text())
    (old.parent / records.RECORD).write_text(json.dumps(record | {"sha256": "0" * 64}))
    part = path.parent / "x.gguf.0123.part"
    part.write_bytes(b"12345")
    parts = records.folder_of("qwen3-8b") / "mirror.parts"
    parts.mkdir(parents=True)
    (parts / "joined.part").write_bytes(b"1234567")
    leftovers = cleaning.find_leftovers()
    assert sorted((item.path, item.bytes) for item in leftovers) == sorted(
        [(part, 5), (parts, 7), (old.parent, len(TINY))]
    )
    assert cleaning.prune(leftovers) == 12 + len(TINY)
    assert path.is_file()
    assert not any(place.exists() for place in (part, parts.parent, old.parent))
    assert cleaning.find_leftovers() == []


def test_nothing_is_taken_from_under_a_download() -> None:
    path = install("qwen2.5-0.5b")
    (path.parent / "x.part").write_bytes(b"1")
    with lock("qwen2.5-0.5b"):
        assert cleaning.prune(cleaning.find_leftovers()) == 0
        with pytest.raises(TtcError, match="Another process"):
            cleaning.remove("qwen2.5-0.5b")
    assert (path.parent / "x.part").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../config", ".locks", "absent"])
def test_removing_stays_inside(home: Path, name: str) -> None:
    install("qwen2.5-0.5b")
    (home / "config").mkdir(exist_ok=True)
    with pytest.raises(ModelMissing):
        cleaning.remove(name)
    assert (home / "config").is_dir()
    assert len(list(records.list_records())) == 1
