from dataclasses import replace

import pytest
import story

from ttc_cli import events
from ttc_cli.search.vote import represent
from ttc_cli.types import PROGRAM, AnswerClass, Candidate, Execution, Finish, Score
from ttc_cli.views.nodes import Status, Written, trace
from ttc_cli.views.state import TAIL_CHARS, ViewState, reduce, tick


def fold(timed, state=None):
    state = state or ViewState()
    for at, event in timed:
        state = reduce(state, event, at)
    return state


def grew(**texts):
    named = {int(name[1:]): text for name, text in texts.items()}
    return events.Grew(named, len(named), 0, 0, 0)


def test_a_candidate_goes_from_queued_over_growing_to_finished():
    state = reduce(ViewState(), events.CandidateStarted(3, 0))
    assert state.nodes[3].status is Status.QUEUED
    state = reduce(state, grew(c3="So "), 1.0)
    assert state.nodes[3].status is Status.GROWING
    state = reduce(state, events.CandidateEnded(story.candidate(3, "6")), 2.0)
    assert state.nodes[3].status is Status.FINISHED
    assert state.nodes[3].answer == story.answer("6")
    assert state.tails[3].tokens == 96


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        (Finish.LENGTH, Status.UNFINISHED),
        (Finish.CONTEXT, Status.UNFINISHED),
        (Finish.LOOP, Status.UNFINISHED),
        (Finish.BUDGET, Status.UNFINISHED),
        (Finish.CANCELLED, Status.CANCELLED),
        (Finish.STEP, Status.PAUSED),
    ],
)
def test_how_a_candidate_ends_decides_its_status(finish, status):
    ended = events.CandidateEnded(story.candidate(0, None, finish=finish))
    assert reduce(ViewState(), ended).nodes[0].status is status


def test_a_paused_branch_grows_on_and_a_dropped_one_stays_dropped():
    state = reduce(ViewState(), events.CandidateEnded(story.candidate(0, None, finish=Finish.STEP)))
    state = reduce(state, events.Pruned(1, "weak", cancelled=True))
    state = reduce(state, grew(c0="more", c1="more"))
    cancelled = story.candidate(1, None, finish=Finish.CANCELLED)
    state = reduce(state, events.CandidateEnded(cancelled))
    assert state.nodes[0].status is Status.GROWING
    assert (state.nodes[1].status, state.nodes[1].reason) == (Status.CANCELLED, "weak")


def test_a_pruned_candidate_keeps_its_answer_and_the_reason():
    state = reduce(ViewState(), events.CandidateEnded(story.candidate(0, "6")))
    state = reduce(state, events.Pruned(0, "worse than its siblings"))
    node = state.nodes[0]
    assert (node.status, node.reason) == (Status.PRUNED, "worse than its siblings")
    assert node.answer is not None


def test_steps_are_counted_wherever_the_tokens_are_cut():
    text = "one\nstill one\n\ntwo\n \nthree\n\n\nfour\n\n"
    for size in (1, 2, 3, 5, len(text)):
        state = ViewState()
        for i in range(0, len(text), size):
            state = reduce(state, grew(c0=text[i : i + size]))
        assert state.tails[0].steps == 4, size


@pytest.mark.timeout(60)
def test_steps_are_counted_in_a_long_text_of_blank_lines():
    state = reduce(ViewState(), grew(c0="one" + "\n" * 200_000))
    assert state.tails[0].steps == 1
    assert reduce(state, grew(c0="two")).tails[0].steps == 2


def test_only_the_end_of_a_text_is_kept():
    state = ViewState()
    for i in range(3_000):
        state = reduce(state, grew(c0=f"{i:04} "))
    tail = state.tails[0]
    assert TAIL_CHARS <= len(tail.text) <= 2 * TAIL_CHARS
    assert tail.text.endswith("2998 2999 ")
    assert tail.tokens == 3_000


def test_earlier_states_are_left_as_they_were():
    before = fold(story.middle())
    nodes, tails = dict(before.nodes), dict(before.tails)
    reduce(before, grew(c8="x"))
    reduce(before, events.Pruned(8, "why"))
    assert (before.nodes, before.tails) == (nodes, tails)


def test_tokens_per_second_is_of_the_last_seconds_and_falls_to_zero():
    state = ViewState()
    for i in range(100):
        state = reduce(state, grew(c0="a", c1="b"), i * 0.1)
    assert state.tokens_per_second == pytest.approx(20, rel=0.1)
    assert tick(state, 12.0).tokens_per_second < 16
    assert tick(state, 30.0).tokens_per_second == 0


