"""Reads the header of a GGUF file before llama.cpp sees it: bounded, in pure Python.

A damaged or hostile header must end in a sentence, not in native code. The reader walks a
read-only mapping, skips arrays without building them, and never allocates by a count that the
file states. Format: the GGUF specification of ggml, versions 2 and 3, little-endian; checks follow
``ggml/src/gguf.cpp``, so that what passes here loads there.

Not covered: the weights themselves (``records`` hashes them) and rendering the chat template.
"""

from __future__ import annotations

import errno
import math
import mmap
import stat
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.errors import MemoryShort, ModelCorrupt, ModelMissing, ModelUnsupported
from ttc_cli.models.cursor import MAX_KEY, SCALARS, Cursor, Damaged, Stretch
from ttc_cli.models.ggml import (
    NO_GENERATOR,
    RECURRENT_KEYS,
    TENSOR_TYPES,
    UNTRIED,
    find_fatal,
)
from ttc_cli.models.layers import RECURRENT, Memory, measure_memory
from ttc_cli.models.parts import list_names

_MAX_HEADER = 64 << 20
"""Bytes. The largest real headers (256k tokens with merges) take some 20 MB."""
_MAX_PAIRS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_TENSOR_NAME = 63
_KEPT_TEXTS = {
    "general.architecture": 1 << 10,
    "general.type": 1 << 10,
    "tokenizer.chat_template": 2 << 20,
}
"""What is read into memory, at most so many bytes of it (a template: more than ``templates`` takes,
however its characters are written). A file may hold any number of other texts, of any length."""
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


def read_header(path: Path) -> GgufInfo:
    """Read and check the header of the GGUF file at ``path``.

    Raises:
        ModelMissing: there is no file at ``path``, it cannot be read, or lacks a part.
        MemoryShort: a limit of this process leaves no room for a mapping.
        ModelCorrupt: it is not a GGUF, is truncated, or its header contradicts itself.
        ModelUnsupported: a valid GGUF that tree search cannot use: an encoder, an adapter, a part
            of a split model but the first, one with unknown tensor types, or a recurrent or hybrid
            model of a kind that has not been tried.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelMissing(f"{path} is not a regular file.", "ttc models list")
        with _open(path) as cursor:
            return _read(path, cursor)
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
    except Damaged as error:
        raise ModelCorrupt(
            f"{path.name} is damaged: {error}. llama.cpp could not load it.", _replace_hint(path)
        ) from None


@contextmanager
def _open(path: Path) -> Iterator[Cursor]:
    """The header of the file at ``path``, mapped, after its magic and version.

    Raises:
        OSError, ModelCorrupt, ModelUnsupported: as ``read_header``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < 24:
            raise ModelCorrupt(
                f"{path.name} is not a GGUF model: it holds {size} bytes.", _replace_hint(path)
            )
        with mmap.mmap(file.fileno(), min(size, _MAX_HEADER), access=mmap.ACCESS_READ) as data:
            cursor = Cursor(data, size)
            if cursor.raw(4) != b"GGUF":
                raise ModelCorrupt(
                    f"{path.name} is not a GGUF model: it does not begin with GGUF.",
                    _replace_hint(path),
                )
            version = cursor.u32()
            if version not in (2, 3):
                big = version & 0xFFFF == 0 and version
                what = "is big-endian" if big else f"has GGUF version {version}"
                raise ModelUnsupported(f"{path.name} {what}; versions 2 and 3 can be read.")
            yield cursor


def _replace_hint(path: Path) -> str:
    return f"fetch it again: ttc models pull, or replace {path}"


def _read(path: Path, cursor: Cursor) -> GgufInfo:
    tensor_count, fields = _read_fields(cursor)
    architecture = _refuse_unsupported(path, fields)
    tensors = _Tensors()
    tensors.read(path, cursor, tensor_count, fields)
    size = cursor.file_bytes + _read_other_parts(path, fields, tensors)
    if not tensors.types:
        raise ModelUnsupported(f"{path.name} holds no tensors: a vocabulary, not a model.")

    def number(key: str, default: int | None = None) -> int:
        value = fields.get(f"{architecture}.{key}", default)
        if isinstance(value, Stretch):
            value = max(cursor.numbers_of(value), default=None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Damaged(f"its field {key} is missing or not a number")
        return value

    def numbers(key: str) -> list[int]:
        value = fields.get(f"{architecture}.{key}")
        if isinstance(value, Stretch):
            return [int(each) for each in cursor.numbers_of(value)]
        return [] if value is None else [number(key)] * number("block_count")

    fatal = find_fatal(fields, architecture, number, numbers)
    if fatal is not None:
        raise Damaged(fatal)
    tokens = fields.get("tokenizer.ggml.tokens")
    strings = tokens if isinstance(tokens, Stretch) and tokens.kind == _STRING else None

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
        parameters=tensors.parameters,
        active_parameters=tensors.active,
        context_length=number("context_length"),
        layers=number("block_count"),
        memory=measure_memory(architecture, number, numbers),
        embedding_length=number("embedding_length"),
        vocab_size=strings.count if strings else number("vocab_size", tensors.vocab_rows),
        chat_template=template if isinstance(template, str) else None,
        tensor_types=dict(tensors.types),
        bos_token=token("bos"),
        eos_token=token("eos"),
    )


