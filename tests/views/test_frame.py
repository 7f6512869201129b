import itertools
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
    Execution,
    Finish,
    Problem,
    Result,
    RoleUsage,
    Score,
    Step,
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


def test_in_a_narrow_terminal_a_search_over_steps_says_where_it_is():
    state = ViewState()
    for event in (events.Stepped(0, 0, "We add.", 3), events.Scored(0, Score("judge", 0.8, 0))):
        state = reduce(state, event)
    assert render(state, 30, 5).text.splitlines()[0] == "best: step 1, 0.80"
    assert render(fold("branching"), 30, 5).text.splitlines()[0] == "6 so far, 0.90"


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
    assert "none on free text: 2 finished, #1 leads" in text


def test_a_free_form_run_without_verifiers_counts_what_is_finished():
    answer = Answer("An essay.", "k", AnswerType.FREE)
    ended = events.CandidateEnded(Candidate(0, answer.text, 9, Finish.STOP, answer))
    text = render(reduce(ViewState(), ended), 80, 24).text
    assert "none on free text: 1 finished" in text
    assert "leads" not in text


def test_of_code_it_is_said_that_the_verifier_chooses():
    state = ViewState()
    for id_, value in ((0, 0.0), (1, 1.0)):
        answer = Answer(f"def f(x):\n    return x + {id_}", "k", AnswerType.CODE)
        ended = Candidate(id_, answer.text, 9, Finish.STOP, answer)
        state = reduce(state, events.CandidateEnded(ended))
        state = reduce(state, events.Scored(id_, Score("check", value)))
    text = render(state, 80, 24).text
    assert "none on code: the verifier chooses, 2 programs so far" in text
    assert "def f(x): return x + 1" in text


def test_the_best_path_of_a_search_over_steps_is_told_step_by_step():
    lines = render(fold("searched"), 120, 40).text.splitlines()
    first = next(i for i, line in enumerate(lines) if "best #1" in line)
    for number, (value, said) in enumerate(
        (("0.85", "Let t be"), ("0.89", "The second"), ("0.89", "They meet"), ("0.87", "Therefore"))
    ):
        assert re.search(rf" {number + 1} {value}  {said}", lines[first + number])


def test_a_branch_shows_its_step_how_it_was_scored_on_the_way_and_by_whom():
    row = next(x for x in render(fold("branching"), 120, 40).text.splitlines() if "├─ 8" in x)
    assert re.search(
        r"8 ▸ step 4 +8 tok +0\.76 ▇▇▇ ● +0\.79/0\.70 +low 0\.76 +Therefore t = 6", row
    )


def test_paths_that_grow_stand_best_first_whether_they_pause_or_not():
    state = ViewState()
    for id_, value in ((0, 0.2), (1, 0.9), (2, 0.5)):
        state = reduce(state, events.CandidateStarted(id_, 0))
        state = reduce(state, events.Stepped(id_, 0, "We add.", 3))
        state = reduce(state, events.Scored(id_, Score("judge", value, 0)))
    state = reduce(state, events.Grew({0: "So", 1: "So"}, 2, 0, 0, 0))
    text = render(state, 80, 24).text
    assert re.findall(r"─ (\d) ([▸‖])", text) == [("1", "▸"), ("2", "‖"), ("0", "▸")]


def test_a_path_that_others_went_on_from_is_told_from_one_that_waits():
    state = reduce(ViewState(), events.Stepped(0, 0, "We add.", 3))
    state = reduce(state, events.Stepped(1, 0, "We add.", 3))
    state = reduce(state, events.CandidateStarted(2, 1, parent=0, steps=1))
    text = render(state, 80, 24).text
    assert "├─ 0    ◇ step 1" in text
    assert "│  └─ 2 · waiting" in text
    assert "└─ 1    ‖ step 1" in text
    # It went on itself, and waits again.
    state = reduce(state, events.Stepped(0, 1, "We multiply.", 3))
    assert "├─ 0    ‖ step 2" in render(state, 80, 24).text


@pytest.mark.parametrize("value", [2e307, float("inf"), float("-inf"), float("nan"), -1.0])
def test_a_score_that_is_none_breaks_no_view(value):
    state = reduce(ViewState(), events.CandidateStarted(0, 0))
    state = reduce(state, events.Stepped(0, 0, "We add.", 3))
    state = reduce(state, events.Scored(0, Score("judge", value, 0)))
    assert "─ 0" in render(state, 120, 24).text


