"""How process reward models are asked: what they read, and the two labels they answer with.

A format cuts the text that its reference code builds for a whole solution into the question,
read once, and a piece for each step that ends exactly where the reference code reads the logits.
The score of a step is the softmax over the two label logits there, P(good) / (P(good) + P(bad)).
``tests/data/prm`` holds the token ids of both, side by side.

Questions and steps come without blanks around them, and are read as plain text: a step that
spells ``<|eot_id|>`` stays a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ttc_cli.engines.base import EngineInfo, Prompt, Span
from ttc_cli.errors import UsageError, suggest
from ttc_cli.prompts import Chat
from ttc_cli.types import Message
from ttc_cli.verifiers.aggregate import Aggregate


class Format(ABC):
    """One way to put a question and the steps of a solution to a process reward model.

    ``good`` and ``bad`` are the labels of a step, ``tags`` further tokens that the format writes:
    all spelt as the vocabulary spells them, one token each. ``aggregate`` joins the scores of steps
    as the publishers of such models do.
    """

    name: str
    good: str
    bad: str
    tags: tuple[str, ...]
    aggregate: Aggregate

    @abstractmethod
    def open(self, question: str) -> Prompt:
        """What is read before any step."""

    @abstractmethod
    def begin(self, question: str, step: str) -> Prompt:
        """What the first step adds."""

    @abstractmethod
    def go_on(self, step: str) -> Prompt:
        """What a further step adds after the one before it."""


class RlhflowFormat(Format):
    """A conversation: the user says a step, the assistant says ``+`` or ``-``.

    The first user turn is ``question + " " + step``, each later one a step, and every assistant
    turn before the last is ``+``, whatever the model thought of it. The label is read where the
    assistant's turn begins, which is the token before its ``+`` (for Llama 3: 271, two newlines).

    Source: RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py (position −3 of the conversation
    up to a step: newlines, ``+``, end of turn; scores averaged); huggingface/search-and-learn,
    src/sal/models/reward_models.py, ``RLHFFlow`` (the last step's score).

    ``chat`` is of the process reward model itself.
    """

    name, good, bad, tags = "rlhflow", "+", "-", ()
    aggregate: Aggregate = "last"

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def open(self, question: str) -> Prompt:
        """The template up to the end of the question, in the middle of the user's turn."""
        return self._cut(question)[0]

    def begin(self, question: str, step: str) -> Prompt:
        """The rest of the user's turn, and the head of the assistant's."""
        return (Span(f" {step}"), *self._cut(question)[1])

    def go_on(self, step: str) -> Prompt:
        """``+``, the end of that turn, the user's next turn and the head of the assistant's."""
        return (Span("+"), *self._chat.follow_up(step))

    def _cut(self, question: str) -> tuple[Prompt, Prompt]:
        prompt = self._chat.render([Message("user", question)])
        contents = [place for place, span in enumerate(prompt) if not span.control]
        end = contents[-1] + 1 if contents else len(prompt)
        return prompt[:end], prompt[end:]


@dataclass(frozen=True, slots=True)
class TextFormat(Format):
    """Plain text, where each step ends in a tag: the first of ``tags``, at which its label is read.

    ``behind`` stands after the question, ``before`` before the first step, ``between`` before each
    further one.
    """

    name: str
    good: str
    bad: str
    tags: tuple[str, ...]
    aggregate: Aggregate
    behind: str = ""
    before: str = ""
    between: str = ""

    def open(self, question: str) -> Prompt:
        """The question."""
        return (Span(question + self.behind),)

    def begin(self, question: str, step: str) -> Prompt:
        """The first step and the tag."""
        return (Span(self.before + step), Span(self.tags[0], piece=True))

    def go_on(self, step: str) -> Prompt:
        """The step and the tag."""
        return (Span(self.between + step), Span(self.tags[0], piece=True))


MATH_SHEPHERD = TextFormat("math-shepherd", "▁+", "▁-", ("▁ки",), "min", before=" ", between="\n")
"""``question + " " + solution``, where each step ends in the tag `` ки``.

Lines of the solution are separated by a newline after the tag, as in the published data (for
Mistral's first vocabulary the tag is 12902, the labels 648 and 387). Tag and labels are pieces of a
SentencePiece vocabulary, whose blank is ``▁``.

Source: model card of peiyi9979/math-shepherd-mistral-7b-prm (Wang et al. 2024, arXiv 2312.08935,
which takes the least score); huggingface/search-and-learn, ``MathShepherd``."""

VERSAPRM = TextFormat("versaprm", "+", "-", (" \n\n\n\n",), "min", behind=" \n\n")
r"""``question + " \n\n"``, then ``step + " \n\n\n\n"`` for each step.

The label is read at the token of the four newlines (for Llama 3: 23535, for Qwen 2: 22701; labels
``+`` 10 and ``-`` 12 in both).

Source: UW-Madison-Lee-Lab's VersaPRM (Zeng et al. 2025, arXiv 2502.06737), model cards and
mtzig/MultiDomainPRM, evaluation/prm_models/prm_llama.py and prm_qwen.py, which offer min, max,
mean, prod and last and prefer none; the least is our choice."""

FORMATS: Mapping[str, Callable[[EngineInfo], Format]] = {
    "rlhflow": lambda info: RlhflowFormat(Chat(info)),
    "math-shepherd": lambda info: MATH_SHEPHERD,
    "versaprm": lambda info: VERSAPRM,
}
"""By name: what makes the format for a model."""


def find_format(name: str, info: EngineInfo) -> Format:
    """The format called ``name``, for the model that ``info`` describes.

    Raises:
        UsageError: it is unknown.
        TemplateError: it needs a chat template, and the model's cannot be used.
    """
    if name not in FORMATS:
        hint = suggest(name, FORMATS, f"Choose one of {', '.join(FORMATS)}.")
        raise UsageError(f"There is no format of process reward models called {name!r}.", hint)
    return FORMATS[name](info)
