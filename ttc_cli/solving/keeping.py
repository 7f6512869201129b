"""Keeps the run of ``ttc solve`` in the log while it goes on, without getting in its way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttc_cli import __version__, paths
from ttc_cli.errors import TtcError
from ttc_cli.output import Output
from ttc_cli.solving.request import Request, label_model
from ttc_cli.types import Result

if TYPE_CHECKING:
    from ttc_cli.runs.recorder import Recorder
    from ttc_cli.runs.spending import Cost
    from ttc_cli.runs.store import RunStore

MACHINE = ("threads", "gpu_layers", "verifier_gpu_layers", "parallel")
"""Parameters of ``ttc solve`` that say how a run is computed on this machine."""
_PANELS = ("Thinking", "Budget", "Model and engine")
"""Of the flags that make a run what it is, ``MACHINE`` and ``yes`` left out."""

_TOLD = "told"
"""The note that the user has been told that runs are kept."""


@dataclass(slots=True)
class KeptRun:
    """A run while it goes on. ``recorder`` is None where it is not kept."""

    recorder: Recorder | None = None
    over: bool = False
    full: Cost | None = None

    def conclude(self, result: Result, out: Output) -> None:
        """The search is over: note what all of its samples would have cost."""
        from ttc_cli.runs.spending import estimate_full

        self.over = True
        if self.recorder is None:
            return
        self.full = estimate_full(result)
        if result.interrupted and self.recorder.failure is None:
            out.say(f"ttc solve --resume {self.recorder.id} goes on with it")


def list_flags(command: Any) -> list[Any]:
    """The parameters of ``ttc solve`` that make a run what it is; the question is beside them."""
    return [
        each
        for each in command.params
        if getattr(each, "rich_help_panel", None) in _PANELS and each.name not in (*MACHINE, "yes")
    ]


def read_flags(command: Any, option: Callable[[str], Any], model: str | None) -> dict[str, Any]:
    """The flags of this run in values that JSON has; ``model`` is the one that was chosen."""
    flags: dict[str, Any] = {}
    for each in list_flags(command):
        value = model if each.name == "model" else option(each.name)
        if isinstance(value, list | tuple):
            value = [str(word) for word in value] or None
        plain = value is None or isinstance(value, bool | int | float | list)
        flags[each.name] = value if plain else str(value)
    return flags


def word_flags(command: Any, flags: Mapping[str, Any]) -> list[str]:
    """``flags`` as they are typed, those at their default left out."""
    words: list[str] = []
    for each in list_flags(command):
        value, flag = flags.get(each.name), each.opts[0]
        if value is None or value == each.default or value is False:
            continue
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                words.append(flag)
            elif str(one).startswith("-"):
                words.append(f"{flag}={one}")
            else:
                words += [flag, str(one)]
    return words


def identify_models(request: Request) -> dict[str, str]:
    """What the files of all models of ``request`` are known by; none of a server's."""
    from ttc_cli.runs.resuming import identify_file

    models = [own.model for own in request.in_turn()]
    models += [each.model for each in request.verifier_models]
    if request.server is not None:
        models.remove(request.model)
    return {label_model(each): identify_file(each.path) for each in models if each.path}


@contextlib.contextmanager
def keep_run(
    request: Request,
    flags: Mapping[str, Any],
    words: Sequence[str],
    out: Output,
    *,
    wanted: bool,
    parent: str | None = None,
) -> Iterator[KeptRun]:
    """Keep the run within, if that is ``wanted`` and can be done; else warn and go on.

    ``flags`` and ``words`` are from ``read_flags`` and ``word_flags``; ``parent`` is the id of the
    run that this one resumes. ``out`` says once where runs are kept.
    """
    kept = KeptRun()
    if wanted:
        try:
            kept.recorder = _begin(request, {"flags": flags, "words": words}, out, parent)
        except TtcError as error:
            _warn(error, out)
    try:
        yield kept
    except BaseException as error:
        _close(kept, out, error)
        raise
    _close(kept, out, None)


def _begin(request: Request, asked: Mapping[str, Any], out: Output, parent: str | None) -> Recorder:
    from ttc_cli.runs.database import explain_faults
    from ttc_cli.runs.recorder import Recorder
    from ttc_cli.runs.store import RunStore, hide_keys

    asked = {"question": request.problem.text, **asked}
    store = RunStore.open(paths.runs_path(), out.warn)
    try:
        with explain_faults(store.path):
            id = store.begin(
                question=request.problem.text,
                model=request.label,
                strategy=request.strategy,
                level=request.budget.level,
                request={
                    **asked,
                    "files": identify_models(request),
                    "version": __version__,
                    "hidden": hide_keys(json.dumps(asked)) != json.dumps(asked),
                },
                parent=parent,
            )
        _tell_once(store, out)
    except BaseException:
        store.close()
        raise
    return Recorder(store, id)


def _tell_once(store: RunStore, out: Output) -> None:
    if out.quiet or store.read_note(_TOLD):
        return
    store.write_note(_TOLD, __version__)
    out.say(
        f"runs are kept in {store.path}, see them with ttc runs list; ttc runs off stops that, "
        "--no-save leaves one out"
    )


def _close(kept: KeptRun, out: Output, error: BaseException | None) -> None:
    from ttc_cli.runs.run import RunState

    recorder = kept.recorder
    if recorder is None:
        return
    if error is None or kept.over:
        recorder.close(full=kept.full)
    # SIGTERM and SIGHUP are among them, and a client that goes away.
    elif isinstance(error, KeyboardInterrupt | SystemExit | asyncio.CancelledError):
        recorder.close(RunState.INTERRUPTED)
    else:
        words = error.message if isinstance(error, TtcError) else type(error).__name__
        recorder.close(RunState.FAILED, words)
    if recorder.failure is not None:
        _warn(recorder.failure, out)


def _warn(error: TtcError, out: Output) -> None:
    from ttc_cli.runs.database import is_damage, set_aside

    out.warn(
        f"this run is not kept. {error.message} ttc solve --no-save skips one run, ttc runs off "
        "keeps none."
    )
    if is_damage(error.__cause__):
        with contextlib.suppress(OSError, TtcError):
            set_aside(paths.runs_path(), out.warn)