def test_burn_goes_on_between_two_reports_of_the_ledger():
    state = reduce(ViewState(), events.Spent(story.usage(100, 2.0)), 2.0)
    flops = state.flops
    for i in range(10):
        state = reduce(state, grew(c0="a", c1="b"), 2.0 + i / 10)
    assert state.tokens == 120
    assert state.flops > flops
    assert tick(state, 5.0).seconds == pytest.approx(5.0)
    state = reduce(state, events.Spent(story.usage(118, 4.0)), 4.0)
    assert (state.tokens, state.seconds) == (118, 4.0)


def test_the_best_is_the_best_scored_of_the_leading_class():
    assert fold(story.middle()).best == 0
    assert fold(story.whole()).best == story.result().winner


def test_without_a_vote_the_best_scored_finished_candidate_leads():
    state = ViewState()
    for id_, value in ((0, 0.2), (1, 0.9), (2, 0.4)):
        state = reduce(state, events.CandidateEnded(Candidate(id_, "t", 1, Finish.STOP)))
        state = reduce(state, events.Scored(id_, Score("judge", value)))
    assert state.best == 1


def test_verifiers_count_by_their_weights_and_the_whole_before_a_step():
    state = reduce(ViewState(), events.Scored(0, Score("judge", 0.1, step=0)))
    assert state.nodes[0].value == 0.1
    state = reduce(state, events.Scored(0, Score("judge", 0.3)))
    state = reduce(state, events.Scored(0, Score("confidence", 0.9, weight=2.0)))
    assert state.nodes[0].value == pytest.approx(0.7)
    state = reduce(state, events.Scored(0, Score("command", 1.0, weight=0.0)))
    assert state.nodes[0].value == pytest.approx(0.7)
    assert [score.verifier for score in state.nodes[0].newest] == ["judge", "confidence", "command"]


def stepped(id_, step, text, *values):
    yield events.Stepped(id_, step, text, len(text.split()))
    for verifier, value in zip(("judge", "confidence"), values, strict=False):
        yield events.Scored(id_, Score(verifier, value, step))


def test_a_branch_pauses_after_a_step_and_keeps_what_it_wrote():
    state = reduce(ViewState(), grew(c0="We "))
    for event in stepped(0, 0, "We add.\n\n", 0.4, 0.8):
        state = reduce(state, event)
    node = state.nodes[0]
    assert (node.status, node.steps) == (Status.PAUSED, (Written("We add.\n\n", 2),))
    assert node.path == pytest.approx((0.6,))
    state = reduce(state, grew(c0="\n\nThen "))
    assert state.nodes[0].status is Status.GROWING
    # What it writes now is its second step, though a blank line begins it.
    assert state.nodes[0].depth + state.tails[0].steps == 2
    assert state.tails[0].text == "Then "


def test_a_fork_inherits_the_steps_it_goes_on_from_with_their_scores():
    state = ViewState()
    for step, value in enumerate((0.3, 0.6, 0.9)):
        for event in stepped(0, step, f"step {step}", value):
            state = reduce(state, event)
    state = reduce(state, events.CandidateStarted(1, 1, parent=0, steps=2))
    fork = state.nodes[1]
    assert (fork.taken, fork.steps, fork.path) == (2, (), (0.3, 0.6))
    for event in stepped(1, 2, "another", 0.7):
        state = reduce(state, event)
    assert [(mark.number, mark.step.text, mark.value) for mark in trace(state.nodes, 1)] == [
        (1, "step 0", 0.3),
        (2, "step 1", 0.6),
        (3, "another", 0.7),
    ]
    # The parent is as it was.
    assert [mark.step.text for mark in trace(state.nodes, 0)] == ["step 0", "step 1", "step 2"]


def test_a_look_ahead_tells_what_its_path_is_worth_and_never_leads():
    state = ViewState()
    for id_, value in ((0, 0.4), (1, 0.8)):
        for event in (
            events.CandidateStarted(id_, 3),
            events.Stepped(id_, 0, "We add.", 2),
            events.CandidateStarted(id_ + 2, 3, parent=id_, steps=1),
            *stepped(id_ + 2, 1, "Ahead.", value),
        ):
            state = reduce(state, event)
    assert [state.nodes[id_].ahead for id_ in range(4)] == [False, False, True, True]
    assert (state.nodes[1].value, state.best) == (0.8, 1)
    state = reduce(state, events.CandidateStarted(4, 4, parent=1, steps=1))
    assert (state.nodes[4].ahead, state.nodes[4].value) == (False, 0.8)


def test_what_is_drawn_anew_from_one_that_ended_is_a_sample_and_a_fork_is_none():
    state = ViewState()
    for event in (
        events.CandidateStarted(0, 0),
        events.Stepped(0, 0, "We add.", 2),
        events.CandidateStarted(1, 1, parent=0, steps=1),
        events.CandidateEnded(story.candidate(0, "6")),
        events.CandidateStarted(2, 1, parent=0, steps=1),
    ):
        state = reduce(state, event)
    assert [state.nodes[id_].sample for id_ in range(3)] == [True, False, True]


