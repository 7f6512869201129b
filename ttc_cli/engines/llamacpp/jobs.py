"""What a decoder has to do: prompts to read, branches to grow, rows and hidden states to read."""

from __future__ import annotations

import codecs
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ttc_cli.engines.base import Grow, Growth, Meter
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.samplers import Grammar, Sampler
from ttc_cli.engines.pooling import StatePool
from ttc_cli.engines.states import States
from ttc_cli.engines.trace import ConfidenceTrace
from ttc_cli.errors import PromptTooLong
from ttc_cli.events import Grew
from ttc_cli.types import Finish, Role


@dataclass(slots=True, eq=False)
class Account:
    """Who pays and who watches: one per session."""

    meter: Meter
    observe: Callable[[Grew], None] | None
    role: Role = Role.GENERATOR
    texts: dict[int, str] = field(default_factory=dict)
    generated: int = 0
    prompt: Counter[Role] = field(default_factory=Counter)
    reused: Counter[Role] = field(default_factory=Counter)
    rows: Counter[Role] = field(default_factory=Counter)

    def charge(self, parameters: int) -> None:
        """Book what was noted since the last charge on the meter."""
        for role in Role:
            rows, reused = self.rows[role], self.reused[role]
            generated = self.generated if role is self.role else 0
            if rows or reused or generated:
                self.meter.charge(
                    role,
                    prompt_tokens=self.prompt[role],
                    generated_tokens=generated,
                    reused_tokens=reused,
                    decode_calls=1 if rows else 0,
                    flops=2.0 * parameters * rows,
                )
        self.generated = 0
        for book in (self.prompt, self.reused, self.rows):
            book.clear()


@dataclass(slots=True, eq=False)
class PromptReading:
    """A prompt that is being read."""

    account: Account
    node: Node
    done: bool = False
    failure: PromptTooLong | None = None


@dataclass(slots=True)
class StepFinder:
    """Tells which tokens end a step: those that complete a blank line behind some text."""

    tail: bytes = b""
    spoken: bool = False

    def ends_with(self, piece: bytes) -> bool:
        """Whether the next token, which spells ``piece``, ends a step."""
        blank_line = b"\n\n" in piece or (piece[:1] == b"\n" and self.tail == b"\n")
        ends = blank_line and self.spoken
        self.tail = piece[-1:] or self.tail
        self.spoken = not ends and (self.spoken or bool(piece.strip()))
        return ends


@dataclass(slots=True, eq=False)
class Growing:
    """A branch that waits or grows. ``ended`` receives its growth.

    ``at_mark``, ``at_step``: the token that was written last completes a mark, or a step.
    """

    account: Account
    node: Node
    request: Grow
    ended: deque[Growth]
    sampler: Sampler
    limit: int
    start: int
    grammar: Grammar | None = None
    drawn: int = 0
    trace: ConfidenceTrace = field(default_factory=ConfidenceTrace)
    text: list[str] = field(default_factory=list)
    at_mark: bool = False
    at_step: bool = False
    steps: StepFinder = field(default_factory=StepFinder)
    recent: str = ""
    utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    finish: Finish | None = None

    def write(self, token: int, piece: bytes) -> None:
        """Add ``token``, which spells ``piece``."""
        self.node.tokens.append(token)
        gained = self.utf8.decode(piece)
        self.text.append(gained)
        label, texts = self.request.label, self.account.texts
        texts[label] = texts.get(label, "") + gained
        self.at_step = self.steps.ends_with(piece)
        if self.node.pool is not None:
            self.node.pool.step_ends = self.at_step
        marks = self.request.marks
        if marks:
            seen = self.recent + gained
            self.at_mark = bool(gained) and any(mark in seen for mark in marks)
            self.recent = seen[max(0, len(seen) - max(map(len, marks)) + 1) :]


@dataclass(slots=True, eq=False)
class Scoring:
    """A row to read after ``suffix``. ``value`` is () if it could not be read.

    With ``since`` no row, but how likely the node's tokens from that place on are. ``likelihood``
    is that of those which are read already.
    """

    account: Account
    node: Node
    suffix: list[int]
    groups: list[list[int]]
    borrowed: Node | None = None
    value: tuple[float, ...] | None = None
    since: int | None = None
    likelihood: float = 0.0


@dataclass(slots=True, eq=False)
class StateReading:
    """Hidden states of ``node`` to read into ``pool``; ``value`` stays None if they cannot be."""

    account: Account
    node: Node
    pool: StatePool
    steps: StepFinder = field(default_factory=StepFinder)
    seated: bool = False
    done: bool = False
    value: States | None = None


Owner = PromptReading | Scoring | Growing | StateReading
Feed = tuple[Owner, Node, list[int], int]
"""Who decodes, on which node, which tokens, and after how many of the last a row is wanted."""
