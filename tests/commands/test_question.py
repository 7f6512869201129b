"""Where the question comes from, and what is refused."""

import os
import threading
import time
from pathlib import Path

import pytest

from ttc_cli.errors import PromptTooLong, UsageError
from ttc_cli.solving.question import LIMIT, read_parts


@pytest.fixture
def read(tmp_path):
    """Call ``read_parts`` with stdin as bytes in a file, a descriptor, or /dev/null."""
    opened = []
    warnings = []

    def call(*words, stdin=None, **options):
        if isinstance(stdin, bytes):
            path = tmp_path / "stdin"
            path.write_bytes(stdin)
            descriptor = os.open(path, os.O_RDONLY)
        elif stdin is None:
            descriptor = os.open(os.devnull, os.O_RDONLY)
        else:
            descriptor = os.dup(stdin)
        opened.append(descriptor)
        parts = read_parts(words, stdin=descriptor, warn=warnings.append, **options)
        return None if parts is None else parts.join()

    call.warnings = warnings
    yield call
    for descriptor in opened:
        os.close(descriptor)


def test_a_prompt_alone_is_the_question(read):
    assert read("What is 2+2?") == "What is 2+2?"


def test_stdin_is_the_question_without_a_prompt_and_with_a_dash(read):
    assert read(stdin=b"What is 2+2?\n") == "What is 2+2?"
    assert read("-", stdin=b"What is 2+2?\r\n") == "What is 2+2?"


def test_stdin_follows_the_prompt_after_a_blank_line(read):
    assert read("Explain:", stdin=b"line one\nline two\n") == "Explain:\n\nline one\nline two"


def test_a_file_follows_the_prompt_or_is_the_question(read, tmp_path):
    path = tmp_path / "question.txt"
    path.write_text("Is 7 prime?\n")
    assert read(file=path) == "Is 7 prime?"
    assert read("Answer:", file=path) == "Answer:\n\nIs 7 prime?"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_marked_encoding_is_read(read, tmp_path, encoding):
    path = tmp_path / "question.txt"
    path.write_text("Ist 7 größer?\r\n", encoding=encoding)
    assert read(file=path) == "Ist 7 größer?"
    assert read(stdin=path.read_bytes()) == "Ist 7 größer?"


def test_what_is_not_utf8_is_named_with_what_converts_it(read, tmp_path):
    path = tmp_path / "a b.txt"
    for data, encoding in (
        ("größer".encode("latin-1"), "LATIN1"),
        ("7 prime?".encode("utf-16-be"), "UTF-16BE"),
    ):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"not UTF-8|UTF-16") as caught:
            read(file=path)
        new = tmp_path / "a b-utf8.txt"
        assert caught.value.hint == f"iconv -f {encoding} -t UTF-8 '{path}' > '{new}'"


def test_a_terminal_without_a_prompt_is_not_read(read):
    ours, theirs = os.openpty()
    try:
        assert read(stdin=theirs) is None
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_open_silent_pipe_beside_a_prompt_is_left_out_with_a_warning(read):
    out, into = os.pipe()
    try:
        started = time.monotonic()
        assert read("What is 2+2?", stdin=out, patience=0.05) == "What is 2+2?"
        assert time.monotonic() - started < 5  # it would wait without end
    finally:
        os.close(into)
        os.close(out)
    assert "sent nothing" in read.warnings[0]


def test_a_dash_after_the_prompt_waits_for_a_slow_pipe(read):
    out, into = os.pipe()

    def write_late():
        time.sleep(0.2)
        os.write(into, b"late")
        os.close(into)

    writer = threading.Thread(target=write_late)
    writer.start()
    try:
        assert read("Explain:", "-", stdin=out, patience=0.01) == "Explain:\n\nlate"
    finally:
        writer.join()
        os.close(out)
    assert read.warnings == []


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), b"", "empty"),
        (("  ",), b"", "empty"),
        (("-",), b" \n", "empty"),
        ((), b"\x7fELF\x02\x00\x00q", "NUL"),
        ((), b"caf\xe9", "not UTF-8 text (byte 3 is 0xe9)"),
        (("caf\udce9",), b"", "not valid text"),
        (("What", "is", "2+2?"), b"", "one argument"),
    ],
)
def test_what_is_no_question_is_a_usage_error(read, words, stdin, said):
    with pytest.raises(UsageError) as caught:
        read(*words, stdin=stdin)
    assert said in caught.value.message
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_folder_are_usage_errors(read, tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UsageError, match="Cannot read"):
            read(file=path)


def test_endless_input_ends_in_an_error_that_speaks_of_tokens(read):
    endless = os.open("/dev/zero", os.O_RDONLY)
    try:
        with pytest.raises(PromptTooLong, match="tokens") as caught:
            read(stdin=endless)
    finally:
        os.close(endless)
    assert caught.value.exit_code == 5
    with pytest.raises(PromptTooLong):
        read(stdin=b"a" * (LIMIT + 1))


def test_a_closed_stdin_is_an_empty_one():
    assert read_parts(("q",), stdin=None, warn=print).join() == "q"
    with pytest.raises(UsageError, match="empty"):
        read_parts((), stdin=None, warn=print).join()


def test_a_byte_order_mark_is_no_part_of_the_question(read):
    assert read(stdin=b"\xef\xbb\xbfWhat?") == "What?"


def test_a_file_that_cannot_be_found_is_named(read):
    with pytest.raises(UsageError, match="nowhere"):
        read(file=Path("nowhere.txt"))
