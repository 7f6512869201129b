"""``ttc solve --batch`` end to end on a scripted engine: rows in, answers out, nothing lost."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import jsonschema
import pytest
from hypothesis import strategies as st

from ttc_cli.engines.scripted import ScriptedEngine, babble
from ttc_cli.errors import EngineError
from ttc_cli.main import main
from ttc_cli.solving.batch.questions import Wording, make_questions
from ttc_cli.solving.batch.rows import Row, read_rows
from ttc_cli.solving.loading import Loaded

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[1] / "docs" / "events.schema.json").read_text())
ROWS = [{"id": f"q{n}", "question": f"What is {n} times {n + 3}?", "level": n} for n in range(8)]

pytestmark = pytest.mark.usefixtures("scripted_model")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def questions(tmp_path):
    return write(tmp_path / "questions.jsonl", ROWS)


class Solve:
    """Runs ``ttc solve`` in this process; ``opened`` are the engines that were loaded."""

    def __init__(self, monkeypatch, capsys):
        self.opened = []
        self.script = babble
        self.options = {}
        self._capsys = capsys
        monkeypatch.setattr("ttc_cli.solving.loading.open_engine", self._open)

    def _open(self, path, settings, name, planned=None):
        options = {"parallel": settings.parallel or 8, **self.options}
        self.opened.append(ScriptedEngine(self.script, **options))
        return self.opened[-1]

    def __call__(self, *arguments):
        code = main(["solve", *map(str, arguments)])
        out, err = self._capsys.readouterr()
        return code, out, err

    def batch(self, *arguments):
        """The rows on stdout by id, beside exit code and stderr."""
        code, out, err = self("--batch", *arguments)
        rows = [json.loads(line) for line in out.splitlines()]
        assert len({row["id"] for row in rows}) == len(rows)
        return code, {row["id"]: row for row in rows}, err


@pytest.fixture
def solve(monkeypatch, capsys):
    return Solve(monkeypatch, capsys)


def read(path):
    """What a file of answers holds, by id."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def timeless(row):
    """A row without the one thing that another run may find otherwise."""
    return {**row, "usage": {**row["usage"], "seconds": 0}}


def test_each_question_is_one_line_with_what_json_gives_its_id_and_its_own_columns(
    solve, questions
):
    code, rows, err = solve.batch(questions)
    assert code == 0, err
    assert set(rows) == {row["id"] for row in ROWS}
    for given in ROWS:
        row = rows[given["id"]]
        assert row.pop("id") == given["id"]
        assert row.pop("row") == {"level": given["level"]}
        assert set(row.pop("fingerprint")) == {"question", "settings"}
        jsonschema.Draft202012Validator(SCHEMA).validate(row)
        assert row["question"] == given["question"]
        assert row["usage"]["generated_tokens"] > 0
    assert len(solve.opened) == 1
    assert "8 questions answered" in err.splitlines()[-1]


@pytest.mark.parametrize("flags", [(), ("--strategy", "weighted", "--samples", "5")])
def test_an_answer_hangs_on_its_question_alone(solve, questions, tmp_path, flags):
    _, together, _ = solve.batch(questions, "--jobs", 4, *flags)
    for given in ROWS[:3]:
        alone = write(tmp_path / "alone.jsonl", [given])
        _, rows, _ = solve.batch(alone, "--jobs", 4, *flags)
        assert timeless(rows[given["id"]]) == timeless(together[given["id"]])
        # A share of two branches is an engine of two branches.
        code, out, err = solve("--json", given["question"], "--parallel", 2, "-q", *flags)
        assert code == 0, err
        single = {**json.loads(out), "id": given["id"], "row": {"level": given["level"]}}
        single["fingerprint"] = together[given["id"]]["fingerprint"]
        assert timeless(single) == timeless(together[given["id"]])


def test_caps_hold_for_each_question(solve, questions):
    _, rows, _ = solve.batch(questions, "--max-tokens", 40, "--budget", "deep")
    for row in rows.values():
        assert row["usage"]["generated_tokens"] <= 40 + 2
        assert "token cap of 40" in row["stop_reason"]


