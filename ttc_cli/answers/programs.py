"""The program in a text: which of its fenced blocks, or where it stands without a fence.

A program is the last block that defines something (a function, a class …) other than tests,
together with the blocks that it uses or that use it. If no block defines anything, it is the last
block that is not output; blocks that name a language come first. Nothing is run: definitions are
recognised by the shape of their lines, and Python by its parser.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ttc_cli.answers.fences import Block, find_blocks
from ttc_cli.answers.spelling import TABLES
from ttc_cli.answers.structured import LONGEST_PARSED, parse_python

_BLOCKS = 20
"""Only this many blocks, the last ones, are considered."""
_LINE = 300
"""Characters; a longer line defines nothing."""
_TRIES = 10
"""Places at which Python is looked for, and lines that are cut off at its end."""

_DEFINED = re.compile(
    r"(?P<indent>[ \t]*)(?:"
    r"(?:(?:export|default|pub(?:\([a-z]+\))?|public|private|protected|internal|static|final|"
    r"abstract|async|unsafe|inline|virtual|override|local|sealed|partial|data|open)[ \t]+){0,6}"
    r"(?:def|class|function\*?|fn|func|fun|struct|enum|interface|trait|object|namespace|module|mod|"
    r"defmodule|defp|sub|procedure)[ \t]+(?:\([^()]*\)[ \t]*)?([A-Za-z_$][\w$.:]*)"
    r"(?=[ \t(<{:;\[]|$)"
    # int add(int a, int b) {
    r"|[A-Za-z_][\w:<>,*&\[\] ]{0,80}[ *&]([A-Za-z_]\w*)[ \t]?\([^;]*\)[\w \t]*\{?[ \t]*$"
    # const add = (a, b) => …, add = lambda a, b: …
    r"|(?:(?:export|const|let|var)[ \t]+){0,2}([A-Za-z_$][\w$]*)[ \t]*(?::[^=]{0,80})?="
    r"[ \t]*(?:lambda\b|(?:async[ \t]*)?(?:function\b|(?:\([^()]*\)|\w+)[^=]{0,40}=>))"
    # add() {, add :: Int -> Int -> Int
    r"|([A-Za-z_][\w-]*)[ \t]?\(\)[ \t]*\{?[ \t]*$"
    r"|([a-z]\w*)[ \t]+::[ \t]"
    r")"
)
_NO_NAMES = {"if", "for", "while", "switch", "catch", "return", "else", "elif", "with", "print"}
_TEST = re.compile(r"(?:^|_)tests?(?:_|\d*$)|^test[A-Z]|^Tests?(?:$|[A-Z_])|\wTests?(?:Case)?$")
_TEST_MARK = re.compile(
    r"[ \t]*(?:#\[(?:\w+::)?test\b|#\[cfg\(test|@pytest\b|@given\b|@(?:Parameterized)?Test\b"
    r"|\[(?:Test|Fact|Theory)\b)|.*\bTestCase\b"
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_PYTHONS, _SHELLS, _OUTPUTS = (
    frozenset(TABLES["fences"][kind].split()) for kind in ("python", "shells", "outputs")
)
_PYTHON_SHAPED = re.compile(r"^[ \t]*(?:async +)?(?:def|class) [^\n]*:[^\n]*$", re.MULTILINE)
_PYTHON_START = re.compile(r"(?:async def|def|class|import|from)\b|@\w")
_PROMPT = re.compile(
    r"\s*(?:(?:>>>|\$|In \[\d*\]:) |"
    r"(?:python3?|pip3?|node|npm|gcc|g\+\+|cargo|go (?:run|test)|java|bash|sh) [^\n(=]*\s*\Z)"
)
"""A session, or the one command that runs the program."""
_LABEL = re.compile(r"\b(?:out(?:put)?s?|prints?|printed|results?|stdout|returns?|gives?)\b", re.I)
_CODE_START = re.compile(
    r"#!|#include\b|<!doctype\b|<html\b|<\?php"
    r"|(?:package|import|using|use|from|require) ?[\w.{*\"'(<]|(?:const|let|var) \w"
    r"|(?:select|with|insert into|update|delete from|create) \S",
    re.IGNORECASE,
)
_CODE_END = re.compile(r"[;{})>\]]\s*$|^\s*(?:end|fi|done|esac)\b")
_SENTENCE = re.compile(r"[ \t]*[A-Z][\w'’]*,?(?: [\w'’`,]+){3,}[^;{}()=]*[.:!?]\s*$")


class _Part(NamedTuple):
    """A block, what it defines, what it uses that it does not define, what else it binds."""

    block: Block
    names: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    bound: frozenset[str] = frozenset()


def pick_program(text: str, *, finished: bool = True) -> Block | None:
    """The program that ``text`` holds, or None.

    Args:
        text: what a candidate wrote.
        finished: False for a text that was cut off: of it only blocks with an end count.
    """
    blocks = find_blocks(text)
    if blocks and not blocks[-1].closed and not finished:
        blocks.pop()
    before = text[: blocks[0].start] if blocks else text
    blocks = [_finish(each) for each in blocks[-_BLOCKS:] if each.content.strip()]
    found = _join(blocks)
    if found is None and finished:
        found = _find_unfenced(before)
    return found or _pick_last(blocks, text)


def _join(blocks: Sequence[Block]) -> Block | None:
    """The last block that defines something, and those that belong to it."""
    parts = [part for part in map(_read_part, blocks) if part.names or part.bound]
    while parts and not parts[-1].names:
        parts.pop()
    if not parts:
        return None
    last = parts.pop()
    chosen, names = [last], last.names
    for part in reversed(parts):
        if part.block.language != last.block.language:
            continue
        offered = part.names - names if part.names & names else part.names | part.bound
        if any(each.used & offered for each in chosen):
            chosen.insert(0, part)
        elif part.used & names and not part.names & names:
            chosen.append(part)
        else:
            continue
        names |= part.names
    content = "\n\n".join(part.block.content.strip("\n") for part in chosen)
    return replace(last.block, content=f"{content}\n")


def _pick_last(blocks: Sequence[Block], text: str) -> Block | None:
    """Of blocks that define nothing, the last of the likeliest kind."""
    able = [each for each in blocks if each.language not in _OUTPUTS]
    able = [each for each in able if not _PROMPT.match(each.content)]
    kinds = (
        [each for each in able if each.language and each.language not in _SHELLS],
        [each for each in able if each.language],
        [each for each in able if not _is_called_output(text, each)],
        able,
    )
    return next((kind[-1] for kind in kinds if kind), None)


def _is_called_output(text: str, block: Block) -> bool:
    before = text[max(0, block.start - _LINE) : block.start].rstrip()
    return _LABEL.search(before.rpartition("\n")[2]) is not None


def _read_part(block: Block) -> _Part:
    content = block.content
    if _PROMPT.match(content):
        return _Part(block)
    names = frozenset() if block.language == "json" else _read_names(content)
    if not _is_python(block) or len(content) > LONGEST_PARSED:
        return _Part(block, names, frozenset(_NAME.findall(content)) - names)
    try:
        tree = parse_python(content)
    except SyntaxError:  # a signature, a sketch
        return _Part(block)
    if all(map(_is_sketch, tree.body)):
        names = frozenset()
    bound = _read_bound(tree)
    return _Part(block, names, _read_used(tree) - bound - names, bound)


def _is_python(block: Block) -> bool:
    named = block.language in _PYTHONS
    return named or (not block.language and bool(_PYTHON_SHAPED.search(block.content)))


def _read_names(content: str) -> frozenset[str]:
    """What is defined at the outermost level at which anything is, tests left out."""
    if content.startswith("#!"):
        return frozenset({"#!"})
    found: list[tuple[int, str, bool]] = []
    before = ""
    for line in content.split("\n"):
        match = _DEFINED.match(line) if len(line) <= _LINE else None
        if match is not None:
            name = match[match.lastindex or 0]
            if name not in _NO_NAMES:
                is_test = _TEST.search(name) or _TEST_MARK.match(line) or _TEST_MARK.match(before)
                found.append((len(match["indent"].expandtabs(4)), name, bool(is_test)))
        before = line if len(line) <= _LINE else ""
    outermost = min((indent for indent, _, _ in found), default=0)
    return frozenset(name for indent, name, test in found if indent == outermost and not test)


def _read_used(tree: ast.Module) -> frozenset[str]:
    """Names that Python code reads and never assigns."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    assigned = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return frozenset(read - assigned - arguments)


