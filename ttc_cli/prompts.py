r"""What the model is asked: instructions, messages, and their rendering by its chat template.

Only the template may write control tokens. Messages are rendered with placeholders for their
contents; the contents are put back as spans that an engine reads as plain text, so that a user
who types ``<|im_end|>`` gets those characters.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ttc_cli.errors import TemplateError
from ttc_cli.texts import fence_in
from ttc_cli.types import AnswerType, EngineInfo, Message, Problem, Prompt, Span

if TYPE_CHECKING:
    from ttc_cli.templates import Template

JUDGE_QUESTION = "Is the answer above correct? Check it and reply with one word, Yes or No."
JUDGE_STEP_QUESTION = (
    "Is the reasoning above correct so far? Check it and reply with one word, Yes or No."
)

WAIT = "Wait"
"""What a thought that has ended is made to go on with (s1, arXiv 2501.19393)."""
STOP_THINKING = (
    "Considering the limited time by the user, I have to give the solution based on the thinking "
    "directly now."
)
"""What a thought is ended with that may not go on: Qwen3 was trained on it (arXiv 2505.09388)."""

_STEPS = "Think step by step, with a blank line between steps."
_INSTRUCTIONS = {
    AnswerType.NUMBER: rf"{_STEPS} End with the final answer, a number, in \boxed{{}}.",
    AnswerType.LATEX: rf"{_STEPS} End with the final answer in \boxed{{}}.",
    AnswerType.CHOICE: rf"{_STEPS} End with the letter of the right option in \boxed{{}}.",
    AnswerType.BOOLEAN: rf"{_STEPS} End with \boxed{{Yes}} or \boxed{{No}}.",
    AnswerType.TEXT: rf"{_STEPS} End with the final answer, in as few words as possible, "
    r"in \boxed{}.",
    AnswerType.FREE: "",
}
_FENCED = {
    AnswerType.CODE: "Think first where that helps. End with the complete code in one fenced "
    "block that begins with ``` and the language's name.",
    AnswerType.JSON: f"{_STEPS} End with the final answer as one JSON value in a fenced block "
    "that begins with ```json.",
}
"""Apart from the others: policies are fitted to those, and known by a hash of them."""


OTHER_TEMPLATE = (
    "Choose another model with: ttc models list; on a server, name the model's own template with "
    "--chat-template FILE."
)
_REMARK = 2000
"""Characters of a remark that are handed back, the last ones, whoever made it."""
_LOST = {
    "system": "the instructions",
    "user": "the question",
    "assistant": "the model's turn",
    "tool": "what a tool said",
}
_SECONDS = 1.0
"""Of processor time, after which a template that failed is not tried in another form."""


def instructions(type: AnswerType) -> str:
    """How an answer of this type is to be reached and stated; empty for ``FREE``."""
    return (_INSTRUCTIONS | _FENCED)[AnswerType.LATEX if type is AnswerType.AUTO else type]


def request_revision(
    type: AnswerType, *, rating: float | None, cut_off: bool, remarks: Sequence[str] = ()
) -> str:
    """What asks the model to revise the attempt it has just made.

    ``rating`` is what the verifiers make of the attempt, in [0, 1], None where none spoke in
    numbers alone; ``remarks`` are what others said in words; ``cut_off`` says that it came to no
    end.
    """
    seen = []
    if cut_off:
        seen.append("Your solution was cut off before it ended: be briefer.")
    if rating is not None:
        seen.append(f"A reviewer rates your solution {round(100 * rating)} out of 100.")
    task = (
        "Check every step of it. Where one is wrong, correct it; where all are right, keep them. "
        "Then write the whole solution again."
    )
    if not remarks:
        return _join(" ".join([*seen, task]), instructions(type))
    return _join(" ".join(seen), *map(_quote, remarks), task, instructions(type))


def request_repair(type: AnswerType, remarks: Sequence[str]) -> str:
    """What asks the model to mend the solution it has just given, which failed a check.

    ``remarks`` are what the check said.
    """
    task = "So it is wrong. Find the mistake and correct it. Then write the whole solution again."
    return _join(*map(_quote, remarks), task, instructions(type))


def _quote(remark: str) -> str:
    """``remark`` as a text apart, which it cannot end."""
    text = remark.strip()
    if len(text) > _REMARK:
        text = f"…{text[-_REMARK:]}"
    return f"A check of your solution says:\n\n{fence_in(text)}"


def build_messages(problem: Problem) -> list[Message]:
    """The conversation that puts ``problem``, its answer type resolved, to the model.

    The system turn carries the problem's own ``system`` text and then the instruction.
    """
    instruction = instructions(problem.answer_type)
    if problem.schema is not None:
        instruction = _join(instruction, f"It conforms to this JSON Schema:\n{problem.schema}")
    system = _join(problem.system or "", instruction)
    turns = [Message("system", system)] if system else []
    if problem.conversation is None:
        return [*turns, Message("user", problem.text)]
    return [*turns, *problem.conversation.turns]


class Chat:
    """A model's chat template, ready to render messages into prompts.

    Args:
        info: of the engine; gives the template and the control tokens' spellings.
        arguments: variables for the template, such as ``enable_thinking``.
        now: the clock of templates that write the date. One that moves makes another prompt,
            and so another text from the same seed, tomorrow.

    Raises:
        TemplateError: the model has no template, or one that does not compile.
    """

    def __init__(
        self,
        info: EngineInfo,
        arguments: Mapping[str, object] | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        if not info.chat_template:
            raise TemplateError(
                f"{info.model} has no chat template: it was not trained to follow instructions, "
                "and ttc cannot know how to ask it.",
                "Choose an instruct model with: ttc models list",
            )
        if not re.search(r"\{[{%]", info.chat_template):
            raise TemplateError(
                f"The chat template of {info.model} is the bare text "
                f"{info.chat_template.strip()[:60]!r}, which shows no question: a template is a "
                "program, and ttc knows none by name.",
                OTHER_TEMPLATE,
            )
        self._template = _compile(info.chat_template)
        tokens = {"bos_token": "", "eos_token": "", **info.control_tokens}
        self._variables = {**tokens, **(arguments or {})}
        self._now = now
        self._follow_up = functools.lru_cache(maxsize=32)(self._write_follow_up)

    def render(self, messages: Sequence[Message], tools: str = "") -> Prompt:
        """The prompt for ``messages``: contents as plain spans, the rest as control spans.

        Every content is in it. A template without a system role gets the system text at the head
        of the first user turn, one that goes through a list of parts gets contents as such.
        ``tools`` that the model may call are a JSON array; what could begin a control token is
        respelt in them and in the calls of ``messages``.

        Raises:
            TemplateError: it refuses these messages, leaves one out, fails, or exceeds its bounds.
        """
        messages = [each for each in messages if each.content or each.role != "system"]
        merged = _merge_system(messages)
        both = [messages, merged] if merged != messages else [messages]
        lost = ""
        named = _name_calls(messages, tools)
        for turns, text in self._write_forms(both, _mark, tools):
            if unshown := [name for name in named if name not in text]:
                lost = lost or f"the tool {unshown[0]}"
                continue
            shown = {int(index) for index in _PLACEHOLDER.findall(text)}
            left = [each for i, each in enumerate(turns) if each.content.strip() and i not in shown]
            if not left:
                return _split(text, turns)
            lost = lost or " and ".join(dict.fromkeys(_LOST[each.role] for each in left))
        # A template that changes contents: none of it may spell a control token.
        for turns, text in self._write_forms(both, _neutralise, tools):
            prompt = _find_contents(text, _neutralise(turns))
            if prompt is not None and all(name in text for name in named):
                return prompt
        raise TemplateError(
            f"The model's chat template leaves out {lost}, so the model would be asked something "
            "else.",
            OTHER_TEMPLATE,
        )

    def follow_up(self, text: str) -> Prompt:
        """What ends the model's turn, says ``text`` as the user and opens its next turn.

        The conversation before is in the KV cache; this is what comes after it.

        Raises:
            TemplateError: the template cannot be rendered, shows no assistant turn, or leaves
                ``text`` out.
        """
        return self._follow_up(text)

    def _write_follow_up(self, text: str) -> Prompt:
        turns = [Message("user", "?"), Message("assistant", "!"), Message("user", text)]
        shown = False
        for _, rendered in self._write_forms([turns], _mark):
            _, found, after = rendered.rpartition(_placeholder(1))
            shown = shown or bool(found)
            if found and (not text.strip() or _placeholder(2) in after):
                return _split(after, turns)
        what = "drops a user turn" if shown else "shows no assistant turn"
        raise TemplateError(
            f"The model's chat template {what}, so nothing can be asked after an answer.",
            "Do without it: --verifier confidence",
        )

    def _write_forms(
        self,
        conversations: Sequence[Sequence[Message]],
        prepare: Callable[[Sequence[Message]], Sequence[Message]],
        tools: str = "",
    ) -> Iterator[tuple[Sequence[Message], str]]:
        """Each conversation as the template writes it, in each form that contents may have.

        They are ``prepare``d before. A form that it does not look into is left out.

        Raises:
            TemplateError: it makes nothing of any of them.
        """
        failure: TemplateError | None = None
        written = False
        until = time.thread_time() + _SECONDS
        for turns in conversations:
            for form in _FORMS:
                shown = [_show(each, form) for each in prepare(turns)]
                asked: dict[str, Any] = {"messages": shown, "add_generation_prompt": True}
                if tools:
                    asked["tools"] = _respell_all(json.loads(tools))
                try:
                    text = self._template.render({**self._variables, **asked}, self._now)
                except TemplateError as error:
                    failure = error
                    if time.thread_time() > until:
                        raise
                    continue
                if _DUMPED not in text:
                    written = True
                    yield turns, text
        if failure is not None and not written:
            raise failure


@functools.lru_cache(maxsize=8)
def _compile(source: str) -> Template:
    from ttc_cli.templates import Template  # Jinja takes a while, and names need none of it

    return Template(source)


def _join(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)


def _merge_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with the system text at the head of the first user turn."""
    system = _join(*(each.content for each in messages if each.role == "system"))
    rest = [each for each in messages if each.role != "system"]
    if system and rest and rest[0].role == "user":
        return [Message("user", _join(system, rest[0].content)), *rest[1:]]
    return list(messages)


