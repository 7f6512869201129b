import re
import unicodedata

import pytest
import story
from hypothesis import example, given, settings
from hypothesis import strategies as st
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from wcwidth import wcswidth

from ttc_cli import events
from ttc_cli.types import (
    Answer,
    AnswerClass,
    AnswerType,
    Budget,
    Candidate,
    Confidence,
    Estimate,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Score,
    Usage,
)
from ttc_cli.views.frame import render
from ttc_cli.views.state import ViewState, reduce

SIZES = ((40, 12), (80, 24), (120, 40))


class TextFile(SingleFileSnapshotExtension):
    _file_extension = "txt"
    file_extension = "txt"
    _write_mode = WriteMode.TEXT


def fold(name):
    state = ViewState()
    for at, event in story.STORIES[name]():
        state = reduce(state, event, at)
    return state


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", story.STORIES)
def test_what_a_run_looks_like(name, size, snapshot):
    frame = render(fold(name), *size)
    assert frame.text + "\n" == snapshot(extension_class=TextFile)


@pytest.mark.parametrize("height", [24, 14, 10, 6, 4, 3, 2])
def test_the_leader_and_the_tally_are_seen_at_any_height(height):
    lines = render(fold("middle"), 80, height).text.splitlines()
    assert "5 growing" in lines[-1]
    assert len(lines) <= height - 1
    if height > 2:
        assert any("leads" in line for line in lines)


def test_in_a_narrow_terminal_the_leader_comes_first():
    lines = render(fold("middle"), 20, 5).text.splitlines()
    assert lines[0] == "6: 4 of 8"
    assert "├" not in "".join(lines)


def test_candidates_that_do_not_fit_are_counted():
    text = render(fold("middle"), 80, 16).text
    hidden = re.search(r"└─ … (.+)", text)
    assert hidden is not None
    shown = len(re.findall(r"^ [├└]─ \d", text, re.MULTILINE))
    assert shown + sum(map(int, re.findall(r"\d+", hidden.group(1)))) == 14


def test_the_best_path_stands_above_what_grows_and_that_above_the_dropped():
    state = reduce(fold("middle"), events.Pruned(1, "worse than its siblings"), 11.0)
    text = render(state, 120, 40).text
    assert text.index("★ 6") < text.index("▸ step 3") < text.index("× pruned")
    assert "worse than its siblings" in text


def test_nothing_depends_on_colour():
    text = render(fold("middle"), 120, 40).text
    for sign in ("★", "▸", "✓", "✗", "·"):
        assert sign in text


def test_caps_get_bars_and_what_has_none_gets_a_number():
    def budget_line(budget):
        state = reduce(ViewState(), events.RunStarted(Problem("q"), "m", "auto", (), budget, 0, 4))
        state = reduce(state, events.Spent(story.usage(600, 3.0)))
        return next(x for x in render(state, 100, 24).text.splitlines() if " tokens" in x)

    assert budget_line(Budget()).split(maxsplit=1)[1] == "600 tokens · 2.41 TFLOP · 3.0 s"
    half = budget_line(Budget(max_tokens=1_200))
    assert "600 of 1,200 tokens ━━━━━━──────" in half
    assert "0 of 16 samples ────────────" in budget_line(Budget(max_samples=16))


def test_a_tie_has_no_leader():
    voted = events.Voted(story.classes(("6", (0,), 1.0), ("4", (1,), 1.0)), 2)
    text = render(reduce(ViewState(), voted), 80, 24).text
    assert "◂ tied" in text
    assert "leads" not in text


def test_an_answer_stated_before_the_cut_is_shown():
    ended = events.CandidateEnded(story.candidate(0, "6", finish=Finish.LENGTH))
    assert "✓ 6" in render(reduce(ViewState(), ended), 80, 24).text


def test_settled_is_called_a_probability_only_when_calibrated():
    for calibrated, word in ((False, "settled 0.90"), (True, "probability right 0.90")):
        decided = events.Decided("stop", "done", Estimate(0.9, 0.8, 1, calibrated))
        assert word in render(reduce(ViewState(), decided), 80, 24).text


def test_a_free_form_run_shows_whom_the_verifier_prefers():
    state = ViewState()
    for id_, value in ((0, 0.4), (1, 0.8)):
        answer = Answer("An essay.\n\nLong.", "k", AnswerType.FREE)
        ended = Candidate(id_, answer.text, 9, Finish.STOP, answer)
        state = reduce(state, events.CandidateEnded(ended))
        state = reduce(state, events.Scored(id_, Score("judge", value)))
    text = render(state, 80, 24).text
    assert "0.80" in text
    assert re.search(r"1 ★ finished", text)


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;https://x\x07link\x1b]8;;\x07 \x1b]52;c;AAAA\x07 "
    "\x9b2J [/x] [bold] \u202eright to left\u202c a\tb"
    "\r\nc\x00\x08 你好世界 👩‍👩‍👧‍👦 🇩🇪 ❤️ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ \ud800 \u2028 \x85"
)


