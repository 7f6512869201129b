r"""The final answer that a text states, if it states one.

Only explicit statements count: ``\boxed{…}``, ``#### …``, "the final answer is …", "the answer
is …" at the end, "Answer: …"; of code and JSON a fenced block. The last number of a
text that states nothing is never taken for its answer: a search that does so seems to win by
guessing from unfinished candidates.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from ttc_cli.answers.fences import find_blocks
from ttc_cli.answers.normalise import MAX_ANSWER, make_key, strip_delimiters, unwrap_text
from ttc_cli.answers.schema import conforms
from ttc_cli.answers.structured import find_json, parse_json, write_json
from ttc_cli.types import Answer, AnswerType

_BOXED = re.compile(r"\\f?boxed\s*(?:\{|([0-9a-zA-Z]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
_PHRASE = re.compile(
    r"(?P<strong>\bfinal\s+answer\s*\**\s*(?:is\b|:|=)|^[\W_]*(?:final\s+)?answer\b[\s*_]*[:=])"
    r"|\banswer\s+(?:to\s+[^.\n]{1,80}?\s+)?(?:is\b|:|=)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD = re.compile(
    r"^[\s:*_]*(?:(?:therefore|thus|hence|then|simply|indeed|approximately|about|therefor|option|choice)\b,?\s*|[=≈]\s*)*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<![A-Z])[.!?](?=[\s\"')*]|$)|\n")
_AFTERTHOUGHT = re.compile(
    r",?\s+(?:because|since|as|which|so|when|where|if|for)\b.*|[;,]\s+[a-z]\w*\b.*", re.S
)
_MAX_TEXT = 200
"""Characters of a short text answer; a longer one is prose."""
_CLOSING_LINES = 2
_STATEMENTS = 20
_WINDOW = 2 * MAX_ANSWER


def extract(
    text: str, type: AnswerType, *, finished: bool = True, schema: str | None = None
) -> Answer | None:
    r"""The answer that ``text`` states, or None.

    Args:
        text: what a candidate wrote.
        type: how the answer is to be read; ``FREE`` takes the whole text.
        finished: False for a text that was cut off: a statement that runs into the cut is
            not taken, since it may have gone on (``\boxed{…}`` closes itself).
        schema: a JSON value that does not conform to it is none.

    Returns:
        The last ``\boxed{…}`` that holds an answer of this type; else the last line
        ``#### …``; else the last phrase. ``CODE``: the last complete fenced block. ``JSON``: the
        last of those that holds a JSON value; else the whole text, or the last array or object
        in it.
    """
    if type is AnswerType.FREE:
        return read_answer(text, type) if finished else None
    if type in (AnswerType.CODE, AnswerType.JSON):
        found = _read_fenced(text, type, finished)
        return found if found is None or schema is None or conforms(found.text, schema) else None
    for statements in (_find_boxed, _find_hashes, _find_phrases):
        for statement, closed in statements(text, type):
            answer = read_answer(statement, type)
            if answer is not None and (closed or finished):
                return answer
    return None


def find_thought(
    text: str, marks: tuple[str, str] = ("<think>", "</think>"), *, inside: bool = False
) -> int:
    """How many characters at the head of ``text`` are thinking, from which no answer is read.

    Args:
        text: what a candidate wrote.
        marks: what opens and what closes a thought.
        inside: the prompt has opened it already.

    Returns:
        The length up to and with the first closing mark; all of it where an opened thought
        never ends.
    """
    opening, closing = marks
    place = text.find(closing)
    if place >= 0:
        return place + len(closing)
    return len(text) if inside or text.lstrip().startswith(opening) else 0


def read_answer(text: str, type: AnswerType) -> Answer | None:
    """``text`` itself as an answer of this type (a reference, the inside of a box), or None."""
    key = make_key(text, type)
    if key is None:
        return None
    return Answer(_show(text, key, type), key, type)


def _read_fenced(text: str, type: AnswerType, finished: bool) -> Answer | None:
    blocks = [each.content for each in find_blocks(text) if each.closed]
    for block in reversed(blocks[-_STATEMENTS:]):
        if (answer := read_answer(block, type)) is not None:
            return answer
    if type is AnswerType.CODE or not finished:
        return None
    return read_answer(text, type) or read_answer(find_json(text) or "", type)


def _show(text: str, key: str, type: AnswerType) -> str:
    """The answer as a person reads it: its own words, without delimiters around them."""
    if type is AnswerType.FREE:
        return text.strip()
    if type is AnswerType.CODE:
        return text.strip("\n").rstrip()
    if type is AnswerType.JSON:
        return write_json(parse_json(text))
    if type is AnswerType.CHOICE:
        return key
    shown = strip_delimiters(text)
    if type is AnswerType.LATEX:
        whole = re.fullmatch(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}", shown)
        return whole[1].strip() if whole else shown
    plain = re.sub(r"\\([$%])|\\!", r"\1", unwrap_text(shown)).strip()
    if type is AnswerType.BOOLEAN:
        return plain.split()[0].strip(".,;:!")
    return shown if "\\" in plain else plain


def _last(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The last few matches, last first: a text may repeat itself ten thousand times."""
    return reversed(deque(pattern.finditer(text), maxlen=_STATEMENTS))


