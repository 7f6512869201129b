"""How much memory a model needs, and how its search is made to fit before anything is loaded.

bytes = weights + KV cells × elements of a cell × bytes an element
      + sequences × elements of a running state × 4 (recurrent and hybrid models)
      + compute buffers (activations of one physical batch, and the rows of logits).

When that exceeds what is free: fewer branches at once, then an 8-bit KV cache, then an error that
names the sizes. ``free_bytes`` is what the operating system and the cgroup would still give. Models
that are used together, a generator and its verifier, are planned together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ttc_cli.errors import MemoryShort

if TYPE_CHECKING:
    from ttc_cli.models.gguf import GgufInfo

PARALLEL = 16
"""Branches at once by default: on a CPU speed hardly grows beyond, and probes rarely want more."""

CONTEXT = 4096
"""Default longest path: room for a long question and its answer, cheap enough to plan for."""

BATCH = 512
"""Tokens of one physical batch."""

MOST_SEQUENCES = 256
"""The library's limit (LLAMA_MAX_SEQ)."""

FEWEST = 4
"""Branches below which a quantised cache is preferred to fewer still."""

ELEMENT_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes an element of a KV cache takes, block scales included (ggml-common.h)."""

AT_REST = 4
"""Sequences of a model with a running state beyond two a branch: one that grows, one at rest. Each
takes its state's memory whether it is used or not."""

_WORKING = 3
"""States of one layer, of every sequence, that a decode holds beside the memory itself."""

_SLACK = 64 << 20

SAYS_SHORT = re.compile(
    r"out of memory|insufficient memory|(failed|unable) to allocate|cannot allocate|mem_buffer"
    r"|bad_alloc",
    re.IGNORECASE,
)
"""What llama.cpp says where an allocation failed, on the processor or on a GPU."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded. None means: chosen for this machine.

    ``context`` is the longest path in tokens (prompt and answer), ``answer`` the longest answer:
    each branch needs that many cells of its own. ``parallel`` branches grow at once.
    ``gpu_layers`` −1 is all of them. ``kv_type`` is a key of ``ELEMENT_BYTES``. ``certainty`` notes
    the self-certainty of every draw, which takes two passes over each row of logits. ``patience``
    is how many seconds one run may think before the others go on without it; None: as long as it
    takes, so that the same requests give the same text. ``remembers`` is how many paths stay in
    the cache after their sessions, for later ones that begin alike: what is booked as read then
    depends on what was asked before.
    """

    threads: int | None = None
    gpu_layers: int | None = None
    parallel: int | None = None
    context: int | None = None
    answer: int = 768
    kv_type: str | None = None
    kv_unified: bool = True
    certainty: bool = False
    patience: float | None = None
    remembers: int = 0

    def shrink(self, parallel: int, kv_type: str | None) -> Settings:
        """The same with at most ``parallel`` branches and that cache, unless both were chosen."""
        if self.parallel is not None and self.kv_type is not None:
            return self
        return replace(
            self,
            parallel=min(parallel, self.parallel or PARALLEL),
            kv_type=kv_type or self.kv_type,
        )


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
    unified: bool

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute


def plan(info: GgufInfo, settings: Settings, free_bytes: int) -> MemoryPlan:
    """What loading this model under ``settings`` would take, as ``plan_all``."""
    return plan_all([(info, settings)], free_bytes)[0]


def plan_all(
    wanted: Sequence[tuple[GgufInfo, Settings]], free_bytes: int
) -> tuple[MemoryPlan, ...]:
    """The largest search that fits into ``free_bytes`` with all these models loaded.

    ``free`` of each plan is what the others leave it.

    Raises:
        MemoryShort: not even the smallest search fits; names every model and its size.
    """
    most = max(settings.parallel or PARALLEL for _, settings in wanted)
    plans: list[MemoryPlan] = []
    for parallel, kv_type in _shrink_step_by_step(most):
        plans = [_measure(info, settings.shrink(parallel, kv_type)) for info, settings in wanted]
        total = sum(plan.total for plan in plans)
        if total <= free_bytes:
            return tuple(replace(plan, free=free_bytes - (total - plan.total)) for plan in plans)
    raise _word_shortage([info for info, _ in wanted], plans, free_bytes)


def _shrink_step_by_step(most: int) -> Iterator[tuple[int, str | None]]:
    """Ever fewer branches, then a smaller cache with ever fewer; None is the cache as wanted."""
    yield most, None
    for kv_type, fewest in ((None, FEWEST), ("q8_0", 1)):
        count = most
        while count >= fewest:
            yield count, kv_type
            count //= 2


def _word_shortage(
    infos: Sequence[GgufInfo], plans: Sequence[MemoryPlan], free_bytes: int
) -> MemoryShort:
    parts = [
        f"{info.path.name} needs {_gib(plan.total)} ({_gib(plan.weights)} of weights, "
        f"{_gib(plan.kv)} of KV cache for {plan.parallel} branches, {_gib(plan.compute)} to "
        "compute)"
        for info, plan in zip(infos, plans, strict=True)
    ]
    together = ""
    hint = "close other programs, or choose a smaller model: ttc models list"
    if len(plans) > 1:
        together = f", together {_gib(sum(plan.total for plan in plans))}"
        hint = (
            "let the model judge itself: --verifier judge; or choose a smaller one: ttc models list"
        )
    return MemoryShort(f"{', and '.join(parts)}{together}; {_gib(free_bytes)} is free.", hint=hint)


def _measure(info: GgufInfo, settings: Settings) -> MemoryPlan:
    """What a model takes under ``settings`` as they are."""
    parallel = settings.parallel or PARALLEL
    kv_type = settings.kv_type or "f16"
    window = info.context_length or CONTEXT
    path = min(settings.context or max(CONTEXT, 2 * settings.answer), window)
    answer = min(settings.answer, path)
    memory = info.memory
    if settings.kv_unified:  # branches at rest keep their seats until they are scored
        most = max(64, 4 * parallel) if not memory.state else AT_REST + 2 * parallel
        sequences = min(most, MOST_SEQUENCES)
        cells = max(path, max(256, path - answer) + parallel * answer)
    else:
        sequences = min(parallel + max(2, parallel // 4), MOST_SEQUENCES)
        cells = path * sequences
    cells = -(-cells // 256) * 256
    kv = cells * memory.cell * ELEMENT_BYTES[kv_type]
    states, working = sequences * memory.state * 4, sequences * _WORKING * memory.widest * 4
    activations = BATCH * info.embedding_length * 4 * 24
    logits = 2 * max(sequences, 2 * parallel) * info.vocab_size * 4
    return MemoryPlan(
        weights=info.file_bytes,
        kv=int(kv) + states,
        compute=activations + logits + working + _SLACK,
        free=0,
        cells=cells,
        sequences=sequences,
        parallel=parallel,
        path=path,
        kv_type=kv_type,
        unified=settings.kv_unified,
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