@pytest.mark.parametrize(
    ("name", "content", "ids", "extra"),
    [
        ("q.csv", 'id,question,n\nx,What is 1+1?,7\n,"Two, or\nthree?",\n', ["x", 3], {"n": "7"}),
        ("q.csv", "\ufeffprompt\r\nWhat is 1+1?\r\n\r\nAnd 2+2?\r\n", [2, 4], {}),
        ("q.txt", "What is 1+1?\n\n  \nAnd 2+2?", [1, 4], {}),
        (
            "q.ndjson",
            '{"text": "What is 1+1?", "n": [1]}\r\n\n{"problem": "2?"}',
            [1, 3],
            {"n": [1]},
        ),
    ],
)
def test_formats_are_told_by_their_endings(solve, tmp_path, name, content, ids, extra):
    (tmp_path / name).write_text(content, newline="")
    code, rows, err = solve.batch(tmp_path / name)
    assert code == 0, err
    assert list(rows) == ids or sorted(map(str, rows)) == sorted(map(str, ids))
    assert rows[ids[0]]["question"] == "What is 1+1?"
    assert rows[ids[0]]["row"] == extra


def test_a_column_can_be_named_and_a_format_said(solve, tmp_path):
    path = tmp_path / "data.dat"
    path.write_text("body,question\nWhat is 1+1?,no\n")
    code, _, err = solve("--batch", path)
    assert code == 2
    assert "--batch-format" in err
    code, rows, _ = solve.batch(path, "--batch-format", "csv", "--column", "body")
    assert code == 0
    assert rows[2]["question"] == "What is 1+1?"
    assert rows[2]["row"] == {"question": "no"}


def test_a_row_may_set_its_answer_type_its_system_prompt_and_its_seed(solve, tmp_path):
    seen = []

    def listen(ask):
        seen.append(ask.text)
        return babble(ask)

    solve.script = listen
    rows = [
        {"question": "One?", "system": "Be brief.", "seed": 7, "answer_type": "text"},
        {"question": "Two?"},
    ]
    path = write(tmp_path / "q.jsonl", rows)
    _, found, _ = solve.batch(path, "--system", "Be kind.", "--seed", 3, "--answer-type", "number")
    assert [found[n]["seed"] for n in (1, 2)] == [7, 3]
    assert [found[n]["answer_type"] for n in (1, 2)] == ["text", "number"]
    assert all(("Be brief." in text) == ("One?" in text) for text in seen)
    assert all(("Be kind." in text) == ("Two?" in text) for text in seen)