def _read_bound(tree: ast.Module) -> frozenset[str]:
    """Names that imports and assignments of the outermost level bind."""
    bound: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            bound.update((each.asname or each.name).partition(".")[0] for each in statement.names)
        elif isinstance(statement, ast.Assign):
            bound.update(each.id for each in statement.targets if isinstance(each, ast.Name))
    return frozenset(bound)


def _is_sketch(statement: ast.stmt) -> bool:
    """Whether a function does nothing yet: its body is a docstring, ``...`` or ``pass``."""
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and all(
        isinstance(each, ast.Pass)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in statement.body
    )


def _finish(block: Block) -> Block:
    """A block without an end of its own ends where prose follows its Python."""
    if block.closed or not _is_python(block):
        return block
    return replace(block, content=_read_python(block.content) or block.content)


def _find_unfenced(text: str) -> Block | None:
    """A program between paragraphs of prose (Python alone), or one that is all of ``text``."""
    lines = text.split("\n")
    starts = [place for place, line in enumerate(lines) if _PYTHON_START.match(line)]
    for start in starts[:_TRIES]:
        code = _read_python("\n".join(lines[start:]))
        if code is not None and _PYTHON_SHAPED.search(code):
            return Block("python", code, closed=True, start=0)
    return Block("", text, closed=True, start=0) if _looks_like_code(text) else None


def _read_python(text: str) -> str | None:
    """The head of ``text`` up to where it is no longer Python, without words at its end."""
    lines = text[:LONGEST_PARSED].split("\n")
    for _ in range(_TRIES):
        try:
            body = parse_python("\n".join(lines)).body
        except SyntaxError as error:
            lines = lines[: min(error.lineno or 1, len(lines)) - 1]
            continue
        while body and _is_words(body[-1]):
            body.pop()
        return "\n".join(lines[: body[-1].end_lineno]) + "\n" if body else None
    return None


def _is_words(statement: ast.stmt) -> bool:
    """Whether it is prose that happens to parse as Python: ``Done``, ``Output: 3``."""
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    return isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Call | ast.Await)


def _looks_like_code(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or len(lines[0]) > _LINE:
        return False
    first, last = lines[0].strip(), lines[-1][-_LINE:]
    if first.startswith("#!"):
        return True
    begins = _CODE_START.match(first) or _DEFINED.match(first)
    prose = any(_SENTENCE.match(line[:_LINE]) for line in lines)
    return bool(begins and _CODE_END.search(last)) and not prose
