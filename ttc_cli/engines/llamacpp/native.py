"""The only door to ``llama_cpp``: models, contexts, batches and samplers as small objects.

Everything here is synchronous and knows tokens, sequences and logits, nothing of search. Errors
of the library come back as our family, with the last lines of its own log; its log never reaches
the terminal (it goes to the ``ttc.native`` logger, see ``set_log``).

Not covered: encoders, pooled embeddings, LoRA.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ttc_cli.engines.llamacpp.bindings import lib
from ttc_cli.engines.llamacpp.memory import BATCH, SAYS_SHORT
from ttc_cli.errors import EngineError, MemoryShort, ModelCorrupt, ModelUnsupported

log = logging.getLogger("ttc.native")

Row = npt.NDArray[np.float32]

KV_TYPES: dict[str, int] = {"f16": 1, "q8_0": 8, "q4_0": 2, "f32": 0, "bf16": 30}
"""KV cache types by name, with ggml's numbers (ggml.h, ``enum ggml_type``)."""

_FLASH_AUTO, _FLASH_ON = -1, 1

FILE_TYPES: dict[str, int] = {
    "BF16": 32, "F16": 1, "Q8_0": 7, "Q6_K": 18, "Q4_K_M": 15, "Q4_0": 2,
}  # fmt: skip
"""Kinds of file that ``quantise`` writes, with the library's numbers (``enum llama_ftype``)."""

ABORTED = 2
NO_SLOT = 1

recent: deque[str] = deque(maxlen=8)
"""What the library logged last; cleared before a call whose failure it may explain."""


def _receive_log(level: int, text: bytes, _data: object) -> None:
    line = text.decode("utf-8", "replace").rstrip("\n")
    if not line or line == ".":
        return
    if level in (3, 4):  # GGML_LOG_LEVEL_WARN, _ERROR
        recent.append(line)
    log.debug("%s", line)


_log_callback = lib.llama_log_callback(_receive_log)  # a reference must live as long as the library
_started = False


def start() -> None:
    """Start the library once, with its log turned away from the terminal."""
    global _started
    if not _started:
        # Else an abort writes its backtrace over the tree, by a debugger where there is one.
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        _leave_graphs_off()
        recent.clear()
        take_log()
        lib.llama_backend_init()
        _started = True


def take_log() -> None:
    """Turn the library's log to ours: importing more of the binding turns it to the terminal."""
    lib.llama_log_set(_log_callback, ctypes.c_void_p(0))


def _leave_graphs_off() -> None:
    """Decode without CUDA graphs, unless the variable is there and empty.

    With them a batch of 64 branches ended after some steps in an illegal instruction (H100, this
    release of llama.cpp); without them nothing did. There is little to lose: branches end and fork
    at every other step, and each time a graph is captured again. The library asks only whether the
    variable is there.
    """
    if os.environ.setdefault("GGML_CUDA_DISABLE_GRAPHS", "1") == "":
        del os.environ["GGML_CUDA_DISABLE_GRAPHS"]


def system_info() -> str:
    """What the build can do ("AVX512 = 1 | AMX_INT8 = 1 | …")."""
    start()
    return str(lib.llama_print_system_info().decode())


def library_version() -> str:
    """Versions of the binding and of llama.cpp."""
    binding = importlib.metadata.version("llama-cpp-python")
    return f"{binding} (llama.cpp {lib.llama_version().decode()})"


def offloads() -> bool:
    """Whether the build can put layers on a GPU."""
    return bool(lib.llama_supports_gpu_offload())


def last_words() -> str:
    """What the library logged since ``recent`` was cleared, as a sentence; empty without any."""
    words = "; ".join(recent)
    return f" The library said: {words}" if words else ""


_SLAB = 256 << 20
"""Bytes of a tensor that ``quantise`` holds at once; the library's own default is 8 GiB."""


