from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.policy.estimate import estimate, estimate_pass_rate, find_bin
from ttc_cli.policy.standing import head_count
from ttc_cli.policy.stopping import (
    cannot_change,
    count_votes_to_settle,
    expect_gain,
    settle,
)

votes = st.integers(0, 40)


@pytest.mark.parametrize(
    ("leader", "runner_up", "expected"),
    [(2, 0, 0.875), (3, 0, 0.9375), (4, 0, 0.96875), (5, 0, 0.984375), (1, 1, 0.5), (0, 0, 0.5)],
)
def test_settled_is_the_beta_posterior(leader: int, runner_up: int, expected: float) -> None:
    assert settle(leader, runner_up) == pytest.approx(expected)


def test_settled_agrees_with_draws_from_the_posterior() -> None:
    draw = random.Random(1)
    ahead = sum(draw.betavariate(8, 4) > 0.5 for _ in range(20_000)) / 20_000
    assert settle(7, 3) == pytest.approx(ahead, abs=0.01)


@settings(deadline=None)
@given(votes, votes)
def test_settled_is_even_at_a_tie_and_grows_with_the_lead(leader: int, runner_up: int) -> None:
    assert settle(leader, runner_up) + settle(runner_up, leader) == pytest.approx(1.0)
    assert settle(leader + 1, runner_up) > settle(leader, runner_up)
    assert settle(leader, leader) == 0.5


@settings(deadline=None)
@given(votes, votes, st.integers(1, 40))
def test_a_vote_that_cannot_change_does_not(leader: int, runner_up: int, remaining: int) -> None:
    assert cannot_change(leader, runner_up, remaining) == (leader > runner_up + remaining)
    if cannot_change(leader, runner_up, remaining, tilt=0.1):
        assert leader > 1.1 * runner_up


@settings(deadline=None)
@given(votes, votes, st.sampled_from([0.8, 0.9, 0.97]))
def test_votes_to_settle_are_enough_and_no_more(
    leader: int, runner_up: int, threshold: float
) -> None:
    standing = head_count(leader, runner_up, leader + runner_up)
    needed = count_votes_to_settle(standing, threshold)
    assert settle(leader + needed, runner_up) >= threshold
    assert needed == 0 or settle(leader + needed - 1, runner_up) < threshold


@settings(deadline=None)
@given(votes, votes, st.integers(0, 40), st.integers(1, 32))
def test_the_gain_is_a_chance_and_no_more_than_what_is_unsettled(
    first: int, second: int, scattered: int, samples: int
) -> None:
    leader, runner_up = max(first, second), min(first, second)
    standing = head_count(leader, runner_up, leader + runner_up + scattered)
    gain = expect_gain(standing, samples)
    assert 0.0 <= gain <= 1.0 - settle(leader, runner_up) + 1e-9


def test_close_races_promise_more_than_clear_or_hopeless_ones() -> None:
    close = expect_gain(head_count(4, 4, 8), 8)
    assert close > expect_gain(head_count(7, 1, 8), 8)
    assert close > expect_gain(head_count(1, 1, 8), 8) > expect_gain(head_count(1, 1, 64), 8)


@pytest.mark.parametrize(
    ("pass_rate", "expected"), [(1.0, 1), (0.81, 1), (0.8, 2), (0.5, 3), (0.21, 4), (0.0, 5)]
)
def test_the_bin_is_the_fifth_of_the_difficulty(pass_rate: float, expected: int) -> None:
    assert find_bin(pass_rate) == expected


def test_the_pass_rate_counts_all_that_was_heard() -> None:
    assert estimate_pass_rate(4, 4) == pytest.approx(5 / 6)
    assert estimate_pass_rate(4, 14) == pytest.approx(5 / 16)
    assert estimate_pass_rate(0, 0, prior=(3, 1)) == 0.75


def test_an_estimate_without_a_leader_is_not_settled() -> None:
    nothing = estimate(head_count(0, 0, 6))
    assert (nothing.settled, nothing.difficulty, nothing.calibrated) == (0.0, 5, False)
    some = estimate(head_count(3, 1, 8))
    assert (some.settled, some.pass_rate) == (settle(3, 1), 0.4)
