"""Reads the header of a GGUF file before llama.cpp sees it: bounded, in pure Python.

A damaged or hostile header must end in a sentence, not in native code. The reader walks a
read-only mapping, skips arrays without building them, and never allocates by a count that the
file states. Format: the GGUF specification of ggml, versions 2 and 3, little-endian; checks follow
``ggml/src/gguf.cpp``, so that what passes here loads there.

Not covered: the weights themselves (``records`` hashes them) and rendering the chat template.
"""

from __future__ import annotations

import errno
import mmap
import stat
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ttc_cli.errors import MemoryShort, ModelCorrupt, ModelMissing, ModelUnsupported
from ttc_cli.models.ggml import (
    NO_GENERATOR,
    RECURRENT_KEYS,
    TENSOR_TYPES,
    UNTRIED,
    find_fatal,
)
from ttc_cli.models.layers import RECURRENT, Memory, measure_memory

_MAX_HEADER = 64 << 20
"""Bytes. The largest real headers (256k tokens with merges) take some 20 MB."""
_MAX_PAIRS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_ARRAY_STRINGS = 1 << 23
_MAX_KEY = 1 << 10
"""Bytes; the specification allows 64 times as many, real keys have some 40."""
_MAX_TENSOR_NAME = 63
_KEPT_TEXTS = {
    "general.architecture": 1 << 10,
    "general.type": 1 << 10,
    "tokenizer.chat_template": 2 << 20,
}
"""What is read into memory, at most so many bytes of it (a template: more than ``templates`` takes,
however its characters are written). A file may hold any number of other texts, of any length."""
_MAX_NUMBERS = 4096
"""In a list that is read: one for each layer."""

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_INTEGERS = (0, 1, 2, 3, 4, 5, 7, 10, 11)
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What a GGUF header says about its model.

    ``parameters`` is the sum of all tensors' elements; ``active_parameters`` leaves out an
    embedding table that is only looked up: what a token is multiplied with. ``memory`` is what
    the layers remember of a token and of a sequence. ``tensor_types`` counts tensors by type name.
    Texts come from the file: clean them before they reach a terminal.
    """

    path: Path
    file_bytes: int
    architecture: str
    parameters: int
    active_parameters: int
    context_length: int
    layers: int
    memory: Memory
    embedding_length: int
    vocab_size: int
    chat_template: str | None
    tensor_types: Mapping[str, int]
    bos_token: str | None
    eos_token: str | None


@dataclass(frozen=True, slots=True)
class _List:
    """Where an array of ``count`` elements of type ``kind`` begins."""

    kind: int
    offset: int
    count: int


class _Damaged(Exception):
    """What is wrong with the header, in words."""


class _Cursor:
    """Reads forward through the mapping; raises ``_Damaged`` instead of reading past its end."""

    def __init__(self, data: mmap.mmap, file_bytes: int) -> None:
        self._data = data
        self._end = len(data)
        self._file_bytes = file_bytes
        self.at = 0

    def skip(self, length: int) -> int:
        """Go on by ``length`` bytes; returns where they begin."""
        start = self.at
        if length > self._end - start:
            if length > self._file_bytes - start:
                raise _Damaged("it ends in the middle of its header")
            raise _Damaged("its header is absurdly long")
        self.at = start + length
        return start

    def raw(self, length: int) -> bytes:
        start = self.skip(length)
        return self._data[start : start + length]

    def scalar(self, layout: str) -> Any:
        start = self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)[0]

    def u32(self) -> int:
        return cast(int, self.scalar("<I"))

    def u64(self) -> int:
        return cast(int, self.scalar("<Q"))

    def name(self, limit: int) -> str:
        """A text of at most ``limit`` bytes."""
        length = self.u64()
        if length > limit:
            raise _Damaged(f"it states a name of {length:,} bytes")
        return self.raw(length).decode("utf-8", "replace")

    def text(self, limit: int) -> str:
        """A text, of which at most ``limit`` bytes are kept."""
        length = self.u64()
        start = self.skip(length)
        return self._data[start : start + min(length, limit)].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        if count > _MAX_ARRAY_STRINGS or count * 8 > self._end - self.at:
            raise _Damaged(f"it states a list of {count:,} texts")
        data, end, at = self._data, self._end, self.at
        read = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                raise _Damaged("it ends in the middle of its header")
            at += 8 + read(data, at)[0]
        self.at = min(at, end)
        if at > end:
            raise _Damaged("it ends in the middle of its header")

    def string_of(self, strings: _List, index: int) -> str | None:
        """The text at ``index`` of an array that was skipped before, or None."""
        if not 0 <= index < strings.count:
            return None
        self.at = strings.offset
        self.skip_strings(index)
        return self.text(_MAX_KEY)

    def numbers_of(self, numbers: _List) -> list[int]:
        """The whole numbers of an array that was skipped before; empty where it holds others."""
        if numbers.kind not in _INTEGERS or numbers.count > _MAX_NUMBERS:
            return []
        self.at = numbers.offset
        return [self.scalar(_SCALARS[numbers.kind]) for _ in range(numbers.count)]


def read_header(path: Path) -> GgufInfo:
    """Read and check the header of the GGUF file at ``path``.

    Raises:
        ModelMissing: there is no file at ``path``, or it cannot be read.
        MemoryShort: a limit of this process leaves no room for a mapping.
        ModelCorrupt: it is not a GGUF, is truncated, or its header contradicts itself.
        ModelUnsupported: a valid GGUF that tree search cannot use: an encoder, an adapter, one part
            of a split model, one with unknown tensor types, or a recurrent or hybrid model of a
            kind that has not been tried.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelMissing(f"{path} is not a regular file.", "ttc models list")
        size = status.st_size
        with path.open("rb") as file:
            if size < 24:
                raise ModelCorrupt(
                    f"{path.name} is not a GGUF model: it holds {size} bytes.", _replace_hint(path)
                )
            with mmap.mmap(file.fileno(), min(size, _MAX_HEADER), access=mmap.ACCESS_READ) as data:
                return _read(path, _Cursor(data, size), size)
    except FileNotFoundError as error:
        raise ModelMissing(f"There is no file {path}.", "ttc models list") from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryShort(
                f"{path.name} cannot be mapped: not even its addresses fit (ulimit -v).",
                "ulimit -v unlimited, or a smaller model: ttc models list",
            ) from error
        reason = error.strerror or str(error)
        raise ModelMissing(f"{path} cannot be read: {reason}.", f"ls -l {path}") from error
    except _Damaged as error:
        raise ModelCorrupt(
            f"{path.name} is damaged: {error}. llama.cpp could not load it.", _replace_hint(path)
        ) from None


