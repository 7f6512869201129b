"""``import ttc_cli as ttc``: loads models from Python, with the names that the command uses."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import Any, Unpack

from ttc_cli.settings.config import Config
from ttc_cli.solving import choosing, loading
from ttc_cli.solving.blocking import wait_for
from ttc_cli.solving.options import Asking, Loading, Options
from ttc_cli.solving.request import Request
from ttc_cli.solving.solver import Solver
from ttc_cli.types import Problem, Result


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
    options = Options(given, Config({}))
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