_DUMPED = "ttc-part-as-it-is"
"""Shows where a template writes out a list of parts as it is."""


def _as_parts(message: Message) -> Any:
    return [{"type": "text", "text": message.content, "": _DUMPED}]


_FORMS: tuple[Callable[[Message], Any], ...] = (
    lambda message: message.content,
    _as_parts,
    lambda message: message.content if message.role == "system" else _as_parts(message),
)
"""What the ``content`` of a message is to a template: a text, or a list of parts, as to those of
models that also see or hear."""

_PLACEHOLDER = re.compile("\ue000([0-9]{1,6})\ue001")


def _placeholder(index: int) -> str:
    return f"\ue000{index}\ue001"


def _mark(messages: Sequence[Message]) -> list[Message]:
    """Placeholders for contents; white space around stays, for templates that trim it."""
    marked = []
    for index, each in enumerate(messages):
        core = each.content.strip()
        lead, trail = each.content.split(core, 1) if core else (each.content, "")
        content = lead + (_placeholder(index) if core else "") + trail
        marked.append(replace(each, content=content))
    return marked


def _split(text: str, messages: Sequence[Message]) -> Prompt:
    """The template's text as control spans, with the contents in their places."""
    spans = []
    for index, piece in enumerate(_PLACEHOLDER.split(text)):
        if index % 2 == 0:
            spans.append(Span(piece, control=True))
        elif int(piece) < len(messages):
            spans.append(Span(messages[int(piece)].content.strip()))
    return _tidy(spans)