def hostile_state():
    answer = Answer(HOSTILE, HOSTILE, AnswerType.TEXT)
    state = reduce(
        ViewState(),
        events.RunStarted(Problem(HOSTILE), HOSTILE, HOSTILE, (HOSTILE,), Budget(HOSTILE), 0, 4),
    )
    for event in (
        events.WaveStarted(0, HOSTILE, 2, HOSTILE),
        events.Grew({0: HOSTILE, 1: HOSTILE}, 2, 0, 1, 2),
        events.CandidateEnded(Candidate(1, HOSTILE, 3, Finish.STOP, answer)),
        events.Scored(1, Score(HOSTILE, 0.5)),
        events.Pruned(2, HOSTILE),
        events.Voted((AnswerClass(answer, (1,), 1.0),), 2),
        events.Decided(HOSTILE, HOSTILE),
        events.Warned(HOSTILE),
    ):
        state = reduce(state, event)
    return state


@pytest.mark.parametrize("width", [10, 39, 40, 60, 80, 120])
def test_hostile_text_is_shown_and_not_obeyed(width):
    frame = render(hostile_state(), width, 40)
    assert not [
        char
        for char in frame.text.replace("\n", "")
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    assert all(wcswidth(line) <= width for line in frame.text.split("\n"))
    if width >= 80:
        assert "[/x]" in frame.text
        assert "你" in frame.text


# Everything a buggy or hostile run could emit: unknown ids, cycles, no numbers, any order.
ids = st.integers(0, 12)
texts = st.one_of(st.sampled_from(["", "\n\n", HOSTILE, "宽" * 30, "word "]), st.text(max_size=30))
numbers = st.one_of(st.floats(), st.floats(0, 1))
comparisons = st.sampled_from([each for each in AnswerType if each is not AnswerType.AUTO])
answers = st.builds(Answer, texts, texts, comparisons)
scores = st.builds(Score, st.sampled_from(["judge", "confidence"]), numbers, st.none() | ids)
estimates = st.builds(Estimate, numbers, numbers, st.integers(-3, 9), st.booleans())
candidates = st.builds(
    Candidate,
    ids,
    texts,
    st.integers(0, 10**7),
    st.sampled_from(Finish),
    st.none() | answers,
    st.none() | st.builds(Confidence, numbers, numbers, numbers, numbers),
    st.lists(scores, max_size=3).map(tuple),
    ids,
    st.none() | ids,
)
classes = st.lists(
    st.builds(AnswerClass, answers, st.lists(ids, min_size=1).map(tuple), numbers), max_size=8
).map(tuple)
roles = st.builds(RoleUsage, *[st.integers(0, 10**12)] * 4, numbers)
usages = st.builds(Usage, roles, roles, numbers)
caps = st.none() | st.integers(0, 10**9)
budgets = st.builds(Budget, texts, caps, st.none() | numbers, st.none() | numbers, caps)
results = st.builds(
    Result,
    st.none() | answers,
    st.none() | texts,
    st.none() | ids,
    texts,
    numbers,
    st.none() | numbers,
    st.none() | estimates,
    texts,
    texts,
    st.lists(candidates, max_size=4).map(tuple),
    classes,
    usages,
)
happenings = st.one_of(
    st.builds(
        events.RunStarted,
        st.builds(Problem, texts),
        texts,
        texts,
        st.lists(texts, max_size=3).map(tuple),
        budgets,
        st.integers(),
        ids,
    ),
    st.builds(events.WaveStarted, ids, texts, ids, texts),
    st.builds(events.CandidateStarted, ids, ids, st.none() | ids),
    st.builds(
        events.Grew,
        st.dictionaries(ids, texts),
        ids,
        ids,
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    st.builds(events.CandidateEnded, candidates),
    st.builds(events.Scored, ids, scores),
    st.builds(events.Pruned, ids, texts, st.booleans()),
    st.builds(events.Voted, classes, ids),
    st.builds(events.Decided, texts, texts, st.none() | estimates),
    st.builds(events.Spent, usages),
    st.builds(events.Warned, texts),
    st.builds(events.RunEnded, results),
)
timed = st.lists(st.tuples(st.floats(0, 1e6), happenings), max_size=16)


@settings(max_examples=80, deadline=None)
@given(timed, st.integers(1, 200), st.integers(1, 60))
@example([], 1, 1)
def test_no_run_is_ever_too_tall_or_too_wide(stream, width, height):
    state = ViewState()
    for at, event in stream:
        state = reduce(state, event, at)
    frame = render(state, width, height)
    assert len(frame.rows) <= height - 1
    for line in frame.text.split("\n"):
        assert sum(max(0, wcswidth(char)) for char in line) <= width
