"""How process reward models are asked: what they read, and the two labels they answer with.

A format cuts the text that its reference code builds for a whole solution into the question,
read once, and a piece for each step that ends exactly where the reference code reads the logits.
The score of a step is the softmax over the two label logits there, P(good) / (P(good) + P(bad)).
``tests/data/prm`` holds the token ids of both, side by side.

Questions and steps come without blanks around them, and are read as plain text: a step that
spells ``<|eot_id|>`` stays a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ttc_cli.engines.base import EngineInfo, Prompt, Span
from ttc_cli.errors import UsageError, suggest
from ttc_cli.verifiers.aggregate import Aggregate

if TYPE_CHECKING:
    from ttc_cli.prompts import Chat


class Format(Protocol):
    """One way to put a question and the steps of a solution to a process reward model.

    Labels and tags are spelt as the vocabulary spells them, one token each; ``aggregate`` follows
    the publishers of such models.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def good(self) -> str:
        """The label of a right step."""

    @property
    def bad(self) -> str:
        """The label of a wrong one."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Further single tokens that it writes."""

    @property
    def aggregate(self) -> Aggregate:
        """How scores of steps are joined."""

    def open(self, question: str) -> Prompt:
        """What is read before any step."""

    def begin(self, question: str, step: str) -> Prompt:
        """What the first step adds."""

    def go_on(self, step: str) -> Prompt:
        """What a further step adds behind the one before it."""


class RlhflowFormat:
    """A conversation: the user says a step, the assistant says ``+`` or ``-``.

    The first user turn is ``question + " " + step``, each later one a step, and every assistant
    turn before the last is ``+``, whatever the model thought of it. The label is read where the
    assistant's turn begins, which is the token before its ``+`` (for Llama 3: 271, two newlines).

    Source: RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py (position −3 of the conversation
    up to a step: newlines, ``+``, end of turn; scores averaged); huggingface/search-and-learn,
    src/sal/models/reward_models.py, ``RLHFFlow`` (the last step's score).

    Args:
        chat: of the process reward model itself.
    """

    name = "rlhflow"
    good = "+"
    bad = "-"
    tags: tuple[str, ...] = ()
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
        from ttc_cli.prompts import Message

        prompt = self._chat.render([Message("user", question)])
        contents = [place for place, span in enumerate(prompt) if not span.control]
        end = contents[-1] + 1 if contents else len(prompt)
        return prompt[:end], prompt[end:]


@dataclass(frozen=True, slots=True)
class MathShepherdFormat:
    """Plain text: ``question + " " + solution``, where each step ends in the tag `` ки``.

    Lines of the solution are separated by a newline behind the tag, as in the published data; the
    label is read at the tag itself (for Mistral's first vocabulary: 12902; labels 648, 387). Tag
    and labels are pieces of a SentencePiece vocabulary, whose blank is ``▁``.

    Source: model card of peiyi9979/math-shepherd-mistral-7b-prm (Wang et al. 2024, arXiv
    2312.08935, which takes the least score); huggingface/search-and-learn, ``MathShepherd``.
    """

    name: str = "math-shepherd"
    good: str = "▁+"
    bad: str = "▁-"
    tags: tuple[str, ...] = ("▁ки",)
    aggregate: Aggregate = "min"

    def open(self, question: str) -> Prompt:
        """The question."""
        return (Span(question),)

    def begin(self, question: str, step: str) -> Prompt:
        """A blank, the step, the tag."""
        return (Span(f" {step}"), Span(self.tags[0], piece=True))

    def go_on(self, step: str) -> Prompt:
        """A newline, the step, the tag."""
        return (Span(f"\n{step}"), Span(self.tags[0], piece=True))


@dataclass(frozen=True, slots=True)
class VersaPrmFormat:
    r"""Plain text: ``question + " \n\n"``, then ``step + " \n\n\n\n"`` for each step.

    The label is read at the token of the four newlines (for Llama 3: 23535, for Qwen 2: 22701;
    labels ``+`` 10 and ``-`` 12 in both).

    Source: UW-Madison-Lee-Lab's VersaPRM (Zeng et al. 2025, arXiv 2502.06737), model cards and
    mtzig/MultiDomainPRM, evaluation/prm_models/prm_llama.py and prm_qwen.py, which offer min, max,
    mean, prod and last and prefer none; the least is our choice.
    """

    name: str = "versaprm"
    good: str = "+"
    bad: str = "-"
    tags: tuple[str, ...] = (" \n\n\n\n",)
    aggregate: Aggregate = "min"

    def open(self, question: str) -> Prompt:
        """The question and a blank line."""
        return (Span(f"{question} \n\n"),)

    def begin(self, question: str, step: str) -> Prompt:
        """The step and four newlines."""
        return self.go_on(step)

    def go_on(self, step: str) -> Prompt:
        """The step and four newlines."""
        return (Span(step), Span(self.tags[0], piece=True))


def _make_rlhflow(info: EngineInfo) -> Format:
    from ttc_cli.prompts import Chat

    return RlhflowFormat(Chat(info))


FORMATS: Mapping[str, Callable[[EngineInfo], Format]] = {
    "rlhflow": _make_rlhflow,
    "math-shepherd": lambda info: MathShepherdFormat(),
    "versaprm": lambda info: VersaPrmFormat(),
}
"""By name: what makes the format for a model."""


def find_format(name: str, info: EngineInfo) -> Format:
    """The format called ``name``, for the model that ``info`` describes.

    Raises:
        UsageError: there is none of that name.
        TemplateError: it needs a chat template, and the model's cannot be used.
    """
    if name not in FORMATS:
        hint = suggest(name, FORMATS, f"Choose one of {', '.join(FORMATS)}.")
        raise UsageError(f"There is no format of process reward models called {name!r}.", hint)
    return FORMATS[name](info)
