import json
from pathlib import Path
from typing import Any

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
        '{"question": "q", "answer": "1", "answer": "2"}',
    ],
)
def test_lines_that_are_no_questions_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n' + line + "\n")
    with pytest.raises(UsageError, match=r"[Ll]ine 2\b"):
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


THREE = ["rose", "grass", "sky"]
NUMBERS = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("options", "answer", "right"),
    [
        (THREE, "C", "C"),
        (THREE, "c", "C"),
        (THREE, "(C)", "C"),
        (THREE, "C.", "C"),
        (THREE, 2, "C"),
        (THREE, "2", "C"),
        (THREE, 2.0, "C"),
        (THREE, "sky", "C"),
        (THREE, " Sky", "C"),
        (["a", "A", "b"], "b", None),
        (["x", "X"], "X", "B"),
        (["no", "yes"], True, None),
        ([True, False], True, "A"),
        ([3.5, 4], 3.5, "A"),
        (NUMBERS, "3", "C"),
        (NUMBERS, "0", "A"),
        (NUMBERS, 1, "B"),
        (NUMBERS, "2", None),
        ([1, 2, 3], 2, None),
        (["0", "1", "2"], "1", "B"),
        (["B", "A", "C"], "A", None),
        (["sky", "sky", "grass"], "sky", None),
        (THREE, -1, None),
        (THREE, "-1", None),
        (THREE, 3, None),
        (THREE, "3", None),
        (THREE, 1.5, None),
        (THREE, "D", None),
        (THREE, "moon", None),
        (THREE, ["sky"], None),
        (THREE, "²", None),
        (["rose"], 0, None),
        (["x"] * 27, 0, None),
        (["rose", None], 0, None),
        ("rose, grass", 0, None),
        ('["rose", "grass", "sky"]', "2", "C"),
        ({"text": THREE, "label": ["1", "2", "3"]}, "3", "C"),
        ({"text": THREE, "label": [1, 2, 3]}, 3, "C"),
        ({"text": THREE, "label": ["1", "2", "3"]}, "0", None),
        ({"text": THREE, "label": ["A", "B", "C"]}, 2, "C"),
        ({"text": ["2", "3", "1"], "label": ["1", "2", "3"]}, "2", "B"),
        ({"text": THREE, "label": ["x", "y", "z"]}, "B", None),
        ({"text": THREE, "label": ["A", "A", "B"]}, "A", None),
        ({"text": THREE, "label": ["A", "B"]}, "A", None),
        ({"text": THREE}, "A", None),
        ({"a": 1}, "A", None),
    ],
)
def test_the_right_option_is_certain_or_refused(
    tmp_path: Path, options: Any, answer: Any, right: str | None
) -> None:
    path = write(tmp_path, {"question": "Which?", "choices": options, "answer": answer})
    if right is not None:
        assert [question.answer for question in load(path)] == [right]
        return
    with pytest.raises(UsageError, match="line 1: ") as caught:
        load(path)
    assert caught.value.hint or "options" in caught.value.message


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "answer", "kind"),
    [
        ({"question": "q", "answer": 0}, "0", "auto"),
        ({"question": "q", "answer": True, "type": "Boolean"}, "True", "boolean"),
        ({"question": "q", "answer": {"a": 1}, "type": "json"}, '{"a": 1}', "json"),
        ({"question": "q", "answer": True, "type": "json"}, "true", "json"),
        ({"question": "q", "answer": "1", "type": None}, "1", "auto"),
        ({"question": "q", "answer": None, "answerKey": "1"}, "1", "auto"),
        ({"question": "q", "answer": "so\n#### 1,200\n"}, "1,200", "number"),
        ({"question": "q", "answer": "#### T\nsee", "type": "free"}, "#### T\nsee", "free"),
        ({"question": "", "problem": "q", "answer": "1"}, "1", "latex"),
        ({"QUESTION": "q", "Answer": "1", "TYPE": "number"}, "1", "number"),
        ({"problem": "q", "answer": "1", "type": "Algebra"}, "1", "latex"),
        ({"problem": "q", "answer": "1", "type": "Counting & Probability"}, "1", "latex"),
        ({"problem": "q", "answer": "1", "type": "other", "level": "Level 5"}, "1", "latex"),
        (
            {"problem": "q", "solution": r"\boxed{1} so $\boxed{\frac12}$.", "type": "Algebra"},
            r"\frac12",
            "latex",
        ),
        ({"question": "q", "choices": [], "answer": "1"}, "1", "auto"),
        ({"question": "q", "A": 3, "B": 4, "answer": "7", "type": "number"}, "7", "number"),
        ({"question": "q", "A": 3, "answer": "A"}, "A", "auto"),
    ],
)
def test_labels_are_read_as_they_are_written(
    tmp_path: Path, row: dict[str, Any], answer: str, kind: str
) -> None:
    [question] = load(write(tmp_path, row))
    assert (question.problem.text, question.answer) == ("q", answer)
    assert question.problem.answer_type == kind


