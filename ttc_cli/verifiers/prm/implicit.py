r"""Implicit process reward models: how much likelier a step is to a model than to its reference.

Such a model is a language model that was fine-tuned from another, its reference, so that the log
of the ratio of what both give a text is a reward:

    r(y) = β log π(y) / π_ref(y),  q_t = Σ_{i ≤ t} β log π(y_i | y_{<i}) / π_ref(y_i | y_{<i})

q_t is what r(y) is to be expected to become after the first t tokens, and the reward of a step the
difference that it makes to q. Trained with cross-entropy, σ(r) is the probability that the answer
is right; so the score after a step is σ(q) at its end, and that of the whole the last step's, which
holds the rewards of all of them.

Source: Yuan et al. 2024, arXiv 2412.01981 (Free Process Rewards without Process Labels); model
card of PRIME-RL/EurusPRM-Stage2 (β = 0.001, the reference Qwen2.5-Math-7B-Instruct, the question as
the user's turn, the steps as the assistant's with blank lines between them, accumulated rewards;
Stage 1 takes the least). The end of the assistant's turn, which the card reads behind the last
step, is not read here: whether a step is the last is not known while it is searched for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ttc_cli.engines.base import Engine, Prompt, ScoreRow, Session, Span
from ttc_cli.errors import UsageError
from ttc_cli.prompts import Chat
from ttc_cli.types import Message, Problem
from ttc_cli.verifiers.aggregate import Aggregate
from ttc_cli.verifiers.base import VerifierContext, VerifierEntry
from ttc_cli.verifiers.prm.formats import Format
from ttc_cli.verifiers.prm.trie import StepNode, Trie
from ttc_cli.verifiers.prm.verifier import PrmVerifier, Vocabulary

BETA = 0.001
"""Of EurusPRM. It scales all scores of a model alike: their order does not depend on it."""
_EXAMPLE = "ttc solve --verifier implicit=MODEL@REFERENCE …"


class ImplicitFormat(Format):
    """The model's chat template: the question, and steps with a blank line behind each.

    ``chat`` is of the process reward model. There are no labels.
    """

    name, good, bad, tags = "implicit", "", "", ()
    aggregate: Aggregate = "last"

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def open(self, question: str) -> Prompt:
        """The user's turn, and the head of the assistant's."""
        return self._chat.render([Message("user", question)])

    def begin(self, question: str, step: str) -> Prompt:
        """The step and a blank line."""
        return self.go_on(step)

    def go_on(self, step: str) -> Prompt:
        """The step and a blank line."""
        return (Span(f"{step}\n\n"),)


class PairedTrie(Trie):
    """A tree of steps that both models read; ``reference`` is the reference model's."""

    def __init__(self, session: Session, reference: Session, format: Format, question: str) -> None:
        super().__init__(session, format, question)
        self.reference = Trie(reference, format, question)

    def pair(self, nodes: Iterable[StepNode]) -> list[StepNode]:
        """The reference's nodes for the same steps."""
        return [self.reference.find(each.step for each in node.path) for node in nodes]

    def release(self, asked: Iterable[StepNode], ended: Iterable[StepNode]) -> None:
        """As of a tree alone."""
        asked, ended = list(asked), list(ended)
        super().release(asked, ended)
        self.reference.release(self.pair(asked), self.pair(ended))


