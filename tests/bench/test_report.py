import pytest

from ttc_cli.bench.report import Outcome, markdown, summarise, wilson


def outcome(question: str, right: bool, oracle: bool = True, seconds: float | None = None):
    return Outcome(question, right, oracle, 4, 100, 2e12, seconds)


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_values(
    share: float, count: int, low: float, high: float
) -> None:
    assert wilson(share, count) == pytest.approx((low, high), abs=5e-5)


def test_nothing_observed_says_nothing() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_trajectories_are_averaged_within_their_question_first() -> None:
    row = summarise(
        "auto", [outcome("a", True), outcome("a", True), outcome("a", False), outcome("b", False)]
    )
    assert row.questions == 2
    assert row.accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert row.interval == wilson(1 / 3, 2)


def test_the_oracle_counts_what_was_among_the_candidates() -> None:
    outcomes = [outcome("a", False, oracle=True), outcome("b", False, oracle=False)]
    assert summarise("oracle", outcomes, oracle=True).accuracy == 0.5


def test_the_table_shows_every_cost() -> None:
    timed = summarise("majority@4", [outcome("a", True, seconds=1.25)])
    untimed = summarise("auto", [outcome("a", True, seconds=1.0), outcome("b", False)])
    lines = markdown([timed, untimed], seconds="seconds (est.)").splitlines()
    assert lines[0].endswith("| TFLOPs | seconds (est.) |")
    assert lines[2] == "| majority@4 | 100.0% | 21% – 100% | 4.0 | 100 | 2.00 | 1.2 |"
    assert lines[3].endswith("| – |")
