"""Writes small GGUF files, good ones and bad ones."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"

U16, U32, I32, F32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def encode(value: Any) -> bytes:
    """A value with its type in front; lists must not be empty, bytes are encoded already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if isinstance(value[0], bool):
        return struct.pack(f"<IIQ{len(value)}?", ARRAY, BOOL, len(value), *value)
    kind = STRING if isinstance(value[0], str) else I32
    items = b"".join(text(i) if kind == STRING else struct.pack("<i", i) for i in value)
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + items


def split_fields(number: int, count: int, tensors: int) -> dict[str, Any]:
    """What the part ``number`` (from 0) of ``count`` says, in the types that llama.cpp wants."""
    return {
        "split.no": struct.pack("<IH", U16, number),
        "split.count": struct.pack("<IH", U16, count),
        "split.tensors.count": struct.pack("<Ii", I32, tensors),
    }


FIELDS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": TEMPLATE,
}


def gguf(
    changes: Mapping[str, Any] | None = None,
    *,
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = (("token_embd.weight", (32, 4), 0),),
    magic: bytes = b"GGUF",
    version: int = 3,
    data_bytes: int | None = None,
    fill: bytes = b"\0",
) -> bytes:
    """A GGUF of F32 (type 0) tensors. ``changes`` to the fields; None removes one."""
    fields = {k: v for k, v in {**FIELDS, **(changes or {})}.items() if v is not None}
    head = magic + struct.pack("<IQQ", version, len(tensors), len(fields))
    head += b"".join(text(key) + encode(value) for key, value in fields.items())
    offset = 0
    for name, shape, kind in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
        size = 4
        for extent in shape:
            size *= extent
        offset += size + -size % 32
    head += b"\0" * (-len(head) % 32)
    return head + fill * (offset if data_bytes is None else data_bytes)


def big_gguf(megabytes: int, seed: int = 7) -> bytes:
    """A valid model of about ``megabytes`` MiB whose bytes do not repeat."""
    import random

    rows = megabytes * (1 << 20) // (32 * 4)
    head = gguf(tensors=[("token_embd.weight", (32, rows), 0)], data_bytes=0)
    return head + random.Random(seed).randbytes(rows * 32 * 4)
