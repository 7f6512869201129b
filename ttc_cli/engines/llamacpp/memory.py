"""What a model takes in memory, and how its search is made to fit before anything is loaded.

bytes = weights + KV cells × layers × kv heads × (key + value length) × bytes an element
      + compute buffers (activations of one physical batch, and the rows of logits).

When that exceeds what is free: fewer branches at once, then an 8-bit KV cache, then an error that
names the sizes. ``free_bytes`` is what the operating system and the cgroup would still give. Models
that are used together, a generator and its verifier, are planned together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ttc_cli.errors import MemoryShort
from ttc_cli.models.gguf import GgufInfo

ELEMENT_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes an element of a KV cache takes, block scales included (ggml-common.h)."""

FEWEST = 4
"""Branches below which a quantised cache is preferred to fewer still."""

SLACK = 64 << 20

SAYS_SHORT = re.compile(
    r"out of memory|insufficient memory|(failed|unable) to allocate|mem_buffer|bad_alloc",
    re.IGNORECASE,
)
"""What llama.cpp says where an allocation failed, on the processor or on a GPU."""


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


@dataclass(frozen=True, slots=True)
class Wish:
    """What one model is to be loaded with.

    Args:
        info: the file's header.
        parallel: branches wanted at once.
        path: longest path in tokens, prompt and answer.
        answer: longest answer in tokens; each branch needs that many cells of its own.
        kv_type: key of ``ELEMENT_BYTES``.
        unified: cache layout.
        batch: tokens of one physical batch.
        most_sequences: the library's limit.
        fixed: the caller chose ``parallel`` and ``kv_type``: do not change them.
    """

    info: GgufInfo
    parallel: int
    path: int
    answer: int
    kv_type: str = "f16"
    unified: bool = True
    batch: int = 512
    most_sequences: int = 256
    fixed: bool = False

    def shrink(self, parallel: int, kv_type: str) -> Wish:
        """The same with at most ``parallel`` branches and that cache, unless it is fixed."""
        if self.fixed:
            return self
        return replace(self, parallel=min(parallel, self.parallel), kv_type=kv_type)


def plan_memory(wish: Wish, free_bytes: int) -> MemoryPlan:
    """The largest search that fits into ``free_bytes``.

    Raises:
        MemoryShort: not even the smallest search fits.
    """
    return plan_together([wish], free_bytes)[0]


def plan_together(wishes: Sequence[Wish], free_bytes: int) -> tuple[MemoryPlan, ...]:
    """The largest search that fits into ``free_bytes`` with all these models loaded.

    ``free`` of each plan is what the others leave it.

    Raises:
        MemoryShort: not even the smallest search fits; names every model and its size.
    """
    plans = _measure_all(wishes, free_bytes)
    if _fits(plans, free_bytes):
        return plans
    most = max(wish.parallel for wish in wishes)
    for kind, fewest in ((None, FEWEST), ("q8_0", 1)):
        count = most
        while count >= fewest:
            smaller = [wish.shrink(count, kind or wish.kv_type) for wish in wishes]
            plans = _measure_all(smaller, free_bytes)
            if _fits(plans, free_bytes):
                return plans
            count //= 2
    least = _measure_all([wish.shrink(1, "q8_0") for wish in wishes], free_bytes)
    raise MemoryShort(_word_shortage(wishes, least, free_bytes), hint=_suggest(wishes))


def _measure_all(wishes: Sequence[Wish], free_bytes: int) -> tuple[MemoryPlan, ...]:
    plans = [_measure(wish) for wish in wishes]
    total = sum(plan.total for plan in plans)
    return tuple(replace(plan, free=free_bytes - (total - plan.total)) for plan in plans)


def _fits(plans: Sequence[MemoryPlan], free_bytes: int) -> bool:
    return sum(plan.total for plan in plans) <= free_bytes


def _word_shortage(wishes: Sequence[Wish], plans: Sequence[MemoryPlan], free_bytes: int) -> str:
    parts = [
        f"{wish.info.path.name} needs {_gib(plan.total)} ({_gib(plan.weights)} of weights, "
        f"{_gib(plan.kv)} of KV cache for {plan.parallel} branches, {_gib(plan.compute)} to "
        "compute)"
        for wish, plan in zip(wishes, plans, strict=True)
    ]
    together = ""
    if len(plans) > 1:
        together = f", together {_gib(sum(plan.total for plan in plans))}"
    return f"{', and '.join(parts)}{together}; {_gib(free_bytes)} is free."


def _suggest(wishes: Sequence[Wish]) -> str:
    if len(wishes) > 1:
        return (
            "let the model judge itself: --verifier judge; or choose a smaller one: ttc models list"
        )
    return "close other programs, or choose a smaller model: ttc models list"


def _measure(wish: Wish) -> MemoryPlan:
    """What ``wish`` takes as it is."""
    info, parallel, path = wish.info, wish.parallel, wish.path
    sequences = count_sequences(parallel, unified=wish.unified, most=wish.most_sequences)
    if wish.unified:
        prompt = max(256, path - wish.answer)
        cells = max(path, prompt + parallel * wish.answer)
    else:
        cells = path * sequences
    cells = -(-cells // 256) * 256
    per_cell = info.layers * info.kv_heads * (info.key_length + info.value_length)
    rows = max(sequences, 2 * parallel)
    activations = wish.batch * info.embedding_length * 4 * 24
    logits = 2 * rows * info.vocab_size * 4
    return MemoryPlan(
        weights=info.file_bytes,
        kv=int(cells * per_cell * ELEMENT_BYTES[wish.kv_type]),
        compute=activations + logits + SLACK,
        free=0,
        cells=cells,
        sequences=sequences,
        parallel=parallel,
        path=path,
        kv_type=wish.kv_type,
        batch=wish.batch,
        unified=wish.unified,
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
