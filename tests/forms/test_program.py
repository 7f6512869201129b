"""The form program: the block that is run, the line that is read, what a failure is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers import read_answer
from ttc_cli.forms.base import Reading, Written
from ttc_cli.forms.program import BEGINNING, MAX_RETRIES, PROGRAM_FORM, count_retries, find_program
from ttc_cli.types import AnswerType, Candidate, Execution, Finish, Problem

NUMBER = AnswerType.NUMBER
ENDED = (Finish.STOP, Finish.MARK)


class Interpreter:
    """Says what running a program came to, and notes what it was given."""

    def __init__(self, output: str = "", error: str = "") -> None:
        self.given: list[str] = []
        self._ran = Execution(output, error, "test")

    async def run(self, code: str) -> Execution:
        self.given.append(code)
        return self._ran


def read(text: str, interpreter: Interpreter, finish: Finish = Finish.MARK) -> Reading:
    written = Written(Problem("?", NUMBER), text, finish)
    return asyncio.run(PROGRAM_FORM.read(written, interpreter))


def make(text: str, output: str = "", error: str = "") -> Candidate:
    return Candidate(0, text, 9, Finish.MARK, form="program", ran=Execution(output, error, "test"))


@pytest.mark.parametrize("type", list(AnswerType))
def test_it_asks_for_a_program(type: AnswerType) -> None:
    if not PROGRAM_FORM.states(type):
        assert type in (AnswerType.AUTO, AnswerType.FREE, AnswerType.CODE, AnswerType.JSON)
        return
    system, question = PROGRAM_FORM.ask(Problem("What is 2+2?", type))
    assert (system.role, question.role, question.content) == ("system", "user", "What is 2+2?")
    assert "Python" in system.content
    assert "print" in system.content
    both, _ = PROGRAM_FORM.ask(Problem("What is 2+2?", type, system="Be kind."))
    assert both.content == f"Be kind.\n\n{system.content}"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("print(4)\n```", "print(4)\n"),
        ("print(4)\n```\n", "print(4)\n"),
        ("print(4)```", "print(4)"),
        ("print(4)\n```\n\nIt prints 4.\n", "print(4)\n"),
        ("```python\nprint(4)\n```", "print(4)\n"),
        ("prin(4)```\n\n```output\nNameError\n```\n\n```python\nprint(4)\n```", "print(4)\n"),
        (
            "a```\n\n```output\nE\n```\n\n```python\nb```\n\n```output\nE\n```\n\n```python\nc```",
            "c",
        ),
        ("```", None),
        (" \n```\n", None),
        ("a```\n\n```output\nE\n```\n\n```python\n```", None),
    ],
)
def test_the_program_is_the_last_block(text: str, program: str | None) -> None:
    assert find_program(text) == program


@pytest.mark.parametrize(
    ("written", "run"),
    [
        (
            "# a\n Ann = 1\n# b\n Bob = Ann\nprint(Bob)\n",
            "# a\nAnn = 1\n# b\nBob = Ann\nprint(Bob)\n",
        ),
        (" x = 1\n\n # why\n y = 2\n", "x = 1\n\n# why\ny = 2\n"),
        ("if x:\n y = 1\n z = 2\nw = 3\n", None),
        ("if x:  # so\n\n y = 1\n", None),
        ("if x == '#':\n y = 1\n", None),
        ("f(1,\n 2)\n", None),
        ("x = [\n 1,\n 2]\n", None),
        ("x = 1 + \\\n 2\n", None),
        ('x = """\n a\n"""\n', None),
        ("def f():\n    return 1\nprint(f())\n", None),
        ("x = 1\n  y = 2\n", None),
    ],
)
def test_a_stray_blank_before_a_statement_is_not_run(written: str, run: str | None) -> None:
    assert find_program(f"{written}```") == (written if run is None else run)


@pytest.mark.parametrize("finish", list(Finish))
def test_a_text_without_a_closing_fence(finish: Finish) -> None:
    assert find_program("print(4)\n", finish) == ("print(4)\n" if finish in ENDED else None)
    assert find_program("print(4)\n```", finish) == "print(4)\n"
    interpreter = Interpreter("4")
    assert (read("print(4)\n", interpreter, finish).answer is not None) is (finish in ENDED)
    assert len(interpreter.given) == (finish in ENDED)


def test_the_last_printed_line_is_the_answer() -> None:
    interpreter = Interpreter("apples: 3\n18.0\n")
    reading = read("print(4)\n```", interpreter)
    assert reading.answer is not None
    assert reading.answer.key == "18"
    assert reading.ran == Execution("apples: 3\n18.0\n", "", "test")
    assert interpreter.given == ["print(4)\n"]


def test_a_program_that_failed_has_no_answer() -> None:
    reading = read("print(4)\n```", Interpreter("4\n", "NameError: x"))
    assert reading == Reading(None, Execution("4\n", "NameError: x", "test"))
    assert read("print(4)\n```", Interpreter("")).answer is None
    assert read("```", Interpreter("4")) == Reading(None)


def test_thinking_is_not_run() -> None:
    interpreter = Interpreter("4")
    written = Written(Problem("?", NUMBER), "hm```python\nprint(4)\n```", Finish.MARK, thought=2)
    asyncio.run(PROGRAM_FORM.read(written, interpreter))
    assert interpreter.given == ["print(4)\n"]


@pytest.mark.parametrize("end", ["\n```", "\n```\n", "```", "```\n", "\n```\n\n", "\n", ""])
def test_what_failed_goes_on_behind_its_error(end: str) -> None:
    first = make(f"prin(4){end}", error="NameError: name 'prin' is not defined")
    told = PROGRAM_FORM.retry(first)
    assert told is not None
    assert (first.text + told).startswith("prin(4)")
    assert (first.text + told).endswith(
        "```\n\n```output\nNameError: name 'prin' is not defined\n```\n\n```python\n"
    )
    assert (first.text + told).count("```") == 4
    assert find_program(f"{first.text}{told}print(4)\n```") == "print(4)\n"


def test_what_printed_no_answer_goes_on_behind_its_output() -> None:
    silent, wordy = make("x = 4\n```"), make("print('a')\n```", "one\ntwo\n")
    assert "nothing was printed" in (PROGRAM_FORM.retry(silent) or "")
    assert "```output\none\ntwo\n```" in (PROGRAM_FORM.retry(wordy) or "")


def test_an_answer_and_what_was_never_run_do_not_go_on() -> None:
    failed = make("x\n```", error="NameError")
    assert PROGRAM_FORM.retry(replace(failed, answer=read_answer("4", NUMBER))) is None
    assert PROGRAM_FORM.retry(replace(failed, ran=None)) is None


def test_a_program_goes_on_twice_at_most() -> None:
    text = "x\n```"
    for count in range(MAX_RETRIES):
        assert count_retries(text) == count
        told = PROGRAM_FORM.retry(make(text, error="NameError"))
        assert told is not None
        text += f"{told}x\n```"
    assert PROGRAM_FORM.retry(make(text, error="NameError")) is None


@given(st.text(), st.text(), st.sampled_from(["x```", "x\n```\n"]))
def test_what_is_told_closes_and_opens_no_block(output: str, error: str, text: str) -> None:
    told = PROGRAM_FORM.retry(make(text, output, error))
    assert told is not None
    assert len(told) < 400
    assert told.count("`") == 9
    assert told.endswith(f"\n```\n\n{BEGINNING}")
    assert told.replace("\n", "").isprintable()


def test_of_a_long_output_the_end_is_told() -> None:
    told = PROGRAM_FORM.retry(make("x\n```", "a" * 5000 + "z")) or ""
    assert "aaaz\n```" in told
    told = PROGRAM_FORM.retry(make("x\n```", error="Traceback\n  line 1\nNameError: x")) or ""
    assert "```output\nNameError: x\n```" in told
