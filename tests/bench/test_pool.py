import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ttc_cli.bench import pool
from ttc_cli.bench.pool import (
    PoolHeader,
    RecordedMend,
    RecordedQuestion,
    RecordedSample,
    RecordedScore,
)
from ttc_cli.errors import UsageError
from ttc_cli.types import AnswerType, Confidence, Finish, Problem, Sampling

HEADER = PoolHeader(
    model="tiny",
    sha256="ab" * 32,
    parameters=1000,
    context=4096,
    parallel=4,
    chat_template="{{ messages }}",
    control_tokens={"eos_token": "</s>"},
    template_arguments={"enable_thinking": False},
    prompt_format="0123",
    sampling=Sampling(temperature=0.3),
    max_tokens=512,
    seed=7,
    build="engine 1.0",
)


def question(name: str, *indices: int, seconds: float = 0.0) -> RecordedQuestion:
    samples = tuple(sample(index) for index in indices)
    return RecordedQuestion(f"key of {name}", 12, samples, id=name, seconds=seconds)


def sample(index: int) -> RecordedSample:
    return RecordedSample(
        index,
        # What models write: other scripts, half a surrogate pair, control characters, line ends.
        f"{index}: 答え\ud800\u2028\x1b[31m\n#### 4",
        5,
        Finish.STOP,
        (3, 4, 0, 5, 6),
        Confidence(-0.25, -0.5, 1.0, 2.0),
        {"key": RecordedScore((0.75, 0.125), 31)},
        mended=RecordedMend(
            f"{index}: 答え\ud800 1 + 1 = 2",
            3,
            RecordedSample(index, "\x1b[31m!", 2, Finish.STOP, (5, 1), None, {}),
        )
        if index
        else None,
        seed=100 + index,
        judge=0.857,
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pool.jsonl"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0, 1, seconds=2.5))
        writer.append(question("b", 0))
    found = pool.read(path)
    assert found.header == HEADER
    assert list(found.questions) == ["a", "b"]
    assert found.questions["a"] == question("a", 0, 1, seconds=2.5)


def test_an_answer_is_read_from_the_text_whatever_was_once_read_of_it(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0))
    head, line, _ = path.read_text().split("\n")
    row = json.loads(line)
    row["samples"][0]["answer"] = {"text": "5", "key": "5", "type": "number"}
    path.write_text(f"{head}\n{json.dumps(row)}\n")
    (found,) = pool.read(path).questions["a"].samples
    answer = found.read_answer(Problem("?", AnswerType.NUMBER))
    assert answer is not None
    assert answer.text == "4"


def test_a_published_pool_is_compressed(tmp_path: Path) -> None:
    path, packed = tmp_path / "pool.jsonl", tmp_path / "pool.jsonl.gz"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0, 1))
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert pool.read(packed).questions == pool.read(path).questions
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UsageError, match="cannot be read"):
        pool.read(packed)


def test_recording_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0, 1))
        writer.append(question("b", 0, 1))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for torn in (1, len(lines[2]) // 2, len(lines[2]) - 1):
        path.write_bytes(b"".join(lines[:2]) + lines[2][:torn])
        assert list(pool.read(path).questions) == ["a"]
        with pool.write(path, HEADER) as writer:
            assert writer.missing("a", 2) == []
            assert writer.missing("b", 2) == [0, 1]
            writer.append(question("b", 0, 1))
        assert path.read_bytes() == whole


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_bytes(b'{"format": "ttc-po')
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0))
    assert list(pool.read(path).questions) == ["a"]


def test_more_samples_of_a_question_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0, 1, seconds=1.0))
    with pool.write(path, HEADER) as writer:
        assert writer.missing("a", 4) == [2, 3]
        writer.append(question("a", 3, 2, seconds=3.0))
        assert writer.missing("a", 4) == []
    found = pool.read(path)
    assert [each.index for each in found.questions["a"].samples] == [0, 1, 2, 3]
    assert found.tokens_a_second() == 20 / 4.0


def test_samples_drawn_in_another_way_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pool.write(path, HEADER):
        pass
    warmer = replace(HEADER, sampling=Sampling(temperature=1.0), max_tokens=99)
    with pytest.raises(UsageError, match="sampling, max_tokens differ"), pool.write(path, warmer):
        pass
    faster = replace(HEADER, parallel=32, settings={"threads": 8})
    with pool.write(path, faster) as writer:
        assert writer.pool.header == HEADER


def test_two_writers_of_one_pool_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with (
        pool.write(path, HEADER),
        pytest.raises(UsageError, match="Another process"),
        pool.write(path, HEADER),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b'{"a": 1}\n', "not a pool"),
        (b"[1]\n", "not a JSON object"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"format": "ttc-pool/1", "sampling": {}}\n', "header"),
    ],
)
def test_other_files_are_no_pools(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        pool.read(path)


def test_a_damaged_line_in_the_middle_is_told_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pool.write(path, HEADER) as writer:
        writer.append(question("a", 0))
    header, line = path.read_bytes().splitlines(keepends=True)
    row = json.loads(line)
    del row["samples"]
    for damage in (b"{}\n", b"{", json.dumps(row).encode() + b"\n"):
        path.write_bytes(header + damage.ljust(3) + b"\n" + line)
        with pytest.raises(UsageError, match="line 2"):
            pool.read(path)


def test_a_pool_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        pool.read(tmp_path / "none.jsonl")
