"""Models that think before they answer: budget forcing inside the think block.

``ThinkingSession`` stands between a search and its engine and keeps the engine's protocol, so that
every strategy grows thinking candidates without knowing: one request becomes the growth of a
thought, what is forced onto it, and the growth of the answer, all in the batch of its siblings.

* *Cap and end* (Muennighoff et al. 2025, s1, arXiv 2501.19393, § 3): a thought that reaches its
  cap is closed for the model, which then answers. So is one that repeats itself, and one whose
  turn ends inside the block.
* *Wait* (the same): a thought that ends by itself is cut before its end mark and goes on with
  "Wait", a given number of times.
* *Early stop* (Fu et al. 2025, DeepConf, arXiv 2508.15260, § 3.3): once ``WARM_UP`` thoughts of
  the question ended by themselves, later ones are closed when their group confidence falls below
  the threshold that keeps the most confident share of those. DeepConf drops such a trace; here it
  answers with what it has. Windows are 32 tokens, not 2,048: small models' thoughts are short.

The injected words are read, not sampled: they are booked as prompt tokens and stand in the text.
Not covered: marks that a vocabulary holds as control tokens, which no engine writes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ttc_cli.answers import find_opened, find_thought
from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Prompt,
    ScoreRow,
    Session,
    Span,
    Until,
)
from ttc_cli.prompts import STOP_THINKING, WAIT
from ttc_cli.search.sample import derive_seed
from ttc_cli.search.sessions.phases import PhasedRequest, PhasedSession
from ttc_cli.types import Finish

ANSWER_ROOM = 256
"""Tokens of a candidate's limit that its thought must leave for the answer, or half of it."""
WARM_UP = 4
"""Thoughts that end by themselves before others are held to their confidence (16 in DeepConf)."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model marks its thoughts, and how far they may go.

    Attributes:
        opening: the mark that begins a thought; where the template does not write it, we do.
        closing: the mark that ends it.
        tokens: cap on the tokens of a thought; 0 allows none, None what the limit of the
            candidate leaves.
        waits: how often a thought that ended is made to go on.
        keep: the share of thoughts, by their least confident group, that may go on to their
            end, in (0, 1]; None stops none early.
    """

    opening: str = "<think>"
    closing: str = "</think>"
    tokens: int | None = None
    waits: int = 0
    keep: float | None = None

    def __post_init__(self) -> None:
        if not self.opening.strip() or not self.closing.strip():
            raise ValueError("think marks are not empty")
        if (self.tokens or 0) < 0 or self.waits < 0:
            raise ValueError("think tokens and waits are not negative")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError("the share of thoughts to keep is above 0 and at most 1")

    @property
    def forced(self) -> bool:
        """Whether an engine must be able to stop a thought and go on from there."""
        return self.tokens is not None or self.waits > 0 or self.keep is not None


def find_opened_thought(prompt: Prompt) -> tuple[str, str] | None:
    """The marks of the thought that a template opens in ``prompt``, of a model nobody described."""
    if not prompt or not prompt[-1].control:
        return None
    return find_opened("".join(span.text for span in prompt[-2:]))


def begin_answer(prompt: Prompt, beginning: str, marks: tuple[str, str] | None) -> Prompt:
    """``prompt`` with the model's turn begun, for it to go on from there without a thought.

    ``marks`` are those of thoughts, where the model thinks.
    """
    if not beginning:
        return prompt
    skipped = skip_thought(prompt, *marks) if marks is not None else prompt
    return (*skipped, Span(beginning))


def skip_thought(text: Prompt, opening: str, closing: str) -> Prompt:
    """``text`` with an empty thought at its end, where it opens a turn of the model."""
    if not text or not text[-1].control:
        return text
    inside, missing = _open_turn(text, opening, closing)
    return (*text, *missing, Span(f"\n{closing}\n\n", control=True)) if inside else text


def _open_turn(text: Prompt, opening: str, closing: str) -> tuple[bool, Prompt]:
    """Whether the model thinks after ``text``, and what must be added for it to do so.

    Templates open the block themselves (DeepSeek R1), leave that to the model (Qwen3), or open and
    close it where thinking is switched off. A turn that has begun in plain text is an answer.
    """
    if not text or not text[-1].control:
        return False, ()
    tail = "".join(span.text for span in text[-2:]).rstrip()
    if tail.endswith(closing):
        return False, ()
    if tail.endswith(opening):
        return True, ()
    return True, (Span(f"{opening}\n", control=True),)


@dataclass(slots=True)
class _Place:
    """Where a branch stands: ``inside`` a thought or not. ``spent`` are tokens of this thought."""

    inside: bool
    spent: int = 0
    waited: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class _Request(PhasedRequest):
    """One request, and where it stands."""

    place: _Place


