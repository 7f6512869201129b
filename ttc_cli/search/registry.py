"""The strategies by name. ``auto`` is not one of them: it is the policy that uses them.

ttc's own are listed in ``builtin``. A strategy, its own or another package's (``plugins``), is
imported when it is asked for.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ttc_cli import plugins
from ttc_cli.builtin import STRATEGIES
from ttc_cli.errors import TtcError, UsageError, suggest
from ttc_cli.events import Warned
from ttc_cli.search.conclude import conclude_by_vote
from ttc_cli.search.context import SearchContext, SearchOutcome, Strategy, StrategyEntry
from ttc_cli.search.sample import count_pool


def find(name: str) -> StrategyEntry:
    """The strategy called ``name``.

    Raises:
        UsageError: it is unknown, or another package's and cannot be loaded.
    """
    return plugins.find_entry(
        plugins.STRATEGIES, name, StrategyEntry, STRATEGIES, _guard, also=("auto",)
    )


def _guard(plugin: plugins.Plugin, entry: StrategyEntry) -> StrategyEntry:
    """``entry`` with a vote over its pool in place of an error of its package.

    Raises (when run):
        TtcError: it raised one, or it failed before any candidate of ``context.pool`` answered.
    """

    async def run_guarded(context: SearchContext, **knobs: Any) -> SearchOutcome:
        try:
            outcome = await entry.run(context, **knobs)
            if not isinstance(outcome, SearchOutcome):
                raise TypeError(f"it returned {type(outcome).__name__}, not SearchOutcome")
        except TtcError:
            raise
        except Exception as error:  # whatever another's code does
            message = f"{plugin} failed: {type(error).__name__}: {error}"
            if not context.pool.answered:
                raise TtcError(message, "use another --strategy, or tell its author") from error
            context.events.emit(Warned(f"{message}; going by the vote of what it had grown."))
            classes = await count_pool(context)
            return conclude_by_vote(context, classes, "the strategy failed")
        return outcome

    return replace(entry, run=run_guarded)


def prepare(entry: StrategyEntry, given: Mapping[str, str]) -> Strategy:
    """The strategy of ``entry`` with its knobs set as ``given`` (by name, as text).

    Raises:
        UsageError: it has no such knob, or the value makes no sense.
    """
    if entry.knobs is None:
        if given:
            raise UsageError(f"The strategy {entry.name} takes no options of its own.")
        return entry.run
    kinds = typing.get_type_hints(entry.knobs)
    known = [field.name for field in fields(entry.knobs)]
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            hint = suggest(name, known, f"It has {', '.join(known)}.")
            raise UsageError(f"The strategy {entry.name} has no option {name!r}.", hint)
        values[name] = _read(entry.name, name, kinds[name], text)
    try:
        knobs = entry.knobs(**values)
    except ValueError as error:
        raise UsageError(f"{entry.name}: {error}.") from error
    return functools.partial(entry.run, knobs=knobs)


def _read(strategy: str, name: str, kind: Any, text: str) -> Any:
    """``text`` as a value of the type ``kind``: int, float, bool or one of some words."""
    words = typing.get_args(kind)
    try:
        if words:
            if text not in words:
                raise ValueError
            return text
        if kind is bool:
            return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        wanted = (
            f"one of {', '.join(words)}"
            if words
            else {int: "a whole number"}.get(kind, "yes or no" if kind is bool else "a number")
        )
        raise UsageError(f"{strategy}: {name}={text!r} is not {wanted}.") from error
