"""What a view knows: the events of one run folded into an immutable state.

``reduce`` is pure; time comes in as an argument. One ``Grew`` comes at every decode step with up
to ``parallel`` texts, so the growing texts live apart from the nodes (``tails``) and only their
ends are kept: a step costs a few microseconds a live branch, whatever the length of the texts.
Text is kept raw; a view cleans what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ttc_cli import events
from ttc_cli.forms.passages import part_program
from ttc_cli.types import (
    ARITHMETIC,
    AnswerClass,
    Budget,
    Candidate,
    Estimate,
    Finish,
    Result,
    Usage,
)
from ttc_cli.views import words
from ttc_cli.views.nodes import (
    LIVE,
    STEP_CHARS,
    Status,
    TreeNode,
    Written,
    cut_ran,
    hear,
    inherit,
    write,
)

TAIL_CHARS = 2_000
"""Characters of a text's end that are kept (up to twice as many between two cuts)."""
QUESTION_CHARS = 4_000
WORDS_KEPT = 8
WARNINGS_KEPT = 4
RATE_WINDOW = 5.0
"""Seconds over which tokens per second are averaged."""
RATE_BUCKET = 0.25


class Tail(NamedTuple):
    """The end of what a candidate wrote since it last paused, and all the tokens it drew itself.

    ``steps`` counts those begun since then, by their blank lines, from 1; of a program, its lines.
    """

    text: str = ""
    tokens: int = 0
    steps: int = 1


_ENDED_AS = {
    Finish.STOP: Status.FINISHED,
    Finish.STEP: Status.PAUSED,
    Finish.CANCELLED: Status.CANCELLED,
    Finish.PRUNED: Status.PRUNED,
    Finish.MARK: Status.PAUSED,
}


class Word(NamedTuple):
    """Something the policy said: ``action`` is ``wave``, ``stop`` or ``cancel``.

    For a wave of a search that goes in rounds it is the name of that search.
    """

    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class ViewState:
    """All that a view shows of one run at time ``now`` (seconds of the injected clock)."""

    now: float = 0.0
    started: float | None = None
    question: str = ""
    model: str = ""
    strategy: str = ""
    verifiers: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    waves: Mapping[int, str] = field(default_factory=dict)
    """What kind of search each wave belongs to."""
    nodes: Mapping[int, TreeNode] = field(default_factory=dict)
    tails: Mapping[int, Tail] = field(default_factory=dict)
    kv_used: int = 0
    kv_cells: int = 0
    usage: Usage = field(default_factory=Usage)
    usage_at: float | None = None
    grown: int = 0
    """Tokens that grew since ``usage`` was reported."""
    rate: tuple[tuple[float, int], ...] = ()
    """Tokens per bucket of ``RATE_BUCKET`` seconds, over ``RATE_WINDOW``."""
    words: tuple[Word, ...] = ()
    estimate: Estimate | None = None
    classes: tuple[AnswerClass, ...] = ()
    ended: int = 0
    """How many candidates the vote was taken over."""
    warnings: tuple[str, ...] = ()
    result: Result | None = None

    @property
    def seconds(self) -> float:
        """Seconds spent: the ledger's last word, and the time since."""
        if self.result is not None:
            return self.result.usage.seconds
        if self.usage_at is not None:
            return self.usage.seconds + max(0.0, self.now - self.usage_at)
        return max(0.0, self.now - self.started) if self.started is not None else 0.0

    @property
    def tokens(self) -> int:
        """Tokens sampled by all models."""
        return self.usage.generated_tokens + self.grown

    @property
    def flops(self) -> float:
        """Floating-point operations; what grew since the last report at its mean price."""
        spent = self.usage
        return spent.flops * (1 + self.grown / spent.tokens) if spent.tokens else spent.flops

    @property
    def tokens_per_second(self) -> float:
        """Tokens that grew in the last ``RATE_WINDOW`` seconds, a second; 0 when nothing did."""
        recent = [(at, n) for at, n in self.rate if self.now - at <= RATE_WINDOW]
        if not recent:
            return 0.0
        return sum(n for _, n in recent) / max(self.now - recent[0][0], RATE_BUCKET)

    @property
    def heard(self) -> int:
        """Candidates that had their say: ended, and not dropped before they stated an answer.

        Of one that was mended, only the new version does.
        """
        answered = [node for node in self.nodes.values() if node.answer is not None]
        mended = {node.parent for node in answered if self.waves.get(node.wave) == "mend"}
        return sum(
            node.answer is not None or node.status in (Status.FINISHED, Status.UNFINISHED)
            for node in self.nodes.values()
            if node.id not in mended
        )

    @property
    def sampled(self) -> int:
        """Candidates that count as samples of the budget."""
        return sum(node.sample for node in self.nodes.values())

    @property
    def best(self) -> int | None:
        """The candidate that would be the answer now: who speaks for the leading class.

        That is chosen as in the vote, so that the choice stands at the end. Without a vote
        (free-form answers, a search over steps) the best-scored finished one, else the best-scored
        one that may still go on; None without either.
        """
        if self.result is not None and self.result.winner is not None:
            return self.result.winner
        if self.classes:
            standing = [self.nodes[i] for i in self.classes[0].members if i in self.nodes]
            return max(standing, key=_standing).id if standing else None
        for statuses in ((Status.FINISHED,), LIVE):
            able = [n for n in self.nodes.values() if n.status in statuses]
            scored = [n for n in able if n.judged and not (n.ahead and n.status in LIVE)]
            if scored:
                return max(scored, key=_worth).id
        return None


