"""Runs one search with everything around it: engine, view, machine output, signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from ttc_cli import crash
from ttc_cli.engines.base import Engine
from ttc_cli.engines.llamacpp import Settings
from ttc_cli.events import Decided, Event, EventStream
from ttc_cli.models.files import Model
from ttc_cli.output import Output, use_color
from ttc_cli.paths import policies_dir, verdicts_path
from ttc_cli.signals import Interruption
from ttc_cli.solving.choosing import label_model
from ttc_cli.solving.verifier_models import VerifierModel
from ttc_cli.types import Budget, Candidate, Problem, Result, Sampling

if TYPE_CHECKING:
    from ttc_cli.engines.llamacpp.memory import MemoryPlan
    from ttc_cli.policy.stage import LoadStage, Stage
    from ttc_cli.policy.table import Table
    from ttc_cli.prompts import Chat
    from ttc_cli.search.sessions.thinking import Thinking
    from ttc_cli.solving.loading import Ground
    from ttc_cli.solving.serving import Server

Reader = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Rung:
    """A further model of a cascade, and how it is asked; the rest is as for the first."""

    model: Model
    sampling: Sampling
    thinking: Thinking | None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: flags, configuration and the registry's entry put together.

    ``budget.tokens_per_candidate`` is also the room that ``settings`` keeps for an answer.
    ``server`` grows the candidates where it is given; ``settings`` are then of no use to them.
    ``verifier_models`` are loaded beside ``model``, unless they are the same file. ``thinking``
    is how the model thinks before it answers, None where it does not. ``larger`` are the further
    models of a cascade, asked in turn. ``known`` are candidates of an earlier run that this one
    takes up, for each model in its turn.
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
    larger: tuple[Rung, ...] = ()
    check_seconds: float | None = None
    sandbox: str | None = None
    known: tuple[Mapping[int, Candidate], ...] = ()

    def in_turn(self) -> tuple[Request, ...]:
        """This request as each model of a cascade is asked it; itself alone where there is one."""
        others = (
            replace(self, model=each.model, sampling=each.sampling, thinking=each.thinking)
            for each in self.larger
        )
        return (self, *others)

    def find_known(self, turn: int) -> Mapping[int, Candidate]:
        """What is known of the model whose turn it is, from 0."""
        return self.known[turn] if turn < len(self.known) else {}


@dataclass(frozen=True, slots=True)
class Thought:
    """What a run came to: the result, and the policy's decisions on the way."""

    result: Result
    decisions: tuple[Decided, ...]


def describe(thought: Thought, request: Request) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    from ttc_cli.views.jsonl import result_json

    return result_json(
        thought.result,
        question=request.problem.text,
        model=label_model(request.model),
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
    keep: Reader | None = None,
) -> Thought:
    """Load the model at ``path`` and search; ``lines`` writes the events to stdout as JSON.

    ``keep`` reads every event too.

    ``interruption`` must be installed: a first Ctrl-C then ends the search with what it has
    (``result.interrupted``).

    Raises:
        TtcError: as ``open_engine`` and ``policy.run.solve``.
        OSError: the JSON lines cannot be written: a closed pipe, a full disk.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(crash.watched())  # also on a server: it shows the cursor again
        # The engine is closed after the event loop: tasks that are torn down still use it.
        return interruption.run(_think(request, path, out, interruption, view, lines, keep, stack))


def hash_file_of(request: Request, path: Path) -> str:
    """The sha256 of the generator's file, which probes and verdicts on verifiers are known by."""
    from ttc_cli.models.files import read_hash

    return read_hash(replace(request.model, path=path))


