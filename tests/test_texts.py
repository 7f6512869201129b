"""Text that people bring: its encoding and its lines, wherever it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.bench.datasets import load
from ttc_cli.bench.report import read_outcomes
from ttc_cli.errors import UsageError
from ttc_cli.policy.file import SHIPPED_FOLDER, load_policy
from ttc_cli.solving.prompt_templates import read_template as read_prompt_template
from ttc_cli.solving.serving import read_template
from ttc_cli.texts import decode, split_lines, to_utf8
from ttc_cli.toml_files import read_toml
from ttc_cli.verifiers.planted import load_planted

MARKED = ["utf-8-sig", "utf-16", "utf-32"]
POLICY = next(SHIPPED_FOLDER.glob("*.json")).read_text(encoding="utf-8")
PLANTED = {"question": "q", "answer": "1", "right": ["a\u2028", "2"], "wrong": ["a\u2028", "3"]}


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("q.jsonl", '{"question": "é\u2028?", "answer": "1"}', load),
        ("q.csv", "question,answer\r\né,1\r\n", load),
        ("planted.jsonl", json.dumps(PLANTED, ensure_ascii=False), load_planted),
        ("models.toml", "# é\u2028\n[models.x]\nbytes = 1", read_toml),
        ("config.toml", "# é\u2028\nmodel = 'x'", read_toml),
        ("ttc.toml", "# é\u2028\r\nbudget = 'deep'", read_toml),
        ("policy.json", POLICY, load_policy),
        ("chat.jinja", "{{ messages }} é", lambda path: read_template(str(path))),
        (
            "t.txt",
            "+++\nsystem = 'é\u2028'\n+++\n{{ question }}",
            lambda path: read_prompt_template(str(path)).system,
        ),
        ("rows.jsonl", "{}\n", read_outcomes),
    ],
)
@pytest.mark.parametrize("encoding", MARKED)
def test_what_is_marked_is_read_as_if_it_were_not(
    tmp_path: Path, name: str, text: str, read: Callable[[Path], Any], encoding: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    plain = read(path)
    path.write_bytes(text.encode(encoding))
    assert read(path) == plain


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_text_comes_back_from_any_marked_encoding(text: str) -> None:
    if text.startswith("\ufeff"):
        return
    for encoding in MARKED:
        assert decode(text.encode(encoding)) == text
    assert to_utf8(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        ("What?\n".encode("utf-16-le"), "UTF-16LE text without its mark", "-f UTF-16LE"),
        ("Что это, и где?".encode("utf-16-be"), "UTF-16BE text without its mark", "-f UTF-16BE"),
        ("一 二 三\r\n1 2 3\r\n".encode("utf-16-le"), "UTF-16LE text", "-f UTF-16LE"),
        (b"\xff\xfea", "marked as UTF-16LE", "UTF-8"),
        (b"\xfe\xff\xd8\x00", "marked as UTF-16BE", "UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", "NUL byte", None),
        (b"What\0is?", "NUL byte", None),
        (b"caf\xe9", "byte 3 is 0xe9", "-f LATIN1"),
    ],
)
def test_what_is_none_is_said_in_words(data: bytes, said: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        decode(data, name="a b.txt")
    assert said in caught.value.message
    assert (hint or "") in (caught.value.hint or "")
    if hint is not None and hint.startswith("-f"):
        assert "'a b.txt' > 'a b-utf8.txt'" in (caught.value.hint or "")


def test_what_comes_from_no_file_is_converted_on_its_way() -> None:
    with pytest.raises(UsageError) as caught:
        decode("What?\n".encode("utf-16-le"))
    assert caught.value.hint == "… | iconv -f UTF-16LE -t UTF-8 | ttc …"


@given(st.text(st.sampled_from("ab\n\r\u2028\u2029\x85\v\f\x1c\x1d\x1e")))
def test_lines_end_where_those_of_bytes_do(text: str) -> None:
    assert split_lines(text) == [line.decode() for line in text.encode().splitlines(keepends=True)]
