"""One round of a search over steps, in one plain line."""

from __future__ import annotations

from dataclasses import dataclass, field

from ttc_cli.events import Stepped
from ttc_cli.types import Score
from ttc_cli.views import words
from ttc_cli.views.nodes import join

_STEP_CHARS = 80


@dataclass(slots=True)
class Round:
    """What happened since the round began.

    ``parents`` are those of look-aheads: candidates that step only to tell what a path is worth.
    """

    name: str = ""
    parents: dict[int, int] = field(default_factory=dict)
    stepped: dict[int, list[Stepped]] = field(default_factory=dict)
    scores: dict[int, list[Score]] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)

    def step(self, event: Stepped) -> None:
        """A path wrote a step. What look-aheads write is not kept."""
        if event.id not in self.parents:
            self.stepped.setdefault(event.id, []).append(event)

    def score(self, id_: int, score: Score) -> None:
        """A step was scored; the score of a look-ahead is that of the path it was made for."""
        self.scores.setdefault(self.parents.get(id_, id_), []).append(score)

    def value(self, id_: int) -> float | None:
        """What the verifiers make of the newest step of a path that they saw."""
        found = self.scores.get(id_, [])
        newest = max((s.step for s in found if s.step is not None), default=None)
        return join([score for score in found if score.step == newest])

    @property
    def line(self) -> str:
        """``step 3: 8 beams, scores 0.31–0.92, 4 pruned; best #5: We add …``."""
        values = {id_: value for id_ in self.stepped if (value := self.value(id_)) is not None}
        parts = [self.name or self._count()]
        if values:
            low, high = min(values.values()), max(values.values())
            parts.append(f"scores {low:.2f}–{high:.2f}" if len(values) > 1 else f"score {low:.2f}")
        if self.parents:
            parts.append(words.plural(len(self.parents), "look-ahead"))
        pruned = self.pruned - self.parents.keys()
        if pruned:
            parts.append(f"{len(pruned)} pruned")
        line = ", ".join(parts)
        if not values:
            return line
        best = max(values, key=lambda id_: (values[id_], -id_))
        text = words.shorten(self.stepped[best][-1].text, _STEP_CHARS)
        return f"{line}; best #{best}: {text}"

    def _count(self) -> str:
        numbers = sorted({event.step + 1 for each in self.stepped.values() for event in each})
        several = f"s {numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else f" {numbers[0]}"
        return f"step{several}: {words.plural(len(self.stepped), 'path')}"
