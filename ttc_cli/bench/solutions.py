"""Solutions of labelled questions, drawn and graded together.

What a verifier is tested on. Each question has a session of its own, and those of one go share the
engine's batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ttc_cli.answers import Comparer, resolve
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.engines.base import Engine, Grow, Session
from ttc_cli.forms.prose import read_stated
from ttc_cli.ledger import Ledger
from ttc_cli.prompts import Chat, build_messages
from ttc_cli.search.sample import derive_seed
from ttc_cli.types import Candidate, Problem, Sampling
from ttc_cli.verifiers.base import Leaf

TOGETHER = 8
"""Questions whose sessions are open at once."""


@dataclass(slots=True)
class OpenQuestion:
    """A question with its session and the solutions in it."""

    id: str
    problem: Problem
    session: Session
    leaves: list[Leaf] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def part(self, start: int, stop: int) -> OpenQuestion:
        """The same question with some of its solutions."""
        leaves, right = self.leaves[start:stop], self.right[start:stop]
        return OpenQuestion(self.id, self.problem, self.session, leaves, right)


async def open_question(
    stack: contextlib.AsyncExitStack,
    engine: Engine,
    chat: Chat,
    ledger: Ledger,
    question: str | LabelledQuestion,
) -> OpenQuestion:
    """Open a session on ``question``, which ``stack`` closes."""
    problem = Problem(question) if isinstance(question, str) else question.problem
    id = question if isinstance(question, str) else question.id
    problem = resolve(problem)
    prompt = chat.render(build_messages(problem))
    session = await stack.enter_async_context(await engine.open(prompt, ledger))
    return OpenQuestion(id, problem, session)


@dataclass(frozen=True, slots=True)
class SolutionSampler:
    """Draws ``samples`` solutions a question, each of ``max_tokens`` at most, and grades them."""

    engine: Engine
    chat: Chat
    comparer: Comparer
    samples: int
    sampling: Sampling
    max_tokens: int
    seed: int = 0

    @property
    def together(self) -> int:
        """Questions whose solutions fill the engine's batch."""
        return max(1, min(TOGETHER, self.engine.info.parallel // max(1, self.samples)))

    async def draw(
        self,
        stack: contextlib.AsyncExitStack,
        ledger: Ledger,
        questions: Sequence[LabelledQuestion],
        *,
        pool: bool = False,
    ) -> list[OpenQuestion]:
        """The solutions of some questions, drawn together; those without an answer are dropped.

        Sessions stay open until ``stack`` closes them. ``pool`` is ``Grow.pool``.
        """
        opened = [
            await open_question(stack, self.engine, self.chat, ledger, question)
            for question in questions
        ]
        pairs = zip(opened, questions, strict=True)
        await asyncio.gather(*(self._grow(each, question, pool) for each, question in pairs))
        return opened

    async def _grow(self, opened: OpenQuestion, question: LabelledQuestion, pool: bool) -> None:
        session = opened.session
        branches = session.fork(session.root, self.samples)
        requests = [
            Grow(
                branch,
                self.max_tokens,
                self.sampling,
                derive_seed(self.seed, question.id, id, 0),
                id,
                pool=pool,
            )
            for id, branch in enumerate(branches)
        ]
        grown = {growth.label: growth async for growth in session.grow(requests)}
        for id, growth in sorted(grown.items()):
            answer = read_stated(growth.text, growth.finish, opened.problem.answer_type)
            if answer is None:
                session.drop([growth.branch])
                continue
            right = await asyncio.to_thread(self.comparer.grade, answer, question.answer)
            candidate = Candidate(
                id, growth.text, growth.tokens, growth.finish, answer, growth.confidence
            )
            opened.leaves.append(Leaf(candidate, growth.branch))
            opened.right.append(right)
