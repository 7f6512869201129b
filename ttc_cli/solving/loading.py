"""Loads models: plans them together, tests the build first, closes all if one fails."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ttc_cli.solving.request import Request, VerifierModel, label_model

if TYPE_CHECKING:
    from ttc_cli.engines.base import Engine
    from ttc_cli.engines.llamacpp import Settings
    from ttc_cli.engines.llamacpp.memory import MemoryPlan
    from ttc_cli.models.files import Model


@dataclass(slots=True)
class Loaded:
    """Models that are ready: the generator's engine, and each verifier's by ``asked``.

    ``stopped`` is set once the user has asked to end.
    """

    engine: Engine
    verifying: Mapping[str, Engine]
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def engines(self) -> list[Engine]:
        """Each engine once."""
        return list(dict.fromkeys((self.engine, *self.verifying.values())))

    def interrupt(self) -> None:
        """End all growing at the next token; safe to call from a signal handler."""
        self.stopped.set()
        for each in self.engines:
            each.interrupt()

    def close(self) -> None:
        """Free the models. Idempotent."""
        for each in self.engines:
            each.close()


def begin(request: Request) -> Future[Loaded]:
    """Load as ``load`` does, in a thread: signals are answered, and imports done, meanwhile."""
    pool = ThreadPoolExecutor(1, "ttc-load")
    work = pool.submit(load, request)
    pool.shutdown(wait=False)
    return work


@contextlib.contextmanager
def closing_late(work: Future[Loaded]) -> Iterator[None]:
    """Where the wait within ends early, close what ``work`` loads as soon as it is there."""
    try:
        yield
    except BaseException:
        work.add_done_callback(_close)
        raise


def _close(work: Future[Loaded]) -> None:
    with contextlib.suppress(BaseException):
        work.result().close()


def load(request: Request) -> Loaded:
    """Load the models of ``request``, or connect to its server and load its verifiers' models.

    Raises:
        TtcError: as ``load_models`` and ``serving.connect``; nothing stays open then.
    """
    if request.server is None:
        return load_models(request.model, request.settings, request.verifier_models)
    from ttc_cli.solving import serving

    served = serving.connect(request)
    try:
        _, verifying = _load_together([], request.verifier_models)
    except BaseException:
        served.close()
        raise
    return Loaded(served, verifying)


def load_models(model: Model, settings: Settings, others: Sequence[VerifierModel] = ()) -> Loaded:
    """Load ``model`` and the verifiers' models ``others``; a file that is named twice, once.

    Raises:
        ModelMissing: one has not been obtained.
        MemoryShort: they do not fit together; nothing has been loaded then.
        TtcError: as ``open_engine``; what was loaded before is closed.
    """
    first = (model.require_path(), settings, label_model(model))
    (engine, *_), verifying = _load_together([first], others)
    return Loaded(engine, verifying)


def open_engine(
    path: Path, settings: Settings, name: str, planned: MemoryPlan | None = None
) -> Engine:
    """Load the file at ``path``; the build is tested first where that was never done.

    ``planned`` is its part of the memory where others are loaded beside it.

    Raises:
        NativeCrash: the build of llama.cpp does not run on this processor.
        ModelError: the file is damaged, or no model that a search can use.
        MemoryShort: it does not fit, however it is laid out.
    """
    from ttc_cli.engines.llamacpp import load
    from ttc_cli.engines.llamacpp.selftest import check_build

    check_build(path)
    return load(path, settings, name=name, planned=planned)


def _load_together(
    wanted: list[tuple[Path, Settings, str]], others: Sequence[VerifierModel]
) -> tuple[list[Engine], Mapping[str, Engine]]:
    """Plan ``wanted`` and what ``others`` need beside it, load all, and close all on failure."""
    places: dict[str, int] = {}
    for each in others:
        same = (n for n, (path, _, _) in enumerate(wanted) if each.is_file(path))
        places[each.asked] = next(same, len(wanted))
        if places[each.asked] == len(wanted):
            wanted.append((each.model.require_path(), each.settings, label_model(each.model)))
    plans: Sequence[MemoryPlan | None] = [None]
    if len(wanted) > 1:
        from ttc_cli.engines import llamacpp
        from ttc_cli.models import gguf, hardware

        headers = [(gguf.read_header(path), settings) for path, settings, _ in wanted]
        plans = llamacpp.plan_all(headers, hardware.read_memory().free)
    engines: list[Engine] = []
    try:
        for (path, settings, name), planned in zip(wanted, plans, strict=False):
            within = () if planned is None else (planned,)
            engines.append(open_engine(path, settings, name, *within))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return engines, {asked: engines[place] for asked, place in places.items()}
