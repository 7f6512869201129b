r"""The final answer that a text states, if it states one.

Only explicit statements count: ``\boxed{…}``, ``#### …``, "the final answer is …", "the answer
is …" at the end, "Answer: …", what stands under a heading "Answer"; for code and JSON, a fenced
block, or a text that plainly is the program or the value. The last number of a text is never taken
for its answer: a search that did so would seem to win by guessing from unfinished candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ttc_cli.answers.fences import find_blocks
from ttc_cli.answers.normalise import MAX_ANSWER, make_key
from ttc_cli.answers.programs import pick_program
from ttc_cli.answers.spelling import strip_delimiters, unwrap_text
from ttc_cli.answers.statements import (
    LATEST,
    clean,
    find_brace,
    find_latest,
    find_statements,
    find_worded_number,
    read_clauses,
)
from ttc_cli.answers.structured import find_json, parse_json, write_json
from ttc_cli.answers.words import bare_boolean
from ttc_cli.types import Answer, AnswerType

_BOXED = re.compile(r"\\f?boxed\s*(?:[:=]\s*)?")
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
_EMPTY = re.compile(r"(?!\\\{\s*\\\}$)[\s.…?_,;:!*\\'\"()\[\]{}$~-]*")
_FORMULA = re.compile(r"\$\$?|\\[(\[]")
_MORE = re.compile(r"\s*(?:\d|\\[a-z]|[-+/^*=])")
_LEAD_IN = re.compile(
    r"\s*\\(?:text|textbf|textrm|mathrm|mbox)\{[^{}]*(?:\b(?:is|are|was|has|have|equals|"
    r"equal to|therefore|thus|hence|so|about|approximately|exactly)|[:=])\s*\}"
    r"\s*[:=]?\s*(?=\S)"
)
_FENCE_MARK = re.compile(r"(?:`{3,}|~{3,})[\w+-]*")


def extract(
    text: str, type: AnswerType, *, finished: bool = True, schema: str | None = None
) -> Answer | None:
    r"""The answer that ``text`` states, or None.

    Args:
        text: what a candidate wrote.
        type: how the answer is to be read; ``FREE`` takes the whole text.
        finished: False for a text that was cut off: a statement that runs into the cut is
            not taken, since it may have gone on (``\boxed{…}`` closes itself).
        schema: a JSON value that does not conform to it does not count.

    Returns:
        The last ``\boxed{…}`` that holds an answer of this type; else the last line
        ``#### …``; else the last phrase. ``CODE``: what ``pick_program`` finds. ``JSON``: the
        last fenced block that holds a JSON value; else the whole text, what stands between
        unpaired fences, or the last array or object.
    """
    if type is AnswerType.FREE:
        return read_answer(text, type) if finished else None
    if type is AnswerType.CODE:
        program = pick_program(text, finished=finished)
        return read_answer(program.content, type) if program else None
    if type is AnswerType.JSON:
        found = _read_json(text, finished=finished)
        if found is None or schema is None:
            return found
        from ttc_cli.answers.validating import conforms  # a twelfth of a second to load

        return found if conforms(found.text, schema) else None
    for statements in (_find_boxed, _find_hashes, find_statements):
        for statement, closed in statements(text, type):
            answer = read_answer(statement, type)
            if answer is not None and (closed or finished):
                return answer
    return None


def read_answer(text: str, type: AnswerType) -> Answer | None:
    """``text`` itself as an answer of this type (a reference, the inside of a box), or None."""
    key = make_key(text, type)
    if key is None:
        return None
    return Answer(_show(text, key, type), key, type)


def _read_json(text: str, *, finished: bool) -> Answer | None:
    for block in reversed([each for each in find_blocks(text) if each.closed][-LATEST:]):
        if (answer := read_answer(block.content, AnswerType.JSON)) is not None:
            return answer
    if not finished:
        return None
    pieces = [text, *reversed(_FENCE_MARK.split(text)[-LATEST:]), find_json(text) or ""]
    answers = (read_answer(piece, AnswerType.JSON) for piece in pieces)
    return next((answer for answer in answers if answer is not None), None)


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
        plain = bare_boolean(plain)
        words = 2 if plain.lower().startswith("not ") else 1
        return " ".join(plain.split()[:words]).strip(".,;:!")
    return shown if "\\" in plain else plain


def _find_boxed(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """The readings of the boxes, last box first; unclosed and empty ones are left out."""
    for match in find_latest(_BOXED, text):
        start = match.end()
        if text[start : start + 1] != "{":
            yield from _read_bare_box(text, match, type)
        elif (end := find_brace(text, start + 1)) is not None:
            inside = text[start + 1 : end]
            if not _EMPTY.fullmatch(inside):
                yield from ((reading, True) for reading in _read_box(inside, type))


def _read_box(inside: str, type: AnswerType) -> Iterator[str]:
    r"""What a box states: all of it, unless it says so in words, ``\text{The answer is } 64``."""
    words = unwrap_text(inside)
    yield from (statement for statement, _ in find_statements(words, type))
    if (lead := _LEAD_IN.match(inside)) is not None:
        yield inside[lead.end() :]
    yield inside
    if type is AnswerType.NUMBER:
        yield find_worded_number(words) or ""


def _read_bare_box(text: str, box: re.Match[str], type: AnswerType) -> Iterator[tuple[str, bool]]:
    r"""What a box without braces holds: in a formula all the rest of it, else one word.

    LaTeX would box one character; models mean ``\boxed 64``.
    """
    start = box.end()
    line = text[start : start + MAX_ANSWER].partition("\n")[0]
    before = text[max(0, box.start() - MAX_ANSWER) : box.start()].rpartition("\n")[2]
    closing = _find_math_end(before)
    if closing is None and (opening := _FORMULA.match(line)) is not None:
        start, line = start + opening.end(), line[opening.end() :]
        closing = _find_math_end(opening[0])
    if closing is not None:
        inside, closed, _ = line.partition(closing)
        yield clean(inside), bool(closed)
        line = inside
    size = _measure_word(line)
    word, words = clean(clean(line[:size]).rstrip(".!?")), re.sub(r"\\[A-Za-z]+", "", line)
    if type in (AnswerType.TEXT, AnswerType.LATEX) and re.match(r"\s*[a-z]{2}", words):
        return  # it is spoken of: "in \boxed notation"
    goes_on = _MORE.match(line, size) and not re.search(r"[^\W\d_]{2}", words)
    if goes_on or type not in (AnswerType.LATEX, AnswerType.NUMBER):
        yield from ((each, start + len(line) < len(text)) for each in read_clauses(line, type))
    yield word, start + size < len(text)


def _find_math_end(before: str) -> str | None:
    """The delimiter that closes the formula that ``before`` leaves open, if it leaves one open."""
    if before.count("$$") % 2:
        return "$$"
    if before.replace("$$", "").count("$") % 2:
        return "$"
    pairs = ((r"\(", r"\)"), (r"\[", r"\]"))
    return next((end for begin, end in pairs if before.rfind(begin) > before.rfind(end)), None)


def _measure_word(line: str) -> int:
    """The length of the first LaTeX word: up to a blank or a delimiter outside braces."""
    place = 0
    while place < len(line):
        if line[place] in " \t}$" or line.startswith((r"\)", r"\]"), place):
            break
        end = find_brace(line, place + 1) if line[place] == "{" else place
        if end is None:
            break
        place = end + (2 if line[place] == "\\" else 1)
    return min(place, len(line))


def _find_hashes(text: str, type: AnswerType) -> Iterator[tuple[str, bool]]:
    """GSM8K's ``#### …``. It is Markdown's heading too: all but a number must be the last line."""
    for match in find_latest(_HASHES, text):
        line, last = clean(match[1]).removesuffix("."), not text[match.end() :].strip()
        if (last or type is AnswerType.NUMBER) and not match[1].rstrip().endswith(":"):
            yield line, match.end() < len(text)
