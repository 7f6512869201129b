import io
from dataclasses import replace

import story

from ttc_cli import events
from ttc_cli.types import Answer, AnswerType, Candidate, Estimate, Execution, Finish, Score
from ttc_cli.views.plain import PlainLines, explain, summary_line


def told(timed):
    stream = io.StringIO()
    lines = PlainLines(stream)
    for _, event in timed:
        lines(event)
    return stream.getvalue().splitlines()


def test_a_run_in_plain_lines(snapshot):
    assert "\n".join(told(story.whole())) == snapshot


def test_a_search_over_steps_in_plain_lines(snapshot):
    assert "\n".join(told(story.searched())) == snapshot


def test_a_round_of_many_paths_is_one_line():
    timed = [(0.0, events.WaveStarted(0, "beam", 16, "step 1: 16 beams"))]
    timed += [(0.0, events.Stepped(i, 0, f"Path {i}.\n\n", 3)) for i in range(16)]
    timed += [(0.0, events.Scored(i, Score("judge", 0.1 + i / 20, 0))) for i in range(16)]
    timed += [(0.0, events.Pruned(i, "worse")) for i in range(12)]
    pruned = [Candidate(i, f"Path {i}.\n\n", 3, Finish.PRUNED) for i in range(12)]
    timed += [(0.0, events.CandidateEnded(each)) for each in pruned]
    timed += [(0.0, events.WaveStarted(1, "beam", 16, "step 2: 16 beams"))]
    assert told(timed) == [
        "beam · step 1: 16 beams",
        "step 1: 16 beams, scores 0.10–0.85, 12 pruned; best #15: Path 15.",
    ]


def test_look_aheads_tell_what_a_path_is_worth_and_are_none_themselves():
    timed = [(0.0, events.WaveStarted(0, "lookahead", 2, "step 1: 2 beams"))]
    timed += [(0.0, events.CandidateStarted(i, 0)) for i in (0, 1)]
    timed += [(0.0, events.Stepped(i, 0, f"Path {i}.\n\n", 3)) for i in (0, 1)]
    for rollout, beam in ((2, 0), (3, 1)):
        timed += [
            (0.0, events.CandidateStarted(rollout, 0, beam, 1)),
            (0.0, events.Stepped(rollout, 1, f"Ahead of {beam}.\n\n", 3)),
            (0.0, events.Scored(rollout, Score("judge", 0.2 + rollout / 10, 1))),
            (0.0, events.Pruned(rollout, "looked ahead")),
        ]
    timed += [(0.0, events.Pruned(0, "worse")), (0.0, events.Decided("stop", "done"))]
    assert told(timed)[1] == (
        "step 1: 2 beams, scores 0.40–0.50, 2 look-aheads, 1 pruned; best #1: Path 1."
    )


def test_a_round_without_a_name_counts_its_paths():
    timed = [(0.0, events.Stepped(i, 3 + i, "So.", 3)) for i in range(2)]
    assert told([*timed, (0.0, events.Decided("stop", "done"))])[0] == "steps 4–5: 2 paths"


def test_what_is_pruned_outside_a_round_is_named_with_the_reason():
    lines = told([(0.0, events.Pruned(3, "worse")), (0.0, events.Decided("stop", "done"))])
    assert lines[0] == "pruned #3: worse"


def test_nothing_is_written_for_a_token():
    grown = [(0.0, events.Grew({0: "a", 1: "b"}, 2, 0, 1, 9))] * 50
    assert told(grown) == []


def test_the_dropped_are_named_once_with_the_reason():
    lines = told(story.whole())
    assert [line for line in lines if "#11" in line] == [
        "cancelled #10, #11, #12, #13: 6 of 10 agree, estimate 0.94 ≥ 0.90"
    ]


def test_lines_are_clean_and_one_each():
    bad = "a\nb\x1b[2J\x1b]52;c;x\x07\u202ec"
    lines = told(
        [
            (0.0, events.Warned(bad)),
            (0.0, events.Decided("stop", bad)),
            (0.0, events.WaveStarted(0, bad, 1, bad + "2")),
            (
                0.0,
                events.CandidateEnded(
                    Candidate(0, bad, 1, Finish.STOP, Answer(bad, bad, AnswerType.TEXT))
                ),
            ),
        ]
    )
    assert len(lines) == 4
    assert all("a bc" in line and line.isprintable() for line in lines)


def test_a_closed_stream_is_left_alone():
    stream = io.StringIO()
    lines = PlainLines(stream)
    stream.close()
    lines(events.Warned("nobody listens"))


def test_the_summary_says_how_how_sure_and_at_what_cost():
    assert summary_line(story.result()) == (
        "auto · difficulty 3 of 5 · 6 of 10 candidates agree (4 cancelled) · score 0.93 · "
        "1,084 tokens, 3.9 TFLOP, 12 s · stopped: 6 of 10 agree, estimate 0.94 ≥ 0.90"
    )


