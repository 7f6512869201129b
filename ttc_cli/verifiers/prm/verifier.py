"""The process reward verifier: scores step by step, each step's tokens read once.

And how ``--verifier prm=MODEL[@FORMAT][@AGGREGATE]`` is read.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ttc_cli.engines.base import Engine, Prompt, ScoreRow, Session, Span
from ttc_cli.errors import UsageError, find_near
from ttc_cli.types import Finish, Problem, Score
from ttc_cli.verifiers.aggregate import Aggregate, join_scores
from ttc_cli.verifiers.base import (
    Graded,
    Leaf,
    OpeningVerifier,
    VerifierContext,
    VerifierEntry,
    share_of_first,
    split_steps,
    to_scores,
    to_step_scores,
)
from ttc_cli.verifiers.prm.formats import FORMATS, Format, find_format
from ttc_cli.verifiers.prm.trie import StepNode, Trie

AGGREGATES: tuple[Aggregate, ...] = typing.get_args(Aggregate)
_EXAMPLE = "ttc solve --verifier prm=rlhflow-prm-8b …"


@runtime_checkable
class Vocabulary(Protocol):
    """An engine that can say at once whether its vocabulary has a token."""

    def tokenise(self, prompt: Prompt) -> list[int]:
        """Token ids; ``UsageError`` for a piece that is not a token."""

    def find_labels(self, pieces: tuple[str, ...]) -> list[int]:
        """Ids of those that are one token each; ``UsageError`` if none is."""


class PrmVerifier(OpeningVerifier[Trie]):
    """Scores steps by a process reward model on ``engine``, in the format it was trained for.

    The first question about a session opens another on ``engine``, booked on the same meter as
    ``Role.VERIFIER``. There the solutions' steps hang in a tree like the search's own: a new step
    costs its own tokens, forks share what they have in common, and all new steps of a call are
    read in one batch. Where the generator is the same model, ``engine`` is its own.

    ``aggregate`` makes the score of the whole of those of its steps; None is the format's.

    Raises:
        UsageError: the vocabulary has not the tokens that the format is made of.
    """

    def __init__(
        self,
        engine: Engine,
        format: Format,
        aggregate: Aggregate | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(engine, name or f"prm={engine.info.model}")
        self.format = format
        self.aggregate: Aggregate = aggregate or format.aggregate
        self._labels = ((format.good,), (format.bad,))
        self._check_vocabulary()

    async def score_steps(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The score of the last step of each; steps before it are scored too where they are new."""
        paths = [split_steps(leaf.candidate) if leaf.candidate.steps else () for leaf in leaves]
        nodes = await self._read(session, problem, leaves, paths)
        values = [node.score if path else None for path, node in zip(paths, nodes, strict=True)]
        return to_step_scores(self.name, values, leaves)

    async def score(
        self, session: Session, problem: Problem, leaves: Sequence[Leaf]
    ) -> list[Score | None]:
        """The scores of all steps of each, joined by ``aggregate``.

        Steps are those it was grown in, or else what lies between its blank lines.
        """
        paths = [split_steps(leaf.candidate) for leaf in leaves]
        nodes = await self._read(session, problem, leaves, paths)
        pairs = list(zip(paths, nodes, strict=True))
        wholes = to_scores(self.name, [self._join(node) if path else None for path, node in pairs])
        return [
            Graded(self.name, whole.value, steps=tuple(each.score or 0.0 for each in node.path))
            if whole and len(node.path) > 1 and not leaf.candidate.steps
            else whole
            for leaf, node, whole in zip(leaves, nodes, wholes, strict=True)
        ]

    def _check_vocabulary(self) -> None:
        if not self.engine.info.scores or not self.engine.info.steps:
            raise UsageError(
                f"The engine {self.engine.info.name} reads no label tokens of {self.name}.",
                "Load the process reward model on this machine: --verifier prm=FILE.gguf@FORMAT",
            )
        if not isinstance(self.engine, Vocabulary):
            return  # it says so when it is first asked
        for piece in (self.format.good, self.format.bad, *self.format.tags):
            try:
                if piece in self.format.tags:
                    self.engine.tokenise((Span(piece, piece=True),))
                else:
                    self.engine.find_labels((piece,))
            except UsageError as error:
                raise UsageError(
                    f"{self.engine.info.model} cannot be asked in the format {self.format.name}: "
                    f"its vocabulary has no single token {piece!r}.",
                    "Name the format that it was trained with: --verifier prm=MODEL@FORMAT",
                ) from error

    async def _read(
        self,
        session: Session,
        problem: Problem,
        leaves: Sequence[Leaf],
        paths: Sequence[Sequence[str]],
    ) -> list[StepNode]:
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
            unread = False
            for node, score in zip(ready, await self._rate(trie, ready), strict=True):
                node.score = score
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
        if session not in self.opened:
            self.opened[session] = await self._enter(session, problem)
        return self.opened[session]

    async def _enter(self, session: Session, problem: Problem) -> Trie:
        """Open a tree of steps on the question."""
        question = problem.text.strip()
        own = await self.open_own(session, self.format.open(question))
        return Trie(own, self.format, question)

    async def _rate(self, trie: Trie, nodes: Sequence[StepNode]) -> list[float | None]:
        """The score of the last step of each; all before it is read."""
        rows = [ScoreRow(trie.stand(node), (), self._labels) for node in nodes]
        return [share_of_first(row) for row in await trie.session.score(rows)]

    def _join(self, node: StepNode) -> float | None:
        steps = [
            Score(self.name, each.score, place)
            for place, each in enumerate(node.path)
            if each.score is not None
        ]
        if len(steps) < len(node.path):
            return None
        return join_scores(steps, self.aggregate)


