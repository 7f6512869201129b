"""Code and free-form answers that the user's check decides: one that passes is enough."""

from __future__ import annotations

import pytest

from tests.search.trees import search
from ttc_cli.engines.scripted import Reply
from ttc_cli.errors import UsageError
from ttc_cli.events import Decided, Warned, WaveStarted
from ttc_cli.types import CHECK, AnswerType, Budget, Finish, Problem, Result, Score
from ttc_cli.verifiers.base import WholeVerifier

CODE = Problem("Write f(x) in Python.", AnswerType.CODE)
RIGHT, WRONG = "```python\nright()\n```", "```python\nwrong()\n```"
SLOW = "Let me think. " * 200 + RIGHT


class Check(WholeVerifier):
    """Passes what says ``right``; fails to start where it is broken."""

    name = CHECK
    needs_branch = False

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.asked = 0

    async def score(self, session, problem, leaves):
        if self.broken:
            raise UsageError("The check could not be started.")
        self.asked += len(leaves)
        return [Score(CHECK, float("right" in each.candidate.answer.text)) for each in leaves]


def write(texts, strategy: str = "auto", check=None, **options) -> tuple[Result, list[object]]:
    verifiers = options.pop("verifiers", (check or Check(),))
    options.setdefault("problem", CODE)
    return search(strategy, texts, verifiers=verifiers, **options)


def reasons(seen: list[object], action: str) -> list[str]:
    return [each.reason for each in seen if isinstance(each, Decided) and each.action == action]


def test_the_first_that_passes_ends_the_search_and_cancels_the_rest() -> None:
    check = Check()
    result, seen = write([WRONG, RIGHT, SLOW, SLOW], check=check)
    assert result.answer is not None
    assert (result.answer.text, result.winner) == ("right()", 1)
    assert [each.finish for each in result.candidates[2:]] == [Finish.CANCELLED] * 2
    assert check.asked == 2
    assert reasons(seen, "cancel") == ["#1 passes the check: cancel 2 still growing"]
    assert result.stop_reason == "#1 passes the check: stop"
    assert sum(isinstance(each, WaveStarted) for each in seen) == 1


def test_one_that_passes_wins_over_any_number_that_agree() -> None:
    result, _ = write([WRONG, WRONG, WRONG, RIGHT])
    assert result.winner == 3
    assert [each.passed for each in result.candidates] == [False, False, False, True]


def test_waves_go_on_until_one_passes() -> None:
    result, seen = write([WRONG] * 9 + [RIGHT], samples=16)
    assert result.winner == 9
    waves = [each for each in seen if isinstance(each, WaveStarted)]
    assert [each.wave for each in waves] == list(range(len(waves)))
    assert len(waves) >= 3
    assert waves[1].reason == "4 of 4 failed the check: 4 more"
    assert len(result.candidates) < 16


def test_where_none_passes_the_best_is_given_at_the_cap() -> None:
    result, _ = write([WRONG, "no code"], samples=6)
    assert len(result.candidates) == 6
    assert result.answer is not None
    assert result.score == 0.0
    assert result.stop_reason == "all 6 candidates of this budget are grown, and none passes"


def test_other_verifiers_are_asked_only_where_none_passes() -> None:
    class Taste(WholeVerifier):
        name, needs_branch, asked = "taste", False, 0

        async def score(self, session, problem, leaves):
            self.asked += len(leaves)
            return [Score("taste", each.candidate.id / 10) for each in leaves]

    taste = Taste()
    write([RIGHT], verifiers=(taste, Check()))
    assert taste.asked == 0
    result, _ = write([WRONG], verifiers=(taste, Check()), samples=4)
    assert (taste.asked, result.winner) == (4, 3)


def test_a_check_that_cannot_be_started_is_said_and_ends_the_waves() -> None:
    result, seen = write([WRONG], check=Check(broken=True), samples=12)
    assert result.answer is not None
    assert len(result.candidates) == 4
    assert result.stop_reason == "the check says nothing"
    assert 1 <= sum(isinstance(each, Warned) for each in seen) <= 3


def test_a_cap_ends_it_too() -> None:
    result, _ = write([WRONG], budget=Budget(max_samples=3))
    assert len(result.candidates) == 3
    endless = Reply("on and on ", Finish.LENGTH)
    result, _ = write([endless], budget=Budget(max_tokens=50))
    assert result.answer is None
    assert "token" in result.stop_reason


def test_free_form_answers_are_checked_as_well() -> None:
    free = Problem("Write a poem.", AnswerType.FREE)
    result, _ = write(["wrong words", "the right words"], problem=free)
    assert result.winner == 1


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted", "beam"])
def test_fixed_strategies_prefer_what_passes(strategy: str) -> None:
    class Judge(Check):
        name, grades_steps = "judge", True

        async def score_steps(self, session, problem, leaves):
            return [Score("judge", 0.5, len(each.candidate.steps) - 1) for each in leaves]

        async def score(self, session, problem, leaves):
            return [None for _ in leaves]

    result, _ = write([WRONG, RIGHT], strategy, verifiers=(Check(), Judge()), samples=4)
    assert result.answer is not None
    assert result.answer.text == "right()"


def test_without_a_check_the_judge_chooses_and_nobody_votes() -> None:
    result, seen = search(
        "auto", [WRONG, RIGHT], problem=CODE, yes=lambda text: 0.9 if "right" in text else 0.2
    )
    assert result.answer is not None
    assert (result.answer.text, result.decided_by, result.classes) == ("right()", "verifier", ())
    assert reasons(seen, "stop")[-1].startswith("code: no vote to settle")
