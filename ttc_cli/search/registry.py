"""The strategies by name. ``auto`` is not one of them: it is the policy that uses them.

Those of other packages (``plugins``) are known by name, and imported when they are asked for.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ttc_cli import plugins
from ttc_cli.errors import UsageError, suggest
from ttc_cli.search.context import Strategy
from ttc_cli.search.guard import guard
from ttc_cli.search.names import BUILT_IN
from ttc_cli.search.strategies.backtrack import BacktrackKnobs, backtrack
from ttc_cli.search.strategies.beam import BeamKnobs, beam
from ttc_cli.search.strategies.best_of_n import best_of_n
from ttc_cli.search.strategies.dvts import DvtsKnobs, dvts
from ttc_cli.search.strategies.greedy import greedy
from ttc_cli.search.strategies.lookahead import LookaheadKnobs, lookahead
from ttc_cli.search.strategies.majority import majority
from ttc_cli.search.strategies.mcts import MctsKnobs, mcts
from ttc_cli.search.strategies.mixed import MixedKnobs, mixed
from ttc_cli.search.strategies.particle import ParticleKnobs, particle
from ttc_cli.search.strategies.revise import ReviseKnobs, revise
from ttc_cli.search.strategies.weighted import weighted


@dataclass(frozen=True, slots=True)
class Entry:
    """A strategy, one line on it, and what it needs.

    ``knobs`` is a dataclass of its own settings, which ``run`` takes as its second argument;
    its ``__post_init__`` raises ``ValueError`` for values that make no sense. ``verifies``: it
    asks verifiers. ``votes``: it counts answers, so that a free-form question has nothing for
    it. ``steps``: it pauses candidates at step boundaries and grows on from there.
    ``continues``: it goes on behind candidates that have ended.
    """

    name: str
    run: Callable[..., Any]
    summary: str
    knobs: type[Any] | None = None
    verifies: bool = False
    votes: bool = False
    steps: bool = False
    continues: bool = False


_ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("greedy", greedy, "one candidate, the likeliest token each time"),
        Entry("majority", majority, "N candidates, the most frequent answer", votes=True),
        Entry("best-of-n", best_of_n, "N candidates, the best scored one", verifies=True),
        Entry(
            "weighted",
            weighted,
            "N candidates, the answer with the greatest sum of scores",
            verifies=True,
            votes=True,
        ),
        Entry(
            "beam",
            beam,
            "N beams, step by step, the best N/M each forked into M",
            knobs=BeamKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "dvts",
            dvts,
            "N/M subtrees, in each the best of M continuations goes on",
            knobs=DvtsKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "lookahead",
            lookahead,
            "beam, each step valued by a greedy roll-out of k steps",
            knobs=LookaheadKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "mcts",
            mcts,
            "tree search: PUCT chooses which partial solution goes on",
            knobs=MctsKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "particle",
            particle,
            "N particles, at each step drawn anew in proportion to their scores",
            knobs=ParticleKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "backtrack",
            backtrack,
            "N candidates, half of them cut at their weakest step and drawn anew",
            knobs=BacktrackKnobs,
            verifies=True,
            steps=True,
        ),
        Entry(
            "revise",
            revise,
            "chains of attempts, each seeing those before and what the verifiers made of them",
            knobs=ReviseKnobs,
            verifies=True,
            continues=True,
        ),
        Entry(
            "mixed",
            mixed,
            "as revise, attempts in sequence and in parallel at a given ratio",
            knobs=MixedKnobs,
            verifies=True,
            continues=True,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Every strategy's name, those of other packages last."""
    return (*BUILT_IN, *plugins.list_names(plugins.STRATEGIES, BUILT_IN))


def find(name: str) -> Entry:
    """The strategy called ``name``.

    Raises:
        UsageError: there is none, or it is another package's and cannot be loaded.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    plugin = plugins.find_plugin(plugins.STRATEGIES, name)
    if plugin is not None:
        entry = plugins.load(plugin, Entry)
        return replace(entry, run=guard(entry.run, str(plugin)))
    known = ("auto", *names())
    hint = suggest(name, known, f"Choose one of {', '.join(known)}.")
    raise UsageError(f"There is no strategy called {name!r}.", hint)


def prepare(entry: Entry, given: Mapping[str, str]) -> Strategy:
    """The strategy of ``entry`` with its knobs set as ``given`` (by name, as text).

    Raises:
        UsageError: it has no such knob, or the value makes no sense.
    """
    if entry.knobs is None:
        if given:
            raise UsageError(f"The strategy {entry.name} takes no options of its own.")
        return typing.cast(Strategy, entry.run)
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