TWO = [{"id": "a", "question": "1+1?"}, {"id": "b", "question": "2+2?"}]
LINES = "".join(json.dumps(row) + "\n" for row in TWO)
PRETTY = "".join(json.dumps(row, indent=1) + "\n" for row in TWO)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.json", json.dumps(TWO)),
        ("q.jsonl", "\n" + json.dumps(TWO, indent=2)),
        ("q.csv", "id,question,,\na,1+1?,,\nb,2+2?,,\n"),
        ("q.csv", "id,question\na,1+1?,,,\nb,2+2?,\n"),
        ("q.csv", ",,\n\n,id,,question\n,a,,1+1?\n,b,,2+2?\n"),
        ("q.csv", "id;question;right\na;1+1?;2\nb;2+2?;4\n"),
        ("q.csv", '"id";"question"\r\n"a";"1+1?"\r\n"b";"2+2?"\r\n'),
        ("q.csv", "sep=;\nid;question\na;1+1?\nb;2+2?\n"),
        ("q.csv", '"sep=\t"\rid\tquestion\ra\t1+1?\rb\t2+2?\r'),
        ("q.csv", ",id,question\n0,a,1+1?\n1,b,2+2?\n"),
        ("q.csv", ";;id;question;\n0;x;a;1+1?;\n1;;b;2+2?\n"),
        ("q.csv", "id|question|n\na|1+1?|7\nb|2+2?|7\n"),
        ("q.tsv", "id\tquestion\na\t1+1?\nb\t2+2?\n"),
        ("q.csv", "ID,Question\na,1+1?\nb,2+2?\n"),
        ("q.csv", "id,question\ra,1+1?\rb,2+2?\r"),
        ("q.jsonl", LINES.replace("\n", "\r")),
        ("q.jsonl", LINES.replace("\n", "\r\n\r\n")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_whatever_made_the_file_its_rows_are_the_same(tmp_path, name, content, encoding):
    (tmp_path / name).write_bytes(content.encode(encoding))
    rows = read_rows(str(tmp_path / name), None)
    questions, failures = make_questions(rows, Wording())
    found = {question.id: question.problem.text for question in questions}
    assert (found, failures) == ({"a": "1+1?", "b": "2+2?"}, [])


@pytest.mark.parametrize("name", ["q.txt", "q.jsonl", "q.csv"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("question\nWas heißt das?\n".encode("utf-16-le"), "UTF-16LE"),
        ("question\nЧто это такое, и что с ним?\n".encode("utf-16-be"), "UTF-16BE"),
        ("question\nWhat?\n".encode("utf-16") + b"\0", "marked as UTF-16LE"),
    ],
)
def test_what_is_in_another_encoding_is_said_once(solve, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    code, out, err = solve("--batch", tmp_path / name)
    assert (code, out) == (2, "")
    assert err.count("error:") == 1
    assert said in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.jsonl", PRETTY, "jq -c"),
        ("q.json", json.dumps({"questions": TWO}, indent=1), "jq -c"),
        ("q.json", json.dumps(TWO)[:-1], "JSON array"),
        ("q.csv", "question;text;id\n1;2;3\n".replace("text", "question"), "same name"),
    ],
)
def test_a_file_that_is_otherwise_is_named(solve, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    code, out, err = solve("--batch", tmp_path / name)
    assert (code, out) == (2, "")
    assert said in err


def test_what_stands_within_a_line_does_not_end_it(solve, tmp_path):
    signs = "\u2028\u2029\u0085\v\f\x1c"
    (tmp_path / "q.txt").write_text(f"What is{signs} 1+1?\n", encoding="utf-8")
    _, rows, _ = solve.batch(tmp_path / "q.txt")
    assert [row["question"] for row in rows.values()] == [f"What is{signs} 1+1?"]


@pytest.mark.parametrize(
    ("name", "content", "answered", "failed"),
    [
        ("q.csv", "id,question\n1,A?\n2,B, C?\n3,D?\n", {"1", "3"}, {"line 3"}),
        ("q.csv", "id,question\n1,A?\n2,B, C?\n4,D?\n", {"1", "4"}, {3}),
        ("q.csv", "id,question\n1,A?\n1,B?\n3,D?\n", {"1", "3"}, {"line 3"}),
        ("q.csv", "id,question,\n1,A?,\n1,B,C?\n,D?,\n4,E?,\n", {"1", "line 4", "4"}, {3}),
        ("q.csv", ",id,question\n0,1,A?\n1,2,B, C?\n", {"1"}, {3}),
        ("q.jsonl", '{"question": "A?"}\n{"question": "B?", "id": 1}\n', {"line 1", 1}, set()),
        ("q.jsonl", '{"question": "A?", "n": NaN}\n{"question": "B?"}\n', {2}, {1}),
        ("q.jsonl", '{"n": 1, "n": 1}\r{"question": "B?"}\r', {2}, {1}),
        ("q.jsonl", '{"question": "A?"},\n{"question": "B?"}\n', {2}, {1}),
        ("q.jsonl", '["A?"]\n{"question": "B?"}\n', {2}, {1}),
        ("q.jsonl", '{\n{"question": "B?", "id": "1"}\n', {"1"}, {"line 1"}),
        (
            "q.jsonl",
            '{"id": 2, "question": "A?"}\n{"id": [2]}\n{"id": "line 2", "question": "C?"}\n',
            {2, "line 2"},
            {"line line 2"},
        ),
        ("q.json", '[7, {"question": "B?", "id": "1"}, {"question": "C?"}]', {"1", 3}, {"row 1"}),
    ],
)
def test_a_broken_row_takes_no_other_rows_id(solve, tmp_path, name, content, answered, failed):
    (tmp_path / name).write_text(content)
    code, rows, _ = solve.batch(tmp_path / name)
    assert code == bool(failed)
    found = {kind: {id for id in rows if rows[id]["type"] == kind} for kind in ("result", "error")}
    assert found == {"result": answered, "error": failed}


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from(["1", "2", "3", "4", "line 2", "row 2", "", "broken"]), max_size=6)
)
def test_every_row_is_there_once_and_the_first_of_its_id_is_good(ids):
    lines = [
        "{" if id == "broken" else json.dumps({"id": id, "question": f"{n}?"})
        for n, id in enumerate(ids)
    ]
    lines.append('{"question": "last?"}')
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("\n".join(lines))
        file.flush()
        rows = read_rows(file.name, None)
    assert len({str(row.id) for row in rows}) == len(lines)
    good = {str(row.id): row.columns["question"] for row in rows if isinstance(row, Row)}
    for id in set(ids) - {"", "broken"}:
        assert good[id] == f"{ids.index(id)}?"
    assert len(good) == len(set(ids) - {"", "broken"}) + ids.count("") + 1


