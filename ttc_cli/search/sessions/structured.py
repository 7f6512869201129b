"""Candidates whose answer must follow a JSON Schema: they think freely, then fill it in.

``StructuredSession`` stands between a search and its engine as ``ThinkingSession`` does, so that
every strategy grows such candidates without knowing. A candidate writes what it likes until it
opens a block of JSON; where it ends without one, or comes near its limit, the block is opened for
it. What follows grows under a grammar of the schema (``Grow.grammar``), so that it conforms, and
the block is closed. Constraining the thinking as well would cost accuracy (Tam et al. 2024,
arXiv 2408.02442).

The words between are read, not sampled: they are booked as prompt tokens and stand in the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ttc_cli.engines.base import Grow, Growth, Session, Span, Until
from ttc_cli.search.sample import derive_seed
from ttc_cli.search.sessions.phases import PhasedRequest, PhasedSession
from ttc_cli.types import Finish

OPENING = "```json"
CLOSING = "\n```"
VALUE_ROOM = 256
"""Tokens of a candidate's limit that its thinking must leave for the value, or half of it."""

_OVER = (
    Finish.CANCELLED,
    Finish.BUDGET,
    Finish.CONTEXT,
    Finish.CUT,
    Finish.STEP,
    Finish.UNSURE,
)
"""Ends of free text after which no value is asked for."""


@dataclass(slots=True, eq=False)
class _Request(PhasedRequest):
    """One request. ``filling``: its value has begun."""

    filling: bool = False


class StructuredSession(PhasedSession[_Request]):
    """Implements ``engines.base.Session`` over another session, of an engine with grammars.

    Candidates grow through what they think to their value, which ``schema``, a JSON Schema as JSON
    text, describes; a step is one of the thinking.
    """

    def __init__(self, inner: Session, schema: str) -> None:
        super().__init__(inner)
        self._schema = schema

    def begin(self, request: Grow) -> tuple[_Request, Grow | Growth]:
        """``request`` with its first growth to ask for."""
        phased = _Request(request, request.max_tokens, self._find(request.branch))
        room = self._room(phased)
        if room < 1:
            return phased, self._fill(phased, f"{OPENING}\n")
        marks = (*request.marks, OPENING)
        return phased, replace(request, branch=phased.inner, max_tokens=room, marks=marks)

    def advance(self, phased: _Request, growth: Growth) -> Grow | Growth:
        """Book ``growth``: what to grow next, or what the request came to."""
        phased.book(growth)
        finish = growth.finish
        if phased.cancelled:
            return phased.end(Finish.CANCELLED)
        if phased.filling:
            if finish is Finish.STOP:  # for the reader: to the model the value ends its turn
                phased.text = phased.text.rstrip(" ") + CLOSING
                phased.value = growth.text
            return phased.end(finish)
        phased.thought = growth.thought
        if finish in _OVER:
            return phased.end(finish)
        if finish is Finish.MARK:
            return self._fill_opened(phased)
        return self._fill(phased, f"\n\n{OPENING}\n" if phased.text.strip() else f"{OPENING}\n")

    def _fill_opened(self, phased: _Request) -> Grow | Growth:
        """Go on after a block that the model has opened itself."""
        before, opening, behind = phased.text.rpartition(OPENING)
        if not opening:  # it was a mark of the search's own
            return phased.end(Finish.MARK)
        if not behind:
            return self._fill(phased, "\n")
        # The token that completed the mark went on after it, where the grammar begins.
        phased.text = before
        self._move(phased, self._inner.cut(phased.inner, OPENING))
        return self._fill(phased, f"{OPENING}\n")

    def _fill(self, phased: _Request, words: str) -> Grow | Growth:
        """The growth of the value, after ``words``."""
        phased.filling = True
        phased.text += words
        self._move(phased, self._inner.append(phased.inner, (Span(words),)))
        if phased.left < 1:
            return phased.end(Finish.LENGTH)
        request = phased.request
        return Grow(
            phased.inner,
            phased.left,
            request.sampling,
            derive_seed(request.seed, "value"),
            request.label,
            Until.END,
            grammar=self._schema,
            pool=request.pool,
        )

    def _room(self, phased: _Request) -> int:
        room = phased.left
        return room if phased.filling else room - min(VALUE_ROOM, phased.limit // 2)
