import contextlib
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_gguf import FIELDS, TEMPLATE, gguf, text

from ttc_cli.errors import ModelCorrupt, ModelError, ModelMissing, ModelUnsupported
from ttc_cli.models.gguf import GgufInfo, read_header
from ttc_cli.models.layers import Memory


def read(tmp_path: Path, content: bytes) -> GgufInfo:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    return read_header(path)


def test_says_what_the_header_says(tmp_path: Path) -> None:
    content = gguf(
        tensors=[("token_embd.weight", (32, 4), 0), ("blk.0.attn_q.weight", (32, 32), 0)]
    )
    info = read(tmp_path, content)
    assert info.architecture == "llama"
    assert info.parameters == 32 * 4 + 32 * 32
    assert (info.layers, info.memory) == (2, Memory(cell=2 * 2 * (8 + 8)))
    assert (info.context_length, info.embedding_length, info.vocab_size) == (64, 32, 4)
    assert info.chat_template == TEMPLATE
    assert (info.bos_token, info.eos_token) == ("<s>", "</s>")
    assert info.tensor_types == {"F32": 2}
    assert info.file_bytes == len(content)


def test_an_embedding_table_beside_an_output_matrix_is_looked_up_not_multiplied(
    tmp_path: Path,
) -> None:
    table, output = ("token_embd.weight", (32, 4), 0), ("output.weight", (32, 4), 0)
    path = tmp_path / "some.gguf"
    path.write_bytes(gguf(tensors=[table]))
    assert read_header(path).active_parameters == 32 * 4
    path.write_bytes(gguf(tensors=[table, output]))
    info = read_header(path)
    assert (info.parameters, info.active_parameters) == (2 * 32 * 4, 32 * 4)


def test_defaults_and_per_layer_heads(tmp_path: Path) -> None:
    info = read(
        tmp_path,
        gguf(
            {
                "llama.attention.head_count_kv": [1, 3],
                "llama.attention.key_length": 16,
                "tokenizer.ggml.bos_token_id": None,
                "tokenizer.ggml.eos_token_id": 99,
                "tokenizer.ggml.tokens": None,
                "tokenizer.chat_template": None,
            }
        ),
    )
    assert info.memory == Memory(cell=(1 + 3) * (16 + 8))
    assert info.vocab_size == 4  # rows of the embedding table
    assert (info.bos_token, info.eos_token) == (None, None)
    assert info.chat_template is None


def test_a_token_outside_the_vocabulary_has_no_text(tmp_path: Path) -> None:
    info = read(tmp_path, gguf({"tokenizer.ggml.eos_token_id": 4}))
    assert info.eos_token is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a GGUF model"),
        (b"GGUF", "not a GGUF model"),
        (b"<!DOCTYPE html>" * 20, "not a GGUF model"),
        (gguf()[:-200], "truncated"),
        (gguf()[:150], "ends in the middle of its header"),
        (gguf(data_bytes=0), "truncated"),
        (gguf({"general.architecture": None}), "does not name its architecture"),
        (gguf({"general.architecture": 3}), "does not name its architecture"),
        (gguf({"llama.block_count": "two"}), "block_count is missing or not a number"),
        (gguf({"llama.embedding_length": None}), "embedding_length is missing"),
        (gguf({"general.alignment": 3}), "alignment is not a power of two"),
        (gguf(tensors=[("a", (2, 2, 2, 2, 2), 0)]), "5 dimensions"),
        (gguf(tensors=[("a", (1 << 40, 1 << 40), 0)], data_bytes=0), "larger than any memory"),
        (gguf(tensors=[("a", (33,), 8)]), "blocks of 32"),
        (gguf(tensors=[("a", (8,), 0), ("a", (8,), 0)]), "occurs twice"),
        (gguf(tensors=[("x" * 64, (8,), 0)]), "name of 64 bytes"),
    ],
)
def test_refuses_damaged_files(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ModelCorrupt, match=words) as caught:
        read(tmp_path, content)
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_refuses_tensors_that_overlap(tmp_path: Path) -> None:
    content = gguf(tensors=[("one", (8,), 0), ("two", (8,), 0)])
    at = content.index(text("two")) + len(text("two")) + 4 + 8 + 4
    with pytest.raises(ModelCorrupt, match="do not follow one another"):
        read(tmp_path, content[:at] + struct.pack("<Q", 0) + content[at + 8 :])


def test_refuses_a_field_that_is_there_twice(tmp_path: Path) -> None:
    content = gguf({"tokenizer.x1": 1, "tokenizer.x2": 2})
    with pytest.raises(ModelCorrupt, match="occurs twice"):
        read(tmp_path, content.replace(b"tokenizer.x2", b"tokenizer.x1"))


