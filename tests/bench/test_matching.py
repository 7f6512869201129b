import pytest

from ttc_cli.bench.matching import Point, match, pick_baseline

COUNT = 80


def point(name: str, right: int, flops: float, count: int = COUNT) -> Point:
    """Right on the first ``right`` questions, evenly over both halves; each costs the same."""
    return Point(name, tuple(float(i < right) for i in range(count)), (flops,) * count)


def test_the_baseline_is_the_most_accurate_and_then_the_cheapest() -> None:
    points = [point("a", 40, 3.0), point("b", 60, 5.0), point("c", 60, 4.0)]
    assert pick_baseline(points).name == "c"


def test_the_match_is_the_cheapest_that_is_as_accurate() -> None:
    curve = [point("cheap", 50, 2.0), point("enough", 60, 4.0), point("dear", 70, 9.0)]
    found = match(curve, point("majority@16", 60, 16.0))
    assert found.point is not None
    assert found.share is not None
    assert found.point.name == "enough"
    assert found.share.value == pytest.approx(0.25)
    # The same questions are right on both sides, so that no resample tells another story.
    assert (found.share.low, found.share.high) == pytest.approx((0.25, 0.25))
    assert found.reached == 1.0
    assert found.held_out is not None
    assert found.held_out.value == pytest.approx(0.25)
    assert found.held_out_difference is not None
    assert found.held_out_difference.value == 0.0


def test_a_match_that_is_not_reached_is_said_not_to_be() -> None:
    found = match([point("cheap", 50, 2.0)], point("majority@16", 60, 16.0))
    assert found.point is None
    assert found.share is None
    assert found.reached == 0.0
    assert found.held_out is not None
    assert found.held_out.value == pytest.approx(2 / 16)
    assert found.held_out_difference is not None
    assert found.held_out_difference.value == pytest.approx(-10 / COUNT)


def test_chance_shows_in_the_interval() -> None:
    # Right on other questions than the baseline, and on as many: a coin decides each resample.
    other = Point("other", tuple(float(i >= 20) for i in range(COUNT)), (4.0,) * COUNT)
    found = match([other], point("majority@16", 60, 16.0))
    assert found.share is not None
    assert 0.3 < found.reached < 0.7
    assert found.share.high is None


def test_between_two_prices_a_mixture_is_taken() -> None:
    curve = [point("cheap", 40, 2.0), point("dear", 60, 6.0)]
    found = match(curve, point("majority@16", 60, 16.0))
    assert found.quarter is not None
    assert found.quarter.value == pytest.approx((50 - 60) / COUNT)


def test_what_never_gets_down_to_a_quarter_says_so() -> None:
    found = match([point("dear", 60, 6.0)], point("majority@16", 60, 16.0))
    assert found.quarter is None


def test_the_price_is_not_picked_on_the_questions_it_is_judged_by() -> None:
    """Each point is perfect on one half and useless on the other: in sample one matches."""
    even = Point("even", tuple(float(i % 2 == 0) for i in range(COUNT)), (1.0,) * COUNT)
    odd = Point("odd", tuple(float(i % 2 == 1) for i in range(COUNT)), (1.0,) * COUNT)
    found = match([even, odd], point("majority@16", COUNT // 2, 16.0))
    assert found.point is not None
    assert found.held_out_difference is not None
    assert found.held_out_difference.value == pytest.approx(-0.5)
