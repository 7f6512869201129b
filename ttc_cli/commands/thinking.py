"""Runs one search with everything around it: engine, view, machine output, signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from ttc_cli import crash
from ttc_cli.commands.planning import (
    choose_sampling,
    choose_template_arguments,
    choose_thinking,
    label_model,
)
from ttc_cli.commands.verifier_models import VerifierModel, open_engines
from ttc_cli.engines.base import Engine
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.events import Decided, Event, EventStream
from ttc_cli.models.store import Model
from ttc_cli.output import Output, use_color
from ttc_cli.signals import Interruption, forgive_termination
from ttc_cli.types import Budget, Problem, Result, Sampling

if TYPE_CHECKING:
    from ttc_cli.commands.serving import Server
    from ttc_cli.engines.llamacpp.memory import MemoryPlan
    from ttc_cli.policy.cascade import Climb, Stage
    from ttc_cli.policy.table import Table
    from ttc_cli.prompts import Chat
    from ttc_cli.search.thinking import Thinking

Reader = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: flags, configuration and the registry's entry put together.

    ``budget.tokens_per_candidate`` is also the room that ``settings`` keeps for an answer.
    ``server`` grows the candidates where it is given; ``settings`` are then of no use to them.
    ``verifier_models`` are loaded beside ``model``, unless they are the same file. ``thinking``
    is how the model thinks before it answers, None where it does not. ``larger`` are the further
    models of a cascade, asked in turn, each with its own sampling at ``temperature``.
    """

    problem: Problem
    model: Model
    strategy: str
    knobs: Mapping[str, str]
    verifiers: tuple[str, ...]
    samples: int | None
    seed: int
    sampling: Sampling
    budget: Budget
    settings: Settings
    verifier_models: tuple[VerifierModel, ...] = ()
    server: Server | None = None
    thinking: Thinking | None = None
    larger: tuple[Model, ...] = ()
    temperature: float | None = None
    check_seconds: float | None = None
    sandbox: str | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """What a run came to: the result, and the policy's decisions on the way.

    ``model`` is what the engine calls the model.
    """

    result: Result
    decisions: tuple[Decided, ...]
    model: str = ""


def describe(thought: Thought, request: Request) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    from ttc_cli.views.jsonl import result_json

    return result_json(
        thought.result,
        question=request.problem.text,
        model=thought.model or label_model(request.model),
        seed=request.seed,
    )


def open_engine(
    path: Path, settings: Settings, name: str, planned: MemoryPlan | None = None
) -> Engine:
    """Load the model at ``path``; the build is tested first where that was never done.

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


def choose_view(view: str, quiet: bool) -> str:
    """``tree``, ``plain`` or ``none``; ``auto`` is the tree where the cursor can be moved."""
    if quiet:
        return "none"
    if view == "auto":
        return "tree" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    return view


@contextlib.contextmanager
def show(view: str, color: str) -> Iterator[Reader | None]:
    """The reader that shows a run on stderr while the context is open."""
    if view == "tree":
        from ttc_cli.views.tree import LiveTree

        with LiveTree(colour=use_color(sys.stderr, color)) as tree:
            yield tree
    elif view == "plain":
        from ttc_cli.views.plain import PlainLines

        yield PlainLines(sys.stderr)
    else:
        yield None


def think(
    request: Request,
    path: Path,
    out: Output,
    interruption: Interruption,
    *,
    view: str,
    lines: bool,
) -> Thought:
    """Load the model at ``path`` and search; ``lines`` writes the events to stdout as JSON.

    ``interruption`` must be installed: a first Ctrl-C then ends the search with what it has
    (``result.interrupted``).

    Raises:
        TtcError: as ``open_engine`` and ``policy.run.solve``.
        OSError: the JSON lines cannot be written: a closed pipe, a full disk.
    """
    with contextlib.ExitStack() as stack:
        if request.server is None:
            stack.enter_context(crash.watched())
        # The engine is closed after the event loop: tasks that are torn down still use it.
        return asyncio.run(_think(request, path, out, interruption, view, lines, stack))


def hash_file_of(request: Request, path: Path) -> str:
    """The sha256 of the generator's file, which probes and verdicts on verifiers are known by."""
    from ttc_cli.models.files import read_hash

    return read_hash(replace(request.model, path=path))


def find_refused(request: Request, path: Path) -> dict[str, str]:
    """Verifiers that a test found unable to tell right from wrong with this model, and why."""
    from ttc_cli import paths

    known = paths.data_dir() / "verifiers.json"
    if request.server is not None or not known.is_file():
        return {}
    from ttc_cli.verifiers import verdicts

    return verdicts.find_refused(known, hash_file_of(request, path))


def find_table(request: Request, path: Path, chat: Chat | None = None) -> Table:
    """What ``auto`` goes by: the policy for this model and this way of asking, or the defaults.

    Args:
        request: what is asked for.
        path: the generator's file.
        chat: its chat template; None before it is loaded, and any way of asking will do.
    """
    from ttc_cli.commands import policies
    from ttc_cli.policy import file
    from ttc_cli.policy.table import SHIPPED
    from ttc_cli.prompts import hash_prompts

    places = (policies.folder(), file.SHIPPED_FOLDER)
    if request.strategy != "auto" or request.server is not None:
        return SHIPPED
    if not any(each for place in places for each in place.glob("*.json")):
        return SHIPPED  # no file to hash a model for
    asked = None if chat is None else hash_prompts(chat)
    policy = file.find_policy(hash_file_of(request, path), asked, places[0])
    return SHIPPED if policy is None else policy.table


