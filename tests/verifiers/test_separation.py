from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.verifiers.separation import (
    bootstrap_auc,
    measure_auc,
    measure_auc_within,
    measure_ece,
    tabulate,
)

rated = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), max_size=30)


@given(rated)
def test_auc_is_the_share_of_pairs_in_order_ties_one_half(found) -> None:
    pairs = [(a, b) for a, right in found if right for b, other in found if not other]
    if not pairs:
        assert measure_auc(found) is None
        return
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    assert measure_auc(found) == pytest.approx(wins / len(pairs))


def test_within_a_question_a_hard_one_does_not_count_against_an_easy_one() -> None:
    found = [("easy", 0.9, True), ("easy", 0.8, False), ("hard", 0.3, True), ("hard", 0.2, False)]
    assert measure_auc([(value, right) for _, value, right in found]) == 0.75
    assert measure_auc_within(found) == 1.0
    assert measure_auc_within([("a", 0.5, True), ("b", 0.4, False)]) is None


@pytest.mark.parametrize("within", [True, False])
def test_the_interval_is_wide_for_few_questions_and_holds_chance_for_noise(within) -> None:
    draw = random.Random(0)

    def draw_rated(questions: int, signal: float):
        return [
            (q, draw.gauss(signal if right else 0.0, 1), right)
            for q in range(questions)
            for right in (True, False)
        ]

    low, high = bootstrap_auc(draw_rated(60, 0.0), within=within)
    assert low < 0.5 < high
    strong = bootstrap_auc(draw_rated(60, 2.0), within=within)
    few = bootstrap_auc(draw_rated(8, 0.0), within=within)
    assert strong[0] > 0.7
    assert few[1] - few[0] > high - low
    assert bootstrap_auc([("a", 0.1, True)], within=within) is None


def test_calibration_is_the_gap_between_what_is_said_and_what_is_so() -> None:
    honest = [(0.75, True), (0.75, True), (0.75, True), (0.75, False), (0.25, True)] + [
        (0.25, False)
    ] * 3
    assert measure_ece(honest) == pytest.approx(0.0)
    boastful = [(1.0, True), (1.0, False)]
    assert measure_ece(boastful) == pytest.approx(0.5)
    assert measure_ece([]) is None
    table = tabulate([(0.0, False), (0.59, True), (0.6, False), (1.0, True)], bins=5)
    assert [each.count for each in table] == [1, 0, 1, 1, 1]
    assert (table[4].mean, table[4].share) == (1.0, 1.0)
