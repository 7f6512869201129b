"""Plays back a kept run: its text token by token as it grew, at any speed or step by step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ttc_cli.events import CandidateEnded, Decided, Event, Grew, RunStarted, Stepped, WaveStarted
from ttc_cli.runs.recorder import PIECE_SECONDS
from ttc_cli.runs.run import Timed

LONGEST_PAUSE = 2.0
"""Seconds that playing waits for the next event at most, whatever the run did."""
_CHARS = 4
"""Characters of a token, where a candidate never came to where its tokens are counted."""


def smooth(timed: Sequence[Timed]) -> Iterator[Timed]:
    """The same events, the pieces that grown text is kept in cut into decode steps again.

    How many tokens a piece had is not kept. Where its candidate pauses or ends its tokens are
    told; they are spread over its pieces by length. A step shows a character at least, whatever
    was told.
    """
    tokens = _count_tokens(timed)
    before = 0.0
    for place, each in enumerate(timed):
        if isinstance(each.event, Grew):
            since = max(before, each.seconds - PIECE_SECONDS)
            yield from _cut(each.event, tokens[place], min(since, each.seconds), each.seconds)
        else:
            yield each
        before = each.seconds


def _cut(piece: Grew, tokens: Mapping[int, int], since: float, until: float) -> Iterator[Timed]:
    counts = {id: max(1, min(tokens.get(id, 1), len(text))) for id, text in piece.texts.items()}
    steps = max(counts.values(), default=1)
    for step in range(steps):
        texts = {}
        for id, text in piece.texts.items():
            count = counts[id]
            last, now = step * count // steps, (step + 1) * count // steps
            if now > last:
                texts[id] = text[last * len(text) // count : now * len(text) // count]
        seconds = since + (until - since) * (step + 1) / steps
        yield Timed(seconds, replace(piece, texts=texts))


def _count_tokens(timed: Sequence[Timed]) -> dict[int, dict[int, int]]:
    """How many tokens each candidate drew in each piece, by the place of the piece's event."""
    counts: dict[int, dict[int, int]] = defaultdict(dict)
    pieces: dict[int, list[tuple[int, int]]] = defaultdict(list)  # place and length of its text
    stepped: dict[int, int] = defaultdict(int)

    def spread(id: int, tokens: int) -> None:
        whole = sum(length for _, length in pieces[id])
        read = 0
        for place, length in pieces.pop(id):
            last, read = read, read + length
            if whole:
                counts[place][id] = tokens * read // whole - tokens * last // whole

    def guess() -> None:
        for id in list(pieces):
            spread(id, sum(length for _, length in pieces[id]) // _CHARS)

    for place, each in enumerate(timed):
        match event := each.event:
            case Grew():
                for id, text in event.texts.items():
                    pieces[id].append((place, len(text)))
            case Stepped():
                stepped[event.id] += event.tokens
                spread(event.id, event.tokens)
            case CandidateEnded():
                id = event.candidate.id
                spread(id, max(0, event.candidate.tokens - stepped[id]))
            case RunStarted():  # the next model of a cascade counts its candidates from 0 again
                guess()
                stepped.clear()
            case _:
                pass
    guess()
    return counts


@dataclass(slots=True)
class Playback:
    """Hands events on when their time has come, ``speed`` times as fast as they happened.

    At speed 0 none waits. ``pause`` is called after each decision, where it is given, and none
    waits then either.
    """

    timed: Sequence[Timed]
    speed: float = 1.0
    pause: Callable[[], None] | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _reached: float = 0.0
    """The second of the run that was played last, and of the clock when it was."""
    _reached_at: float = 0.0
    _next: float = 0.0

    def now(self) -> float:
        """The second of the run that is being played; runs on between two events."""
        if not self.speed or self.pause is not None:
            return self._reached
        passed = (self.clock() - self._reached_at) * self.speed
        return min(self._reached + passed, self._next)

    def play(self, show: Callable[[Event], None]) -> None:
        """Hand every event to ``show``, in order."""
        waits = self.speed > 0 and self.pause is None
        self._reached_at = self.clock()
        decided = ""
        for each in self.timed:
            self._next = max(self._reached, each.seconds)
            if waits:
                gap = min((self._next - self._reached) / self.speed, LONGEST_PAUSE)
                left = self._reached_at + gap - self.clock()
                if left > 0:
                    self.sleep(left)
                # Not the clock's own word: what showing an event took must not add up.
                self._reached_at += gap
            self._reached = self._next
            show(each.event)
            if isinstance(each.event, Decided | WaveStarted):
                # A wave that begins for the reason just given is the same decision.
                if self.pause is not None and each.event.reason != decided:
                    self.pause()
                decided = each.event.reason
