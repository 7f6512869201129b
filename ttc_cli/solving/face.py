"""``import ttc_cli as ttc``: loads models from Python, with the names that the command uses."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

from ttc_cli.settings.config import Config
from ttc_cli.solving import choosing, loading
from ttc_cli.solving.blocking import wait_for
from ttc_cli.solving.request import Request
from ttc_cli.solving.solver import Asking, Solver
from ttc_cli.types import Problem, Result


class Loading(TypedDict, total=False):
    """Which models to load, and how: the flags of ``ttc solve`` as arguments.

    Attributes:
        server: the address of an OpenAI-compatible server that grows the candidates; the model's
            name is then its name there.
        chat_template: with ``server``: a chat template's file, or a model's name.
        parameters: with ``server``: the model's size, as ``7e9``, to count FLOPs by.
        cascade: in place of one model: several, smallest first; the next is asked where one is
            not sure.
        verifiers: what scores the candidates, as ``["judge", "prm=rlhflow-prm-8b"]``; the
            strategy's own where there are none.
        check: a command whose exit status scores a candidate; ``{file}`` is its code or answer.
        check_seconds: the time limit of one check.
        think_tokens: of a model that thinks: the longest thought before it must answer.
        wait: how often a thought that ended is made to go on.
        think_keep: the share of the surest thoughts that may go on to their end.
        threads: to compute with; all cores that may be used by default.
        gpu_layers: on the GPU; -1, the default, is all.
        verifier_gpu_layers: the same for the models of verifiers.
        parallel: candidates that grow at once.
        context: tokens of question and answer together.
        kv_type: how the KV cache is stored.
        download: fetch a model that is not on this machine (the default), or raise
            ``ModelMissing``.
    """

    server: str
    chat_template: str
    parameters: float
    cascade: Sequence[str]
    verifiers: Sequence[str]
    check: str
    check_seconds: float
    think_tokens: int
    wait: int
    think_keep: float
    threads: int
    gpu_layers: int
    verifier_gpu_layers: int
    parallel: int
    context: int
    kv_type: Literal["f16", "q8_0", "q4_0"]
    download: bool


def load(model: str | os.PathLike[str] | None = None, **how: Unpack[Loading]) -> Solver:
    """Load a model, ready to answer questions.

    Args:
        model: a name from ``ttc models list``, ``user/repo:quant`` on the hub, or a ``.gguf``
            file; None is the default for this machine.
        how: see ``Loading``.

    Raises:
        UsageError: an unknown name, or options that cannot go together.
        ModelMissing: it is not on this machine, and ``download`` is False.
        ModelError: a file is damaged, or no model that a search can use.
        MemoryShort: the models do not fit into memory.
        NetworkError: a download failed, or the server cannot be reached.
        NativeCrash: llama.cpp, as it was built, does not run on this processor.
    """
    return wait_for(_open(_choose(model, how)))  # a Ctrl-C here ends a download


async def aload(model: str | os.PathLike[str] | None = None, **how: Unpack[Loading]) -> Solver:
    """As ``load``. If this is cancelled during a download, the download still runs to its end."""
    return await _open(await asyncio.to_thread(_choose, model, how))


async def _open(request: Request) -> Solver:
    return await Solver.open(request, loading.begin(request))


def _choose(model: str | os.PathLike[str] | None, how: Loading) -> Request:
    """The request that ``load`` makes, its models obtained."""
    given: dict[str, Any] = dict(how)
    if unknown := given.keys() - Loading.__annotations__.keys():
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    download = given.pop("download", True)
    given["model"] = None if model is None else os.fspath(model)
    given["verifier"] = list(given.pop("verifiers", ()))
    given["cascade"] = ",".join(given.pop("cascade", ()))
    options = choosing.Options(given, Config({}))
    options.validate()
    request = choosing.choose(options, Problem(""), room="", warn=_warn)
    return choosing.obtain(request, confirm=None if download else choosing.decline)


def solve(
    question: str | Problem,
    model: str | os.PathLike[str] | None = None,
    **how: Unpack[Asking],
) -> Result:
    """Answer one question, loading the model for it and freeing it again.

    For more than one question, ``load`` once.

    Args:
        question: as text, or as a ``Problem``.
        model: as for ``load``.
        how: see ``Asking``.

    Raises:
        TtcError: as ``load`` and ``Solver.solve``.
    """
    with load(model) as solver:
        return solver.solve(question, **how)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=6)  # the line that called ``load``