def _tidy(spans: Sequence[Span]) -> Prompt:
    """No empty spans, no two of a kind in a row; blanks before a content belong to it.

    Tokenisers join a blank with the word after it, and a span is tokenised by itself.
    """
    tidy: list[Span] = []
    for span in spans:
        text = span.text
        if tidy and tidy[-1].control and not span.control and text:
            before = tidy.pop().text
            kept = before.rstrip(" ")
            text = before[len(kept) :] + text
            tidy += [Span(kept, control=True)] if kept else []
        if tidy and tidy[-1].control == span.control:
            text = tidy.pop().text + text
        if text:
            tidy.append(Span(text, span.control))
    return tuple(tidy)


def _neutralise(messages: Sequence[Message]) -> list[Message]:
    """The same with what could begin a control token (``<|``, ``</s``, ``[INST]``) respelt."""
    return [replace(each, content=_respell(each.content)) for each in messages]


def _respell(text: str) -> str:
    return re.sub(r"\[(?=/?[A-Z_]{2,})", "(", re.sub(r"<(?=[|/｜▁\w])", "‹", text))


def _respell_all(value: Any) -> Any:
    """``value``, as JSON has it, with every text and key in it respelt."""
    if isinstance(value, dict):
        return {_respell(key): _respell_all(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_respell_all(each) for each in value]
    return _respell(value) if isinstance(value, str) else value


def _show(message: Message, form: Callable[[Message], Any]) -> dict[str, Any]:
    """``message`` as templates know it."""
    shown: dict[str, Any] = {"role": message.role, "content": form(message)}
    if message.calls:
        calls = _respell_all(json.loads(message.calls))
        shown["tool_calls"] = [
            {"id": each["id"], "type": "function", "function": each} for each in calls
        ]
    return shown


def _name_calls(messages: Sequence[Message], tools: str) -> list[str]:
    """The names of all ``tools``, and of those that ``messages`` call."""
    offered = [each["function"]["name"] for each in json.loads(tools or "[]")]
    called = [call["name"] for each in messages if each.calls for call in json.loads(each.calls)]
    return list(dict.fromkeys(map(_respell, offered + called)))


def _find_contents(text: str, messages: Sequence[Message]) -> Prompt | None:
    """``text`` in which the contents are found again, in their order; None where one is not."""
    spans, position = [], 0
    for core in filter(None, (each.content.strip() for each in messages)):
        start = text.find(core, position)
        if start < 0:
            return None
        spans += [Span(text[position:start], control=True), Span(core)]
        position = start + len(core)
    return _tidy([*spans, Span(text[position:], control=True)])


VOTED = tuple(kind for kind in AnswerType if kind in _INSTRUCTIONS)
"""Types of answers that policies are fitted to."""


def hash_prompts(
    chat: Chat,
    ask: Callable[[Problem], Sequence[Message]] = build_messages,
    types: Sequence[AnswerType] = VOTED,
) -> str:
    """A hash of how ``chat`` and the instructions of ``ask`` dress a question of each type."""
    keys = [prompt_key(chat.render(ask(Problem("?", kind)))) for kind in types]
    return hashlib.sha256("".join(keys).encode()).hexdigest()[:16]


def prompt_key(prompt: Prompt) -> str:
    """A hash that tells prompts apart; how text is cut into spans of one kind does not matter."""
    merged: list[tuple[bool, str]] = []
    for span in prompt:
        if merged and merged[-1][0] == span.control:
            merged[-1] = (span.control, merged[-1][1] + span.text)
        elif span.text:
            merged.append((span.control, span.text))
    return hashlib.sha256(json.dumps(merged).encode()).hexdigest()[:32]
