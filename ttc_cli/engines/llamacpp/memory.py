"""What a model takes in memory, and how its search is made to fit before anything is loaded.

bytes = weights + KV cells × layers × kv heads × (key + value length) × bytes an element
      + compute buffers (activations of one physical batch, and the rows of logits).

When that exceeds what is free: fewer branches at once, then an 8-bit KV cache, then an error that
names the sizes. ``free_bytes`` is what the operating system and the cgroup would still give.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.errors import MemoryShort
from ttc_cli.models.gguf import GgufInfo

ELEMENT_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes an element of a KV cache takes, block scales included (ggml-common.h)."""

FEWEST = 4
"""Branches below which a quantised cache is preferred to fewer still."""

SLACK = 64 << 20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a model will be loaded. Bytes, tokens and branches."""

    weights: int
    kv: int
    compute: int
    free: int
    cells: int
    sequences: int
    parallel: int
    path: int
    kv_type: str
    batch: int
    unified: bool

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute


def count_sequences(parallel: int, *, unified: bool, most: int) -> int:
    """Sequences for ``parallel`` branches; those at rest keep seats until they are scored."""
    wanted = max(64, 4 * parallel) if unified else parallel + max(2, parallel // 4)
    return min(wanted, most)


def plan_memory(
    info: GgufInfo,
    *,
    free_bytes: int,
    parallel: int,
    path: int,
    answer: int,
    kv_type: str = "f16",
    unified: bool = True,
    batch: int = 512,
    most_sequences: int = 256,
    fixed: bool = False,
) -> MemoryPlan:
    """The largest search that fits.

    Args:
        info: the file's header.
        free_bytes: what may be taken.
        parallel: branches wanted at once.
        path: longest path in tokens, prompt and answer.
        answer: longest answer in tokens; each branch needs that many cells of its own.
        kv_type: key of ``ELEMENT_BYTES``.
        unified: cache layout.
        batch: tokens of one physical batch.
        most_sequences: the library's limit.
        fixed: the caller chose ``parallel`` and ``kv_type``: do not change them.

    Raises:
        MemoryShort: not even the smallest search fits.
    """
    plan = _measure(
        info, parallel, path, answer, kv_type, unified, batch, most_sequences, free_bytes
    )
    if plan.total <= free_bytes or fixed:
        return _accept(plan, info)
    for kind, fewest in ((kv_type, FEWEST), ("q8_0", 1)):
        count = parallel
        while count >= fewest:
            smaller = _measure(
                info, count, path, answer, kind, unified, batch, most_sequences, free_bytes
            )
            if smaller.total <= free_bytes:
                return smaller
            count //= 2
    least = _measure(info, 1, path, answer, "q8_0", unified, batch, most_sequences, free_bytes)
    return _accept(least, info)


def _accept(plan: MemoryPlan, info: GgufInfo) -> MemoryPlan:
    if plan.total <= plan.free:
        return plan
    raise MemoryShort(
        f"{info.path.name} needs {_gib(plan.total)} ({_gib(plan.weights)} of weights, "
        f"{_gib(plan.kv)} of KV cache for {plan.parallel} branches, {_gib(plan.compute)} to "
        f"compute); {_gib(plan.free)} is free.",
        hint="close other programs, or choose a smaller model: ttc models list",
    )


def _measure(
    info: GgufInfo,
    parallel: int,
    path: int,
    answer: int,
    kv_type: str,
    unified: bool,
    batch: int,
    most_sequences: int,
    free_bytes: int,
) -> MemoryPlan:
    sequences = count_sequences(parallel, unified=unified, most=most_sequences)
    if unified:
        prompt = max(256, path - answer)
        cells = max(path, prompt + parallel * answer)
    else:
        cells = path * sequences
    cells = -(-cells // 256) * 256
    per_cell = info.layers * info.kv_heads * (info.key_length + info.value_length)
    rows = max(sequences, 2 * parallel)
    activations = batch * info.embedding_length * 4 * 24
    logits = 2 * rows * info.vocab_size * 4
    return MemoryPlan(
        weights=info.file_bytes,
        kv=int(cells * per_cell * ELEMENT_BYTES[kv_type]),
        compute=activations + logits + SLACK,
        free=free_bytes,
        cells=cells,
        sequences=sequences,
        parallel=parallel,
        path=path,
        kv_type=kv_type,
        batch=batch,
        unified=unified,
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