@pytest.mark.parametrize(("strategy", "verb"), [("revise", "revises"), ("mend", "mends")])
def test_a_revision_says_what_it_revises(strategy, verb):
    state = reduce(ViewState(), events.CandidateEnded(story.candidate(0, "4")))
    state = reduce(state, events.WaveStarted(1, strategy, 1, "second attempts"))
    state = reduce(state, events.CandidateStarted(1, 1, parent=0))
    state = reduce(state, events.Grew({1: "Let me check"}, 1, 0, 0, 0))
    assert f"▸ step 1  {verb} #0: Let me check" in render(state, 80, 24).text


def test_a_hundred_pruned_paths_take_one_row():
    state = fold("branching")
    for id_ in range(100, 200):
        state = reduce(state, events.CandidateStarted(id_, 4, parent=1, steps=3))
        state = reduce(state, events.Pruned(id_, "not among the best"))
    text = render(state, 80, 24).text
    assert re.search(r"└─ … \d+ pruned", text)
    assert text.count("▸ step 4") == 3


def test_guides_leave_room_for_the_text_however_deep_the_tree():
    state = ViewState()
    for id_ in range(40):
        state = reduce(state, events.CandidateStarted(id_, id_, (id_ - 1) if id_ else None, id_))
        state = reduce(state, events.Stepped(id_, id_, f"This is what step {id_} says.", 9))
        state = reduce(state, events.Scored(id_, Score("judge", 0.5 + id_ / 100, id_)))
    for width in (40, 80, 120):
        rows = [x for x in render(state, width, 30).text.splitlines() if "─ 39" in x]
        assert rows[0].index("─ 39") < width / 4 + 3
    assert "This is what step 39 says." in rows[0]


def test_thought_is_no_answer_in_the_tree():
    text = "<think>Is it 4? No.</think>\n\nIt is 6."
    ended = Candidate(0, text, 9, Finish.STOP, story.answer("6"), thought=27)
    frame = render(reduce(ViewState(), events.CandidateEnded(ended)), 80, 24).text
    assert "It is 6." in frame
    assert "Is it 4?" not in frame


def test_thought_steps_of_the_best_path_are_dim():
    steps = (Step("Is it 4?\n\n", 3), Step("It is 6.", 3))
    ended = Candidate(0, "Is it 4?\n\nIt is 6.", 6, Finish.STOP, steps=steps, thought=10)
    state = reduce(ViewState(), events.CandidateEnded(ended))
    state = reduce(state, events.Scored(0, Score("judge", 0.5, 1)))
    rows = [row for row in render(state, 80, 24).rows if re.search(r"^[^─]+I. i", row.text)]
    thought, said = (row.segments[-1].style for row in rows[:2])
    assert thought.dim
    assert said is None


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;https://x\x07link\x1b]8;;\x07 \x1b]52;c;AAAA\x07 "
    "\x9b2J [/x] [bold] \u202eright to left\u202c a\tb"
    "\r\nc\x00\x08 你好世界 👩‍👩‍👧‍👦 🇩🇪 ❤️ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ \ud800 \u2028 \x85"
)


