import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.bench.statistics import bootstrap_mean, compare_pairs, wilson


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


def test_mcnemar_is_the_binomial_of_the_discordant_pairs() -> None:
    first = [True] * 8 + [False] * 2 + [True] * 30
    second = [False] * 8 + [True] * 2 + [True] * 30
    found = compare_pairs(first, second)
    assert (found.first, found.second) == (8, 2)
    # 2 · P(at most 2 of 10) = 2 · (1 + 10 + 45) / 1024
    assert found.p == pytest.approx(112 / 1024)


def test_equal_strategies_are_not_told_apart() -> None:
    assert compare_pairs([True, False], [True, False]).p == 1.0


@pytest.mark.slow
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
def test_the_interval_of_a_mean_holds_the_mean_and_stays_within_the_values(values) -> None:
    low, high = bootstrap_mean(values)
    mean = sum(values) / len(values)
    assert min(values) - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= max(values) + 1e-9


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_one() -> None:
    values = [1.0, 0.0] * 200
    low, high = bootstrap_mean(values)
    half = 1.96 * 0.5 / 400**0.5
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)