def test_a_revision_inherits_nothing():
    state = ViewState()
    for event in (*stepped(0, 0, "wrong", 0.2), events.CandidateStarted(1, 1, parent=0)):
        state = reduce(state, event)
    assert (state.nodes[1].depth, state.nodes[1].value) == (0, None)


def test_the_end_of_a_candidate_tells_its_last_step():
    state = fold(story.searched())
    assert [mark.step.text for mark in trace(state.nodes, 8)] == list(story.STEPS)
    assert len(state.nodes[8].steps) == 1


def test_the_best_of_a_search_over_steps_is_known_before_anything_ended():
    state = ViewState()
    for id_, value in ((0, 0.4), (1, 0.8)):
        for event in stepped(id_, 0, "We add.", value):
            state = reduce(state, event)
    assert state.best == 1
    assert reduce(state, grew(c0="a", c1="b")).best == 1
    assert reduce(state, events.Pruned(1, "why")).best == 0


def test_forks_are_no_samples_and_what_was_pruned_has_no_voice():
    state = fold(story.searched())
    assert (len(state.nodes), state.sampled, state.heard) == (9, 4, 4)


def test_who_speaks_for_the_leading_answer_is_chosen_as_in_the_vote():
    ends = [story.candidate(2, "6"), story.program(1, story.MEETING, "6"), story.candidate(0, "6")]
    ends[2] = replace(ends[2], finish=Finish.LENGTH)
    state = ViewState()
    for each in ends:
        state = reduce(state, events.CandidateEnded(each))
    state = reduce(state, events.Voted(story.classes(("6", (0, 1, 2), 3.0)), 3))
    assert state.best == represent(ends).id == 1
    wrong = Score("arithmetic", 0.0, weight=0.0)
    state = reduce(state, events.Scored(1, wrong))
    assert state.best == represent([ends[1].with_scores(wrong), ends[0], ends[2]]).id == 2


def test_of_a_mended_candidate_only_the_new_version_has_a_voice():
    state = fold(story.mixed())
    assert state.nodes[2].failed
    assert (state.nodes[3].parent, state.heard) == (2, 3)


def test_of_a_program_its_code_and_the_last_line_of_what_came_of_it_are_kept():
    ran = Execution("x\n" * 10_000 + "the last\n\n", "Traceback\nValueError: " + "7" * 5_000)
    code = "y = 1\n" * 9 + "print(y)"
    text = f"print(x)\n```\n\n```output\nNameError\n```\n\n```python\n{code}\n```"
    one = Candidate(0, text, 9, Finish.STOP, form=PROGRAM, ran=ran)
    state = reduce(ViewState(), events.CandidateEnded(one))
    node = state.nodes[0]
    assert state.tails[0].text == code
    assert node.ran.output == "the last"
    assert node.ran.error == "7" * 400
    assert node.failed


def test_a_program_that_grows_counts_its_lines():
    state = reduce(ViewState(), events.CandidateStarted(0, 0, form=PROGRAM))
    for text, line in (("x", 1), (" = 1\n", 1), ("\n", 2), ("y = 2\n", 3), ("z\n\n\nprint", 7)):
        state = reduce(state, grew(c0=text))
        assert state.tails[0].steps == line


def test_a_decision_and_the_wave_it_starts_are_said_once():
    state = reduce(ViewState(), events.Decided("wave", "too close to call"))
    state = reduce(state, events.WaveStarted(1, "sample", 4, "too close to call"))
    assert [word.reason for word in state.words] == ["wave 2 · too close to call"]


def test_of_the_rounds_of_a_search_the_last_is_shown():
    state = reduce(ViewState(), events.Decided("wave", "hard: search"))
    for wave in range(3):
        state = reduce(state, events.WaveStarted(wave, "beam", 4, f"step {wave + 1}"))
    assert [word.reason for word in state.words] == ["hard: search", "beam · step 3"]


def test_a_result_tells_of_candidates_that_no_event_told_of():
    state = reduce(ViewState(), events.RunEnded(story.result()), 1.0)
    assert len(state.nodes) == 14
    assert state.nodes[13].status is Status.CANCELLED
    assert state.seconds == 12.0


def test_a_new_run_starts_from_nothing():
    state = fold(story.whole())
    again = next(story.start())[1]
    assert reduce(state, again, 20.0).nodes == {}


def test_the_vote_may_name_candidates_that_are_unknown():
    one = AnswerClass(story.answer("6"), (7, 8), 2.0)
    assert reduce(ViewState(), events.Voted((one,), 2)).best is None