class ImplicitPrmVerifier(PrmVerifier):
    """Scores steps by the log-ratio of ``engine``'s model to ``reference``'s, times ``beta``.

    Otherwise as ``PrmVerifier``: each step's tokens are read once by each of the two models.

    Raises:
        UsageError: an engine cannot tell how likely a text is, or the two cut texts differently.
        TemplateError: the model has no chat template that can be used.
    """

    def __init__(self, engine: Engine, reference: Engine, beta: float = BETA) -> None:
        self.reference = reference
        self.beta = beta
        format = ImplicitFormat(Chat(engine.info))
        super().__init__(engine, format, name=f"implicit={engine.info.model}")

    def _check_vocabulary(self) -> None:
        for engine in (self.engine, self.reference):
            if not engine.info.scores or not engine.info.steps:
                raise UsageError(
                    f"The engine {engine.info.name} does not tell how likely a given text is.",
                    f"Load both models on this machine: {_EXAMPLE}",
                )
        sample = (*self.format.open("What is 12 + 30?"), *self.format.go_on("It is 42."))
        cut = [
            each.tokenise(sample)
            for each in (self.engine, self.reference)
            if isinstance(each, Vocabulary)
        ]
        if len(cut) == 2 and cut[0] != cut[1]:
            raise UsageError(
                f"{self.engine.info.model} and {self.reference.info.model} do not have the same "
                "vocabulary: one was not trained from the other.",
                f"Name the model that it was trained from: {_EXAMPLE}",
            )

    async def leave(self, session: Session) -> None:
        """Close what was opened for ``session``, on both engines."""
        trie = self.opened.get(session)
        await super().leave(session)
        if isinstance(trie, PairedTrie):
            await trie.reference.session.close()

    async def _enter(self, session: Session, problem: Problem) -> Trie:
        question = problem.text.strip()
        prompt = self.format.open(question)
        own = await self.open_own(session, prompt)
        try:
            other = await self.open_own(session, prompt, self.reference)
        except BaseException:
            await own.close()
            raise
        return PairedTrie(own, other, self.format, question)

    async def _rate(self, trie: Trie, nodes: Sequence[StepNode]) -> list[float | None]:
        assert isinstance(trie, PairedTrie)
        found, expected = await asyncio.gather(
            _read_likelihoods(trie, nodes), _read_likelihoods(trie.reference, trie.pair(nodes))
        )
        scores: list[float | None] = []
        for node, mine, theirs in zip(nodes, found, expected, strict=True):
            if not mine or not theirs:
                scores.append(None)
                continue
            before = node.parent.ratio if node.parent is not None else 0.0
            node.ratio = before + mine[0] - theirs[0]
            scores.append(1 / (1 + math.exp(min(700.0, -self.beta * node.ratio))))
        return scores


async def _read_likelihoods(trie: Trie, nodes: Sequence[StepNode]) -> list[tuple[float, ...]]:
    """The log-probability of the last step of each, or ``()``."""
    rows = []
    for node in nodes:
        assert node.parent is not None  # a step has something before it
        rows.append(ScoreRow(trie.stand(node), (), (), since=trie.stand(node.parent)))
    return await trie.session.score(rows)


@dataclass(frozen=True, slots=True)
class Pair:
    """A process reward model, what it was trained from, and what their log-ratio is times."""

    model: str
    reference: str
    beta: float = BETA


def read_pair(argument: str | None) -> Pair:
    """Read ``MODEL@REFERENCE[@BETA]``.

    Of several ``@`` the last one parts the two: MODEL may be ``user/repo:quant@revision``.

    Raises:
        UsageError: it has another form, or names one model twice.
    """
    names, _, last = (argument or "").rpartition("@")
    beta = BETA
    try:
        beta = float(last)
    except ValueError:
        names = argument or ""
    model, _, reference = names.rpartition("@")
    if not model or not reference or model == reference or not 0 < beta < math.inf:
        raise UsageError(
            "--verifier implicit needs a process reward model and the model that it was trained "
            "from.",
            _EXAMPLE,
        )
    return Pair(model, reference, beta)


def make_implicit(context: VerifierContext, argument: str | None) -> ImplicitPrmVerifier:
    """The verifier that ``implicit=argument`` asks for.

    Raises:
        UsageError: as ``read_pair``, or the two do not fit together.
        TemplateError: the model has no chat template that can be used.
    """
    pair = read_pair(argument)
    if context.load is None:
        raise UsageError("No second model can be loaded here.", "Use --verifier judge.")
    return ImplicitPrmVerifier(context.load(pair.model), context.load(pair.reference), pair.beta)


IMPLICIT = VerifierEntry(
    "implicit",
    make_implicit,
    "an implicit process reward model",
    "steps and whole",
    "each step's tokens, by two other models",
    "MODEL@REFERENCE",
    check=read_pair,
)