class _Stdout:
    """Stdout that keeps the error which its reader swallows: a closed pipe or a full disk."""

    def __init__(self) -> None:
        self.error: OSError | None = None

    def write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Written through already."""


async def _think(
    request: Request,
    path: Path,
    out: Output,
    interruption: Interruption,
    view: str,
    lines: bool,
    stack: contextlib.ExitStack,
) -> Thought:
    model, name = request.model, label_model(request.model)
    out.status(f"loading {name} …")
    # In a thread of its own, so that the main thread is free to answer signals meanwhile, and to
    # import what the search needs while the weights are read.
    loop = asyncio.get_running_loop()
    forgive_termination(loop)
    others = request.verifier_models
    if request.server is not None:
        from ttc_cli.commands import serving

        out.status(f"asking {request.server.url} …")
        loading = loop.run_in_executor(None, serving.open_engines, request)
    else:
        loading = loop.run_in_executor(
            None, lambda: open_engines(path, request.settings, name, others, open_engine)
        )
    from ttc_cli.answers import Comparer
    from ttc_cli.models import hardware
    from ttc_cli.policy.cascade import solve_in_turn
    from ttc_cli.policy.run import solve
    from ttc_cli.prompts import Chat
    from ttc_cli.verifiers import registry

    if view == "tree":
        import ttc_cli.views.tree  # noqa: F401

    engine, verifying = await loading
    loaded = list(dict.fromkeys((engine, *verifying.values())))

    def close() -> None:
        for each in loaded:
            each.close()

    stack.callback(close)

    stopped = threading.Event()

    def interrupt() -> None:
        stopped.set()
        for each in loaded:
            each.interrupt()

    out.status("")
    if request.server is not None:
        serving.tell_limits(engine, out)
    events = EventStream()
    decisions: list[Decided] = []
    pipe = _Stdout()
    events.subscribe(lambda event: decisions.append(event) if type(event) is Decided else None)
    try:
        interruption.stop = interrupt
        if lines:
            from ttc_cli.views.jsonl import JsonLines

            events.subscribe(JsonLines(cast(TextIO, pipe), on_broken=interrupt))
        chat = Chat(engine.info, choose_template_arguments(model, request.thinking))
        means = registry.Means(
            chat,
            load=verifying.__getitem__,
            engine=engine,
            fingerprint=None if request.server else lambda: hash_file_of(request, path),
            check_seconds=request.check_seconds or registry.CHECK_SECONDS,
            sandbox=request.sandbox,
            parallel=hardware.count_cores(),
            stopped=stopped,
        )
        with Comparer() as comparer, show(view, out.color) as reader:
            if reader is not None:
                events.subscribe(reader)
            common: dict[str, Any] = {
                "comparer": comparer,
                "strategy": request.strategy,
                "knobs": request.knobs,
                "budget": request.budget,
                "samples": request.samples,
                "seed": request.seed,
                "events": events,
                "stopped": stopped.is_set,
            }
            if request.larger:
                first = _make_stage(request, path, engine, chat)
                climbs = _plan_climbs(request, first, loaded)
                result = await solve_in_turn(request.problem, climbs, **common)
            else:
                result = await solve(
                    request.problem,
                    engine,
                    chat=chat,
                    sampling=request.sampling,
                    verifiers=registry.build(request.verifiers, means),
                    thinking=request.thinking,
                    refused=find_refused(request, path),
                    table=find_table(request, path, chat),
                    overlaps=len(loaded) > 1 and any(each.info.offloaded for each in loaded),
                    **common,
                )
    finally:
        interruption.rest()
    if pipe.error is not None:
        raise pipe.error
    return Thought(result, tuple(decisions), engine.info.model)


def _make_stage(request: Request, path: Path, engine: Engine, chat: Chat) -> Stage:
    from ttc_cli.policy.cascade import Stage

    return Stage(
        engine,
        chat,
        find_table(request, path, chat),
        request.sampling,
        request.thinking,
        find_refused(request, path),
    )


def _plan_climbs(request: Request, first: Stage, loaded: list[Engine]) -> list[Climb]:
    """How each stage of a cascade is come by; a model is freed before the next one is loaded."""
    from ttc_cli.prompts import Chat

    async def stay() -> Stage:
        return first

    def plan(model: Model) -> Climb:
        async def climb() -> Stage:
            while loaded:
                loaded.pop().close()
            name, path = label_model(model), model.path
            assert path is not None  # obtained before
            loop = asyncio.get_running_loop()
            engine = await loop.run_in_executor(
                None, lambda: open_engine(path, request.settings, name)
            )
            loaded.append(engine)
            thinking = choose_thinking(model)
            own = replace(
                request,
                model=model,
                thinking=thinking,
                sampling=choose_sampling(model, request.temperature),
            )
            chat = Chat(engine.info, choose_template_arguments(model, thinking))
            return _make_stage(own, path, engine, chat)

        return climb

    return [stay, *(plan(model) for model in request.larger)]
