"""Loading the models of a request and searching with them: what one question and many share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.engines.base import Engine
from ttc_cli.events import EventStream
from ttc_cli.output import Output
from ttc_cli.solving import solver as thinking
from ttc_cli.solving import verifier_models
from ttc_cli.solving.choosing import choose_template_arguments, label_model
from ttc_cli.types import Result

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer
    from ttc_cli.policy.stage import SearchOptions
    from ttc_cli.policy.table import Table
    from ttc_cli.prompts import Chat
    from ttc_cli.solving.solver import Request


@dataclass(frozen=True, slots=True)
class Loaded:
    """Models that are ready: the generator's engine and the verifiers', by what they are asked for.

    ``all`` holds each once; a cascade replaces them as it climbs. ``stopped`` is set once the user
    has asked to end.
    """

    engine: Engine
    verifying: Mapping[str, Engine]
    all: list[Engine]
    stopped: threading.Event

    def interrupt(self) -> None:
        """End all growing at the next token; safe to call from a signal handler."""
        self.stopped.set()
        for each in self.all:
            each.interrupt()

    def close(self) -> None:
        """Free the models."""
        for each in self.all:
            each.close()


@dataclass(frozen=True, slots=True)
class Ground:
    """What every search on loaded models goes by, whatever the question."""

    path: Path
    loaded: Loaded
    chat: Chat
    refused: Mapping[str, str]
    table: Table


def start_loading(request: Request, path: Path, out: Output) -> asyncio.Future[Loaded]:
    """Load the models of ``request`` in a thread of its own.

    The main thread is free to answer signals meanwhile, and to import what the search needs.
    """
    name = label_model(request.model)
    out.status(f"loading {name} …" if request.server is None else f"asking {request.server.url} …")

    def load() -> Loaded:
        if request.server is not None:
            from ttc_cli.solving import serving

            engine, verifying = serving.open_engines(request)
        else:
            others = request.verifier_models
            engine, verifying = verifier_models.open_engines(
                path, request.settings, name, others, thinking.open_engine
            )
        every = list(dict.fromkeys((engine, *verifying.values())))
        return Loaded(engine, verifying, every, threading.Event())

    return asyncio.get_running_loop().run_in_executor(None, load)


def survey(request: Request, path: Path, loaded: Loaded) -> Ground:
    """The ground that searches for ``request`` stand on."""
    from ttc_cli.prompts import Chat

    chat = Chat(loaded.engine.info, choose_template_arguments(request.model, request.thinking))
    table = thinking.find_table(request, path, chat)
    refused = thinking.find_refused(request, path)
    return Ground(path, loaded, chat, refused, table)


async def search(
    request: Request,
    ground: Ground,
    comparer: Comparer,
    events: EventStream,
    *,
    engine: Engine | None = None,
    checks: int | None = None,
) -> Result:
    """Answer the problem of ``request``, whose models are loaded.

    Args:
        request: what is asked for.
        ground: from ``survey``.
        comparer: groups answers that mean the same.
        events: gets every event.
        engine: a share of the generator's engine; None is all of it.
        checks: commands of ``--check`` that may run at once; None is one a core.

    Raises:
        TtcError: as ``policy.run.solve``.
    """
    from ttc_cli.models import hardware
    from ttc_cli.policy.run import solve
    from ttc_cli.policy.stage import Stage
    from ttc_cli.verifiers import registry
    from ttc_cli.verifiers.base import CHECK_SECONDS, VerifierContext

    loaded = ground.loaded
    engine = engine or loaded.engine
    means = VerifierContext(
        ground.chat,
        load=loaded.verifying.__getitem__,
        engine=engine,
        fingerprint=None if request.server else lambda: thinking.hash_file_of(request, ground.path),
        check_seconds=request.check_seconds or CHECK_SECONDS,
        sandbox=request.sandbox,
        parallel=checks or hardware.count_cores(),
        stopped=loaded.stopped,
    )
    stage = Stage(
        engine,
        ground.chat,
        table=ground.table,
        sampling=request.sampling,
        verifiers=registry.build(request.verifiers, means),
        thinking=request.thinking,
        refused=ground.refused,
        known=request.find_known(0),
        overlaps=len(loaded.all) > 1 and any(each.info.offloaded for each in loaded.all),
    )
    return await solve(
        request.problem,
        stage,
        choose_options(request),
        comparer=comparer,
        events=events,
        stopped=loaded.stopped.is_set,
    )


def choose_options(request: Request) -> SearchOptions:
    """How ``request`` wants every model of a cascade searched."""
    from ttc_cli.policy.stage import SearchOptions

    return SearchOptions(
        request.strategy, request.knobs, request.samples, request.budget, request.seed
    )