@pytest.mark.parametrize("answer", ["B", "(b)", "grass", 1])
def test_options_may_stand_in_columns_of_their_own(tmp_path: Path, answer: Any) -> None:
    row = {"question": "q", "A": "rose", "B": "grass", "C": "", "answer": answer}
    [question] = load(write(tmp_path, row))
    assert question.problem.text == "q\n\nA) rose\nB) grass"
    assert (question.answer, question.problem.answer_type) == ("B", AnswerType.CHOICE)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "answer": None}, "the answer is empty"),
        ({"question": "q", "answer": " "}, "the answer is empty"),
        ({"question": "q", "reply": "1"}, "no column answer or answerKey among question, reply"),
        ({"ask": "q", "answer": "1"}, "no column question or problem among ask, answer"),
        ({"question": ["q"], "answer": "1"}, "not text"),
        ({"question": "q", "answer": ["1"]}, "not text"),
        ({"question": "q", "answer": "1", "type": "nubmer"}, "'nubmer'"),
        ({"question": "q", "answer": "1", "type": "nubmer", "level": 3}, "'nubmer'"),
        ({"question": "q", "answer": "eighteen", "type": "number"}, "not of the type number"),
        ({"question": "q", "answer": "sky", "type": "choice"}, "not of the type choice"),
        ({"question": "q", "answer": "so\n####"}, "####"),
        ({"question": "q", "answer": "so\n#### about a dozen"}, "not of the type number"),
        ({"problem": "q", "solution": "It is 4."}, "boxed"),
        ({"question": "q", "choices": THREE, "answer": "A", "type": "number"}, "a choice"),
        ({"question": "q", "answer": "1", "id": [1]}, "id"),
    ],
)
def test_a_label_that_is_not_certain_is_refused(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match="line 2: ") as caught:
        load(write(tmp_path, {"question": "q", "answer": "1"}, row))
    assert said in caught.value.message


def test_nought_is_an_id(tmp_path: Path) -> None:
    rows = [{"id": n, "question": "q", "answer": "1"} for n in (0, 1)]
    assert [question.id for question in load(write(tmp_path, *rows))] == ["0", "1"]
    with pytest.raises(UsageError, match="same id, '0'"):
        load(write(tmp_path, rows[0], {**rows[0], "id": "0"}))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Question,Answer\nHow many?,4\n", [("How many?", "4")]),
        ("question,answer,,\nHow many?,4,,\n", [("How many?", "4")]),
        ("question;answer\nHow many, really?;4\n", [("How many, really?", "4")]),
        ("question\tanswer\nHow many?\t4\n", [("How many?", "4")]),
        ("question,answer\nWhat is 2,000 + 1?,2001\n", "q.csv: Line 2 has 3 cells"),
        ("question,answer,\nWhat is 2,000 + 1?,2001\n", "q.csv: Line 2 has 3 cells"),
        ("question,answer\nHow many?\n", "line 2: the answer is empty"),
        ("question,reply\nHow many?,4\n", "no column answer"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read_or_their_row_is_named(
    tmp_path: Path, content: str, found: Any, encoding: str
) -> None:
    path = tmp_path / "q.csv"
    path.write_text(content, encoding=encoding)
    if isinstance(found, list):
        assert [(each.problem.text, each.answer) for each in load(path)] == found
        return
    with pytest.raises(UsageError) as caught:
        load(path)
    assert found in caught.value.message


def test_a_broken_row_of_another_part_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "q", "answer": "1"}, {"question": "q"})
    assert len(load(path, ":1")) == 1


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "q.parquet"
    rows = [{"question": "Q?", "answer": "so\n#### 18"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    [question] = load(path)
    assert (question.id, question.answer) == ("q/0", "18")
    path.write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="not a Parquet"):
        load(path)
