"""What a search may ask of an engine: grow, fork, drop and score branches of one prompt.

An engine batches everything outstanding. The unit of work is a *session*: one prompt, read once,
and the tree of branches that grows from it. Several sessions may be open on one engine (a bench
over many questions): it decodes only when every run waits for it, so that the batches,
and with them the text, depend on nothing but the requests of all runs and their seeds. Sessions
change nothing of each other's distributions but their last bits, which a batch rounds by its
width: beside others, a near tie between two tokens may fall the other way.

Text given to an engine comes as *spans*, because only the chat template may contain control
tokens: a user who types ``<|im_end|>`` gets those characters read as plain text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ttc_cli.engines.states import States
from ttc_cli.events import Grew
from ttc_cli.types import Confidence, EngineInfo, Finish, Prompt, Role, Sampling, Span

__all__ = [
    "Branch",
    "Engine",
    "EngineInfo",
    "Grow",
    "Growth",
    "Meter",
    "Prompt",
    "ScoreRow",
    "Session",
    "Span",
    "States",
    "Then",
    "Until",
]


class Until(StrEnum):
    """How far a branch grows."""

    END = "end"
    STEP = "step"


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A handle on one path of a session's tree; compared by identity, meaningless elsewhere."""

    id: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Let ``branch`` grow by at most ``max_tokens``, drawing with ``seed``.

    ``label`` is the candidate id under which ``Grew`` events report its text. It ends as
    ``Finish.MARK`` with the token that completes one of ``marks`` in this request's text, and as
    ``Finish.UNSURE`` once the mean token confidence of its last ``window`` tokens (DeepConf's
    group confidence, in nats) is below ``floor``. With a ``grammar``, a JSON Schema as JSON text,
    its text is one JSON value that conforms (``answers.schema.simplify`` says how far), and ends
    as ``Finish.STOP``; where a limit comes first it is the head of one. With ``pool`` the hidden
    states of its tokens are pooled as they come, so that ``read_states`` reads nothing again.
    """

    branch: Branch
    max_tokens: int
    sampling: Sampling
    seed: int
    label: int
    until: Until = Until.END
    marks: tuple[str, ...] = ()
    floor: float | None = None
    window: int = 32
    grammar: str | None = None
    pool: bool = False


@dataclass(frozen=True, slots=True)
class Growth:
    """What a ``Grow`` came to. ``text`` and ``tokens`` are those of this request alone.

    ``tokens`` counts every token drawn, the one that ends the turn included. ``confidence`` is
    over this request's tokens; None where the engine reads no logits. ``thought`` is how many
    characters at the head of ``text`` are thinking and not answer; engines leave it at 0, and
    ``search.sessions.thinking`` tells. ``value`` is the JSON value that was asked for after the
    rest of ``text``, once it is whole; engines leave it at None, and
    ``search.sessions.structured`` tells.
    """

    branch: Branch
    label: int
    text: str
    tokens: int
    finish: Finish
    confidence: Confidence | None = None
    thought: int = 0
    value: str | None = None


Then = Callable[[Growth], Sequence[Grow]]
"""From a growth that has just ended to the requests that go on in the same batch."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Append ``suffix`` to a fork of ``branch`` and read the next-token distribution.

    ``labels`` are groups of texts, e.g. ``(("Yes", " Yes"), ("No", " No"))``; of each group those
    that are one token count. A text that the vocabulary spells so itself (``▁+``) is that token.

    With ``since``, from which ``branch`` goes on, what is read is the branch itself: the row's one
    value is the log-probability, in nats, of all its tokens after ``since``, each given those
    before it. Suffix and labels are empty then. Step by step, each token is read once.
    """

    branch: Branch
    suffix: Prompt
    labels: tuple[tuple[str, ...], ...]
    since: Branch | None = None


class Meter(Protocol):
    """Where an engine books compute, and asks whether it may go on. Called from any thread."""

    def charge(
        self,
        role: Role,
        *,
        prompt_tokens: int = 0,
        generated_tokens: int = 0,
        reused_tokens: int = 0,
        decode_calls: int = 0,
        flops: float = 0.0,
    ) -> None:
        """Book what one decode step cost this session."""

    def exhausted(self) -> str | None:
        """Why nothing more may be spent ("token cap of 500 reached"), or None."""

    def remaining_seconds(self) -> float | None:
        """Seconds until the time cap, or None without one."""


class Session(Protocol):
    """One open prompt, or several, and the branches that grow from it.

    Use as ``async with await engine.open(...) as session``; closing drops every branch.
    """

    @property
    def root(self) -> Branch:
        """The prompt itself, before any generated token."""

    @property
    def meter(self) -> Meter:
        """Where this session books. Sessions of one run share it, over all their engines."""

    async def add_prompt(self, prompt: Prompt) -> Branch:
        """Read a further prompt once, and return where it ends: another root of the same tree.

        What grows there shares batches, books and limits with everything else of the session.
        Booked as the session's own prompt is; read later where a cap was reached before.

        Raises:
            PromptTooLong, EngineError: as ``Engine.open``.
        """

    def fork(self, branch: Branch, count: int = 1) -> list[Branch]:
        """New branches that continue from where ``branch`` stands. Costs nothing by itself."""

    def append(self, branch: Branch, text: Prompt) -> Branch:
        """A new branch: all of ``branch``, then ``text``.

        Costs nothing by itself: ``text`` is read, and booked, when the new branch is first grown
        or scored. ``branch`` stays as it is.
        """

    def cut(self, branch: Branch, mark: str) -> Branch:
        """A new branch: ``branch`` up to where ``mark`` was last written, without the mark.

        Costs nothing by itself; a token that began before the mark is read again in part.
        ``branch``, which must not be growing, stays as it is.

        Raises:
            UsageError: nothing after the prompt spells ``mark``, or the engine cannot cut.
        """

    def grow(self, requests: Sequence[Grow], then: Then | None = None) -> AsyncIterator[Growth]:
        """Grow all, in as few batches as fit, yielding each as it ends, in a fixed order.

        While the caller looks at one growth, nothing is decoded; it may ``cancel``, ``limit``,
        ``score`` or start another ``grow``. Leaving the iterator early cancels what still grows.
        ``then`` sees each growth right before it is yielded; the requests that it returns join
        the batch, and this iterator yields them too: a branch can go on without others waiting.

        Raises:
            EngineError: the native library failed; growths yielded before stay valid.
            UsageError: a request has a grammar, and the engine takes none, or not this one; or its
                branch grows already, or is asked for twice. None of ``requests`` is begun then.
        """

    def cancel(self, branches: Iterable[Branch]) -> None:
        """Stop these now; their ``Growth`` is yielded with ``Finish.CANCELLED``."""

    def limit(self, branches: Iterable[Branch], max_tokens: int) -> None:
        """Lower the token limit of requests that still grow (never raises it)."""

    async def score(self, rows: Sequence[ScoreRow]) -> list[tuple[float, ...]]:
        """For each row, the probability of each label group, over the whole vocabulary.

        Or one log-probability, with ``since``. Charged to ``Role.VERIFIER``: the suffix's tokens
        alone where KV is shared. A row that could not be read any more (cap reached, interrupted)
        gives ``()``.

        Raises:
            UsageError: a label group holds no piece that is one token of this vocabulary; or the
                engine cannot tell how likely a given text is.
        """

    def drop(self, branches: Iterable[Branch]) -> None:
        """Forget these and free what they hold. Growing ones are cancelled first."""

    async def read_states(self, branches: Sequence[Branch]) -> list[States | None]:
        """The hidden states of what each branch drew, pooled; None where a cap came first.

        Costs nothing where all of a branch was grown with ``Grow.pool``. Others are read again
        from the end of their prompt on, charged to ``Role.VERIFIER``. Of a branch that drew
        nothing all views are the state of the prompt's last token. None may be growing.

        Raises:
            UsageError: the engine gives no hidden states.
        """

    async def close(self) -> None:
        """Drop everything. Idempotent."""

    async def __aenter__(self) -> Session: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Engine(Protocol):
    """A model that is loaded and ready."""

    @property
    def info(self) -> EngineInfo:
        """What it is and can do."""

    async def open(
        self,
        prompt: Prompt,
        meter: Meter,
        observe: Callable[[Grew], None] | None = None,
        role: Role = Role.GENERATOR,
    ) -> Session:
        """Read ``prompt`` once and return the session that grows from it.

        ``observe`` gets one ``Grew`` per decode step, from the engine's thread. ``role`` is whom
        reading and growing are booked on: a verifier that writes, or has a model of its own,
        opens its sessions as ``Role.VERIFIER``. An engine decodes only when every *run* waits for
        it, and a run is all sessions of one meter: one that scores beside a session that grows
        need not wait for both.

        Raises:
            PromptTooLong: it leaves no room to answer in the context window.
            EngineError: the native library failed.
        """

    def interrupt(self) -> None:
        """End all growing at the next token (or sooner), as ``Finish.CANCELLED``.

        Safe to call from a signal handler or another thread. Scores under way are finished with
        what is known; further requests end at once, until every session is closed.
        """

    def close(self) -> None:
        """Free the model. Idempotent."""
