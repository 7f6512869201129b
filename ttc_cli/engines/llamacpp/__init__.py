"""The batched tree engine over llama.cpp; ``native`` and ``samplers`` alone call it.

``native`` wraps the library, ``cache`` knows which branch sits where, ``decoder`` does one step
over all ``jobs`` outstanding, ``engine`` runs it for each ``session``, ``memory`` plans before
anything is loaded. ``load`` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp.engine import LlamaCppEngine
    from ttc_cli.engines.llamacpp.memory import MemoryPlan
    from ttc_cli.models.gguf import GgufInfo

__all__ = ["Settings", "load", "plan", "plan_all"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded. None means: chosen for this machine.

    ``context`` is the longest path in tokens (prompt and answer), ``answer`` the longest answer;
    ``parallel`` branches grow at once. ``gpu_layers`` −1 is all of them. ``certainty`` notes the
    self-certainty of every draw, which takes two passes over each row of logits.
    """

    threads: int | None = None
    gpu_layers: int | None = None
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    parallel: int | None = None
    context: int | None = None
    answer: int = 768
    kv_type: str | None = None
    kv_unified: bool = True
    flash_attention: str = "auto"
    offload_kv: bool = True
    batch: int = 512
    certainty: bool = False


PARALLEL = 16
"""Branches at once by default: on a CPU speed hardly grows beyond, and probes rarely want more."""

CONTEXT = 4096
"""Default longest path: room for a long question and its answer, cheap enough to plan for."""


def plan(info: GgufInfo, settings: Settings, free_bytes: int) -> MemoryPlan:
    """What loading this model under ``settings`` would take.

    Raises:
        MemoryShort: more than is free.
    """
    return plan_all([(info, settings)], free_bytes)[0]


def plan_all(
    wanted: Sequence[tuple[GgufInfo, Settings]], free_bytes: int
) -> tuple[MemoryPlan, ...]:
    """What loading all these models, each under its settings, would take.

    Raises:
        MemoryShort: together more than is free; names them all.
    """
    from ttc_cli.engines.llamacpp.memory import Wish, plan_together

    wishes = []
    for info, settings in wanted:
        window = info.context_length or CONTEXT
        path = min(settings.context or max(CONTEXT, 2 * settings.answer), window)
        wishes.append(
            Wish(
                info,
                parallel=settings.parallel or PARALLEL,
                path=path,
                answer=min(settings.answer, path),
                kv_type=settings.kv_type or "f16",
                unified=settings.kv_unified,
                batch=settings.batch,
                fixed=settings.parallel is not None and settings.kv_type is not None,
            )
        )
    return plan_together(wishes, free_bytes)


def load(
    path: Path,
    settings: Settings | None = None,
    *,
    name: str | None = None,
    free_bytes: int | None = None,
    progress: Callable[[float], bool] | None = None,
    planned: MemoryPlan | None = None,
) -> LlamaCppEngine:
    """Load a model and make it ready to search.

    Args:
        path: a GGUF file.
        settings: how; None is ``Settings()``.
        name: what to call the model in events; the file's stem where None.
        free_bytes: memory to plan with; None asks the machine.
        progress: called with 0…1 while the weights are read; False stops.
        planned: from ``plan_all``, where others are loaded beside it; None plans for it alone.

    Raises:
        ModelCorrupt: truncated or no GGUF.
        ModelUnsupported: recurrent, hybrid, encoder or diffusion models.
        MemoryShort: it does not fit; nothing has been loaded then.
    """
    from ttc_cli.engines.base import EngineInfo
    from ttc_cli.engines.llamacpp import native
    from ttc_cli.engines.llamacpp.engine import LlamaCppEngine
    from ttc_cli.models import gguf, hardware

    settings = settings or Settings()
    info = gguf.read_header(path)
    if planned is None:
        planned = plan(
            info, settings, hardware.read_memory().free if free_bytes is None else free_bytes
        )
    threads = settings.threads or hardware.count_cores()
    model = native.Model(
        path,
        gpu_layers=-1 if settings.gpu_layers is None else settings.gpu_layers,
        main_gpu=settings.main_gpu,
        tensor_split=settings.tensor_split,
        progress=progress,
    )
    # The library asks ``abort`` during a decode; the decoder that answers needs the context first.
    asked: list[Callable[[], bool]] = []
    try:
        context = native.Context(
            model,
            cells=planned.cells,
            sequences=planned.sequences,
            batch=planned.batch,
            outputs=max(planned.sequences, 2 * planned.parallel),
            threads=threads,
            kv_type=planned.kv_type,
            unified=planned.unified,
            flash_attention="on" if planned.kv_type.startswith("q") else settings.flash_attention,
            offload_kv=settings.offload_kv,
            abort=lambda: bool(asked) and asked[0](),
        )
    except BaseException:
        model.close()
        raise
    engine = LlamaCppEngine(
        model,
        context,
        EngineInfo(
            name="llama.cpp",
            model=name or path.stem,
            parameters=info.active_parameters,
            context=planned.path,
            parallel=planned.parallel,
            chat_template=model.chat_template(),
            control_tokens=model.control_text(),
            grammars=True,
            states=model.width,
            offloaded=settings.gpu_layers != 0 and native.offloads(),
        ),
    )
    engine.decoder.certainty = settings.certainty
    asked.append(engine.decoder.should_abort)
    return engine