BAD = [
    (b'{"question": ""}', "empty", 2),
    (b'{"question": 7}', "not text", 2),
    (b'{"q": "What?"}', "--column", 2),
    (b'["What?"]', "not a JSON object", 2),
    (b"What?", "not JSON", 2),
    (b'{"question": "caf\xe9"}', "UTF-8", 2),
    (b'{"question": "a\\u0000b"}', "NUL", 2),
    (b'{"question": "\\ud800"}', "surrogate", 2),
    (b'{"question": "What?", "x": NaN}', "not JSON", 2),
    (b'{"question": "What?", "question": "Who?"}', "'question' occurs twice", 2),
    (b'{"question": "What?", "x": 1e999}', "not JSON", 2),
    (b"[" * 100_000, "not JSON", 2),
    (b'{"question": "What?", "seed": -1}', "seed", 2),
    (b'{"question": "What?", "seed": true}', "seed", 2),
    (b'{"question": "What?", "answer_type": "poem"}', "answer_type", 2),
    (b'{"question": "What?", "system": 1}', "system", 2),
    (b'{"question": "What?", "id": [1]}', "id", 2),
    (b'{"question": "What?", "id": "good"}', "earlier row", 2),
    (b'{"question": "' + b"word " * 20_000 + b'"}', "tokens", 5),
]


def test_a_bad_row_is_one_row(solve, tmp_path):
    good = {"id": "good", "question": "What is 2+2?"}
    path = tmp_path / "q.jsonl"
    lines = [json.dumps(good).encode(), *(line for line, _, _ in BAD)]
    lines.append(json.dumps({**good, "id": "last"}).encode())
    path.write_bytes(b"\n".join(lines))
    code, out, err = solve("--batch", path)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert {row["id"] for row in rows if row["type"] == "result"} == {"good", "last"}
    failed = {row["id"]: row for row in rows if row["type"] == "error"}
    for number, (_, said, exit_code) in enumerate(BAD, 2):
        row = failed.get(number) or failed["good"]
        assert set(row) == {"id", "type", "error", "hint", "exit_code"}
        assert said in f"{row['error']} {row['hint']}", number
        assert row["exit_code"] == exit_code
        assert f"question {row['id']}: " in err
    assert f"2 questions answered · {len(BAD)} failed" in err