def _replace_hint(path: Path) -> str:
    return f"fetch it again: ttc models pull, or replace {path}"


def _read(path: Path, cursor: _Cursor, size: int) -> GgufInfo:
    magic = cursor.raw(4)
    if magic != b"GGUF":
        raise ModelCorrupt(
            f"{path.name} is not a GGUF model: it does not begin with GGUF.", _replace_hint(path)
        )
    version = cursor.u32()
    if version not in (2, 3):
        what = (
            "is big-endian" if version & 0xFFFF == 0 and version else f"has GGUF version {version}"
        )
        raise ModelUnsupported(f"{path.name} {what}; versions 2 and 3 can be read.")
    tensor_count, pair_count = cursor.u64(), cursor.u64()
    if pair_count > _MAX_PAIRS or tensor_count > _MAX_TENSORS:
        raise _Damaged(f"it states {pair_count:,} fields and {tensor_count:,} tensors")
    fields: dict[str, object] = {}  # arrays only as a ``_List``, texts nobody asks for as None
    for _ in range(pair_count):
        key = cursor.name(_MAX_KEY)
        if not key or key in fields:
            raise _Damaged("one of its fields has no name or occurs twice")
        fields[key] = _read_value(cursor, key)
    architecture = _refuse_unsupported(path, fields)
    types, parameters, active, vocab_rows = _read_tensors(path, cursor, tensor_count, fields, size)
    if not types:
        raise ModelUnsupported(f"{path.name} holds no tensors: a vocabulary, not a model.")

    def number(key: str, default: int | None = None) -> int:
        value = fields.get(f"{architecture}.{key}", default)
        if isinstance(value, _List):
            value = max(cursor.numbers_of(value), default=None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _Damaged(f"its field {key} is missing or not a number")
        return value

    def numbers(key: str) -> list[int]:
        value = fields.get(f"{architecture}.{key}")
        if isinstance(value, _List):
            return [int(each) for each in cursor.numbers_of(value)]
        return [] if value is None else [number(key)] * number("block_count")

    fatal = find_fatal(fields, architecture, number, numbers)
    if fatal is not None:
        raise _Damaged(fatal)
    tokens = fields.get("tokenizer.ggml.tokens")
    strings = tokens if isinstance(tokens, _List) and tokens.kind == _STRING else None

    def token(key: str) -> str | None:
        value = fields.get(f"tokenizer.ggml.{key}_token_id")
        if strings is None or isinstance(value, bool) or not isinstance(value, int):
            return None
        return cursor.string_of(strings, value)

    template = fields.get("tokenizer.chat_template")
    return GgufInfo(
        path=path,
        file_bytes=size,
        architecture=architecture,
        parameters=parameters,
        active_parameters=active,
        context_length=number("context_length"),
        layers=number("block_count"),
        memory=measure_memory(architecture, number, numbers),
        embedding_length=number("embedding_length"),
        vocab_size=strings.count if strings else number("vocab_size", vocab_rows),
        chat_template=template if isinstance(template, str) else None,
        tensor_types=dict(types),
        bos_token=token("bos"),
        eos_token=token("eos"),
    )


def _read_value(cursor: _Cursor, key: str) -> object:
    kind = cursor.u32()
    if kind in _SCALARS:
        return cursor.scalar(_SCALARS[kind])
    if kind == _STRING:
        if key.endswith(".rope.scaling.type"):
            return cursor.text(_MAX_KEY)
        if key in _KEPT_TEXTS:
            return cursor.text(_KEPT_TEXTS[key])
        cursor.skip(cursor.u64())
        return None
    if kind != _ARRAY:
        raise _Damaged(f"a field has the unknown type {kind}")
    item, count = cursor.u32(), cursor.u64()
    found = _List(item, cursor.at, count)
    if item == _STRING:
        cursor.skip_strings(count)
    elif item in _SCALARS:
        cursor.skip(struct.calcsize(_SCALARS[item]) * count)
    else:
        raise _Damaged(f"a list has elements of the unknown type {item}")
    return found


def _refuse_unsupported(path: Path, fields: Mapping[str, object]) -> str:
    """The architecture, if it is one that tree search can use."""
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise _Damaged("it does not name its architecture")
    kind = fields.get("general.type", "model")
    parts = fields.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise ModelUnsupported(
            f"{path.name} is one part of a model that is split into {parts} files. "
            "ttc reads models that are one file.",
            "llama-gguf-split --merge FIRST_PART WHOLE.gguf",
        )
    shown = repr(architecture[:40])
    if kind != "model" or architecture in NO_GENERATOR:
        raise ModelUnsupported(
            f"{path.name} does not generate text step by step (architecture {shown}, "
            f"type {str(kind)[:40]!r}).",
            "ttc models list",
        )
    untried = architecture in UNTRIED or architecture.startswith(("mamba", "rwkv"))
    if architecture not in RECURRENT and (
        untried or any(mark in key for key in fields for mark in RECURRENT_KEYS)
    ):
        raise ModelUnsupported(
            f"{path.name} is a recurrent or hybrid model of a kind (architecture {shown}) on which "
            "ttc has not been seen to grow branches that say what they say alone.",
            "choose one that it has: ttc models list",
        )
    return architecture


def _read_tensors(
    path: Path, cursor: _Cursor, count: int, fields: Mapping[str, object], size: int
) -> tuple[Counter[str], int, int, int]:
    """Type histogram, elements in all and those a token meets, vocabulary; checks every extent."""
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise _Damaged("its alignment is not a power of two")
    types: Counter[str] = Counter()
    names: set[str] = set()
    parameters = embedding = vocab_rows = expected = end = 0
    for _ in range(count):
        name = cursor.name(_MAX_TENSOR_NAME)
        if name in names:
            raise _Damaged("one of its tensors occurs twice")
        names.add(name)
        rank = cursor.u32()
        if rank > 4:
            raise _Damaged(f"a tensor has {rank} dimensions")
        shape = [cursor.u64() for _ in range(rank)]
        kind, offset = cursor.u32(), cursor.u64()
        elements = 1
        for extent in shape:
            elements *= extent
        if not 0 < elements <= 1 << 62:
            raise _Damaged("a tensor is empty, or larger than any memory")
        if kind not in TENSOR_TYPES:
            raise ModelUnsupported(
                f"{path.name} holds tensors of type {kind}, which this llama.cpp does not know.",
                "choose another quantisation of the model, such as Q4_K_M",
            )
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        if shape and shape[0] % block:
            raise _Damaged(f"a tensor's rows do not divide into blocks of {block}")
        if offset != expected:
            raise _Damaged("its tensors do not follow one another")
        length = elements // block * block_bytes
        end = offset + length
        expected = end + -length % alignment
        types[type_name] += 1
        parameters += elements
        if name == "token_embd.weight" and rank == 2:
            embedding, vocab_rows = elements, shape[1]
    data_start = cursor.at + -cursor.at % alignment
    if data_start + end > size:
        raise ModelCorrupt(
            f"{path.name} is truncated: its tensors need {data_start + end:,} bytes, "
            f"the file has {size:,}.",
            _replace_hint(path),
        )
    # A table that serves as output matrix too is multiplied; one beside an output matrix is only
    # looked up, at no cost worth counting.
    active = parameters - embedding if "output.weight" in names else parameters
    return types, parameters, active, vocab_rows