@dataclass(frozen=True, slots=True)
class PrmRequest:
    """``model`` is a registry name, a file or a hub reference. None: as the registry says."""

    model: str
    format: str | None = None
    aggregate: Aggregate | None = None

    @property
    def text(self) -> str:
        """As it is written after ``prm=``."""
        return "@".join(part for part in (self.model, self.format, self.aggregate) if part)

    def choose_format(self, known: str | None = None) -> str:
        """The format that is asked for, else the one ``known`` of the model.

        Raises:
            UsageError: there is neither.
        """
        format = self.format or known
        if format is None:
            raise UsageError(
                f"ttc does not know the prompt format of {self.model}.",
                f"Name it with --verifier prm={self.model}@FORMAT, one of {', '.join(FORMATS)}.",
            )
        return format


def read_request(argument: str | None) -> PrmRequest:
    """Read ``MODEL[@FORMAT][@AGGREGATE]``; the words after ``@`` may come in any order.

    Words that are neither format nor aggregate belong to the model: ``user/repo:Q4_K_M@v2``.

    Raises:
        UsageError: no model, or two formats or aggregates.
    """
    model = argument or ""
    format: str | None = None
    aggregate: Aggregate | None = None
    while "@" in model:
        before, _, word = model.rpartition("@")
        if word in FORMATS and format is None:
            format = word
        elif word in AGGREGATES and aggregate is None:
            aggregate = word
        elif word in FORMATS or word in AGGREGATES:
            raise UsageError(f"--verifier prm={argument}: one format and one aggregate.", _EXAMPLE)
        elif near := find_near(word, (*FORMATS, *AGGREGATES), 0.8):
            raise UsageError(
                f"--verifier prm={argument}: {word!r} is neither a format nor an aggregate.",
                f"Did you mean {near}?",
            )
        else:
            break
        model = before
    if not model:
        raise UsageError("--verifier prm needs the name of a model.", _EXAMPLE)
    return PrmRequest(model, format, aggregate)


def make_prm(context: VerifierContext, argument: str | None) -> PrmVerifier:
    """The verifier that ``prm=argument`` asks for.

    Raises:
        UsageError: no model or format, or one that does not fit the model's vocabulary.
        TemplateError: the format needs a chat template that can be used.
    """
    request = read_request(argument)
    format = request.choose_format()
    if context.load is None:
        raise UsageError("No second model can be loaded here.", "Use --verifier judge.")
    engine = context.load(request.model)
    return PrmVerifier(engine, find_format(format, engine.info), request.aggregate)


PRM = VerifierEntry(
    "prm",
    make_prm,
    "a process reward model",
    "steps and whole",
    "each step's tokens, by the other model",
    "MODEL[@FORMAT]",
    check=read_request,
)
