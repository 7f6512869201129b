"""The program in a text, whatever stands around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers import extract
from ttc_cli.types import AnswerType

ADD = "def add(a, b):\n    return a + b"
HELPED = "def add(a, b):\n    return check(a) + check(b)"
CHECK = "def check(n):\n    return int(n)"
PROGRAMS = {
    "python": (
        ADD,
        "class Stack:\n    def __init__(self):\n        self.items = []",
        "import sys\n\n\n@cache\nasync def main():\n    print(sys.argv)",
        "add = lambda a, b: a + b",
    ),
    "javascript": ("function add(a, b) {\n  return a + b;\n}", "const add = (a, b) => a + b;"),
    "rust": ("pub fn add(a: i32, b: i32) -> i32 {\n    a + b\n}",),
    "go": ("package main\n\nfunc (s *Stack) Add(a int) int {\n\treturn a\n}",),
    "c": ("#include <stdio.h>\n\nstatic int add(int a, int b) {\n    return a + b;\n}",),
    "java": ("public class Main {\n    public static void main(String[] args) {\n    }\n}",),
    "haskell": ("add :: Int -> Int -> Int\nadd a b = a + b",),
    "ruby": ("def add(a, b)\n  a + b\nend",),
    "bash": ("#!/bin/bash\nfor f in *; do mv $f $f.bak; done", "add() {\n  echo $(($1 + $2))\n}"),
    "": (ADD, "function add(a, b) {\n  return a + b;\n}"),
}
WRITTEN = [(language, code) for language, each in PROGRAMS.items() for code in each]


def fence(code: str, language: str = "", mark: str = "```") -> str:
    return f"{mark}{language}\n{code}\n{mark}"


def indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else "" for line in text.split("\n"))


def read(text: str, *, finished: bool = True) -> str | None:
    answer = extract(text, AnswerType.CODE, finished=finished)
    return None if answer is None else answer.text


BEHIND = [
    "\n\nThis adds two numbers. It's done.",
    "\n\nOutput:\n" + fence("3"),
    "\n\nExample:\n\n" + fence("print(add(1, 2))") + "\n\nOutput:\n\n" + fence("3"),
    "\nIt prints:\n" + fence("3", "text") + "\n" + fence("3", "output"),
    "\n" + fence("$ python3 add.py", "console"),
    "\nRun it:\n" + fence("pip install x && python3 add.py", "bash"),
    "\n" + fence(">>> add(1, 2)\n3", "python"),
    "\n" + fence('{"a": 1}', "json"),
    "\nTests:\n" + fence("from add import add\n\nassert add(1, 2) == 3", "python"),
    "\n" + fence("import pytest\n\ndef test_add():\n    assert add(1, 2) == 3", "py"),
    "\n" + fence("class Sums(unittest.TestCase):\n    def test_add(self): ...", "python"),
    "\n" + fence("#[test]\nfn adds() {\n}", "rust"),
    "\n" + fence('test("adds", () => {\n});', "js"),
    "\nIts signature is\n" + fence("def add(a, b):", "python"),
]


@given(
    st.sampled_from(WRITTEN),
    st.sampled_from(["", "Sure! Here it is:\n\n", "```text\nadd 1 2\n```\n\n", "```\nHm, so:\n"]),
    st.sampled_from(["", *BEHIND]),
    st.sampled_from(["```", "````", "~~~"]),
    st.sampled_from([0, 2, 3, 4, 7]),
)
def test_the_program_is_read_whatever_stands_around_it(
    written: tuple[str, str], before: str, behind: str, mark: str, by: int
) -> None:
    language, code = written
    if before.startswith("```\n") and (not language or mark != "```" or by > 3):
        before = ""  # no fence of its own that names its language ends the open block
    assert read(before + indent(fence(code, language, mark), by) + behind) == code


@pytest.mark.parametrize(("language", "code"), WRITTEN)
def test_of_two_versions_the_later_one_is_the_program(language: str, code: str) -> None:
    text = f"{fence(code + '  ', language)}\nBetter:\n{fence(code, language)}"
    assert read(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # parts that use each other
        (f"{fence(CHECK, 'python')}\nand\n{fence(HELPED, 'python')}", f"{CHECK}\n\n{HELPED}"),
        (f"{fence(HELPED, 'python')}\nwith\n{fence(CHECK, 'python')}", f"{CHECK}\n\n{HELPED}"),
        (f"{fence(CHECK, 'python')}\nunlike\n{fence(ADD, 'python')}", ADD),
        (f"{fence('K = 5', 'py')}\nthen\n{fence(ADD + ' + K', 'py')}", f"K = 5\n\n{ADD} + K"),
        (f"{fence(ADD, 'python')}\nIts shape:\n{fence('def add(a, b): ...', 'python')}", ADD),
        (f"{fence(ADD, 'py')}\n{fence('In [1]: add(1, 2)', 'py')}", ADD),
        # nothing is defined
        (f"{fence('SELECT 1;')}\nHow to use it:\n{fence('python run.py')}", "SELECT 1;"),
        (f"{fence('x = 1', 'python')}\nOutput:\n{fence('1')}", "x = 1"),
        (f"{fence('SELECT 1;', 'sql')}\nThis gives\n{fence('1')}", "SELECT 1;"),
        (f"{fence('SELECT 1;')}\nOutput:\n{fence('1')}", "SELECT 1;"),
        (f"{fence('x = 1', 'py')}\nRun:\n{fence('python x.py', 'sh')}", "x = 1"),
        (fence("ls -l", "bash"), "ls -l"),
        # no end
        (f"```python\n{ADD}```", ADD),
        (f"```python\n{ADD}", ADD),
        (f"```python\n{ADD}\n\nThis function adds. It's good.", ADD),
        (f"```\n{ADD}\nOutput: 3\nDone", ADD),
        (f"```python\n{ADD}\n\nUse it:\n{fence('print(add(1, 2))', 'python')}", ADD),
        # no fence
        (ADD, ADD),
        (f"The function:\n\n{ADD}\n\nIt's what adds them.", ADD),
        (f"The function:\n{ADD}\nIt adds.", ADD),
        (f"import the module first.\n{ADD}", ADD),
        (f"{ADD}\n\nOutput:\n{fence('3')}", ADD),
        ("#!/bin/sh\nls", "#!/bin/sh\nls"),
        ("int main() {\n  return 0;\n}", "int main() {\n  return 0;\n}"),
        ("SELECT a FROM b;", "SELECT a FROM b;"),
        # none
        ("I cannot write that; sorry.", None),
        ("Select the best one; then import it.", None),
        ("class dismissed\nfrom here on", None),
        ("x = 1", None),
        (fence("3", "output"), None),
        (fence('{"a": 1}', "json"), None),
        (fence("  \n", "python"), None),
    ],
)
def test_what_is_the_program(text: str, code: str | None) -> None:
    assert read(text) == code


@pytest.mark.parametrize("text", [f"```python\n{ADD}", ADD, f"So:\n\n{ADD}"])
def test_of_a_text_that_was_cut_off_only_closed_blocks_count(text: str) -> None:
    assert read(text, finished=False) is None
    assert read(f"{fence('def f(): ...', 'py')}\n{text}", finished=False) == "def f(): ..."
