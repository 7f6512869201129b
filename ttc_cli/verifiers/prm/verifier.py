"""The process reward verifier: scores step by step, each step's tokens read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ttc_cli.engines.base import Engine, Prompt, ScoreRow, Session, Span
from ttc_cli.errors import PromptTooLong, UsageError
from ttc_cli.types import Finish, Problem, Role, Score
from ttc_cli.verifiers.aggregate import Aggregate, join_scores
from ttc_cli.verifiers.base import Leaf, share_of_first, split_steps
from ttc_cli.verifiers.prm.formats import Format
from ttc_cli.verifiers.prm.trie import Node, Trie


@runtime_checkable
class Vocabulary(Protocol):
    """An engine that can say at once whether its vocabulary has a token."""

    def tokenise(self, prompt: Prompt) -> list[int]:
        """Token ids; ``UsageError`` for a piece that is no token."""

    def find_labels(self, pieces: tuple[str, ...]) -> list[int]:
        """Ids of those that are one token each; ``UsageError`` if none is."""


class PrmVerifier:
    """Scores steps by a process reward model on ``engine``, in the format it was trained for.

    The first question about a session opens another on ``engine``, booked on the same meter as
    ``Role.VERIFIER``. There the solutions' steps hang in a tree like the search's own: a new step
    costs its own tokens, forks share what they have in common, and all new steps of a call are
    read in one batch. Where the generator is the same model, ``engine`` is its own.

    Args:
        engine: the process reward model.
        format: how it is asked.
        aggregate: how the scores of the steps make the score of the whole; None is the format's.
        name: in scores and events; None is made of the model's name.

    Raises:
        UsageError: the vocabulary has not the tokens that the format is made of.
    """

    needs_branch = False
    grades_steps = True

    def __init__(
        self,
        engine: Engine,
        format: Format,
        aggregate: Aggregate | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"prm={engine.info.model}"
        self.format = format
        self.aggregate: Aggregate = aggregate or format.aggregate
        self._engine = engine
        self._labels = ((format.good,), (format.bad,))
        self._tries: dict[Session, Trie] = {}
        self._check_vocabulary()

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The score of the last step of each; steps before it are scored too where they are new."""
        paths = [split_steps(leaf.candidate) if leaf.candidate.steps else () for leaf in leaves]
        nodes = await self._read(session, problem, leaves, paths)
        return [
            None
            if not path or node.score is None
            else Score(self.name, node.score, len(leaf.candidate.steps) - 1)
            for leaf, path, node in zip(leaves, paths, nodes, strict=True)
        ]

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The scores of all steps of each, joined by ``aggregate``.

        Steps are those it was grown in, or else what lies between its blank lines.
        """
        paths = [split_steps(leaf.candidate) for leaf in leaves]
        nodes = await self._read(session, problem, leaves, paths)
        return [self._join(node) if path else None for path, node in zip(paths, nodes, strict=True)]

    async def leave(self, session: Session) -> None:
        """Close what was opened for ``session``."""
        trie = self._tries.pop(session, None)
        if trie is not None:
            await trie.session.close()

    def held(self, session: Session) -> int:
        """Branches that this verifier keeps for ``session``."""
        return self._tries[session].held if session in self._tries else 0

    def _check_vocabulary(self) -> None:
        if not self._engine.info.scores or not self._engine.info.steps:
            raise UsageError(
                f"The engine {self._engine.info.name} reads no label tokens of {self.name}.",
                "Load the process reward model on this machine: --verifier prm=FILE.gguf@FORMAT",
            )
        if not isinstance(self._engine, Vocabulary):
            return  # it says so when it is first asked
        for piece in (self.format.good, self.format.bad, *self.format.tags):
            try:
                if piece in self.format.tags:
                    self._engine.tokenise((Span(piece, piece=True),))
                else:
                    self._engine.find_labels((piece,))
            except UsageError as error:
                raise UsageError(
                    f"{self._engine.info.model} cannot be asked in the format {self.format.name}: "
                    f"its vocabulary has no single token {piece!r}.",
                    "Name the format that it was trained with: --verifier prm=MODEL@FORMAT",
                ) from error

    async def _read(
        self,
        session: Session,
        problem: Problem,
        leaves: Sequence[Leaf],
        paths: Sequence[Sequence[str]],
    ) -> list[Node]:
        """The nodes at the ends of ``paths``, all on them scored as far as the budget goes."""
        trie = await self._open(session, problem)
        nodes = [trie.find(path) for path in paths]
        waiting = {id(each): each for node in nodes for each in node.path if each.score is None}
        while waiting:
            # One level of the tree at a time: a step is read on what was read before it.
            ready = [
                node
                for node in waiting.values()
                if node.parent is None or id(node.parent) not in waiting
            ]
            rows = [ScoreRow(trie.stand(node), (), self._labels) for node in ready]
            found = await trie.session.score(rows)
            unread = False
            for node, row in zip(ready, found, strict=True):
                node.score = share_of_first(row)
                unread = unread or node.score is None
                del waiting[id(node)]
            if unread:  # a cap or an interruption: what hangs below has nothing to stand on
                waiting = {
                    key: node
                    for key, node in waiting.items()
                    if all(each.score is not None or id(each) in waiting for each in node.path)
                }
        paused = (Finish.STEP, Finish.MARK, Finish.UNSURE)
        ended = [
            node
            for leaf, node in zip(leaves, nodes, strict=True)
            if leaf.candidate.finish not in paused
        ]
        trie.release(nodes, ended)
        return nodes

    async def _open(self, session: Session, problem: Problem) -> Trie:
        trie = self._tries.get(session)
        if trie is None:
            question = problem.text.strip()
            try:
                opened = await self._engine.open(
                    self.format.open(question), session.meter, role=Role.VERIFIER
                )
            except PromptTooLong as error:
                raise UsageError(
                    f"The question is too long for {self.name}: {error.message}"
                ) from (error)
            trie = self._tries[session] = Trie(opened, self.format, question)
        return trie

    def _join(self, node: Node) -> Score | None:
        steps = [
            Score(self.name, each.score, place)
            for place, each in enumerate(node.path)
            if each.score is not None
        ]
        if len(steps) < len(node.path):
            return None
        value = join_scores(steps, self.aggregate)
        return None if value is None else Score(self.name, value)
