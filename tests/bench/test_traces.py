"""Another tool's answers: which are right, and which lines are no answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ttc_cli.answers import Comparer
from ttc_cli.bench.datasets import LabelledQuestion
from ttc_cli.bench.report import Outcome
from ttc_cli.bench.traces import read_traces
from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType, Problem

NUMBER = LabelledQuestion("n", Problem("How many?", AnswerType.NUMBER), "42")
OTHERS = [
    LabelledQuestion("c", Problem("Which?", AnswerType.CHOICE), "B"),
    LabelledQuestion("f", Problem("Say it.", AnswerType.FREE), "so"),
]


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as made:
        yield made


@pytest.fixture
def read(tmp_path: Path, comparer: Comparer) -> Any:
    def call(content: str, encoding: str = "utf-8") -> dict[str, Outcome]:
        path = tmp_path / "traces.jsonl"
        path.write_text(content, encoding=encoding)
        [found] = read_traces(path, [NUMBER, *OTHERS], comparer).values()
        return {outcome.question: outcome for outcome in found}

    return call


def trace(**columns: Any) -> str:
    return json.dumps({"question": "n", "strategy": "s", **columns}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("columns", "right"),
    [
        ({"text": r"So it is \boxed{42}."}, True),
        ({"text": r"<think>Perhaps \boxed{42}? Let me check more."}, False),
        ({"text": "<think>Perhaps.\nThe final answer is 42."}, False),
        ({"text": "  <think>Perhaps.\n#### 42"}, False),
        ({"text": r"<think>Perhaps \boxed{7}?</think>It is \boxed{42}."}, True),
        ({"text": r"<think>Perhaps \boxed{42}?</think>It is \boxed{7}."}, False),
        ({"text": r"<think>Perhaps \boxed{42}?</think>I do not know."}, False),
        ({"text": "one\u2028two \\boxed{42}"}, True),
        ({"text": "one\u0085two \\boxed{42}"}, True),
        ({"text": None}, False),
        ({"text": None, "answer": "42"}, True),
        ({"text": "I do not know.", "answer": "42"}, False),
        ({"answer": "42"}, True),
        ({"answer": 42}, True),
        ({"answer": 42.0, "tokens": None, "seconds": None}, True),
        ({"answer": "}{42"}, False),
        ({"answer": None}, False),
        ({"question": "c", "answer": "B"}, True),
        ({"question": "f", "answer": "so"}, True),
        ({"question": "f", "text": "so"}, True),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_a_trace_states_is_graded(
    read: Any, columns: dict[str, Any], right: bool, encoding: str
) -> None:
    found = read(f"{trace(**columns)}\r\n", encoding)
    assert found[columns.get("question", "n")].right is right


def test_a_numbers_name_is_its_text_and_others_are_of_another_part(read: Any) -> None:
    lines = [trace(question=0, answer="42"), trace(answer="42", tokens="7", seconds=1.5)]
    assert (read("\n".join(lines))["n"].tokens, read("\n".join(lines))["n"].seconds) == (7, 1.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("What?", "not JSON"),
        ("7", "not a JSON object"),
        ('{"strategy": "s", "answer": 1}', "it has no question"),
        (trace(question=None, answer="1"), "it has no question"),
        (trace(), "it has no text or answer"),
        (trace(text=["42"]), "its text is not text"),
        (trace(answer={"a": 42}), "its answer is not text"),
        (trace(answer="1", tokens="many"), "its tokens is not a number from 0"),
        (trace(answer="1", tokens=-1), "its tokens is not a number from 0"),
        (trace(answer="1", seconds="inf"), "its seconds is not a number from 0"),
        (trace(answer="1", samples=10**400), "its samples is not a number from 0"),
        ('{"question": "n", "strategy": "s", "answer": "1", "flops": NaN}', "NaN"),
        (
            '{"question": "n", "strategy": "s", "answer": "1"}\n' * 2,
            "a second of 'n'",
        ),
    ],
)
def test_a_line_that_is_none_is_named(read: Any, line: str, said: str) -> None:
    with pytest.raises(UsageError, match="line 2: not a trace") as caught:
        read(f"{trace(answer='42')}\n{line}\n")
    assert said in caught.value.message


def test_traces_of_other_questions_are_said_to_be_none(read: Any) -> None:
    with pytest.raises(UsageError, match="no trace of these questions"):
        read(trace(question="x", answer="1"))