def tick(state: ViewState, now: float) -> ViewState:
    """The same state at a later time."""
    return replace(state, now=now) if now > state.now else state


def reduce(state: ViewState, event: events.Event, now: float = 0.0) -> ViewState:
    """The state after ``event``, which happened at ``now``. ``RunStarted`` begins a new state."""
    state = tick(state, now)
    match event:
        case events.Grew():
            return _grow(state, event)
        case events.RunStarted():
            return ViewState(
                now=state.now,
                started=state.now,
                question=event.problem.text[:QUESTION_CHARS],
                model=event.model,
                strategy=event.strategy,
                verifiers=event.verifiers,
                budget=event.budget,
                seed=event.seed,
            )
        case events.WaveStarted():
            return _begin_wave(state, event)
        case events.CandidateStarted():
            node = replace(
                _find(state, event.id), wave=event.wave, parent=event.parent, form=event.form
            )
            parent = state.nodes.get(event.parent) if event.parent is not None else None
            if parent is not None and event.steps:
                node = inherit(node, parent, min(event.steps, parent.depth))
            return _place(state, node)
        case events.Stepped():
            node = _find(state, event.id)
            steps = (*node.steps, Written(event.text[:STEP_CHARS], event.tokens))
            node = replace(node, steps=steps, status=node.status if node.dropped else Status.PAUSED)
            # What a stream without ``Grew`` tells of the tokens.
            seen = state.tails.get(event.id, _NO_TAIL).tokens
            tail = Tail("", max(seen, sum(step.tokens for step in steps)))
            return _place(state, node, tail)
        case events.CandidateEnded():
            return _end(state, event.candidate)
        case events.Scored():
            node = hear(_find(state, event.id), [event.score])
            parent = (
                state.nodes.get(node.parent) if node.ahead and node.parent is not None else None
            )
            if parent is not None:
                state = _place(state, replace(parent, value=node.value))
            return _place(state, node)
        case events.Pruned():
            status = Status.CANCELLED if event.cancelled else Status.PRUNED
            return _place(
                state, replace(_find(state, event.id), status=status, reason=event.reason)
            )
        case events.Voted():
            return replace(state, classes=event.classes, ended=event.total)
        case events.Decided():
            return replace(
                state,
                words=(*state.words, Word(event.action, event.reason))[-WORDS_KEPT:],
                estimate=event.estimate or state.estimate,
            )
        case events.Spent():
            return replace(state, usage=event.usage, usage_at=state.now, grown=0)
        case events.Warned():
            return replace(state, warnings=(*state.warnings, event.message)[-WARNINGS_KEPT:])
        case events.RunEnded(result):
            for candidate in result.candidates:
                if _find(state, candidate.id).finish is None:
                    state = _end(state, candidate)
            return replace(
                state,
                result=result,
                classes=result.classes,
                ended=len(result.candidates),
                estimate=result.estimate or state.estimate,
                usage=result.usage,
                usage_at=state.now,
                grown=0,
            )


_NO_TAIL = Tail()


def _begin_wave(state: ViewState, event: events.WaveStarted) -> ViewState:
    said, strategy = state.words, event.strategy
    if event.reason and said and said[-1].reason == event.reason:
        said = said[:-1]  # the decision that led to this wave: say it once
    elif said and said[-1].action == strategy != "sample":
        said = said[:-1]  # rounds of one search: the last one tells where it is
    word = Word("wave" if strategy == "sample" else strategy, words.wave_words(event))
    return replace(
        state,
        waves={**state.waves, event.wave: strategy},
        words=(*said, word)[-WORDS_KEPT:],
    )