@pytest.mark.parametrize("count_at", [8, 16])
@pytest.mark.parametrize("count", [1 << 16, 1 << 40, (1 << 64) - 1])
def test_absurd_counts_cost_no_time(tmp_path: Path, count_at: int, count: int) -> None:
    content = bytearray(gguf())
    struct.pack_into("<Q", content, count_at, count)
    started = time.process_time()
    with pytest.raises(ModelCorrupt):
        read(tmp_path, bytes(content))
    assert time.process_time() - started < 2  # counting that far takes minutes at the least


@pytest.mark.parametrize("count", [1 << 20, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("item", [4, 8, 0, 12])
def test_absurd_lists_cost_no_memory(tmp_path: Path, item: int, count: int) -> None:
    content = gguf({"tokenizer.ggml.tokens": ["a"]})
    at = content.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 4
    with pytest.raises(ModelCorrupt):
        read(tmp_path, content[:at] + struct.pack("<IQ", item, count) + content[at + 12 :])


def test_a_long_string_is_no_allocation(tmp_path: Path) -> None:
    content = gguf()
    at = content.index(text("Tiny"))
    with pytest.raises(ModelCorrupt, match="middle of its header"):
        read(tmp_path, content[:at] + struct.pack("<Q", 1 << 62) + content[at + 8 :])


@pytest.mark.parametrize(
    "architecture",
    ["mamba", "rwkv7", "jamba", "kimi-linear", "deepseek4", "mamba3"],
)
def test_refuses_recurrent_and_hybrid_models_that_were_not_tried(
    tmp_path: Path, architecture: str
) -> None:
    with pytest.raises(ModelUnsupported, match="recurrent or hybrid"):
        read(tmp_path, gguf({"general.architecture": architecture}))


@pytest.mark.parametrize(
    "key", ["new.ssm.state_size", "new.wkv.head_size", "new.shortconv.l_cache"]
)
def test_knows_new_recurrent_models_by_their_fields(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelUnsupported, match="recurrent or hybrid"):
        read(tmp_path, gguf({"general.architecture": "new", key: 8}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"general.architecture": "bert"}, "does not generate"),
        ({"general.architecture": "clip"}, "does not generate"),
        ({"general.type": "adapter"}, "does not generate"),
        ({"split.count": 2}, "split into 2 files"),  # and is not called as a part is
    ],
)
def test_refuses_what_is_no_whole_generator(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelUnsupported, match=words):
        read(tmp_path, gguf(changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gguf(version=1), "version 1"),
        (gguf(version=4), "version 4"),
        (gguf(version=3 << 24), "big-endian"),
        (gguf(tensors=[("a", (32,), 31)]), "tensors of type 31"),
        (gguf(tensors=[]), "no tensors"),
    ],
)
def test_refuses_versions_and_types_it_does_not_know(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(ModelUnsupported, match=words):
        read(tmp_path, content)


def test_no_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none.gguf", ".", "pipe"):
        with pytest.raises(ModelMissing):
            read_header(tmp_path / name)


def test_hostile_names_are_quoted(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported) as caught:
        read(tmp_path, gguf({"general.architecture": "mamba\x1b]0;owned\x07"}))
    assert "\x1b" not in caught.value.message


GOOD = gguf(tensors=[("token_embd.weight", (32, 4), 0), ("output.weight", (256, 1), 12)])


@pytest.mark.slow
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_mutated_headers_never_raise_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["byte", "word", "insert", "cut"]))
        if kind == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "word":
            word = data.draw(st.sampled_from([0, 1, 255, 1 << 31, 1 << 62, (1 << 64) - 1]))
            content[at : at + 8] = struct.pack("<Q", word)
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=16))
        else:
            del content[at:]
            content += b"\0"
    path = tmp_path / "mutated.gguf"
    path.write_bytes(bytes(content))
    with contextlib.suppress(ModelError):  # nothing else may come out
        assert read_header(path).parameters >= 0


def test_a_large_vocabulary_is_read_fast(tmp_path: Path) -> None:
    words = [f"token{i}" for i in range(152_000)]
    path = tmp_path / "m.gguf"
    path.write_bytes(
        gguf({"tokenizer.ggml.tokens": words, "tokenizer.ggml.merges": words,
              "tokenizer.ggml.eos_token_id": 151_999})
    )  # fmt: skip
    started = time.process_time()
    info = read_header(path)
    assert time.process_time() - started < 0.3
    assert info.eos_token == "token151999"


@pytest.mark.parametrize(
    "key", [key for key in FIELDS if key.startswith(("llama", "general.arch"))]
)
def test_what_planning_needs_must_be_there(tmp_path: Path, key: str) -> None:
    if key == "llama.attention.head_count_kv":  # as many as heads, where it is not said
        assert read(tmp_path, gguf({key: None})).memory.cell == 2 * 4 * (8 + 8)
        return
    with pytest.raises(ModelCorrupt, match=r"missing|architecture"):
        read(tmp_path, gguf({key: None}))