HOSTILE_RUNS = (
    Execution(HOSTILE, "", HOSTILE),
    Execution(f"{HOSTILE}\n{HOSTILE * 50}"),
    Execution("", HOSTILE),
    Execution(HOSTILE, HOSTILE * 50, HOSTILE),
    Execution("\x1b[2J\u202e", "\x1b[31m"),
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
        events.CandidateStarted(4, 0, form="program"),
        events.Grew({4: HOSTILE}, 1, 0, 1, 2),
        *(
            events.CandidateEnded(Candidate(5 + n, HOSTILE, 3, Finish.STOP, form=form, ran=ran))
            for n, (form, ran) in enumerate(itertools.product(("program", HOSTILE), HOSTILE_RUNS))
        ),
        events.Scored(1, Score(HOSTILE, 0.5)),
        events.Pruned(2, HOSTILE),
        events.Stepped(3, 0, HOSTILE, 4),
        events.Scored(3, Score(HOSTILE, 0.9, 0)),
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


def show_row(event, width, *before):
    state = ViewState()
    for each in (*before, event):
        state = reduce(state, each)
    rows = [line for line in render(state, width, 24).text.splitlines() if "─ 0 " in line]
    assert all(wcswidth(row) < width for row in rows)
    return rows[0]


def show_program(width, text="print(total)\n```", printed="18", error=""):
    return show_row(events.CandidateEnded(story.program(0, text, printed, error)), width)


def test_a_program_is_its_last_line_and_what_it_printed():
    assert show_program(80).endswith("✓ 18  >>> print(total)  → 18")
    assert show_program(40).endswith("✓ 18  >>> print(total)  → 18")
    code = "total = 18\nprint(total)\n# That is all.\n\n```"
    assert show_program(80, code).endswith(">>> print(total)  → 18")
    assert show_program(80, printed="").endswith("✗ no answer  >>> print(total)  → (nothing)")


def test_a_program_that_failed_is_its_error():
    error = "NameError: name 'x' is not defined"
    assert show_program(80, "print(x)\n```", "", error).endswith(f"✗ failed  >>> {error}")
    assert show_program(40, "print(x)\n```", "", error).endswith(">>> NameError: name 'x…")


def test_what_a_program_printed_is_seen_beside_a_line_of_code_of_any_length():
    long = f"print({' + '.join(['total'] * 40)})\n```"
    assert re.search(r">>> print\(total \+.*…  → 18$", show_program(80, long))
    assert re.search(r">>> print.*…  → 18$", show_program(40, long))
    both = show_program(80, long, "9" * 300)
    assert re.search(r">>> print.*…  → 9+…$", both)


def test_a_program_under_way_is_its_end_and_the_line_that_it_is_in():
    begun = events.CandidateStarted(0, 0, form="program")
    row = show_row(events.Grew({0: "apples = 3\n\npears = 4\ntot"}, 1, 0, 1, 2), 80, begun)
    assert row.endswith("▸ line 4  >>> apples = 3  pears = 4  tot")
    row = show_row(events.Grew({0: "apples = 3\nprint(apples)\n```"}, 1, 0, 1, 2), 80, begun)
    assert row.endswith(">>> apples = 3  print(apples)")


def test_each_form_has_a_mark_of_its_own_and_prose_none():
    state = ViewState()
    for id_, form in enumerate(("program", "prose", "a-form-of-a-plugin")):
        ran = Execution("18\n") if form != "prose" else None
        one = Candidate(id_, "So 18.", 9, Finish.STOP, story.answer("18"), form=form, ran=ran)
        state = reduce(state, events.CandidateEnded(one))
    rows = re.findall(r"─ \d [★✓] 18  (.*)", render(state, 80, 24).text)
    assert rows == [
        ">>>      So 18.  → 18",
        "         So 18.",
        "a-form-… So 18.  → 18",
    ]
    assert ">>>" not in render(fold("whole"), 80, 24).text


# Everything a buggy or hostile run could emit: unknown ids, cycles, no numbers, any order.
ids = st.integers(0, 12)
texts = st.one_of(st.sampled_from(["", "\n\n", HOSTILE, "宽" * 30, "word "]), st.text(max_size=30))
numbers = st.one_of(st.floats(), st.floats(0, 1))
comparisons = st.sampled_from([each for each in AnswerType if each is not AnswerType.AUTO])
answers = st.builds(Answer, texts, texts, comparisons)
scores = st.builds(
    Score, st.sampled_from(["judge", "confidence"]), numbers, st.none() | ids, numbers
)
confidences = st.builds(Confidence, *[numbers] * 7)
steps = st.builds(Step, texts, st.integers(0, 10**7), st.none() | confidences)
estimates = st.builds(Estimate, numbers, numbers, st.integers(-3, 9), st.booleans())
forms = st.sampled_from(["prose", "program", HOSTILE])
candidates = st.builds(
    Candidate,
    ids,
    texts,
    st.integers(0, 10**7),
    st.sampled_from(Finish),
    st.none() | answers,
    st.none() | confidences,
    st.lists(scores, max_size=3).map(tuple),
    ids,
    st.none() | ids,
    st.lists(steps, max_size=3).map(tuple),
    st.integers(0, 60),
    forms,
    st.none() | st.builds(Execution, texts, texts, texts),
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
    ids,
    ids,
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
    st.builds(events.CandidateStarted, ids, ids, st.none() | ids, ids, forms),
    st.builds(events.Stepped, ids, ids, texts, st.integers(0, 10**7)),
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


@pytest.mark.slow
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
