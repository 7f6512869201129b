"""``ttc solve`` with answers that are code or JSON: what is printed, checked and refused."""

import json
import shlex
import sys

import pytest
from scripted_ttc import make_engine, make_model

from ttc_cli.main import main

pytestmark = pytest.mark.usefixtures("bare_home")

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "why": {"type": "string"}},
        "required": ["n"],
    }
)
RIGHT, WRONG = "def f(x):\n    return x + 1", "def f(x):\n    return x"
TEST = "import sys\nspace = {}\nexec(open(sys.argv[1]).read(), space)\nassert space['f'](1) == 2\n"


def fence(code, language="python"):
    return f"So it is done.\n\n```{language}\n{code}\n```\nThat is all."


@pytest.fixture
def solve(monkeypatch, capsys):
    """Run ``ttc solve`` on a scripted engine; returns exit code, stdout, stderr, and loads."""

    def run(*arguments, texts, **options):
        loads = []

        def load(path, settings, name):
            loads.append(name)
            return make_engine(texts, **options)

        monkeypatch.setattr("ttc_cli.solving.choosing.choose_model", lambda name: make_model())
        monkeypatch.setattr("ttc_cli.solving.loading.open_engine", load)
        code = main(["solve", *arguments])
        out, err = capsys.readouterr()
        return code, out, err, loads

    return run


@pytest.fixture
def check(tmp_path):
    """A check that a program passes whose ``f`` adds one."""
    (tmp_path / "test_f.py").write_text(TEST)
    return shlex.join([sys.executable, "test_f.py", "{file.py}"])


def test_code_is_printed_without_its_fence(solve):
    code, out, err, _ = solve("Write f(x) in Python.", texts=[fence(RIGHT)])
    assert (code, out) == (0, RIGHT + "\n")
    assert "#0 of 4 candidates, chosen by judge" in err.splitlines()[-1]


def test_code_that_passes_the_check_is_the_answer_whatever_others_say(solve, check):
    code, out, err, _ = solve(
        "Write f(x) in Python.", "--check", check, texts=[fence(WRONG)] * 3 + [fence(RIGHT)]
    )
    assert (code, out) == (0, RIGHT + "\n")
    assert "1 of 4 candidates passes the check" in err.splitlines()[-1]
    assert "stopped: #3 passes the check" in err.splitlines()[-1]


def test_the_search_goes_on_until_one_passes_and_stops_there(solve, check):
    code, out, _, _ = solve(
        "Write f(x) in Python.", "--check", check, "--json", "--samples", "12",
        texts=[fence(WRONG)] * 5 + [fence(RIGHT)] * 7,
    )  # fmt: skip
    result = json.loads(out)
    assert (code, result["answer"], result["winner"]) == (0, RIGHT, 5)
    assert len(result["candidates"]) == 8
    assert result["answer_type"] == "code"


def test_one_that_failed_is_told_what_the_check_printed_and_repairs_it(solve, check):
    code, out, err, _ = solve(
        "Write f(x) in Python.", "--check", check, "--samples", "8", "--json", "--explain",
        texts=[fence(WRONG)] * 4 + [fence(RIGHT)] * 4,
    )  # fmt: skip
    result = json.loads(out)
    assert (code, result["answer"], result["winner"]) == (0, RIGHT, 4)
    assert result["candidates"][4]["parent"] == 0
    remark = result["candidates"][0]["scores"][0]["remark"]
    assert remark.startswith("It ended with exit status 1. It printed:\n\nTraceback")
    assert remark.endswith("AssertionError")
    assert "4 of 4 failed the check: 1 goes on behind what it printed, 3 more" in err


def test_where_nothing_passes_the_summary_says_so_and_min_score_refuses_it(solve, check):
    question = ("Write f(x) in Python.", "--check", check, "--samples", "4")
    code, out, err, _ = solve(*question, texts=[fence(WRONG)])
    assert (code, out) == (0, WRONG + "\n")
    assert "0 of 4 candidates pass the check" in err
    code, out, err, _ = solve(*question, "--min-score", "1", texts=[fence(WRONG)])
    assert (code, out) == (4, "")


def test_json_is_printed_as_the_value_alone(solve):
    texts = [fence('{"b": 1,\n "a": [true]}', "json"), '{"a": [true], "b": 1.0}']
    code, out, err, _ = solve("Give it as JSON: a list", texts=texts)
    assert code == 0
    assert out in ('{"b": 1, "a": [true]}\n', '{"a": [true], "b": 1.0}\n')
    assert "4 of 4 candidates agree" in err.splitlines()[-1]


def test_json_is_indented_on_a_terminal_and_so_is_its_replay(solve, monkeypatch, capsys):
    monkeypatch.setenv("TTC_KEEP_RUNS", "yes")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    indented = '{\n  "a": "é\\u001b[31m"\n}\n'
    _, out, _, _ = solve("Now.", "--answer-type", "json", "-q", texts=[r'{"a": "é\u001b[31m"}'])
    assert out == indented
    assert main(["replay", "last", "--speed", "0"]) == 0
    assert capsys.readouterr().out == indented


@pytest.mark.parametrize("as_file", [True, False])
def test_a_schema_holds_the_answer(solve, tmp_path, as_file):
    path = tmp_path / "n.json"
    path.write_text(SCHEMA)
    given = str(path) if as_file else SCHEMA
    code, out, err, _ = solve("How many?", "--schema", given, texts=["Four, I think."])
    assert code == 0, err
    value = json.loads(out)
    assert isinstance(value["n"], int)
    assert set(value) <= {"n", "why"}


def test_a_schema_makes_the_answer_json_in_every_form_of_output(solve):
    code, out, _, _ = solve(
        "How many?", "--schema", SCHEMA, "--json", texts=[fence('{"n": 4}', "json")]
    )
    result = json.loads(out)
    assert (code, result["answer_type"], result["answer"]) == (0, "json", '{"n": 4}')
    assert result["solution"].endswith('```json\n{"n": 4}\n```')


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "The schema is not JSON"),
        ("nowhere.json", "Cannot read the schema nowhere.json"),
        ('{"type": "strnig"}', "Not a valid JSON Schema"),
        ('{"type": "number", "minimum": 0}', "at #: 'minimum' cannot be enforced"),
        ('{"type": "string", "pattern": "a"}', 'must start with "^"'),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_anything_is_loaded(solve, given, said):
    code, out, err, loads = solve("How many?", "--schema", given, texts=["four"])
    assert (code, out, loads) == (2, "", [])
    assert said in err
    code, out, _, _ = solve("How many?", "--schema", given, "--json", texts=["four"])
    assert (code, json.loads(out)["type"]) == (2, "error")


def test_a_schema_goes_with_no_other_type(solve):
    code, _, err, loads = solve(
        "How many?", "--schema", SCHEMA, "--answer-type", "number", texts=["four"]
    )
    assert (code, loads) == (2, [])
    assert "is JSON, not number" in err


def test_a_value_that_is_never_closed_is_no_answer(solve):
    endless = fence(json.dumps({"n": 1, "why": "because " * 500}), "json")
    code, out, err, _ = solve(
        "How many?", "--schema", SCHEMA, "--budget", "quick", "--max-tokens", "200",
        texts=[endless],
    )  # fmt: skip
    assert (code, out) == (4, "")
    assert "maxLength" in err