def test_a_bad_row_of_csv_is_one_row(solve, tmp_path):
    path = tmp_path / "q.csv"
    path.write_bytes(b'question,n\n"a"b,1\nWhat, is this?,2\ncaf\xe9?,3\nWhat?,4\n"never ends\n')
    code, rows, _ = solve.batch(path)
    assert code == 1
    assert {id: row["type"] for id, row in rows.items()} == {
        2: "error", 3: "error", 4: "error", 5: "result", 6: "error",
    }  # fmt: skip
    assert "2 columns" in rows[3]["error"]


def test_the_lines_that_an_open_quote_takes_along_are_named(solve, tmp_path):
    path = tmp_path / "q.csv"
    path.write_text('question,n\nWhat?,1\n"What,2\nWho?,3\n"Why?",4\nWhen?,5\n')
    _, rows, err = solve.batch(path)
    assert {id: row["type"] for id, row in rows.items()} == {2: "result", 3: "error", 6: "result"}
    assert "Lines 3 to 5 are not CSV" in rows[3]["error"]
    assert "Lines 3 to 5" in err


def test_a_cell_in_another_encoding_is_converted_by_its_file(solve, tmp_path):
    path = tmp_path / "q.csv"
    path.write_bytes(b"question\ncaf\xe9?\n")
    _, rows, _ = solve.batch(path)
    assert f"iconv -f LATIN1 -t UTF-8 {path}" in rows[2]["hint"]


def test_what_is_no_batch_is_refused_at_once(solve, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "twice.csv").write_text("q,q\n1,2\n")
    for path in ("none.jsonl", "empty.jsonl", "twice.csv", "."):
        code, out, err = solve("--batch", path, "--batch-format", path.split(".")[-1] or "lines")
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
    assert not solve.opened


