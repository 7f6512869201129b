from pathlib import Path

import pytest

from ttc_cli.bench.datasets import load
from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType

DATA = Path(__file__).parents[1] / "data"


def test_gsm8k_answers_are_the_numbers_behind_the_hashes() -> None:
    questions = load(DATA / "gsm8k" / "test_0_199.jsonl", "0:60")
    assert len(questions) == 60
    assert questions[0].id == "test_0_199/0"
    assert questions[0].answer == "18"
    assert questions[0].problem.text.startswith("Janet")
    assert {question.problem.answer_type for question in questions} == {AnswerType.NUMBER}


def test_math500_keeps_its_ids_and_latex() -> None:
    first = load(DATA / "math500" / "test_0_199.jsonl")[0]
    assert first.id == "test/precalculus/807.json"
    assert first.answer == r"\left( 3, \frac{\pi}{2} \right)"
    assert first.problem.answer_type is AnswerType.LATEX


def test_own_questions_may_name_their_type_and_id(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"question": "Is it?", "answer": "yes", "type": "boolean", "id": "x"}\n\n'
        '{"question": "How many?", "answer": 4}\n'
    )
    first, second = load(path)
    assert (first.id, first.problem.answer_type) == ("x", AnswerType.BOOLEAN)
    assert (second.id, second.answer, second.problem.answer_type) == ("own/2", "4", AnswerType.AUTO)


def test_a_line_separator_inside_a_question_does_not_end_its_line(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "one\u2028two", "answer": "1"}\n', encoding="utf-8")
    assert [question.problem.text for question in load(path)] == ["one\u2028two"]


def test_parts_are_slices(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(f'{{"question": "q{i}", "answer": "{i}"}}\n' for i in range(10)))
    for part, answers in (("2:4", "23"), (":2", "01"), ("8:", "89"), ("-1:", "9")):
        assert "".join(question.answer for question in load(path, part)) == answers


@pytest.mark.parametrize("part", ["3", "a:b", "5:2", "20:"])
def test_a_part_that_is_none_is_refused(tmp_path: Path, part: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n')
    with pytest.raises(UsageError):
        load(path, part)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"question": "q"}',
        '{"answer": "1"}',
        '{"question": "  ", "answer": "1"}',
        '{"question": "q", "answer": ""}',
        '{"question": "q", "answer": "1", "type": "poem"}',
        '{"question": 5, "answer": "1"}',
    ],
)
def test_lines_that_are_no_questions_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n' + line + "\n")
    with pytest.raises(UsageError, match="line 2"):
        load(path)


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "a", "question": "q", "answer": "1"}\n' * 2)
    with pytest.raises(UsageError, match="same id"):
        load(path)


def test_csv_rows_are_questions_too(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text('id,question,answer\na,"How many, really?",4\nb,"Two\nlines?",5\n')
    first, second = load(path)
    assert (first.id, first.problem.text, first.answer) == ("a", "How many, really?", "4")
    assert second.problem.text == "Two\nlines?"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ('["red", "green", "blue"]', '"B"'),
        ('["red", "green", "blue"]', "1"),
        ('{"text": ["red", "green", "blue"], "label": ["A", "B", "C"]}', '"B"'),
        ('{"text": ["red", "green", "blue"], "label": ["1", "2", "3"]}', '"2"'),
    ],
)
def test_options_are_listed_with_letters(tmp_path: Path, options: str, answer: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "Grass is?", "choices": {options}, "answerKey": {answer}}}\n')
    [question] = load(path)
    assert question.problem.text == "Grass is?\n\nA) red\nB) green\nC) blue"
    assert (question.answer, question.problem.answer_type) == ("B", AnswerType.CHOICE)


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "q.parquet"
    rows = [{"question": "Q?", "answer": "so\n#### 18"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    [question] = load(path)
    assert (question.id, question.answer) == ("q/0", "18")
    path.write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="no Parquet"):
        load(path)
