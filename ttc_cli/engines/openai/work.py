"""The requests that let a session's branches grow, and where the text of a branch ends.

Boundaries are those of the local engine: a step ends with its blank line, a mark with the token
that completes it. A server that tells which stop text ended a choice is given those texts, and they
are put back into the text. With any other (llama-server says "stop" for a stop text and for the end
of the turn alike) the text is watched as it comes, and the request is closed at the boundary.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ttc_cli.engines.base import Branch, Grow, Meter, Prompt, Until
from ttc_cli.engines.openai.grammars import FORMS
from ttc_cli.engines.openai.probe import Abilities, extra_fields
from ttc_cli.engines.openai.wire import LONGEST_TOKEN, Draw, Piece
from ttc_cli.engines.trace import LOOP_STRIDE, MARGIN, TOP, ConfidenceTrace, repeats
from ttc_cli.errors import UsageError
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role

BLANK_LINE = "\n\n"
_MOST_STOPS = 4
"""Stop texts that OpenAI's interface allows."""

NATURAL = frozenset({"stop", "stop_sequence", "eos", "eos_token", "end_turn", "complete"})
"""Why a model ends its turn by itself, in the words of OpenAI's interface, TGI, Together, Anthropic
and Cohere. A tool call is not among them: the model goes on after the tool's reply."""
FULL = frozenset({"length", "max_tokens", "model_length"})
"""Why a limit ends a text. Any other word, or none, is a text that was cut off: "abort", "error",
"content_filter", "load" …"""

