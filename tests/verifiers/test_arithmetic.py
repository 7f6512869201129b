from __future__ import annotations

import asyncio

from ttc_cli.types import ARITHMETIC, Candidate, Finish, Problem, Score, Step
from ttc_cli.verifiers.arithmetic.verifier import ArithmeticVerifier
from ttc_cli.verifiers.base import Leaf


def score(*texts: str, thought: int = 0) -> list[Score | None]:
    leaves = [
        Leaf(Candidate(id, text, 1, Finish.STOP, thought=thought), None)
        for id, text in enumerate(texts)
    ]
    return asyncio.run(ArithmeticVerifier().score(None, Problem("?"), leaves))  # type: ignore[arg-type]


def test_one_wrong_sum_is_enough() -> None:
    found = score("2 + 2 = 4, 4 + 1 = 5", "2 + 2 = 4, 4 + 1 = 6", "four and one")
    wrong = Score(ARITHMETIC, 0.0, remark="4 + 1 is 5, not 6")
    assert found == [Score(ARITHMETIC, 1.0), wrong, None]


def test_the_first_wrong_sums_are_told_each_once() -> None:
    text = "\n".join(
        ("12 * 5 = 50", "so 12 * 5 = 50", "9 / 4 = 2.5", "1234567 * 2 = 3", "2 + 2 = 5")
    )
    (found,) = score(text)
    assert found is not None
    assert found.remark.splitlines() == [
        "12 * 5 is 60, not 50",
        "9 / 4 is 2.25, not 2.5",
        "1234567 * 2 is 2469134, not 3",
    ]
    huge = " * ".join(["999999999999999999"] * 60)
    (found,) = score(f"{huge} / 7 = 5")
    assert found is None or len(found.remark) <= 200


def test_what_was_thought_is_not_held_against_it() -> None:
    thought = "<think>2 + 2 = 5, no</think>"
    assert score(thought + "2 + 2 = 4", thought=len(thought)) == [Score(ARITHMETIC, 1.0)]


def test_a_step_answers_for_its_own_sums() -> None:
    steps = (Step("2 + 2 = 5\n\n", 5), Step("So there.\n\n", 2), Step("5 + 1 = 6", 5))
    verifier = ArithmeticVerifier()
    found = []
    for count in range(len(steps) + 1):
        leaf = Leaf(Candidate(0, "", 1, Finish.STEP, steps=steps[:count]), None)
        found += asyncio.run(verifier.score_steps(None, Problem("?"), [leaf]))  # type: ignore[arg-type]
    assert found == [
        None,
        Score(ARITHMETIC, 0.0, 0, remark="2 + 2 is 4, not 5"),
        Score(ARITHMETIC, 1.0, 1),
        Score(ARITHMETIC, 1.0, 2),
    ]