def _find_boxed(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """What the boxes hold, last box first, unclosed ones left out."""
    for match in _last(_BOXED, text):
        if match[1]:
            yield match[1], match.end() < len(text)
        elif (inside := _read_braces(text, match.end())) and not re.fullmatch(r"[\W_]*", inside):
            yield inside, True


def _read_braces(text: str, start: int) -> str | None:
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_ANSWER):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()]
    return None


def _find_hashes(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """GSM8K's ``#### …``. It is Markdown's heading too: all but a number must be the last line."""
    for match in _last(_HASHES, text):
        line, last = match[1].strip(), not text[match.end() :].strip()
        if (last or type is AnswerType.NUMBER) and not line.endswith(":"):
            yield line, match.end() < len(text)


def _find_phrases(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """What follows "the answer is", last phrase first.

    The weak form (no "final", not a line of its own) must stand in the closing lines.
    """
    for match in _last(_PHRASE, text):
        rest = _LEAD.sub("", text[match.end() : match.end() + _WINDOW], count=1)
        lines_after = sum(bool(line.strip()) for line in rest.split("\n")[1:])
        if not match["strong"] and lines_after > _CLOSING_LINES:
            continue
        end = _SENTENCE_END.search(rest)
        closed = end is not None and end.start() < len(rest.rstrip())
        yield from ((clause, closed) for clause in _read_clauses(rest, type))


def _read_clauses(rest: str, type: AnswerType) -> Iterator[str]:
    r"""The readings of a statement: a formula, the sentence, the sentence without its tail."""
    line = rest.split("\n", 1)[0].strip()[:MAX_ANSWER]
    if not line and rest.strip():
        line = rest.strip().split("\n", 1)[0].strip()
        if line in (r"\[", "$$"):
            line = rest.strip().split("\n")[1] if "\n" in rest.strip() else ""
    formula = re.match(r"\\\[(.+?)\\\]|\\\((.+?)\\\)|\$\$(.+?)\$\$|\$(?!\d+[^$]*$)([^$]+)\$", line)
    if formula and type is not AnswerType.TEXT:
        yield next(group for group in formula.groups() if group)
    if type is AnswerType.TEXT and len(line) <= 60:
        yield line.rstrip(".!*")
        return
    end = _SENTENCE_END.search(line)
    sentence = line[: end.start()] if end else line
    sentence = strip_delimiters(sentence.rstrip("*_ "))
    if type in (AnswerType.TEXT, AnswerType.LATEX) and len(sentence) > _MAX_TEXT:
        return
    yield sentence
    yield _AFTERTHOUGHT.sub("", sentence)
