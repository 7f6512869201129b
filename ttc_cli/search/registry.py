"""The strategies by name. ``auto`` is not one of them: it is the policy that uses them."""

from __future__ import annotations

from dataclasses import dataclass

from ttc_cli.errors import UsageError
from ttc_cli.search.best_of_n import best_of_n
from ttc_cli.search.context import Strategy
from ttc_cli.search.greedy import greedy
from ttc_cli.search.majority import majority
from ttc_cli.search.weighted import weighted


@dataclass(frozen=True, slots=True)
class Entry:
    """A strategy, one line on it, and what it needs.

    ``verifies``: it asks verifiers. ``votes``: it counts answers, so that a free-form question
    has nothing for it.
    """

    name: str
    run: Strategy
    summary: str
    verifies: bool = False
    votes: bool = False


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
    )
}


def names() -> tuple[str, ...]:
    """Every strategy's name."""
    return tuple(_ENTRIES)


def find(name: str) -> Entry:
    """The strategy called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in _ENTRIES:
        raise UsageError(
            f"There is no strategy called {name!r}.",
            f"Choose one of auto, {', '.join(_ENTRIES)}.",
        )
    return _ENTRIES[name]
