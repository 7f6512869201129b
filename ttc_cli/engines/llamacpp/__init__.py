"""The batched tree engine over llama.cpp; ``native`` and ``samplers`` alone call it.

``native`` wraps the library, ``cache`` knows which branch sits where, ``decoder`` does one step
over all ``jobs`` outstanding, ``runner`` steps for every ``session`` at once, ``memory`` plans
before anything is loaded. ``load`` puts them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.engines.llamacpp.memory import CONTEXT, MemoryPlan, Settings, plan, plan_all

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp.engine import LlamaCppEngine

_EITHER = frozenset({"lfm2", "lfm2moe"})
"""Architectures of which llama.cpp computes hidden states or logits in one decode, not both."""

__all__ = ["CONTEXT", "MemoryPlan", "Settings", "load", "plan", "plan_all"]


def load(
    path: Path,
    settings: Settings | None = None,
    *,
    name: str | None = None,
    planned: MemoryPlan | None = None,
) -> LlamaCppEngine:
    """Load a model and make it ready to search.

    Args:
        path: a GGUF file.
        settings: how; None is ``Settings()``.
        name: what to call the model in events; the file's stem where None.
        planned: from ``plan_all``, where others are loaded beside it; None plans for it alone.

    Raises:
        ModelCorrupt: truncated or no GGUF.
        ModelUnsupported: encoder or diffusion models, and recurrent ones that were not tried.
        MemoryShort: it does not fit; nothing has been loaded then.
    """
    from ttc_cli.engines.llamacpp import native
    from ttc_cli.engines.llamacpp.engine import LlamaCppEngine
    from ttc_cli.models import gguf, hardware
    from ttc_cli.types import EngineInfo

    settings = settings or Settings()
    info = gguf.read_header(path)
    if planned is None:
        planned = plan(info, settings, hardware.read_memory().free)
    threads = settings.threads or hardware.count_cores()
    gpu_layers = -1 if settings.gpu_layers is None else settings.gpu_layers
    model = native.NativeModel(path, gpu_layers=gpu_layers)
    try:
        context = native.Context(
            model,
            cells=planned.cells,
            sequences=planned.sequences,
            outputs=max(planned.sequences, 2 * planned.parallel),
            threads=threads,
            kv_type=planned.kv_type,
            unified=planned.unified,
        )
    except BaseException:
        model.close()
        raise
    told = EngineInfo(
        name="llama.cpp",
        model=name or path.stem,
        parameters=info.active_parameters,
        context=planned.path,
        parallel=planned.parallel,
        chat_template=model.chat_template(),
        control_tokens=model.control_text(),
        grammars=True,
        states=0 if info.architecture in _EITHER else model.width,
        offloaded=settings.gpu_layers != 0 and native.offloads(),
    )
    return LlamaCppEngine(
        model,
        context,
        told,
        certainty=settings.certainty,
        patience=settings.patience,
        remembers=settings.remembers,
    )
