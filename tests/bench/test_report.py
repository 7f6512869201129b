import pytest

from ttc_cli.bench.matching import Point, match
from ttc_cli.bench.report import (
    Outcome,
    find_bins,
    markdown,
    summarise,
    tabulate_bins,
    tabulate_differences,
    tabulate_pairs,
    word_match,
)
from ttc_cli.bench.statistics import wilson


def outcome(question: str, right: bool, oracle: bool = True, seconds: float | None = None):
    return Outcome(question, right, oracle, 4, 100, 2e12, seconds)


def test_trajectories_are_averaged_within_their_question_first() -> None:
    row = summarise(
        "auto", [outcome("a", True), outcome("a", True), outcome("a", False), outcome("b", False)]
    )
    assert row.questions == 2
    assert row.accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert row.interval == wilson(1 / 3, 2)


def test_the_table_shows_every_cost() -> None:
    timed = summarise("majority@4", [outcome("a", True, seconds=1.25)])
    untimed = summarise("auto", [outcome("a", True, seconds=1.0), outcome("b", False)])
    lines = markdown([timed, untimed]).splitlines()
    assert lines[0].endswith("| TFLOPs | seconds |")
    assert lines[2] == "| majority@4 | 100.0% | 21% – 100% | 4.0 | 100 | 2.00 | 1.2 |"
    assert lines[3].endswith("| – |")


def runs(question: str, *rights: bool) -> list[Outcome]:
    return [Outcome(question, right, right, 1, 100, 1e12, run=n) for n, right in enumerate(rights)]


def test_bins_are_fifths_of_the_share_of_single_samples_that_are_right() -> None:
    single = [*runs("a", *[True] * 10), *runs("b", *[True] * 5, *[False] * 5), *runs("c", False)]
    assert find_bins(single) == {"a": 1, "b": 3, "c": 5}


def test_the_bin_table_shows_who_wins_where() -> None:
    found = {"majority": [*runs("a", True), *runs("c", False)], "auto": runs("a", True)}
    table = tabulate_bins(found, {"a": 1, "c": 5}).splitlines()
    assert table[0].startswith("| accuracy · tokens | bin 1 (n 1) |")
    assert table[2] == "| majority | 100% · 100 | – | – | – | 0% · 100 |"
    assert table[3].endswith("| – |")


def test_pairs_are_tested_against_the_baseline() -> None:
    found = {
        "majority@4": [o for n in range(9) for o in runs(f"q{n}", True)],
        "auto": [o for n in range(9) for o in runs(f"q{n}", n < 3)],
    }
    table = tabulate_pairs(found, "majority@4").splitlines()
    assert table[2] == "| auto | 0 | 6 | 0.031 |"


def test_a_baseline_that_got_nothing_right_is_not_matched() -> None:
    nothing = Point("majority@4", (0.0,) * 8, (4.0,) * 8)
    cheap = Point("auto", (0.0,) * 8, (1.0,) * 8)
    assert "nothing to match" in word_match(match([cheap], nothing))
    half = Point("majority@4", (1.0, 0.0) * 4, (4.0,) * 8)
    told = word_match(match([cheap, Point("auto × 2", (1.0, 0.0) * 4, (2.0,) * 8)], half))
    assert "**Compute to match: 50% [50%, 50%]** of the baseline's FLOPs, by auto × 2" in told
    assert "not reached at any price" in word_match(match([cheap], half))


def test_two_benches_are_compared_on_what_they_share() -> None:
    before = [o for n in range(6) for o in runs(f"q{n}", n < 2)]
    after = [o for n in range(4) for o in runs(f"q{n}", n < 3)]
    [row], table = tabulate_differences({"auto": (before, after)})
    assert row["questions"] == 4
    assert row["accuracy"] == [0.5, 0.75]
    assert row["difference"] == pytest.approx(0.25)
    assert row["flops_ratio"] == 1.0
    assert "| auto | 4 | 50.0% | 75.0% | +25.0 points" in table
