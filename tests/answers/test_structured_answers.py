"""Answers that are programs or JSON values: found, read, and compared by what they mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.answers import Comparer, detect, extract, read_answer
from ttc_cli.answers.structured import LONGEST
from ttc_cli.types import Answer, AnswerType

CODE, JSON, FREE, TEXT = AnswerType.CODE, AnswerType.JSON, AnswerType.FREE, AnswerType.TEXT

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def fence(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"


def read(text: str, type: AnswerType) -> Answer:
    answer = read_answer(text, type)
    assert answer is not None
    return answer


def same(first: str, second: str, type: AnswerType) -> bool:
    with Comparer() as comparer:
        return comparer.same(read(first, type), read(second, type))


# --- what is extracted ------------------------------------------------------------------------


def test_code_is_the_last_complete_block() -> None:
    text = f"First:\n{fence('x = 1', 'python')}\nBetter:\n{fence('x = 2', 'python')}\nDone."
    answer = extract(text, CODE)
    assert answer is not None
    assert (answer.text, answer.type) == ("x = 2", CODE)


@pytest.mark.parametrize("text", ["x = 1", fence(""), fence("x" * (LONGEST + 1), "python")])
def test_what_is_no_program_is_no_code(text: str) -> None:
    assert extract(text, CODE) is None


def test_a_block_that_runs_into_the_cut_is_no_code() -> None:
    text = "```python\nx = 1"
    assert extract(text, CODE) is not None
    assert extract(text, CODE, finished=False) is None


def test_an_unclosed_block_does_not_hide_the_one_before() -> None:
    answer = extract(f"{fence('x = 1')}\nAnd then\n```python\nx =", CODE, finished=False)
    assert answer is not None
    assert answer.text == "x = 1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (fence('{"a": 1}', "json") + "\nThat is all.", {"a": 1}),
        (f"{fence('[1]', 'json')}\n{fence('[2]')}\n{fence('no JSON', 'text')}", [2]),
        ('{"a": [1, 2]}', {"a": [1, 2]}),
        ("42", 42),
        ('The answer is {"a": {"b": 2}}, I think.', {"a": {"b": 2}}),
        ('First {"a": 1}, then {"a": 2}.', {"a": 2}),
        ("A brace { alone, then [true]", [True]),
    ],
)
def test_json_is_the_last_value_that_can_be_read(text: str, value: object) -> None:
    answer = extract(text, JSON)
    assert answer is not None
    assert json.loads(answer.text) == value


@pytest.mark.parametrize(
    "text",
    ["", "No JSON here.", "{'a': 1}", "NaN", fence("1e999", "json"), '{"a": 1', "[" * 100_000],
)
def test_what_is_no_json_is_no_answer(text: str) -> None:
    assert extract(text, JSON) is None


@pytest.mark.parametrize(
    "before",
    [
        "```\nIt is this:\n",
        "It is a\n```\n\n",
        "```json\nnot yet\n\n",
        "```python\nx = 1\n\n",
        "``````\n",
        "~~~\nHm.\n",
        "Fences are ``` here. ",
        "```\nprose\n```\n```\nmore\n",
    ],
)
@pytest.mark.parametrize("value", ['{"a": [1, 2]}', '"AB-123"', "42", "null"])
def test_stray_and_open_fences_hide_no_value(before: str, value: str) -> None:
    answer = extract(f"{before}{fence(value, 'json')}", JSON)
    assert answer is not None
    assert json.loads(answer.text) == json.loads(value)


@pytest.mark.parametrize("opening", ["```", "```json", "~~~"])
def test_a_value_behind_a_fence_that_never_closes_is_read(opening: str) -> None:
    answer = extract(f'It is\n{opening}\n"AB-123"', JSON)
    assert answer is not None
    assert answer.text == '"AB-123"'


def test_of_a_text_that_was_cut_off_only_complete_blocks_are_taken() -> None:
    assert extract('{"a": 1}', JSON, finished=False) is None
    assert extract(fence('{"a": 1}') + "\nAnd", JSON, finished=False) is not None


def test_json_that_does_not_conform_is_no_answer() -> None:
    schema = '{"type": "object", "required": ["a"]}'
    assert extract('{"a": 1}', JSON, schema=schema) is not None
    assert extract('{"b": 1}', JSON, schema=schema) is None


def test_half_a_surrogate_pair_can_be_printed() -> None:
    read(r'"\ud800"', JSON).text.encode()


@pytest.mark.slow
@given(VALUES)
def test_a_fenced_value_is_read_as_it_was_written(value: object) -> None:
    answer = extract(f"So:\n{fence(json.dumps(value, indent=2), 'json')}", JSON)
    assert answer is not None
    assert json.loads(answer.text) == value
    assert "\n" not in answer.text


@given(st.text() | st.lists(st.sampled_from('`~\n{["}]json: ,1e')).map("".join))
def test_nothing_a_model_writes_makes_reading_fail(text: str) -> None:
    for type in (CODE, JSON):
        for finished in (True, False):
            extract(text, type, finished=finished)


# --- what is the same -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ('{"a": 1, "b": [true, null]}', '{ "b":[true,null],"a":1.0 }', True),
        ("100", "1e2", True),
        ("0.5", "5e-1", True),
        ('"a"', r'"\u0061"', True),
        ("[1, 2]", "[2, 1]", False),
        ("1", "true", False),
        ("1", '"1"', False),
        ('{"a": null}', "{}", False),
    ],
)
def test_json_is_compared_by_its_value(first: str, second: str, equal: bool) -> None:
    assert same(first, second, JSON) is equal


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ("def f(x):\n    return x+1", "def f(x):  # one more\n\n  return (x + 1)\n", True),
        ("x = 'a'", 'x = "a"', True),
        ("x = 1", "x = 2", False),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()", False),
        ("let x = 1;\n\nlet y = 2;  ", "let x = 1;\nlet y = 2;", True),
        ("let x = 1; // one", "let x = 1;", False),  # comments are known of Python alone
        ("let x = 1", "let y = 1", False),
    ],
)
def test_code_is_compared_without_layout_and_pythons_comments(
    first: str, second: str, equal: bool
) -> None:
    assert same(first, second, CODE) is equal


@pytest.mark.parametrize(
    "text",
    ["(" * 50_000, "-" * 15_000 + "1", "x = '\\d'", "x = " + "[" * 5_000, "a.b" * 20_000, "\0",
     "x = 0x" + "f" * 9_000],
)  # fmt: skip
def test_hostile_code_has_a_key_all_the_same(text: str) -> None:
    assert same(text, text, CODE)


@pytest.mark.slow
@given(VALUES, st.integers(0, 8))
def test_the_form_of_a_value_does_not_matter(value: object, indent: int) -> None:
    first = json.dumps(value, sort_keys=True)
    second = json.dumps(value, indent=indent, ensure_ascii=False)
    assert read(first, JSON).key == read(second, JSON).key


@given(st.lists(st.sampled_from(["", "  ", "# so"]), max_size=5))
def test_blank_lines_and_comments_do_not_matter(between: list[str]) -> None:
    lines = ["x = 1", *between, "y = [x,", *between, "     2]"]
    assert read("\n".join(lines), CODE).key == read("x = 1\ny = [x, 2]", CODE).key


def test_equal_programs_and_values_are_one_class() -> None:
    rows = [(i, read(text, JSON), 1.0) for i, text in enumerate(["[1]", "[2]", "[1.0]", "[ 1 ]"])]
    with Comparer() as comparer:
        first, second = comparer.classify(rows)
    assert (first.members, first.answer.text) == ((0, 2, 3), "[1]")
    assert second.members == (1,)


def test_references_are_graded_as_they_stand() -> None:
    with Comparer() as comparer:
        assert comparer.grade(read("x = 1", CODE), "#### note\nx = 1")
        assert comparer.grade(read('{"a": "####"}', JSON), '{"a": "####"}')
        assert not comparer.grade(read("x = 1", CODE), "x = 2")


# --- what a question asks for -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "type"),
    [
        ("Write a Python function that returns the median of a list.", CODE),
        ("Write a function is_prime(n).", CODE),
        ("Implement an LRU cache in Python.", CODE),
        ("Can you write me a bash script that renames files?", CODE),
        ("Write an SQL query that lists all users", CODE),
        ("Fix this function: def f(x): retrun x", CODE),
        ("Write a program in C that prints hello", CODE),
        ("Write quicksort in Go", CODE),
        ("Convert this Python code to C.", CODE),
        ("Convert the function in 3 steps to R.", CODE),
        ("Please write a regex that matches dates", CODE),
        ("Write a Python function that returns JSON", CODE),
        ("Write a poem about a program", FREE),
        ("Write a method of teaching", FREE),
        ("Write the melody in C major", FREE),
        ("Explain this Python function", FREE),
        ("Write a summary of this code of conduct.", FREE),
        ("How do I write a function in Python?", FREE),
        ("What does this function return?", TEXT),
        (r"Write a function whose graph passes through $(1,2)$.", AnswerType.LATEX),
        ("Extract the people as JSON: Anna is 3.", JSON),
        ("Return a JSON object with name and age.", JSON),
        ("Convert this CSV to JSON: a,b", JSON),
        ("What does JSON stand for?", TEXT),
        ("How do I convert a dict to JSON in Python?", FREE),
    ],
)
def test_detection_of_code_and_json(question: str, type: AnswerType) -> None:
    assert detect(question) is type