def quantise(source: Path, target: Path, kind: str, *, threads: int) -> None:
    """Write ``source`` as ``target``, its matrices of type ``kind`` (``FILE_TYPES``).

    Matrices that are quantised already are read back to floats and rounded again; those of that
    very type, and vectors, are copied. The header comes last: a file that was cut short has none.

    Raises:
        EngineError: the library could not read the one or write the other.
    """
    start()
    params = lib.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = threads
    params.allow_requantize = True
    params.max_buf_size = _SLAB
    recent.clear()
    names = str(source).encode(), str(target).encode()
    if lib.llama_model_quantize(*names, ctypes.byref(params)):
        raise EngineError(f"llama.cpp could not write {source.name} as {kind}.{last_words()}")


class NativeModel:
    """Loaded weights with their vocabulary; ``handle`` and ``vocabulary`` are the library's."""

    def __init__(
        self,
        path: Path,
        *,
        gpu_layers: int = -1,
        vocab_only: bool = False,
    ) -> None:
        """Load ``path``.

        Args:
            path: a GGUF file that ``models.gguf`` has found sound.
            gpu_layers: layers to offload; negative means all. Without a GPU build it has no effect.
            vocab_only: no weights; the file may be one that holds none.

        Raises:
            ModelCorrupt: the library refused the file.
            MemoryShort: it does not fit the GPU, or the memory.
            ModelUnsupported: it does not write token after token (diffusion, encoder).
        """
        start()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocab_only
        recent.clear()
        self.handle: Any = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle and SAYS_SHORT.search(last_words()):
            offloaded = gpu_layers != 0 and offloads()
            raise MemoryShort(
                f"{path.name} does not fit {'the GPU' if offloaded else 'memory'}.{last_words()}",
                hint="leave layers to the processor: ttc solve --gpu-layers 12 …"
                if offloaded
                else "close other programs, or choose a smaller model: ttc models list",
            )
        if not self.handle:
            raise ModelCorrupt(
                f"llama.cpp could not load {path.name}.{last_words()}",
                hint=f"ttc models verify {path}",
            )
        for refuses, kind in (
            (lib.llama_model_is_diffusion, "diffusion"),
            (lib.llama_model_has_encoder, "encoder-decoder"),
        ):
            if refuses(self.handle):
                self.close()
                raise ModelUnsupported(
                    f"{path.name} is a {kind} model: it does not write token after token, as tree "
                    "search needs.",
                    hint="ttc models list",
                )
        self.vocabulary: Any = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocabulary))
        self.width = int(lib.llama_model_n_embd(self.handle))
        self.recurrent = bool(
            lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        )
        self._pieces: dict[int, bytes] = {}
        self._spelt: dict[str, int] = {}
        self._lead: list[int] | None = None
        self._ends: dict[int, bool] = {}
        self._buffer = ctypes.create_string_buffer(256)

    def chat_template(self) -> str | None:
        """The chat template stored in the file, or None."""
        text = lib.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def control_text(self) -> dict[str, str]:
        """``bos_token`` and ``eos_token`` written out, where the vocabulary has them."""
        named = {
            "bos_token": lib.llama_vocab_bos(self.vocabulary),
            "eos_token": lib.llama_vocab_eos(self.vocabulary),
        }
        return {
            name: lib.llama_vocab_get_text(self.vocabulary, token).decode("utf-8", "replace")
            for name, token in named.items()
            if token >= 0
        }

    def tokenise(self, text: str, *, control: bool) -> list[int]:
        """Token ids of ``text``, without added BOS; control tokens are read only if ``control``.

        As at the start of a text: SentencePiece vocabularies put a blank before it.
        """
        data = text.encode("utf-8", "replace")
        size = len(data) + 16
        tokens = (lib.llama_token * size)()
        count = lib.llama_tokenize(self.vocabulary, data, len(data), tokens, size, False, control)
        if count < 0:
            raise EngineError(f"the tokeniser refused a text of {len(data)} bytes")
        return list(tokens[:count])

    def tokenise_on(self, text: str) -> list[int]:
        """Token ids of ``text`` in the middle of a text: without the blank of ``tokenise``."""
        if self._lead is None:
            # "blank, newline" where a blank is put before; no vocabulary that does so joins a
            # newline with what follows it.
            lead = self.tokenise("\n", control=False)
            self._lead = lead if len(lead) == 2 and self.piece(lead[0]) == b" " else []
        if not self._lead or not text:
            return self.tokenise(text, control=False)
        found = self.tokenise(f"\n{text}", control=False)
        return found[2:] if found[:2] == self._lead else self.tokenise(text, control=False)

    def spells(self, token: int) -> bool:
        """Whether ``token`` stands for text: it is not a control token."""
        special = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        return not int(lib.llama_vocab_get_attr(self.vocabulary, token)) & int(special)

    def find_piece(self, spelt: str) -> int | None:
        """The token that the vocabulary itself spells ``spelt`` (``▁ки``), or None."""
        if not self._spelt:
            for token in range(self.n_vocab):
                text = lib.llama_vocab_get_text(self.vocabulary, token)
                self._spelt.setdefault(text.decode("utf-8", "replace"), token)
        return self._spelt.get(spelt)

    def begin_token(self) -> int | None:
        """The BOS token, if this vocabulary wants one in front of every prompt."""
        if not lib.llama_vocab_get_add_bos(self.vocabulary):
            return None
        token = int(lib.llama_vocab_bos(self.vocabulary))
        return token if token >= 0 else None

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; control tokens stand for none."""
        known = self._pieces.get(token)
        if known is None:
            count = lib.llama_token_to_piece(self.vocabulary, token, self._buffer, 256, 0, False)
            if count < 0:
                larger = ctypes.create_string_buffer(-count)
                count = lib.llama_token_to_piece(self.vocabulary, token, larger, -count, 0, False)
                known = larger.raw[:count]
            else:
                known = self._buffer.raw[:count]
            self._pieces[token] = known
        return known

    def ends_turn(self, token: int) -> bool:
        """Whether ``token`` ends generation."""
        known = self._ends.get(token)
        if known is None:
            known = bool(lib.llama_vocab_is_eog(self.vocabulary, token))
            self._ends[token] = known
        return known

    def close(self) -> None:
        """Free the weights."""
        if self.handle:
            lib.llama_model_free(self.handle)
            self.handle = None


class Context:
    """One KV cache over a model, the batch that feeds it, and the logits of the last decode."""

    def __init__(
        self,
        model: NativeModel,
        *,
        cells: int,
        sequences: int,
        threads: int,
        batch: int = BATCH,
        outputs: int = 0,
        kv_type: str = "f16",
        unified: bool = True,
    ) -> None:
        """Make a context.

        Args:
            model: the weights.
            cells: tokens the KV cache holds, over all sequences.
            sequences: how many sequences may exist at once (≤ ``memory.MOST_SEQUENCES``).
            threads: threads of every decode.
            batch: tokens one ``decode`` may carry, and one physical batch.
            outputs: rows of logits one ``decode`` may return; at least ``sequences``.
            kv_type: a name in ``KV_TYPES``; quantised values need flash attention.
            unified: one buffer for all sequences, or one each of ``cells / sequences`` cells.

        Raises:
            MemoryShort: the cache or the compute buffers could not be allocated.
        """
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        batch = min(batch, cells)  # the library aborts on a larger one
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.n_outputs_max = max(min(batch, outputs), sequences)  # fewer, and it aborts
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.kv_unified = unified
        params.flash_attn_type = _FLASH_ON if kv_type.startswith("q") else _FLASH_AUTO
        params.swa_full = True  # sliding-window caches cannot be forked otherwise
        params.no_perf = True
        recent.clear()
        self._ctx: Any = lib.llama_init_from_model(model.handle, params)
        if not self._ctx:
            raise MemoryShort(
                f"llama.cpp could not make a KV cache of {cells:,} tokens.{last_words()}",
                hint="ttc solve --parallel 4 --kv-type q8_0 …",
            )
        self._memory: Any = lib.llama_get_memory(self._ctx)
        self.n_vocab = model.n_vocab
        self.width = model.width
        self.cells = int(lib.llama_n_ctx(self._ctx))
        self.sequences = sequences
        self.batch = batch
        self.outputs = int(params.n_outputs_max)
        self.unified = unified
        self.recurrent = model.recurrent
        # One batch, its arrays filled through numpy: ``seq_id`` is an array of pointers in the
        # library, so each points into one flat array of ids that is written in a single copy.
        self._token = np.zeros(batch, np.int32)
        self._pos = np.zeros(batch, np.int32)
        self._seq = np.zeros(batch, np.int32)
        self._count = np.ones(batch, np.int32)
        self._logits = np.zeros(batch, np.int8)
        base = self._seq.ctypes.data
        id_pointer = ctypes.POINTER(lib.llama_seq_id)
        self._pointers = (id_pointer * batch)(
            *(ctypes.cast(base + 4 * row, id_pointer) for row in range(batch))
        )
        self._batch = cast(Any, lib.llama_batch())
        self._batch.token = self._token.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        self._batch.pos = self._pos.ctypes.data_as(ctypes.POINTER(lib.llama_pos))
        self._batch.n_seq_id = self._count.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        self._batch.seq_id = ctypes.cast(self._pointers, ctypes.POINTER(id_pointer))
        self._batch.logits = self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def stop_when(self, ask: Callable[[], bool]) -> None:
        """Ask ``ask`` during every decode (CPU and Metal); True stops it."""
        self._abort = lib.ggml_abort_callback(lambda _data: ask())  # must outlive the context
        lib.llama_set_abort_callback(self._ctx, self._abort, None)

    def decode(
        self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[int]
    ) -> int:
        """Process one batch; the three lists have one entry a token, ``outputs`` are row indices.

        Returns:
            0 done; ``NO_SLOT``: the KV cache has no room, nothing was processed; ``ABORTED``:
            stopped (``stop_when``), trim every sequence before going on.

        Raises:
            EngineError: the library failed.
        """
        count = len(tokens)
        self._token[:count] = tokens
        self._pos[:count] = positions
        self._seq[:count] = sequences
        self._logits[:count] = 0
        self._logits[outputs] = 1
        self._batch.n_tokens = count
        recent.clear()
        code = int(lib.llama_decode(self._ctx, self._batch))
        if code < 0 or code > ABORTED:
            raise EngineError(f"llama.cpp failed to decode (code {code}).{last_words()}")
        return code

    def logits(self, rows: int) -> Row:
        """Logits of the last decode, shape (rows, n_vocab), in batch order.

        A view that the next decode overwrites.
        """
        pointer = lib.llama_get_logits(self._ctx)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        if address is None:
            raise EngineError("llama.cpp returned no logits")
        flat = (ctypes.c_float * (rows * self.n_vocab)).from_address(address)
        block: Row = np.ctypeslib.as_array(flat).reshape(rows, self.n_vocab)
        return block

    def decode_states(self, tokens: list[int], positions: list[int], sequences: list[int]) -> int:
        """As ``decode`` with every token a row, and hidden states beside the logits."""
        lib.llama_set_embeddings(self._ctx, True)
        try:
            return self.decode(tokens, positions, sequences, list(range(len(tokens))))
        finally:
            lib.llama_set_embeddings(self._ctx, False)

    def states(self, rows: int) -> Row:
        """Hidden states of the last ``decode_states``, shape (rows, width): a copy."""
        found = np.empty((rows, self.width), np.float32)
        for row in range(rows):
            pointer = lib.llama_get_embeddings_ith(self._ctx, row)
            if not pointer:
                raise EngineError("llama.cpp returned no hidden states")
            found[row] = np.ctypeslib.as_array(pointer, (self.width,))
        return found

    def copy(self, source: int, target: int, length: int) -> None:
        """Let sequence ``target`` (empty) begin with the first ``length`` cells of ``source``.

        Free in the unified layout. In the split one the buffer is copied whole and then trimmed:
        the library aborts the process on partial copies between streams. A running state is
        copied as it stands, so ``length`` must be all of ``source``.
        """
        if self.recurrent:
            lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        elif self.unified:
            lib.llama_memory_seq_cp(self._memory, source, target, 0, length)
        else:
            lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self.trim(target, length)

    def trim(self, sequence: int, length: int) -> None:
        """Forget all of ``sequence`` from position ``length`` on; a running state only whole."""
        if not lib.llama_memory_seq_rm(self._memory, sequence, length, -1):
            raise EngineError("llama.cpp could not cut the KV cache")

    def close(self) -> None:
        """Free the cache."""
        if self._ctx:
            lib.llama_free(self._ctx)
            self._ctx = None
