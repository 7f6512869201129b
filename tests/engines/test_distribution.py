import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttc_cli.engines.llamacpp.distribution import (
    label_probabilities,
    likely_tokens,
    self_certainties,
)
from ttc_cli.engines.trace import ConfidenceTrace, repeats
from ttc_cli.errors import EngineError


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_tokens_far_below_the_peak_are_cut_and_the_rest_kept_in_id_order():
    block = rows([0.0, 10.0, -5.0, 9.0], [1.0, 1.0, 1.0, -100.0])
    kept = likely_tokens(block)
    assert [tokens.tolist() for tokens, _ in kept] == [[0, 1, 3], [0, 1, 2]]
    assert kept[0][1].tolist() == [0.0, 10.0, 9.0]


@pytest.mark.parametrize(
    "bad", [[np.nan] * 4, [np.inf] * 4, [-np.inf] * 4, [np.nan, 1, 2, 3], [np.inf, 1, 2, 3]]
)
def test_a_row_of_no_numbers_is_an_error_in_words(bad):
    with pytest.raises(EngineError, match="computes NaN"):
        likely_tokens(rows([0.0, 1.0, 2.0, 3.0], bad))
    with pytest.raises(EngineError, match="computes NaN"):
        label_probabilities(rows(bad)[0], [[0], [1]])


def test_a_hot_temperature_keeps_more():
    block = rows([0.0, -20.0])
    assert len(likely_tokens(block, 1.0)[0][0]) == 1
    assert len(likely_tokens(block, 2.0)[0][0]) == 2


def test_a_flat_row_is_bounded_to_its_best_tokens():
    row = np.linspace(0, 1, 10_000, dtype=np.float32)
    tokens, _ = likely_tokens(row[None])[0]
    assert len(tokens) == 4096
    assert tokens.tolist() == list(range(10_000 - 4096, 10_000))


def test_cutting_loses_less_than_a_thousandth_of_the_mass_of_a_language_models_row():
    row = np.random.default_rng(0).normal(0, 2.5, 150_000).astype(np.float32)
    row[:40] += np.linspace(25, 12, 40, dtype=np.float32)
    tokens, _ = likely_tokens(row[None])[0]
    mass = np.exp(row.astype(np.float64) - row.max())
    assert mass[tokens].sum() / mass.sum() > 0.999


def test_label_probabilities_are_of_the_whole_vocabulary():
    row = np.log(np.array([0.5, 0.25, 0.125, 0.125], dtype=np.float32))
    assert label_probabilities(row, [[0], [1, 2]]) == pytest.approx((0.5, 0.375))


def test_confidence_is_of_the_drawn_tokens_and_of_the_peaks():
    trace = ConfidenceTrace()
    tokens = np.arange(2)
    for drawn in (0, 1):
        trace.add(tokens, np.log(np.array([0.75, 0.25], dtype=np.float32)), drawn)
    summary = trace.summarise()
    assert summary is not None
    assert summary.mean_logprob == pytest.approx((np.log(0.75) + np.log(0.25)) / 2, abs=1e-6)
    assert summary.tail_logprob == pytest.approx(summary.mean_logprob)
    # Eighteen of the twenty likeliest tokens lie beyond the margin of 14 nats.
    expected = -(np.log(0.75) + np.log(0.25) + 18 * (np.log(0.75) - 14)) / 20
    assert summary.lowest_group == pytest.approx(expected, rel=1e-5)


def test_the_least_confident_window_is_found():
    trace = ConfidenceTrace()
    sure, unsure = np.array([10.0] + [0.0] * 19, np.float32), np.zeros(20, np.float32)
    for logits in [sure] * 40 + [unsure] * 32 + [sure] * 40:
        trace.add(np.arange(20), logits, 0)
    summary = trace.summarise()
    assert summary is not None
    assert summary.lowest_group < summary.tail_group


def test_no_draws_no_confidence():
    assert ConfidenceTrace().summarise() is None


@given(
    st.lists(st.integers(0, 50), max_size=20), st.lists(st.integers(0, 9), min_size=1, max_size=30)
)
def test_a_phrase_said_over_and_over_is_found(before: list[int], phrase: list[int]):
    rounds = -(-64 // len(phrase)) + 4
    assert repeats(before + phrase * rounds)


@pytest.mark.slow
@given(st.permutations(range(200)))
def test_text_without_repetition_is_not(tokens: list[int]):
    assert not repeats(tokens)


def test_a_table_whose_rows_differ_is_not_a_loop():
    table = [token for row in range(40) for token in (1, 2, 3, 4, 100 + row)]
    assert not repeats(table)


def test_self_certainty_is_the_divergence_of_the_uniform_distribution_from_the_models():
    block = np.random.default_rng(1).normal(0, 4, (3, 1000)).astype(np.float32)
    exact = block.astype(np.float64)
    logp = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    wanted = -(np.log(1000) + logp).mean(axis=1)  # −(1/V) Σ log(V·p)
    assert self_certainties(block) == pytest.approx(wanted, rel=1e-5)
    assert self_certainties(np.full((1, 50), 3.0, dtype=np.float32)) == pytest.approx(0, abs=1e-6)


def test_self_certainty_leaves_out_masked_tokens():
    row = np.array([[1.0, 2.0, 3.0, -np.inf]], dtype=np.float32)
    assert self_certainties(row) == pytest.approx(self_certainties(row[:, :3]))


def test_groups_are_averaged_and_certainty_is_there_only_when_noted():
    trace = ConfidenceTrace()
    tokens = np.arange(30)
    for sharp in [4.0] * 60 + [0.5] * 40:
        trace.add(tokens, np.linspace(0, sharp, 30, dtype=np.float32), 29)
    summary = trace.summarise()
    assert summary.certainty is None
    assert summary.lowest_group - 1e-9 <= summary.bottom_group < summary.mean_group
    assert summary.mean_group == pytest.approx(np.mean(trace.groups))
    windows = [np.mean(trace.groups[i : i + 32]) for i in range(69)]
    assert summary.bottom_group == pytest.approx(np.mean(sorted(windows)[:7]))
    trace.certainties += [1.0, 2.0]
    assert trace.summarise().certainty == 1.5