def searched():
    return list(story.searched())[-1][1].result


def test_the_summary_of_a_search_over_steps_leaves_out_what_it_pruned():
    assert "3 of 4 candidates agree (5 pruned)" in summary_line(searched())


def test_explaining_tells_what_became_of_the_paths_of_a_search():
    text = explain(searched(), [])
    assert "9 paths, 5 of them branched off others: 4 finished, 5 pruned" in text
    assert "89 of 237 tokens (38 %) went into paths that were dropped" in text
    assert "dropped before they answered: 5 candidates" in text
    assert "\nSearch\n" not in explain(story.result(), [])


def with_changes(**changes):
    return replace(story.result(), **changes)


def test_the_summary_of_an_interrupted_run_without_an_answer():
    line = summary_line(
        with_changes(answer=None, winner=None, classes=(), estimate=None, interrupted=True)
    )
    assert "no answer from 10 candidates" in line
    assert line.endswith("interrupted, best so far")


def with_scores(**passed):
    """The story's result without a vote, its candidates scored as these tell by their ids."""
    candidates = tuple(
        replace(each, scores=tuple(passed.get(f"c{each.id}", ())))
        for each in story.result().candidates
    )
    return with_changes(decided_by="verifier", classes=(), candidates=candidates)


def test_the_summary_of_a_free_form_question_names_the_chosen_and_who_chose():
    assert "#8 of 10 candidates, chosen by judge (4 cancelled) · " in summary_line(
        with_scores(c8=[Score("judge", 0.9), Score("seen", 0.1, weight=0.0)])
    )
    assert ", chosen by judge and confidence (4 c" in summary_line(
        with_scores(c8=[Score("judge", 0.9), Score("confidence", 0.1)])
    )
    assert "#8 of 10 candidates, the first, since nothing was scored (4 c" in summary_line(
        with_scores()
    )


def test_the_summary_says_how_many_pass_the_check():
    passed, failed = [Score("check", 1.0)], [Score("check", 0.0)]
    two = with_scores(c8=passed, c1=passed, c2=failed, c3=failed)
    assert "2 of 10 candidates pass the check (4 cancelled) · " in summary_line(two)
    assert "1 of 10 candidates passes the check (4 cancelled) · " in summary_line(
        with_scores(c8=passed)
    )
    assert "0 of 10 candidates pass the check (4 cancelled) · " in summary_line(
        with_scores(c8=failed)
    )
    voted = replace(two, decided_by="vote", classes=story.result().classes)
    assert "agree" in summary_line(voted)


def test_explaining_tells_every_decision_the_vote_and_the_cost(snapshot):
    decisions = [event for _, event in story.whole() if isinstance(event, events.Decided)]
    assert explain(story.result(), decisions) == snapshot


def test_explaining_says_when_nothing_was_decided_or_calibrated():
    text = explain(with_changes(strategy="majority"), [])
    assert "majority makes no decisions" in text
    assert "agreement is not the chance of being right" in text
    calibrated = Estimate(0.9, 0.8, 1, calibrated=True)
    assert "not the chance" not in explain(with_changes(estimate=calibrated), [])


def test_programs_and_prose_in_plain_lines(snapshot):
    assert "\n".join(told(story.agreed())) == snapshot


def test_explaining_names_the_forms_that_stand_behind_an_answer():
    agreed = list(story.agreed())[-1][1].result
    lines = explain(agreed, []).splitlines()
    assert "  6: 3 votes (program 2, prose 1), weight 3.00 (#0, #1, #3)" in lines
    assert "(prose" not in explain(story.result(), [])


def test_what_came_of_a_program_is_told_where_it_is_not_its_answer():
    def tell(candidate):
        return told([(0.0, events.CandidateEnded(candidate))])[0]

    assert tell(story.program(0, story.MEETING, "6")).startswith("#0: 6 (88 tokens), program, mean")
    failed = story.program(0, story.FAILED, error=story.ERROR)
    assert f"failed (88 tokens), program: {story.ERROR}, mean" in tell(failed)
    nothing = story.program(0, "x = 1\n```")
    assert "no answer (88 tokens), program printed nothing, mean" in tell(nothing)
    vague = replace(nothing, ran=Execution("about\n\x1b[31msix\u202e\n"))
    assert "no answer (88 tokens), program printed about six, mean" in tell(vague)
    endless = Candidate(0, "x = 1\n" * 9, 40, Finish.LENGTH, form="program")
    assert tell(endless) == "#0: too long (40 tokens), program"
    hostile = Candidate(
        0, "", 1, Finish.STOP, form="\x1b[2Jx\n" * 99, ran=Execution("", "\x9b2J\n!")
    )
    assert tell(hostile) == f"#0: failed (1 token), {('x ' * 10)[:19]}…: !"
