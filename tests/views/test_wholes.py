from dataclasses import replace

import story

from ttc_cli import events
from ttc_cli.types import Candidate, Execution, Finish, Score
from ttc_cli.views.wholes import best_path, tell_text


def with_changes(**changes):
    return replace(story.result(), **changes)


def searched():
    return list(story.searched())[-1][1].result


def test_the_best_path_shows_each_step_with_its_score():
    first = Candidate(1, "Try.\n\nFail.", 4, Finish.STEP)
    last = Candidate(2, "Better.\n\n\x1b[2JDone.", 6, Finish.STOP, story.answer("6"), parent=1)
    last = last.with_scores(Score("judge", 0.25, step=0), Score("judge", 0.75, step=1))
    path = best_path(with_changes(winner=2, candidates=(last, first))).splitlines()
    assert path[0].startswith("#1: paused")
    assert path[4].startswith("#2: 6")
    assert path[4].endswith("(from #1)")
    assert path[5:] == ["  1. Better.  [judge 0.25]", "  2. Done.  [judge 0.75]"]


def test_the_best_path_of_a_fork_is_told_once_with_all_that_was_said_of_it():
    path = best_path(replace(searched(), winner=8)).splitlines()
    assert path[0] == "#8: 6 (9 tokens), mean log-prob -0.21 (from #4)"
    assert [line[:5] for line in path[1:]] == ["  1. ", "  2. ", "  3. ", "  4. "]
    assert path[1].endswith("60 × t miles.  [judge 0.82, confidence 0.90]")


def test_what_verifiers_said_stands_in_the_best_path_in_part():
    long = "It printed:\n\n" + "\n".join(f"\x1b[1mline {n}" for n in range(30))
    sums = Score("arithmetic", 0.0, step=0, remark="2 + 2 is 4,\nnot 5")
    found = Candidate(1, "2 + 2 = 5", 4, Finish.STOP, story.answer("5"))
    found = found.with_scores(sums, Score("check", 0.0, remark=long), Score("judge", 0.5))
    lines = best_path(with_changes(winner=1, candidates=(found,))).splitlines()
    assert lines[1:] == [
        "  1. 2 + 2 = 5  [arithmetic 0.00: 2 + 2 is 4, not 5]",
        "  check says: It printed:",
        *(f"    line {n}" for n in range(22, 30)),
    ]


def test_thinking_is_set_off_in_the_best_path():
    text = "Is it 4?\n\nNo, 6.</think>\n\nIt is 6."
    thinker = Candidate(0, text, 9, Finish.STOP, story.answer("6"), thought=len(text) - 8)
    path = best_path(with_changes(winner=0, candidates=(thinker,))).splitlines()
    assert path[1:] == ["  │ Is it 4?", "  │ ", "  │ No, 6.</think>", "  1. It is 6."]


def test_the_best_path_of_nothing_is_empty():
    assert best_path(with_changes(winner=None)) == ""


REPAIRED = """#3: 6 (88 tokens), program, mean log-prob -0.11 (from #2)
  ```python
  speed_first = 60
  speed_second = 90
  head_start = 2

  # They meet when both have come as far.
  hours = speed_second * head_start / (speed_2nd - speed_first)
  print(int(hours))
  ```

  ```output
  NameError: name 'speed_2nd' is not defined
  ```

  ```python
  speed_first = 60
  speed_second = 90
  head_start = 2

  # They meet when both have come as far.
  hours = speed_second * head_start / (speed_second - speed_first)
  print(int(hours))
  ```

  ```output
  6
  ```"""


def test_the_best_path_of_a_repaired_program_is_told_once_block_by_block():
    ended = [event for _, event in story.agreed() if isinstance(event, events.RunEnded)]
    assert best_path(replace(ended[0].result, winner=3)) == REPAIRED


def test_of_a_program_all_is_told_cleaned_and_nothing_ends_its_blocks():
    ran = Execution("``\u200b`\n\x1b]0;x\x07[red]\u202e18\n", "Value\x9bError")
    one = Candidate(0, "Hm.\nx = 1\n```", 9, Finish.STOP, form="program", ran=ran, thought=4)
    assert tell_text(one) == (
        "Hm.\n\n```python\nx = 1\n```\n\n````output\n```\n[red]18\n````\n\n```error\nValuerror\n```"
    )


def test_prose_is_told_as_it_was_written_and_another_form_with_what_came_of_it():
    one = Candidate(0, " So\n```\n18 ", 9, Finish.STOP)
    assert tell_text(one) == one.text
    other = replace(one, form="another", ran=Execution("18"))
    assert tell_text(other) == f"{one.text}\n\n```output\n18\n```"