@pytest.mark.parametrize(
    "flags",
    [
        ("What?", "--batch", "questions.jsonl"),
        ("--batch", "questions.jsonl", "--json"),
        ("--batch", "questions.jsonl", "--solution"),
        ("--batch", "questions.jsonl", "--cascade", "a,b"),
        ("--batch", "questions.jsonl", "--output", "questions.jsonl"),
        ("What?", "--output", "o.jsonl"),
        ("What?", "--jobs", "2"),
        ("What?", "--column", "q"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(solve, questions, flags):
    before = questions.read_text()
    code, out, err = solve(*flags)
    assert (code, out) == (2, "")
    assert "--batch" in err
    assert questions.read_text() == before


def test_the_exit_code_tells_whether_all_were_answered(solve, tmp_path):
    def say(ask):
        return "I wonder." if "odd" in ask.text else "It is so.\n\nThe final answer is 4."

    solve.script = say
    path = write(tmp_path / "q.jsonl", [{"question": "Four?"}, {"question": "An odd one?"}])
    code, rows, err = solve.batch(path)
    assert code == 4
    assert (rows[1]["answer"], rows[2]["answer"]) == ("4", None)
    assert "1 question answered · 1 without an answer" in err
    solve.options = {"yes": lambda text: 0.2}
    path = write(tmp_path / "q.jsonl", [{"question": "Four?"}])
    weighed = (path, "--strategy", "weighted", "--samples", 3, "--verifier", "judge")
    assert solve.batch(*weighed, "--min-score", 0.9)[0] == 4
    assert solve.batch(*weighed, "--min-score", 0.1)[0] == 0


def test_a_question_may_ask_what_its_strategy_cannot(solve, tmp_path):
    rows = [{"question": "Write a poem.", "answer_type": "free"}, {"question": "What is 2+2?"}]
    code, found, _ = solve.batch(write(tmp_path / "q.jsonl", rows), "--strategy", "majority")
    assert code == 1
    assert (found[1]["type"], found[2]["type"]) == ("error", "result")


def test_an_engine_that_fails_again_and_again_ends_the_batch(solve, questions, tmp_path):
    def fail(ask):
        raise EngineError("the engine has failed", "ttc doctor")

    solve.script = fail
    code, _, err = solve("--batch", questions, "--jobs", 1, "--output", tmp_path / "a.jsonl")
    assert code == 1
    assert "3 questions failed in a row: the engine has failed" in err
    assert len(read(tmp_path / "a.jsonl")) == 3
    solve.script = babble
    code, _, err = solve("--batch", questions, "--output", tmp_path / "a.jsonl")
    assert code == 0
    assert "asked again because they failed before: 3" in err
    assert {row["type"] for row in read(tmp_path / "a.jsonl").values()} == {"result"}


def test_one_question_that_breaks_ttc_does_not_end_the_batch(solve, questions):
    def say(ask):
        if "3 times" in ask.text:
            raise ZeroDivisionError("of all things")
        return babble(ask)

    solve.script = say
    code, rows, _ = solve.batch(questions, "--jobs", 1)
    assert code == 1
    assert [row["id"] for row in rows.values() if row["type"] == "error"] == ["q3"]
    assert "of all things" in rows["q3"]["error"]


def test_with_a_verifiers_own_model_questions_are_asked_one_by_one(solve, questions, monkeypatch):
    engine, other = ScriptedEngine(babble, parallel=8), ScriptedEngine(babble)
    together = []

    async def open_session(*arguments, **options):
        session = await type(engine).open(engine, *arguments, **options)
        together.append(len(engine._slots._accounts))
        return session

    monkeypatch.setattr(engine, "open", open_session)
    loaded = [{"other": other}, {}]
    monkeypatch.setattr(
        "ttc_cli.solving.loading.load_models", lambda *_: Loaded(engine, loaded.pop(0))
    )
    code, rows, err = solve.batch(questions, "--jobs", 4)
    assert (code, len(rows)) == (0, 8)
    assert set(together) == {1}
    assert "one question at once" in err
    assert solve.batch(questions, "--jobs", 4)[0] == 0
    assert max(together) == 4


# -- going on where a run ended -------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_asks_what_is_not_answered_yet(solve, questions, tmp_path):
    output = tmp_path / "answers.jsonl"
    assert solve("--batch", questions, "--output", output)[:2] == (0, "")
    whole = output.read_bytes()
    assert solve("--batch", questions, "--output", output)[0] == 0
    assert len(solve.opened) == 1
    assert output.read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    for torn in (b"", lines[5][:1], lines[5][:200], lines[5][:-1]):
        output.write_bytes(b"".join(lines[:5]) + torn)
        code, _, err = solve("--batch", questions, "--output", output)
        assert code == 0
        assert "8 questions answered (5 before)" in err
        assert output.read_bytes().startswith(b"".join(lines[:5]))
        assert len(read(output)) == 8
    more = write(questions, [*ROWS, {"id": "new", "question": "What is new?"}])
    assert solve("--batch", more, "--output", output)[0] == 0
    assert "new" in read(output)


def test_rows_of_other_questions_stay_in_the_file(solve, questions, tmp_path):
    output = tmp_path / "answers.jsonl"
    solve("--batch", questions, "--output", output)
    before = read(output)
    other = write(tmp_path / "other.jsonl", [{"id": "z", "question": "What is last?"}])
    assert solve("--batch", other, "--output", output)[0] == 0
    after = read(output)
    assert after.pop("z")["answer"]
    assert after == before


def test_a_file_of_other_answers_is_refused_and_left_as_it_is(solve, questions, tmp_path):
    output = tmp_path / "answers.jsonl"
    solve("--batch", questions, "--output", output)
    whole = output.read_bytes()
    changed = write(tmp_path / "changed.jsonl", [*ROWS[:7], {**ROWS[7], "question": "Why?"}])
    for arguments, said in (
        ((questions, "--seed", 1), "other settings"),
        ((questions, "--budget", "deep"), "other settings"),
        ((questions, "--system", "Be brief."), "other settings"),
        ((questions, "--form", "prose"), "other settings"),
        ((changed,), "other questions with the same ids: q7"),
    ):
        code, _, err = solve("--batch", *arguments, "--output", output)
        assert code == 2
        assert said in err
        assert output.read_bytes() == whole
    assert len(solve.opened) == 1


@pytest.mark.parametrize(
    "content", ["An essay.", "An essay.\n", '{"a": 1}\n', '{"id": 1}\n', "[]\n"]
)
def test_a_file_that_is_no_answers_is_not_touched(solve, questions, tmp_path, content):
    output = tmp_path / "essay.txt"
    output.write_text(content)
    code, _, err = solve("--batch", questions, "--output", output)
    assert code == 2
    assert "line 1" in err
    assert output.read_text() == content


def test_a_dash_is_stdout(solve, questions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, rows, err = solve.batch(questions, "--output", "-")
    assert (code, len(rows)) == (0, 8), err
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("target", ["there.txt", "missing.txt"])
def test_an_output_that_is_a_link_is_named_and_not_followed(solve, questions, tmp_path, target):
    (tmp_path / "there.txt").touch()
    (tmp_path / "answers.jsonl").symlink_to(tmp_path / target)
    code, _, err = solve("--batch", questions, "--output", tmp_path / "answers.jsonl")
    assert code == 2
    assert "it is a link" in err
    assert f"--output {tmp_path / target}" in err
    assert (tmp_path / "there.txt").read_text() == ""
    assert not (tmp_path / "missing.txt").exists()


def test_an_answer_is_kept_though_its_row_is_broken_now(solve, questions, tmp_path):
    output = tmp_path / "answers.jsonl"
    solve("--batch", questions, "--output", output)
    before = output.read_bytes()
    write(questions, [{**ROWS[0], "question": ""}, *ROWS[1:]])
    assert solve("--batch", questions, "--output", output)[0] == 1
    assert output.read_bytes().startswith(before)


def spawn(*arguments, pause=0.0, wedged=False, **options):
    scenario = {"babbles": True, "parallel": 4, "pause": pause}
    if wedged:
        scenario["wedged"] = True
    return subprocess.Popen(
        [sys.executable, str(HERE / "scripted_ttc.py"), "solve", *map(str, arguments)],
        env={**os.environ, "SCENARIO": json.dumps(scenario)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **{"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options},
    )


def finish(child, given=None):
    out, err = child.communicate(given, timeout=120)
    return child.returncode, out, err.decode()


def wait_until(reached, child):
    """Wait for something that the child does; it may end before."""
    deadline = time.monotonic() + 60
    while not reached() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_any_point_a_batch_goes_on_to_the_same_answers(tmp_path, questions):
    unbroken, output = tmp_path / "unbroken.jsonl", tmp_path / "answers.jsonl"
    assert finish(spawn("--batch", questions, "--jobs", 2, "--output", unbroken))[0] == 0
    size, draw, kills = unbroken.stat().st_size, random.Random(5), 0
    while kills < 6:
        there = output.stat().st_size if output.exists() else 0
        # Within what one or two answers more take: a file that is about to be written.
        target = draw.randint(there, there + size // 6)
        child = spawn("--batch", questions, "--jobs", 2, "--output", output, pause=0.003)
        wait_until(lambda: output.exists() and output.stat().st_size > target, child)  # noqa: B023
        child.kill()
        code, _, _ = finish(child)
        if code == 0:
            break
        kills += 1
        if draw.random() < 0.5 and output.exists():  # as a kill in the middle of a write leaves it
            data = output.read_bytes()
            output.write_bytes(data[: draw.randint(data[:-1].rfind(b"\n") + 1, len(data))])
    assert kills >= 3
    code, _, err = finish(spawn("--batch", questions, "--jobs", 2, "--output", output))
    assert code == 0, err
    wanted = {id: timeless(row) for id, row in read(unbroken).items()}
    assert {id: timeless(row) for id, row in read(output).items()} == wanted


@pytest.mark.slow
def test_ctrl_c_writes_what_is_done_and_leaves_out_what_is_not(tmp_path, questions):
    output = tmp_path / "answers.jsonl"
    command = ("--batch", questions, "--jobs", 2, "--output", output)
    child = spawn(*command, pause=0.01)
    wait_until(lambda: output.exists() and b"\n" in output.read_bytes(), child)
    child.send_signal(signal.SIGINT)
    code, _, err = finish(child)
    assert code == 130
    assert "goes on from here" in err
    done = read(output)
    assert 0 < len(done) < 8
    assert not any(row["interrupted"] for row in done.values())
    assert finish(spawn(*command))[0] == 0
    whole = read(output)
    assert {id: whole[id] for id in done} == done
    assert len(whole) == 8


@pytest.mark.slow
def test_ctrl_c_twice_leaves_at_once(tmp_path, questions):
    output = tmp_path / "answers.jsonl"
    child = spawn("--batch", questions, "--jobs", 2, "--output", output, pause=0.05, wedged=True)
    wait_until(lambda: output.exists() and output.stat().st_size, child)
    child.send_signal(signal.SIGINT)
    seen = b""
    while b"asked to stop" not in seen:
        new = os.read(child.stderr.fileno(), 1 << 16)
        assert new, seen
        seen += new
    child.send_signal(signal.SIGINT)
    assert finish(child)[0] == 130
    assert 0 < len(read(output)) < 8


@pytest.mark.slow
def test_two_runs_do_not_write_into_one_file(tmp_path, questions, solve):
    output = tmp_path / "answers.jsonl"
    child = spawn("--batch", questions, "--output", output, pause=0.01)
    wait_until(output.exists, child)
    code, _, err = solve("--batch", questions, "--output", output)
    assert child.poll() is None
    child.kill()
    finish(child)
    assert code == 2
    assert "Another run is writing" in err


# -- pipes, progress ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("content", [b'{"question": "What is 1+1?"}\n', b"What is 1+1?\n"])
def test_a_batch_comes_from_a_pipe(content):
    child = spawn("--batch", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    code, out, err = finish(child, content)
    assert code == 0, err
    [row] = map(json.loads, out.splitlines())
    assert (row["id"], row["question"]) == (1, "What is 1+1?")


@pytest.mark.slow
def test_a_closed_pipe_ends_the_batch(questions):
    child = spawn("--batch", questions, pause=0.005, stdout=subprocess.PIPE)
    assert child.stdout.readline()
    child.stdout.close()
    child.stdout = None
    assert finish(child)[0] == 141


@pytest.mark.slow
def test_a_full_disk_ends_the_batch(questions):
    with open("/dev/full", "wb") as full:
        code, _, err = finish(spawn("--batch", questions, stdout=full))
    assert code == 1
    assert "No room left" in err


def test_a_line_now_and_then_tells_how_far_it_is(solve, questions, monkeypatch):
    assert " of 8 questions" not in solve("--batch", questions)[2]
    monkeypatch.setattr("ttc_cli.output.SAY_SECONDS", -math.inf)
    _, _, err = solve("--batch", questions, "--jobs", 1)
    told = [line for line in err.splitlines() if "of 8 questions" in line]
    assert [line.split(" of ")[0] for line in told] == [str(n) for n in range(8)]
    assert "tokens/s" in told[-1]
    assert "to go" in told[-1]


def test_quiet_is_quiet(solve, questions):
    assert solve("--batch", questions, "-q")[2] == ""


def test_a_dry_run_asks_nothing(solve, questions, monkeypatch):
    monkeypatch.setattr("ttc_cli.solving.dry_run.make_plan", lambda request: PLAN)
    code, out, err = solve("--batch", questions, "--dry-run")
    assert (code, solve.opened) == (0, [])
    assert "at most" in out
    assert "for each of 8 questions" in err


PLAN = {
    "model": "script", "path": "script.gguf", "bytes": None, "strategy": "auto", "verifiers": [],
    "budget": "normal", "memory": None, "max_samples": 4, "max_tokens": 100, "max_flops": None,
    "max_seconds": None, "forms": ["prose"], "untested_forms": [],
}  # fmt: skip
