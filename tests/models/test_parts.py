"""Models in several files: pulled whole, checked whole, and joined by llama.cpp's own loader."""

import hashlib
from pathlib import Path

import pytest
import tiny_models
from fake_hub import FakeHub
from tiny_gguf import FIELDS, gguf, split_fields

from ttc_cli.errors import ModelCorrupt, ModelMissing, ModelUnsupported, UsageError
from ttc_cli.models import files, parts, records
from ttc_cli.models.gguf import read_header
from ttc_cli.models.hub import Hub
from ttc_cli.models.own import add_entry
from ttc_cli.models.progress import ModelProgress, Phase
from ttc_cli.models.pull import pick_file, pull, verify

REPO = "user/large-GGUF"
NAMES = [f"large-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


def make_part(number: int, count: int = 3, tensors: int = 3) -> bytes:
    name = ("token_embd.weight", "blk.0.a.weight", "blk.0.b.weight")[number]
    said = split_fields(number, count, tensors)
    shape = (name, (32, 4), 0)
    rest = {} if number == 0 else dict.fromkeys(FIELDS)  # only the first says what the model is
    return gguf({**rest, **said}, tensors=[shape])


@pytest.fixture
def filled(server: FakeHub) -> FakeHub:
    for number, name in enumerate(NAMES):
        server.files[(REPO, name)] = make_part(number)
    return server


def write(folder: Path, *contents: bytes) -> Path:
    for name, content in zip(NAMES, contents, strict=False):
        (folder / name).write_bytes(content)
    return folder / NAMES[0]


def test_names() -> None:
    assert parts.list_names(NAMES[1]) == NAMES
    assert parts.list_names("Q4/a-00002-of-00002.gguf")[0] == "Q4/a-00001-of-00002.gguf"
    for whole in ("a.gguf", "a-00001-of-00001.gguf", "a-1-of-2.gguf"):
        assert parts.list_names(whole) == [whole]


def test_all_parts_are_pulled_and_kept_under_their_names(filled: FakeHub, hub: Hub) -> None:
    reports: list[ModelProgress] = []
    path = pull(f"{REPO}:Q4_K_M", hub=hub, report=reports.append)
    assert path.name == NAMES[0]
    assert sorted(each.name for each in path.parent.glob("*.gguf")) == NAMES
    assert not list(path.parent.glob("*.part"))
    total = sum(map(len, filled.files.values()))
    last = [each for each in reports if each.phase is Phase.DOWNLOAD][-1]
    assert (last.done, last.total) == (total, total)
    record = records.find_record(f"{REPO}:Q4_K_M")
    assert record is not None
    hashes = [hashlib.sha256(content).hexdigest() for content in filled.files.values()]
    assert record.sha256 == parts.join_hashes(hashes)
    assert record.size == total
    before = len(filled.log)
    assert files.find(f"{REPO}:Q4_K_M") == path
    assert len(filled.log) == before


def test_any_part_stands_for_all(filled: FakeHub, hub: Hub) -> None:
    source, listed = pick_file(hub, REPO, NAMES[2])
    assert source.file == NAMES[0]
    assert listed.size == sum(map(len, filled.files.values()))
    with pytest.raises(UsageError) as caught:
        pick_file(hub, REPO, "Q8_0")
    assert caught.value.hint == f"choose one: {REPO}:{NAMES[0]}"
    del filled.files[(REPO, NAMES[1])]
    with pytest.raises(ModelMissing, match="only 2 of the 3 parts"):
        pick_file(hub, REPO, "Q4_K_M")


def test_a_part_that_is_done_is_not_fetched_again(filled: FakeHub, hub: Hub) -> None:
    filled.damage = 200
    with pytest.raises(ModelCorrupt):
        pull(f"{REPO}:Q4_K_M", hub=hub)
    filled.damage = None
    first = filled.files[(REPO, NAMES[0])]
    digest = hashlib.sha256(first).hexdigest()
    folder = records.folder_of(f"{REPO}:Q4_K_M")
    (folder / f"{NAMES[0]}.{digest[:12]}.part").write_bytes(first)
    filled.log.clear()
    pull(f"{REPO}:Q4_K_M", hub=hub)
    assert [each["path"].rpartition("/")[2] for each in filled.gets()] == NAMES[1:]


def test_a_changed_or_lost_part_is_noticed(filled: FakeHub, hub: Hub) -> None:
    path = pull(f"{REPO}:Q4_K_M", hub=hub)
    second = path.with_name(NAMES[1])
    content = second.read_bytes()
    second.write_bytes(content[:-1] + b"\x01")
    with pytest.raises(ModelCorrupt):
        files.resolve(f"{REPO}:Q4_K_M")
    second.unlink()
    with pytest.raises(ModelCorrupt):
        files.resolve(f"{REPO}:Q4_K_M")
    second.write_bytes(content)
    assert verify(f"{REPO}:Q4_K_M").size == sum(map(len, filled.files.values()))


def test_what_is_wrong_with_parts_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, *(make_part(number) for number in range(3)))
    info = read_header(path)
    assert info.parameters == 3 * 32 * 4
    assert info.file_bytes == parts.measure(path)[0]
    with pytest.raises(ModelUnsupported, match="begins with the first"):
        read_header(path.with_name(NAMES[1]))
    path.with_name(NAMES[2]).write_bytes(make_part(1))
    with pytest.raises(ModelCorrupt, match="is not its part 3 of 3"):
        read_header(path)
    write(tmp_path, *(make_part(number, tensors=4) for number in range(3)))
    with pytest.raises(ModelCorrupt, match="its parts hold 3 tensors"):
        read_header(path)
    path.with_name(NAMES[2]).unlink()
    with pytest.raises(ModelMissing, match="is not beside it"):
        read_header(path)


def test_parts_of_the_users_own_are_one_model(tmp_path: Path) -> None:
    path = write(tmp_path, *(make_part(number) for number in range(3)))
    entry = add_entry(str(path), name="mine")
    assert entry.bytes == parts.measure(path)[0]
    assert files.find("mine") == path


@pytest.mark.live
def test_llama_cpp_joins_them(tmp_path: Path) -> None:
    from ttc_cli.engines.llamacpp import native

    split = tiny_models.write_parts("qwen3", tmp_path, 3)
    whole = tiny_models.write_model("qwen3", tmp_path / "whole.gguf")
    assert read_header(split).parameters == read_header(whole).parameters
    said = []
    for path in (whole, split):
        model = native.NativeModel(path)
        tokens = model.tokenise("the sum", control=False)
        context = native.Context(model, cells=64, sequences=1, batch=32, threads=1)
        places = list(range(len(tokens)))
        assert context.decode(tokens, places, [0] * len(tokens), places[-1:]) == 0
        said.append(context.logits(1)[0].tolist())
        context.close()
        model.close()
    assert said[0] == said[1]