def _grow(state: ViewState, event: events.Grew) -> ViewState:
    tails = dict(state.tails)
    awake = {}
    for id_, gained in event.texts.items():
        node = state.nodes.get(id_)
        lines = node is not None and node.program
        tails[id_] = _extend(tails.get(id_, _NO_TAIL), gained, lines)
        if node is None or node.status in (Status.QUEUED, Status.PAUSED):
            awake[id_] = replace(node or TreeNode(id_), status=Status.GROWING)
    return replace(
        state,
        nodes={**state.nodes, **awake} if awake else state.nodes,
        tails=tails,
        kv_used=event.kv_used,
        kv_cells=event.kv_cells,
        grown=state.grown + len(event.texts),
        rate=_count_in(state.rate, state.now, len(event.texts)),
    )


def _find(state: ViewState, id_: int) -> TreeNode:
    return state.nodes.get(id_) or TreeNode(id_)


def _place(state: ViewState, node: TreeNode, tail: Tail | None = None) -> ViewState:
    nodes = {**state.nodes, node.id: node}
    tails = state.tails if tail is None else {**state.tails, node.id: tail}
    return replace(state, nodes=nodes, tails=tails)


def _end(state: ViewState, candidate: Candidate) -> ViewState:
    node = _find(state, candidate.id)
    status = _ENDED_AS.get(candidate.finish, Status.UNFINISHED)
    node = replace(
        node,
        wave=candidate.wave,
        parent=candidate.parent,
        # The search's own word stays: a dropped branch ends afterwards, as cancelled.
        status=node.status if node.dropped else status,
        finish=candidate.finish,
        answer=candidate.answer,
        confidence=candidate.confidence,
        form=candidate.form,
        ran=cut_ran(candidate.ran),
        steps=write(candidate.steps, candidate.thought)[node.taken :] or node.steps,
    )
    node = hear(node, candidate.scores)
    # What it thought before it spoke is shown only where there is nothing else.
    said = candidate.text[candidate.thought :].strip() or candidate.text
    if node.program:
        programs = [each.text for each in part_program(said) if each.kind == "code"]
        said = programs[-1] if programs else ""
    seen = state.tails.get(candidate.id, _NO_TAIL)
    return _place(state, node, Tail(said[-TAIL_CHARS:], candidate.tokens, seen.steps))


def _extend(tail: Tail, gained: str, lines: bool) -> Tail:
    text, tokens, steps = tail
    if not text:
        gained = gained.lstrip()  # the blank line of the step before
    if lines:
        # As for a blank line: one at the end begins none yet.
        steps += (text[-1:] + gained).count("\n", 0, -1)
    elif "\n" in gained or text[-1:].isspace():
        before = text[-16:]
        steps += _count_steps(before + gained) - _count_steps(before)
    text += gained
    if len(text) > 2 * TAIL_CHARS:
        text = text[-TAIL_CHARS:]
    return Tail(text, tokens + 1, steps)


def _count_steps(text: str) -> int:
    """How many begin after a blank line; one at the end begins none yet."""
    return len(words.BLANK_LINE.findall(text.rstrip()))


def _count_in(
    rate: tuple[tuple[float, int], ...], now: float, tokens: int
) -> tuple[tuple[float, int], ...]:
    if rate and now - rate[-1][0] < RATE_BUCKET:
        return (*rate[:-1], (rate[-1][0], rate[-1][1] + tokens))
    kept = rate if not rate or now - rate[0][0] <= RATE_WINDOW else rate[1:]
    return (*kept, (now, tokens))


def _standing(node: TreeNode) -> tuple[bool, float, bool, int]:
    """Greater speaks for its class: no wrong sum, by score, ended by itself, the earlier one."""
    slipped = any(each.verifier == ARITHMETIC and each.value < 0.5 for each in node.scores)
    return (not slipped, node.value or 0.0, node.finish is Finish.STOP, -node.id)


def _worth(node: TreeNode) -> tuple[float, float, int]:
    """Greater is better: by score, then confidence, then the earlier one."""
    confidence = node.confidence.mean_logprob if node.confidence is not None else float("-inf")
    return (node.value if node.value is not None else -1.0, confidence, -node.id)