def find_refused(request: Request, path: Path) -> dict[str, str]:
    """Verifiers that a test found unable to tell right from wrong with this model, and why."""
    known = verdicts_path()
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
    from ttc_cli.policy import file
    from ttc_cli.policy.table import SHIPPED
    from ttc_cli.prompts import hash_prompts

    if request.strategy != "auto" or request.server is not None:
        return SHIPPED
    own = policies_dir()
    if not any(own.glob("*.json")) and not _is_of_the_registry(request, path):
        return SHIPPED  # nothing to hash a file of gigabytes for
    asked = None if chat is None else hash_prompts(chat)
    policy = file.find_policy(hash_file_of(request, path), asked, own)
    return SHIPPED if policy is None else policy.table


def _is_of_the_registry(request: Request, path: Path) -> bool:
    """Whether the file may be one that a policy comes with ttc for: it is known by its size."""
    from ttc_cli.models.registry import load_registry

    if request.model.entry.sha256 is not None:
        return True
    try:
        size = path.stat().st_size
    except OSError:
        return False
    return any(entry.bytes == size for entry in load_registry().entries.values())


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
    keep: Reader | None,
    stack: contextlib.ExitStack,
) -> Thought:
    from ttc_cli.solving import loading as searching

    loading = searching.start_loading(request, path, out)
    import ttc_cli.policy.run
    import ttc_cli.verifiers.registry
    from ttc_cli.answers import Comparer
    from ttc_cli.policy.cascade import solve_in_turn

    if view == "tree":
        import ttc_cli.views.tree  # noqa: F401
    if request.strategy == "auto" and request.server is None:
        from ttc_cli.policy.file import make_reader

        make_reader()
    loaded = await loading
    stack.callback(loaded.close)
    out.status("")
    if request.server is not None:
        from ttc_cli.solving import serving

        serving.tell_limits(loaded.engine, out)
        stack.callback(serving.tell_trouble, loaded.engine, out)
    events = EventStream()
    decisions: list[Decided] = []
    pipe = _Stdout()
    events.subscribe(lambda event: decisions.append(event) if type(event) is Decided else None)
    if keep is not None:
        events.subscribe(keep)
    try:
        interruption.stop = loaded.interrupt
        if lines:
            from ttc_cli.views.jsonl import JsonLines

            events.subscribe(JsonLines(cast(TextIO, pipe), on_broken=loaded.interrupt))
        ground = searching.survey(request, path, loaded)
        with Comparer() as comparer, show(view, out.color) as reader:
            if reader is not None:
                events.subscribe(reader)
            if request.larger:
                result = await solve_in_turn(
                    request.problem,
                    _plan_stages(request, ground),
                    searching.choose_options(request),
                    comparer=comparer,
                    events=events,
                    stopped=loaded.stopped.is_set,
                )
            else:
                result = await searching.search(request, ground, comparer, events)
    finally:
        interruption.rest()
    if pipe.error is not None:
        raise pipe.error
    return Thought(result, tuple(decisions))


def _make_stage(request: Request, ground: Ground, turn: int) -> Stage:
    from ttc_cli.policy.stage import Stage

    return Stage(
        ground.loaded.engine,
        ground.chat,
        table=ground.table,
        sampling=request.sampling,
        thinking=request.thinking,
        refused=ground.refused,
        known=request.find_known(turn),
    )


def _plan_stages(request: Request, ground: Ground) -> list[Stage | LoadStage]:
    """The stages of a cascade; each model is freed before the next one is loaded."""
    from ttc_cli.solving.loading import survey

    loaded = ground.loaded

    def plan(turn: int, own: Request) -> LoadStage:
        async def load() -> Stage:
            while loaded.all:
                loaded.all.pop().close()
            name, path = label_model(own.model), own.model.path
            assert path is not None  # obtained before
            loop = asyncio.get_running_loop()
            engine = await loop.run_in_executor(
                None, lambda: open_engine(path, request.settings, name)
            )
            loaded.all.append(engine)
            there = survey(own, path, replace(loaded, engine=engine))
            return _make_stage(own, there, turn)

        return load

    later = list(enumerate(request.in_turn()))[1:]
    return [_make_stage(request, ground, 0), *(plan(turn, own) for turn, own in later)]
