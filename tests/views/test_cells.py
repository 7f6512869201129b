from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.views.cells import FrameRow, bar, cells, cut, cut_front, wrap

WIDE = st.text(st.sampled_from("ab c宽é👍\u0301 "), max_size=40)


@given(WIDE, st.integers(0, 50))
def test_what_is_cut_fits_and_says_that_it_was_cut(text, width):
    for short in (cut(text, width), cut_front(text, width)):
        assert cells(short) <= width
        assert short == text or "…" in short or width == 0


def test_the_end_is_kept_at_a_word():
    assert cut("one two three", 8) == "one two…"
    assert cut_front("one two three", 8) == "…three"
    assert cut_front("two three", 9) == "two three"


@given(WIDE, st.integers(1, 50), st.integers(1, 4))
def test_wrapped_lines_fit(text, width, lines):
    wrapped = wrap(" ".join(text.split()), width, lines)
    assert len(wrapped) <= lines
    assert all(cells(line) <= width for line in wrapped)


def test_lines_are_broken_at_spaces():
    assert wrap("the quick brown fox", 10, 3) == ("the quick", "brown fox")
    assert wrap("the quick brown fox", 10, 1) == ("the quick…",)


def test_bars_fill_by_halves_and_stay_in_their_frame():
    assert bar(0.5, 4) == ("━━", "──")
    assert bar(0.4, 4) == ("━╸", "──")
    assert bar(7.0, 3) == ("━━━", "")
    assert bar(float("nan"), 3) == ("", "───")


def test_a_row_that_was_cut_takes_no_more():
    row = FrameRow(10, 0).add("a wide word that is cut 宽").add("more")
    assert row.text.rstrip() == "a wide wo…"