_CONTROL = re.compile(
    r"<(?=[|｜][^<>\s]{1,80}[|｜]>)"
    r"|<(?=/?s>|(?:bos|eos|pad|unk|start_of_turn|end_of_turn|end_of_utterance)>|</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)


@dataclass(frozen=True, slots=True)
class BranchText:
    """What a branch holds; the first ``root`` characters are its prompt."""

    text: str
    root: int

    @property
    def grown(self) -> bool:
        """Whether there is more than the prompt."""
        return len(self.text) > self.root


def spell(prompt: Prompt, begin: str = "") -> str:
    """The text that a server is to read for ``prompt``, without a leading ``begin``.

    A server reads control tokens wherever they are written. In plain spans they are broken up by
    a blank, so that a user who types ``<|im_end|>`` ends no turn.

    Raises:
        UsageError: a span that must be one certain token, which text cannot promise.
    """
    if any(span.piece for span in prompt):
        raise UsageError(
            "A server is sent text, and this verifier needs single tokens of its vocabulary.",
            "Load the verifier's model on this machine.",
        )
    text = "".join(span.text if span.control else disarm(span.text) for span in prompt)
    return text.removeprefix(begin) if begin else text


def disarm(text: str) -> str:
    """``text`` in which nothing reads as a control token of the chat formats in use."""
    return _CONTROL.sub(lambda found: f"{found[0]} ", text)


@dataclass(slots=True, eq=False)
class Account:
    """Who pays and who watches, one per session, and what the session has under way."""

    meter: Meter
    observe: Callable[[Grew], None] | None
    role: Role
    jobs: dict[Branch, Job] = field(default_factory=dict)
    batches: dict[Job, Bundle] = field(default_factory=dict)
    scores: set[asyncio.Task[tuple[float, ...]]] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Job:
    """One branch that waits or grows. ``ended`` receives it once it is over.

    Of the request under way: ``granted`` is its token limit, ``base`` what was drawn before it.
    ``verdict`` is why the text, the limit or the confidence ends the branch, ``word`` the server's
    reason ("" where it ended without one); they become its ``finish`` once the server's count has
    come. ``squeezed``: the server's context has no room for its limit. ``resumes``: it goes on
    with another request. ``elsewhere``: where the server wrote instead.
    """

    account: Account
    request: Grow
    path: BranchText
    limit: int
    ended: asyncio.Queue[Job]
    started: bool = False
    text: list[str] = field(default_factory=list)
    drawn: int = 0
    trace: ConfidenceTrace = field(default_factory=ConfidenceTrace)
    finish: Finish | None = None
    failure: Exception | None = None
    granted: int = 0
    base: int = 0
    verdict: Finish | None = None
    word: str | None = None
    squeezed: bool = False
    resumes: bool = False
    elsewhere: str = ""
    _spoken: bool = False
    _recent: str = ""

    @property
    def over(self) -> bool:
        """Whether it neither waits nor grows any more."""
        return self.finish is not None or self.failure is not None

    @property
    def stops(self) -> list[str]:
        """The texts at which it ends before its turn does."""
        blank = [BLANK_LINE] if self.request.until is Until.STEP else []
        return [*self.request.marks, *blank]

    @property
    def prompt(self) -> str:
        """All that the server must read to go on."""
        return self.path.text + "".join(self.text)

    @property
    def room(self) -> int:
        """Tokens that the request under way may still draw."""
        return max(0, self.base + self.granted - self.drawn)

    def start_over(self) -> None:
        """Take back what was said under a grammar: the server would begin the value again."""
        if self.request.grammar is not None:
            self.text.clear()
            self._recent = ""

    def take(self, piece: Piece) -> str:
        """Note what the server said, and return what of it belongs to the branch.

        It is never more than was asked for, whatever the server sends.
        """
        room = self.room
        gained = piece.text[: room * LONGEST_TOKEN]
        overflows = len(gained) < len(piece.text)
        self.elsewhere = piece.elsewhere or self.elsewhere
        if piece.stopped_by is not None and piece.stopped_by in self.stops:
            gained += piece.stopped_by
        step = self._find_step(gained) if self.request.until is Until.STEP else None
        if step is not None and piece.tokens > 1:
            gained = gained[:step]
        self.drawn += min(piece.tokens, room)
        for draw in piece.draws[:room]:
            _note(self.trace, draw)
        at_mark = self._reaches_mark(gained)
        self._spoken = self._spoken or bool(gained.strip())
        if gained:
            self.text.append(gained)
        if at_mark:
            self.verdict = Finish.MARK
        elif step is not None:
            self.verdict = Finish.STEP
        elif (
            overflows
            or self.drawn > self.limit
            or (self.drawn == self.limit and self.limit < self.base + self.granted)
        ):
            self.verdict = Finish.LENGTH  # lowered meanwhile; else the server's word decides
        elif gained and len(self.text) % LOOP_STRIDE == 0 and repeats(self.text):
            self.verdict = Finish.LOOP
        elif self.trace.is_below(self.request.floor, self.request.window):
            self.verdict = Finish.UNSURE
        if piece.finish is not None:
            self.word = piece.finish
            if self.verdict is None and piece.stopped_by in self.stops:
                self.word = None  # a blank line before anything was said: it goes on after it
                self.resumes = True
        return gained

    def conclude(self, counted: bool) -> Finish:
        """Why it ended, once the server has said its word; ``counted``: ``drawn`` is exact."""
        if self.verdict is not None:
            return self.verdict
        if self.word in NATURAL:
            return Finish.STOP
        if self.word not in FULL:
            return Finish.CUT
        full = self.squeezed or (counted and self.drawn < self.limit)
        return Finish.CONTEXT if full else Finish.LENGTH

    def _find_step(self, gained: str) -> int | None:
        """Where in ``gained`` a step ends: after a blank line with something said before it."""
        before = self._recent[-1:]
        for found in re.finditer(r"\n\n+", before + gained):
            if self._spoken or (before + gained)[: found.start()].strip():
                return found.end() - len(before)
        return None

    def _reaches_mark(self, gained: str) -> bool:
        seen = self._recent + gained
        longest = max([2, *map(len, self.request.marks)])
        self._recent = seen[-(longest - 1) :]
        return bool(gained) and any(mark in seen for mark in self.request.marks)


@dataclass(slots=True, eq=False)
class Bundle:
    """Jobs that go out as one request; several only where they differ in nothing but the seed."""

    jobs: list[Job]
    task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether any of them still waits or grows."""
        return not all(job.over for job in self.jobs)


def bundle(jobs: Sequence[Job], abilities: Abilities, parallel: int) -> list[Bundle]:
    """``jobs`` in as few requests as the server allows, by a rule that looks at nothing else.

    Choices of one request draw from its seed and those after it (vLLM, llama-server). Where there
    are more than grow at once, requests stay small, so that no slot waits for a straggler.
    """
    batches: list[Bundle] = []
    most = min(parallel, abilities.served.slots or parallel)
    if len(jobs) > most:
        most = max(2, most // 4) if most > 1 else 1
    for job in jobs:
        last = batches[-1].jobs if batches else []
        if (
            last
            and abilities.n
            and len(last) < most
            and _is_plain(job)
            and _is_plain(last[0])
            and (job.path, job.limit) == (last[0].path, last[0].limit)
            and job.request.sampling == last[0].request.sampling
        ):
            last.append(job)
        else:
            batches.append(Bundle([job]))
    return batches


def _is_plain(job: Job) -> bool:
    asked = job.request
    warm = asked.sampling.temperature > 0
    return not job.stops and asked.floor is None and asked.grammar is None and warm


def write_body(jobs: Sequence[Job], abilities: Abilities) -> dict[str, Any]:
    """The request that lets ``jobs`` grow (all from the same text) and streams what they say."""
    first = jobs[0]
    sampling = first.request.sampling
    body: dict[str, Any] = {
        "model": abilities.served.model,
        "prompt": first.prompt,
        "max_tokens": first.granted,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": first.request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if abilities.extras:
        body |= extra_fields(sampling.top_k, sampling.min_p)
    if abilities.logprobs:
        body["logprobs"] = min(TOP, abilities.logprobs)
    if len(jobs) > 1:
        body["n"] = len(jobs)
    if first.request.grammar is not None:
        body |= FORMS[abilities.grammar](first.request.grammar)
    if abilities.tells_stop and 0 < len(first.stops) <= _MOST_STOPS:
        body["stop"] = first.stops
    return body


def _note(trace: ConfidenceTrace, draw: Draw) -> None:
    """Add one draw; as the local engine does, nothing counts as less likely than its margin.

    A server that tells fewer than 20 likeliest tokens gives the mean of those.
    """
    best = draw.top[0][1] if draw.top else draw.logprob
    trace.logprobs.append(max(draw.logprob, best - MARGIN))
    top = [max(value, best - MARGIN) for _, value in draw.top[:TOP]] or [draw.logprob]
    trace.groups.append(-sum(top) / len(top))


def add_labels(draw: Draw, labels: Iterable[Iterable[str]]) -> tuple[float, ...]:
    """The probability of each group of texts among the likeliest tokens of ``draw``."""
    likely = [(_plain(token), math.exp(value)) for token, value in draw.top]
    groups = [set(group) for group in labels]
    return tuple(
        min(1.0, sum(share for token, share in likely if token in group)) for group in groups
    )


def _plain(token: str) -> str:
    """A token as text, where a server gives the vocabulary's own spelling of a blank."""
    return token.replace("▁", " ").replace("Ġ", " ")
