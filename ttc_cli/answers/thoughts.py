"""Where the thinking of a model ends and its answer begins."""

from __future__ import annotations

import re

Marks = tuple[str, str]

_WORD = (
    r"(?:\w{1,12}[:_])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratch_?pad|cot|"
    r"(?:inner|chain_of)_(?:thoughts?|monologue))(?::\w{1,12})?"
)
_PAIRS = {
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|begin_of_thinking|>": "<|end_of_thinking|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
    "<|channel>thought": "<channel|>",
    "<unused94>thought": "<unused95>",
}
"""In small letters: marks that close with another word, of models that are in use."""
_OPENING = re.compile(
    rf"<{_WORD}>|<\|(?!end[:_]){_WORD}\|>|\[think(?:ing)?\]|◁think▷|"
    rf"{'|'.join(map(re.escape, _PAIRS))}",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"</{_WORD}>|<\|/{_WORD}\|>|\[/think(?:ing)?\]|◁/think▷|"
    rf"{'|'.join(map(re.escape, _PAIRS.values()))}",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"\s*(?!.{0,60}\banswer)[^\W\d][^\n\d<>`*\\$#:\[]{0,60}(?:\n\s*|[.!…]\s+)(?=[<\[◁])",
    re.IGNORECASE,
)
"""A few words that state no answer, in front of a thought: "Sure, let me think." """
_BLANKS = re.compile(r"\s*")
_LINE = 200
"""Characters of a line that are looked at before a mark."""
_MENTION = " \t`'\"“‘(*_<[{"
_MENTIONED = "`'\"”’),;:"
"""What stands before and after a mark that is only mentioned."""


def find_thought(text: str, marks: Marks | None = None, *, inside: bool = False) -> int:
    """The length of the thinking at the head of ``text``, from which no answer is read.

    Args:
        text: what a candidate wrote.
        marks: what opens and what closes a thought; None: whatever is usual.
        inside: the prompt has already opened the thought.

    Returns:
        The characters up to and including the closing mark; all of them if the thought never
        ends. A closing mark that nothing opened counts where it stands as a mark (after what it
        closes, or on a line of its own), not where the text mentions it.
    """
    end, closing = 0, marks[1] if marks and inside else "</think>" if inside else None
    while True:
        if closing is None:
            start = _BLANKS.match(text, end)
            closing = _find_closing(text, start.end() if start else end, marks)
        if closing is None and not end and (lead := _PREAMBLE.match(text)) is not None:
            closing = _find_closing(text, lead.end(), marks)
        if closing is None:
            return end + _find_unopened(text[end:], thought=bool(end))
        found = re.compile(re.escape(closing), re.IGNORECASE).search(text, end)
        if found is None:
            return len(text)
        end, closing = found.end(), None


def find_opened(prompt: str) -> Marks | None:
    """The marks of the thought that ``prompt`` ends in, where a chat template opens it."""
    tail = prompt.rstrip()
    for opening in _OPENING.finditer(tail, max(0, len(tail) - 40)):
        if opening.end() == len(tail):
            return opening[0], _close(opening[0])
    return None


def _find_closing(text: str, start: int, marks: Marks | None) -> str | None:
    """What closes the thought that is opened at ``start``."""
    if marks is not None and text.startswith(marks[0], start):
        return marks[1]
    opening = _OPENING.match(text, start)
    return None if opening is None else _close(opening[0])


def _close(opening: str) -> str:
    """The mark that closes what ``opening`` opens, in capitals as that is."""
    pair = _PAIRS.get(opening.lower())
    if pair is not None and opening.isupper():
        pair = pair.upper()
    return pair or re.sub(r"(?<=[<\[◁|])(?=\w)", "/", opening, count=1)


def _open(closing: str) -> str:
    """The mark, in small letters, that opens what ``closing``, in small letters too, closes."""
    pairs = (opening for opening, each in _PAIRS.items() if each == closing)
    return next(pairs, closing.replace("/", "", 1))


def _find_unopened(text: str, *, thought: bool) -> int:
    """The end of a thought that the template opened, outside the text.

    After a ``thought``, a mark at the very end is only its closing mark written twice.
    """
    last = len(text.rstrip())
    openings: dict[str, int] = {}
    for opening in _OPENING.finditer(text):
        openings.setdefault(opening[0].lower(), opening.start())
    for closing in _CLOSING.finditer(text):
        if thought and closing.end() >= last:
            return 0
        if openings.get(_open(closing[0].lower()), len(text)) < closing.start():
            return 0
        start = closing.start()
        line = text[max(0, start - _LINE) : start].rpartition("\n")[2]
        behind = text[closing.end() : closing.end() + 40].partition("\n")[0]
        if behind[:1] and behind[:1] in _MENTIONED:
            continue
        if line.strip() and line[-1] not in _MENTION:
            return closing.end()
        spoken = behind[:1].isspace() and behind.strip()[:1].islower()
        if not line.strip() and not spoken:
            return closing.end()
    return 0
