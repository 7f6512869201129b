from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.trees import ramble, search
from ttc_cli.errors import UsageError
from ttc_cli.events import CandidateStarted, Pruned, WaveStarted
from ttc_cli.search.registry import find, prepare
from ttc_cli.search.strategies.particle import resample, weigh

SCORES = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12)


@given(values=SCORES, temperature=st.floats(0.01, 100), seed=st.integers(0, 999))
def test_all_places_are_drawn_and_systematic_ones_by_their_share(values, temperature, seed) -> None:
    weights = weigh(values, temperature)
    assert math.fsum(weights) == pytest.approx(1.0)
    for how in ("systematic", "multinomial"):
        counts = resample(weights, len(values), random.Random(seed), how)
        assert sum(counts) == len(values)
        assert counts == resample(weights, len(values), random.Random(seed), how)
    exact = resample(weights, len(values), random.Random(seed), "systematic")
    for weight, count in zip(weights, exact, strict=True):
        assert math.floor(weight * len(values) - 1e-6) <= count
        assert count <= math.ceil(weight * len(values) + 1e-6)


def test_weights_are_odds() -> None:
    assert weigh([0.8, 0.5, 0.2], 1.0) == pytest.approx([4 / 5.25, 1 / 5.25, 0.25 / 5.25])
    assert weigh([0.8, None, 0.2], 1.0) == pytest.approx([4 / 5.25, 1 / 5.25, 0.25 / 5.25])
    assert weigh([None, None], 1.0) == [0.5, 0.5]
    assert weigh([], 1.0) == []
    assert weigh([1.0, 0.999], 0.01)[0] == pytest.approx(1.0)
    assert weigh([0.9, 0.1], 1e6) == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("how", ["systematic", "multinomial"])
def test_draws_follow_the_weights_in_the_long_run(how) -> None:
    weights = [0.5, 0.3, 0.15, 0.05]
    drawn: Counter[int] = Counter()
    for seed in range(2000):
        for place, count in enumerate(resample(weights, 4, random.Random(seed), how)):
            drawn[place] += count
    for place, weight in enumerate(weights):
        assert drawn[place] / 8000 == pytest.approx(weight, abs=0.02)


@pytest.mark.parametrize("how", ["systematic", "multinomial"])
def test_who_is_not_drawn_is_pruned_and_who_is_drawn_twice_is_forked(how) -> None:
    result, seen = search("particle", ramble, samples=8, knobs={"resampling": how})
    alive: set[int] = set()
    for event in seen:
        if isinstance(event, CandidateStarted):
            alive.add(event.id)
        elif isinstance(event, Pruned):
            alive.discard(event.id)
        elif isinstance(event, WaveStarted):
            ended = {each.id for each in result.candidates if each.finished}
            assert event.samples <= len(alive)
            assert len(alive | ended) >= 8
    assert sum(each.finished for each in result.candidates) == 8
    assert any("not drawn" in each.reason for each in seen if isinstance(each, Pruned))


def test_a_small_temperature_follows_the_best_and_a_great_one_prunes_nobody() -> None:
    cold, _ = search("particle", samples=6, knobs={"temperature": "0.001"})
    warm, seen = search("particle", samples=6, knobs={"temperature": "1e9"})
    assert not any(isinstance(each, Pruned) for each in seen)
    assert len(warm.candidates) == 6
    assert len(cold.candidates) > 6


@pytest.mark.parametrize("wrong", [{"temperature": "0"}, {"resampling": "residual"}])
def test_settings_that_make_no_sense_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(UsageError):
        prepare(find("particle"), wrong)