class ThinkingSession(PhasedSession[_Request]):
    """Implements ``engines.base.Session`` over another session whose model thinks.

    Candidates grow through their thoughts to their answers; a thought counts as one step.
    ``prompt`` is what ``inner`` was opened with. ``forces`` is False where the engine cannot pause
    a candidate: thoughts are then only told from answers.
    """

    def __init__(
        self, inner: Session, prompt: Prompt, thinking: Thinking, *, forces: bool = True
    ) -> None:
        super().__init__(inner)
        self._thinking = thinking
        self._forces = forces
        self._lowest: list[float] = []
        self._places: dict[Branch, _Place] = {}
        self._begin_at(inner.root, prompt)

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """As the inner session; a thought begins there unless the answer has."""
        root = await super().add_prompt(prompt)
        self._begin_at(root, prompt)
        return root

    def _begin_at(self, root: Branch, prompt: Prompt) -> None:
        inside, missing = _open_turn(prompt, *self._marks)
        if missing and self._forces:
            self._moved[root] = self._inner.append(root, missing)
        self._places[root] = _Place(inside)

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches, inside the thought where ``branch`` is."""
        made = super().fork(branch, count)
        self._places.update((each, replace(self._places[branch])) for each in made)
        return made

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """As the inner session; where ``text`` opens a turn of the model, a thought begins."""
        turn = bool(text) and text[-1].control
        inside, missing = _open_turn(text, *self._marks)
        longer = super().append(branch, (*text, *(missing if self._forces else ())))
        self._places[longer] = _Place(inside) if turn else replace(self._places[branch])
        return longer

    def cut(self, branch: Branch, mark: str) -> Branch:
        """As the inner session; a cut leaves a branch where its thought or its answer was."""
        shorter = super().cut(branch, mark)
        self._places[shorter] = replace(self._places[branch])
        return shorter

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """As the inner session, with no thought before the scored token."""
        return await super().score(
            [replace(row, suffix=skip_thought(row.suffix, *self._marks)) for row in rows]
        )

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold."""
        gone = [each for each in branches if each in self._places and each is not self.root]
        super().drop(gone)
        for each in gone:
            del self._places[each]

    def begin(self, request: Grow) -> tuple[_Request, Grow | Growth]:
        """``request`` with its first growth to ask for (or what it came to at once)."""
        place = self._places[request.branch]
        phased = _Request(request, request.max_tokens, self._find(request.branch), place=place)
        if not place.inside or not self._forces:
            return phased, replace(request, branch=phased.inner)
        if self._room(phased) < 1:
            return phased, self._close_thought(phased)
        return phased, self._think(phased)

    def advance(self, phased: _Request, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""
        phased.book(growth)
        place, finish = phased.place, growth.finish
        if not place.inside:
            return phased.end(finish)
        if not self._forces:
            phased.thought = find_thought(phased.text, self._marks, inside=True)
            place.inside = phased.thought == len(phased.text)
            return phased.end(finish)
        place.spent += growth.tokens
        phased.thought = len(phased.text)
        if phased.cancelled:
            return phased.end(Finish.CANCELLED)
        if finish in (Finish.CANCELLED, Finish.BUDGET, Finish.CONTEXT, Finish.CUT):
            return phased.end(finish)
        if finish is not Finish.MARK:
            by_step = phased.request.until is Until.STEP and finish is Finish.LENGTH
            if by_step and not self._is_spent(place):  # the search's own pause, not the cap
                return phased.end(finish)
            return self._close_thought(phased)
        if growth.confidence is not None and not place.waited:
            self._lowest.append(growth.confidence.lowest_group)
        if place.waited < self._thinking.waits and self._room(phased) > 0:
            return self._wait(phased, growth)
        place.inside = False
        return self._answer(phased)

    def _think(self, phased: _Request) -> Grow:
        request = phased.request
        return Grow(
            phased.inner,
            self._room(phased),
            request.sampling,
            self._seed(phased),
            request.label,
            marks=(self._thinking.closing,),
            floor=self._find_floor(),
            window=request.window,
            pool=request.pool,
        )

    def _wait(self, phased: _Request, growth: Growth) -> Grow:
        """Cut the end of the thought off and let it go on."""
        phased.place.waited += 1
        lost = len(growth.text) - growth.text.rindex(self._thinking.closing)
        phased.text = phased.text[:-lost]
        self._move(phased, self._inner.cut(phased.inner, self._thinking.closing))
        words = WAIT if not phased.text or phased.text[-1].isspace() else f"\n{WAIT}"
        self._inject(phased, (Span(words),))
        return self._think(phased)

    def _close_thought(self, phased: _Request) -> Grow | Growth:
        """End the thought in the model's stead."""
        closing = Span(self._thinking.closing, control=True)
        words = f"\n\n{STOP_THINKING}\n" if phased.place.spent else "\n"
        self._inject(phased, (Span(words), closing, Span("\n\n")))
        phased.place.inside = False
        return self._answer(phased)

    def _answer(self, phased: _Request) -> Grow | Growth:
        """The growth of the answer; a thought is a step of its own where steps are asked for."""
        phased.thought = len(phased.text)
        if phased.request.until is Until.STEP and phased.tokens:
            return phased.end(Finish.STEP)
        if phased.left < 1:
            return phased.end(Finish.LENGTH)
        return replace(
            phased.request, branch=phased.inner, max_tokens=phased.left, seed=self._seed(phased)
        )

    def _inject(self, phased: _Request, words: Prompt) -> None:
        phased.text += "".join(span.text for span in words)
        self._move(phased, self._inner.append(phased.inner, words))

    def _seed(self, phased: _Request) -> int:
        seed, phase = phased.request.seed, len(phased.parts)
        return derive_seed(seed, "thought", phase) if phase else seed

    def _room(self, phased: _Request) -> int:
        room, place = phased.left, phased.place
        if not place.inside:
            return room
        if phased.request.until is Until.END:
            room -= min(ANSWER_ROOM, phased.limit // 2)
        cap = self._thinking.tokens
        return room if cap is None else min(room, cap - place.spent)

    def _is_spent(self, place: _Place) -> bool:
        return self._thinking.tokens is not None and place.spent >= self._thinking.tokens

    def _find_floor(self) -> float | None:
        """DeepConf's threshold: the (1 − keep) quantile of the least confident groups so far."""
        keep, ranked = self._thinking.keep, sorted(self._lowest)
        if keep is None or len(ranked) < WARM_UP:
            return None
        place = (1.0 - keep) * (len(ranked) - 1)
        below = int(place)
        above = min(below + 1, len(ranked) - 1)
        return ranked[below] + (place - below) * (ranked[above] - ranked[below])

    @property
    def _marks(self) -> tuple[str, str]:
        return self._thinking.opening, self._thinking.closing
