"""Candidates of an earlier run, handed to a search as if they grew again.

``KnownSession`` stands between a search and its engine and keeps the engine's protocol. The same
seed and flags ask for the same candidates in the same order: those that ended before are given at
once, in the order in which they ended then; the engine grows the rest. What is given so is booked
as re-used and costs nothing. ``KnownVerifier`` does the same for scores.

Not covered: candidates that grow step by step; a search over steps starts over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from ttc_cli.engines.base import (
    Branch,
    Grow,
    Growth,
    Prompt,
    Session,
    Span,
    Then,
    Until,
)
from ttc_cli.engines.wrapped import WrappedSession
from ttc_cli.search.sample import derive_seed
from ttc_cli.types import PROSE, WHOLE, AnswerType, Candidate, Finish, Problem, Role, Score
from ttc_cli.verifiers.base import Leaf, Verifier, WrappedVerifier

_OF_PROSE: Mapping[str, tuple[str, ...]] = {PROSE: ()}


class KnownSession(WrappedSession):
    """Implements ``engines.base.Session`` over the session that grows what is not known.

    ``known`` is by id, in the order in which they ended; ``seed`` is the run's. ``marks`` are
    those at which candidates of a form end, by form: where another level or policy asks for
    another form under the id of a known candidate, that one is not given.
    """

    def __init__(
        self,
        inner: Session,
        known: Mapping[int, Candidate],
        seed: int,
        marks: Mapping[str, tuple[str, ...]] = _OF_PROSE,
    ) -> None:
        super().__init__(inner)
        self._known = {id: each for id, each in known.items() if not each.steps}
        self._order = {id: place for place, id in enumerate(self._known)}
        self._seed = seed
        self._marks = marks
        self._texts: dict[Branch, str] = {}
        self._behind: dict[Branch, Branch] = {}
        self._waiting: dict[Branch, int] = {}
        self._cancelled: set[Branch] = set()
        self._grown: dict[Branch, int] = {}
        self._further: dict[Branch, int | None] = {}

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """As the inner session; what grows there goes on from another candidate."""
        longer = super().append(branch, text)
        self._further[longer] = self._grown.get(branch)
        return longer

    def cut(self, branch: Branch, mark: str) -> Branch:
        """As the inner session."""
        shorter = super().cut(branch, mark)
        if branch in self._grown:
            self._grown[shorter] = self._grown[branch]
        return shorter

    async def grow(
        self, requests: Sequence[Grow], then: Then | None = None
    ) -> AsyncIterator[Growth]:
        """Give those that are known, then grow the rest in one batch."""
        given = [] if then is not None else [each for each in requests if self._is_known(each)]
        given.sort(key=lambda each: self._order[each.label])
        self._waiting |= {each.branch: each.max_tokens for each in requests}
        self._grown |= {each.branch: each.label for each in requests}
        served: set[Branch] = set()
        try:
            for request in given:
                candidate = self._known[request.label]
                limit = self._waiting[request.branch]
                cut_short = candidate.finish is Finish.LENGTH and candidate.tokens < limit
                if cut_short:  # by a limit that does not hold now: it has more to say
                    continue
                served.add(request.branch)
                del self._waiting[request.branch]
                self._texts[request.branch] = candidate.text
                self.meter.charge(Role.GENERATOR, reused_tokens=candidate.tokens)
                yield _repeat(request, candidate, candidate.finish)
            rest: list[Grow] = []
            asked: dict[Branch, Branch] = {}
            for request in (each for each in requests if each.branch not in served):
                limit = self._waiting.pop(request.branch)
                if request.branch in self._cancelled:
                    yield _repeat(request, self._known.get(request.label), Finish.CANCELLED)
                else:
                    here = self._find(request.branch)
                    asked[here] = request.branch
                    rest.append(replace(request, branch=here, max_tokens=limit))
            if rest:
                async for growth in self._inner.grow(rest, then):
                    yield replace(growth, branch=asked.get(growth.branch, growth.branch))
        finally:
            for request in requests:
                self._waiting.pop(request.branch, None)
                self._cancelled.discard(request.branch)

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now, whether they grow or wait for their turn."""
        every = list(branches)
        self._cancelled.update(each for each in every if each in self._waiting)
        self._inner.cancel(self._behind.get(each, each) for each in every)

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of these, whether they grow or wait for their turn."""
        every = list(branches)
        for each in every:
            if each in self._waiting:
                self._waiting[each] = min(self._waiting[each], max_tokens)
        self._inner.limit((self._behind.get(each, each) for each in every), max_tokens)

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold."""
        for each in list(branches):
            self._texts.pop(each, None)
            self._further.pop(each, None)
            self._grown.pop(each, None)
            behind = self._behind.pop(each, None)
            self._inner.drop([each] if behind is None else [behind, each])

    def _is_known(self, request: Grow) -> bool:
        candidate = self._known.get(request.label)
        return (
            candidate is not None
            and candidate.finish in WHOLE
            and request.until is Until.END
            and self._marks.get(candidate.form) == request.marks
            and (candidate.parent is not None) == (request.branch in self._further)
            and self._further.get(request.branch) in (None, candidate.parent)
            and request.seed == derive_seed(self._seed, request.label)
        )

    def _find(self, branch: Branch) -> Branch:
        """The engine's branch; after a known candidate, one that reads its text and books it."""
        text = self._texts.pop(branch, "")
        if text:
            self._behind[branch] = self._inner.append(branch, (Span(text),))
        return self._behind.get(branch, branch)


class KnownVerifier(WrappedVerifier):
    """``verifier``, but a score of a candidate that is ``known``, by id, stands."""

    def __init__(self, verifier: Verifier, known: Mapping[int, Candidate]) -> None:
        super().__init__(verifier)
        self._known = known

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The scores that are known, and the verifier's own of the rest."""
        found = [self._find(leaf.candidate) for leaf in leaves]
        rest = [leaf for leaf, score in zip(leaves, found, strict=True) if score is None]
        fresh = iter(await super().score(session, problem, rest) if rest else ())
        return [next(fresh) if score is None else score for score in found]

    def _find(self, candidate: Candidate) -> Score | None:
        known = self._known.get(candidate.id)
        if known is None or known.text != candidate.text:
            return None
        whole = (s for s in known.scores if s.step is None and s.verifier == self.name)
        return next(whole, None)


def _repeat(request: Grow, candidate: Candidate | None, finish: Finish) -> Growth:
    """``request`` as the growth that ``candidate`` was; without one, nothing has grown."""
    if candidate is None:
        return Growth(request.branch, request.label, "", 0, finish)
    answer = candidate.answer
    return Growth(
        request.branch,
        request.label,
        candidate.text,
        candidate.tokens,
        finish,
        candidate.confidence,
        candidate.thought,
        answer.text if answer is not None and answer.type is AnswerType.JSON else None,
    )