def _read_fields(cursor: Cursor) -> tuple[int, dict[str, object]]:
    """How many tensors there are, and what the header says."""
    tensor_count, pair_count = cursor.u64(), cursor.u64()
    if pair_count > _MAX_PAIRS or tensor_count > _MAX_TENSORS:
        raise Damaged(f"it states {pair_count:,} fields and {tensor_count:,} tensors")
    fields: dict[str, object] = {}  # arrays only as a ``Stretch``, texts nobody asks for as None
    for _ in range(pair_count):
        key = cursor.name(MAX_KEY)
        if not key or key in fields:
            raise Damaged("one of its fields has no name or occurs twice")
        fields[key] = _read_value(cursor, key)
    return tensor_count, fields


def _read_other_parts(path: Path, fields: Mapping[str, object], tensors: _Tensors) -> int:
    """Add the tensors of the parts beside ``path``, the first; returns their bytes.

    What llama.cpp checks (``llama_model_loader`` in ``src/llama-model-loader.cpp``): how many parts
    each states, its number, and the tensors of all.
    """
    count = _count_parts(fields)
    if count < 2:
        return 0
    total = 0
    for number, name in enumerate(list_names(path.name)[1:], 1):
        part = path.with_name(name)
        if not part.is_file():
            raise ModelMissing(
                f"{path.name} is one of {count} parts; {name} is not beside it.", f"ls -l {part}"
            )
        with _open(part) as cursor:
            tensor_count, stated = _read_fields(cursor)
            if (stated.get("split.no"), _count_parts(stated)) != (number, count):
                raise Damaged(f"{name} is not its part {number + 1} of {count}")
            tensors.read(part, cursor, tensor_count, stated)
            total += cursor.file_bytes
    wanted = fields.get("split.tensors.count", len(tensors.names))
    if wanted != len(tensors.names):
        raise Damaged(f"its parts hold {len(tensors.names):,} tensors")
    return total


def _count_parts(fields: Mapping[str, object]) -> int:
    count = fields.get("split.count", 1)
    return count if type(count) is int else 1


def _read_value(cursor: Cursor, key: str) -> object:
    kind = cursor.u32()
    if kind in SCALARS:
        return cursor.scalar(SCALARS[kind])
    if kind == _STRING:
        if key.endswith(".rope.scaling.type"):
            return cursor.text(MAX_KEY)
        if key in _KEPT_TEXTS:
            return cursor.text(_KEPT_TEXTS[key])
        cursor.skip(cursor.u64())
        return None
    if kind != _ARRAY:
        raise Damaged(f"a field has the unknown type {kind}")
    item, count = cursor.u32(), cursor.u64()
    found = Stretch(item, cursor.at, count)
    if item == _STRING:
        cursor.skip_strings(count)
    elif item in SCALARS:
        cursor.skip(struct.calcsize(SCALARS[item]) * count)
    else:
        raise Damaged(f"a list has elements of the unknown type {item}")
    return found


def _refuse_unsupported(path: Path, fields: Mapping[str, object]) -> str:
    """The architecture, if it is one that tree search can use."""
    count = _count_parts(fields)
    names = list_names(path.name)
    if count > 1 and (path.name != names[0] or count != len(names)):
        raise ModelUnsupported(
            f"{path.name} is one part of a model that is split into {count} files. llama.cpp finds "
            "them by their names, and begins with the first.",
            f"name the first, as it was called: …-00001-of-{count:05}.gguf",
        )
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Damaged("it does not name its architecture")
    kind = fields.get("general.type", "model")
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


class _Tensors:
    """What the tensors come to, of one file or of the parts of a model."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.names: set[str] = set()
        self.parameters = self.vocab_rows = self._embedding = 0

    @property
    def active(self) -> int:
        """Elements that a token is multiplied with.

        A table that serves as output matrix too is multiplied; one beside an output matrix is only
        looked up, at no cost worth counting.
        """
        return self.parameters - (self._embedding if "output.weight" in self.names else 0)

    def read(self, path: Path, cursor: Cursor, count: int, fields: Mapping[str, object]) -> None:
        """Add the tensors of the file at ``path``; checks every extent."""
        alignment = fields.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise Damaged("its alignment is not a power of two")
        expected = end = 0
        for _ in range(count):
            name = cursor.name(_MAX_TENSOR_NAME)
            if name in self.names:
                raise Damaged("one of its tensors occurs twice")
            self.names.add(name)
            rank = cursor.u32()
            if rank > 4:
                raise Damaged(f"a tensor has {rank} dimensions")
            shape = [cursor.u64() for _ in range(rank)]
            kind, offset = cursor.u32(), cursor.u64()
            elements = math.prod(shape)
            if not 0 < elements <= 1 << 62:
                raise Damaged("a tensor is empty, or larger than any memory")
            if kind not in TENSOR_TYPES:
                raise ModelUnsupported(
                    f"{path.name} holds tensors of type {kind}, which this llama.cpp does not "
                    "know.",
                    "choose another quantisation of the model, such as Q4_K_M",
                )
            type_name, block, block_bytes = TENSOR_TYPES[kind]
            if shape and shape[0] % block:
                raise Damaged(f"a tensor's rows do not divide into blocks of {block}")
            if offset != expected:
                raise Damaged("its tensors do not follow one another")
            end = offset + elements // block * block_bytes
            expected = end + -end % alignment
            self.types[type_name] += 1
            self.parameters += elements
            if name == "token_embd.weight" and rank == 2:
                self._embedding, self.vocab_rows = elements, shape[1]
        data_start = cursor.at + -cursor.at % alignment
        if data_start + end > cursor.file_bytes:
            raise ModelCorrupt(
                f"{path.name} is truncated: its tensors need {data_start + end:,} bytes, "
                f"the file has {cursor.file_bytes:,}.",
                _replace_hint(path),
            )
