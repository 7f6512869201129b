"""What a form is: how a question is asked for it, where it ends, and how its answer is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ttc_cli.prompts import VOTED, Chat, hash_prompts
from ttc_cli.types import Answer, AnswerType, Candidate, Execution, Finish, Message, Problem


class Interpreter(Protocol):
    """Runs what a model wrote, within bounds, and never as code of ttc's own process."""

    async def run(self, code: str) -> Execution:
        """What ``code`` came to. Never raises for what the code does."""


@dataclass(frozen=True, slots=True)
class Written:
    """A candidate's whole text, and how it ended.

    The first ``thought`` characters are thinking; ``value`` is the answer's text where it is
    already known.
    """

    problem: Problem
    text: str
    finish: Finish
    thought: int = 0
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from a candidate: its ``answer``, and how its program ``ran``."""

    answer: Answer | None
    ran: Execution | None = None


@dataclass(frozen=True, slots=True)
class FormEntry:
    """A form, ttc's own or a plugin's.

    Attributes:
        name: what the user calls it.
        summary: one line for listings.
        ask: the conversation that puts a problem, its answer type resolved, to the model.
        read: the answer of a candidate; may run its program.
        beginning: what the model's turn is begun with, as plain text. No part of a candidate's
            text.
        marks: texts at which a candidate of this form is complete. Its text holds the mark, but
            where a server keeps that back.
        types: of answers that it can state; None: any.
        retry: what a candidate that came to nothing is told behind its own text, to go on from
            there; None where it is not to go on.
        temperature: that its candidates are best drawn at; None: the model's own.
    """

    name: str
    summary: str
    ask: Callable[[Problem], list[Message]]
    read: Callable[[Written, Interpreter], Awaitable[Reading]]
    beginning: str = ""
    marks: tuple[str, ...] = ()
    types: frozenset[AnswerType] | None = None
    retry: Callable[[Candidate], str | None] = lambda candidate: None
    temperature: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for marks at which every text, or none, would be complete."""
        if not isinstance(self.marks, tuple) or not all(self.marks):
            raise ValueError("marks are a tuple of texts that are not empty")

    def hash_prompts(self, chat: Chat) -> str:
        """A hash of how ``chat`` and this form dress a question: pools and policies go by it."""
        return hash_prompts(chat, self.ask, [kind for kind in VOTED if self.states(kind)])

    def states(self, type: AnswerType) -> bool:
        """Whether it can state an answer of ``type``."""
        return self.types is None or type in self.types
