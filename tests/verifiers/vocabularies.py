"""Rebuilds the vocabularies of ``tests/data/prm`` as GGUF files without weights."""

import json
import struct
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data" / "prm"
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def read(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def _text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(value):
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    return struct.pack("<I", STRING) + _text(value)


def _array(kind, items):
    return struct.pack("<IIQ", ARRAY, kind, len(items)) + b"".join(items)


def write(vocabulary, path):
    """Each token under its true id; the places between them hold words that nothing spells."""
    size = vocabulary["size"]

    def spread(values, default, pack):
        return [pack(values.get(str(token), default)) for token in range(size)]

    tokens = [
        _text(vocabulary["tokens"].get(str(token), f"\ue000{token}")) for token in range(size)
    ]
    fields = {key: _scalar(value) for key, value in vocabulary["metadata"].items()}
    fields["tokenizer.ggml.tokens"] = _array(STRING, tokens)
    types = spread(vocabulary["types"], 1, lambda value: struct.pack("<i", value))
    fields["tokenizer.ggml.token_type"] = _array(I32, types)
    if "scores" in vocabulary:
        scores = spread(vocabulary["scores"], -1e9, lambda value: struct.pack("<f", value))
        fields["tokenizer.ggml.scores"] = _array(F32, scores)
    if "merges" in vocabulary:
        merges = [_text(merge) for merge in vocabulary["merges"]]
        fields["tokenizer.ggml.merges"] = _array(STRING, merges)
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields))
    path.write_bytes(head + b"".join(_text(key) + value for key, value in fields.items()))
    return path
