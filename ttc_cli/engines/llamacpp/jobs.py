"""What a decoder has to do: prompts to read, branches to grow, rows and hidden states to read."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ttc_cli.engines.base import Grow, Growth, Meter
from ttc_cli.engines.llamacpp.cache import Node
from ttc_cli.engines.llamacpp.samplers import Grammar, Sampler
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
    prompt: dict[Role, int] = field(default_factory=dict)
    generated: int = 0
    reused: dict[Role, int] = field(default_factory=dict)
    rows: dict[Role, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Reading:
    """A prompt that is being read."""

    account: Account
    node: Node
    done: bool = False
    failure: PromptTooLong | None = None


@dataclass(slots=True, eq=False)
class Growing:
    """A branch that waits or grows. ``ended`` receives its growth."""

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
    tail: bytes = b""
    spoken: bool = False
    recent: str = ""
    utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    finish: Finish | None = None


@dataclass(slots=True, eq=False)
class Scoring:
    """A row to read after ``suffix``. ``value`` is () if it could not be read."""

    account: Account
    node: Node
    suffix: list[int]
    groups: list[list[int]]
    borrowed: Node | None = None
    value: tuple[float, ...] | None = None


@dataclass(slots=True, eq=False)
class StateReading:
    """A hidden state to read at the last token of ``node``. ``value`` is () if it could not be."""

    account: Account
    node: Node
    seated: bool = False
    value: tuple[float, ...] | None = None


Owner = Reading | Scoring | Growing | StateReading
Feed = tuple[Owner, Node, list[int], bool]
"""Who decodes, on which node, which tokens, and whether the row behind them is wanted."""


def ends_at_mark(job: Growing, gained: str) -> bool:
    """Whether ``gained`` completes one of the marks that ``job`` stops at."""
    longest = max(map(len, job.request.marks))
    seen = job.recent + gained
    job.recent = seen[-(longest - 1) :] if longest > 1 else ""
    return any(mark in seen for mark in job.request.marks)
