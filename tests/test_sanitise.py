from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttc_cli.sanitise import MAX_SEQUENCE, Cleaner, clean

PIECES = st.sampled_from(
    [
        "plain", "é", "漢字", "🙂", "\n", "\t", "\x1b", "\x1b[", "\x1b]8;;", "\x1b\\", "\x07",
        "\x9b", "\x9d", "\x90", "\x9c", "[31m", "0;1", "m", "]52;c;", "\x1bP", "\x1b_", "\x1b^",
        "\u202e", "\u2066", "\u200d", "\ufeff", "\u2028", "\ud83d", "\udc4d", "\U000e0041", "\x00",
        "\x7f", "\x85", "\r\n", "\x18", "(B", "#8", "a" * MAX_SEQUENCE,
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=40),
    st.lists(PIECES, max_size=12).map("".join),
)


def forbidden(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} and char not in "\n\t"


@given(TEXTS, st.lists(st.integers(0, 60), max_size=6))
@example("a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\c", [2, 9])
def test_chunks_clean_like_the_whole(text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    cleaner = Cleaner()
    pieces = [cleaner.feed(text[a:b]) for a, b in itertools.pairwise(bounds)]
    assert "".join(pieces) == clean(text)


@given(TEXTS)
def test_nothing_forbidden_comes_out_and_cleaning_again_changes_nothing(text: str) -> None:
    out = clean(text)
    assert not [c for c in out if forbidden(c)]
    invisible = "\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\U000e0041"
    assert not set(out) & set(invisible)
    assert clean(out) == out


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=60))
def test_ordinary_text_is_untouched(text: str) -> None:
    assert clean(text + "\n\tend") == text + "\n\tend"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Htop", "top"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;c2VjcmV0\x07x", "x"),
        ("\x9d0;title\x9cx", "x"),
        ("\x1bPq#0;2\x1b\\x", "x"),
        ("\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\x", "x"),
        ("\x1b(Bx\x1b#8y\x1bcz", "xyz"),
        ("\x1b[31\nm", "\nm"),
        ("\x1b\x1b[31mx", "x"),
        ("\x1b]0;cut\x1b[31mx", "x"),
        ("a\r\nb\rc\x08d\x0be", "a\nbcde"),
        ("a\u2028b\u2029c\x85d", "a\nb\nc\nd"),
        ("user\u202etxt.exe\u202c", "usertxt.exe"),
        ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
        ("👩\u200d💻", "👩💻"),
        ("a\ud83db", "a\ufffdb"),
        ("hi\U000e0068\U000e007f", "hi"),
        ("tail\x1b", "tail"),
        ("tail\x1b[12;", "tail"),
    ],
)
def test_known_attacks(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


@pytest.mark.parametrize("opener", ["\x1b]", "\x1bP", "\x9b", "\x1b"])
def test_a_sequence_without_an_end_cannot_swallow_the_rest(opener: str) -> None:
    filler = "0" if opener == "\x9b" else " "
    assert clean(opener + filler * MAX_SEQUENCE + "shown").endswith("shown")
