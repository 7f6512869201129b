"""Programs shown to a person: their code, and what came of it."""

from __future__ import annotations

import re

import pytest

from ttc_cli.answers.fences import find_blocks
from ttc_cli.forms.passages import Passage, part_program
from ttc_cli.forms.program import show_solution
from ttc_cli.types import PROGRAM, Candidate, Execution, Finish

CODE = "apples = 18\nprint(apples)"


def program(text: str, ran: Execution | None, **fields) -> Candidate:
    return Candidate(0, text, 9, Finish.STOP, form=PROGRAM, ran=ran, **fields)


def test_a_program_is_shown_with_what_it_printed() -> None:
    shown = show_solution(program(f"{CODE}\n```", Execution("one\n18\n")))
    assert shown == f"```python\n{CODE}\n```\n\n```output\none\n18\n```"


def test_a_program_whose_closing_fence_a_server_kept_back_is_shown_too() -> None:
    shown = show_solution(program(f"{CODE}\n", Execution("18\n")))
    assert shown == f"```python\n{CODE}\n```\n\n```output\n18\n```"


def test_of_a_repaired_program_the_one_that_was_run_last_is_the_solution() -> None:
    text = f"print(x)\n```\n\n```output\nNameError: x\n```\n\n```python\n{CODE}\n```"
    shown = show_solution(program(text, Execution("18\n")))
    assert shown == f"```python\n{CODE}\n```\n\n```output\n18\n```"
    assert part_program(text, Execution("18\n")) == [
        Passage("code", "print(x)"),
        Passage("output", "NameError: x"),
        Passage("code", CODE),
        Passage("output", "18"),
    ]


def test_nothing_that_a_program_prints_ends_its_block() -> None:
    output = "```\n\n````\n18"
    shown = show_solution(program(f"{CODE}\n```", Execution(output)))
    assert shown.endswith(f"`````output\n{output}\n`````")
    assert [each.content.strip() for each in find_blocks(shown)] == [CODE, output]


def test_a_thought_is_no_part_of_it() -> None:
    shown = show_solution(program(f"Hm.\n\n{CODE}\n```", Execution("18\n"), thought=5))
    assert shown.startswith(f"```python\n{CODE}\n")


@pytest.mark.parametrize("form", ["prose", "program", "another"])
def test_what_was_not_run_is_shown_as_it_was_written(form: str) -> None:
    text = "  So 18.\n```\nprint(18)\n```\n"
    assert show_solution(Candidate(0, text, 9, Finish.STOP, form=form)) == text


@pytest.mark.parametrize(
    ("ran", "passages"),
    [
        (Execution(""), [Passage("output", "")]),
        (Execution("\n"), [Passage("output", "")]),
        (Execution("1\n", "ValueError"), [Passage("output", "1"), Passage("error", "ValueError")]),
        (Execution("", "ValueError: 7"), [Passage("error", "ValueError: 7")]),
        (None, []),
    ],
)
def test_what_came_of_a_program(ran: Execution | None, passages: list[Passage]) -> None:
    assert part_program("x = 7\n```", ran) == [Passage("code", "x = 7"), *passages]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "```",
        "```output\n",
        "```python\n",
        "x\n```\n\n```output\nnever ended",
        "x\n```words\n```output\n```\n```python\n```python\n",
    ],
)
def test_whatever_was_written_every_word_of_the_model_is_shown_once(text: str) -> None:
    shown = " ".join(each.text for each in part_program(text))
    for word in ("x", "words", "never ended"):
        assert shown.count(word) == text.count(word)
    assert not re.search("`{4}", shown)
