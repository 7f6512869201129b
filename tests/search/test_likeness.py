"""Choosing among free texts by what they have in common."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttc_cli.search.likeness import MOST, choose_alike, measure_likeness
from ttc_cli.types import Candidate, Confidence, Finish


def candidate(id: int, text: str, sure: float | None = None, thought: int = 0) -> Candidate:
    confidence = None if sure is None else Confidence(-0.3, -0.5, 5.0, 5.0, mean_group=sure)
    return Candidate(id, text, 9, Finish.STOP, confidence=confidence, thought=thought)


def choose(*candidates: Candidate) -> int:
    return asyncio.run(choose_alike(candidates))[0].id


def test_likeness_is_the_mean_share_of_words_and_pairs_of_words() -> None:
    # Words: 2 of 3 each; pairs of words: 1 of 2 each.
    assert measure_likeness(["a b c", "A b d"]) == pytest.approx([(2 / 3 + 1 / 2) / 2] * 2)
    assert measure_likeness(["a b c", "a b d", "x"]) == pytest.approx([7 / 24, 7 / 24, 0])


@pytest.mark.parametrize(
    ("texts", "likeness"),
    [
        ([], []),
        (["alone"], [0.0]),
        (["the same", "The  SAME\n"], [1.0, 1.0]),
        (["", ""], [0.0, 0.0]),
        (["one", "two"], [0.0, 0.0]),
    ],
)
def test_likeness_at_its_ends(texts: list[str], likeness: list[float]) -> None:
    assert measure_likeness(texts) == pytest.approx(likeness)


@pytest.mark.parametrize(
    "texts",
    [
        ("今日は天気がいい。", "今日は天気が悪い。", "猫が好き。"),
        ("วันนี้อากาศดี", "วันนี้อากาศร้อน", "แมว"),
    ],
)
def test_scripts_without_spaces_are_read_by_characters(texts: tuple[str, ...]) -> None:
    near, _, far = measure_likeness(texts)
    assert near > 0.3 > far


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_likeness_lies_between_nothing_and_all(texts: list[str]) -> None:
    found = measure_likeness(texts)
    assert len(found) == len(texts)
    assert all(0 <= each <= 1 + 1e-9 for each in found)
    assert measure_likeness(texts[::-1]) == pytest.approx(found[::-1])


def test_the_most_alike_is_chosen_and_of_equals_the_first() -> None:
    assert choose(candidate(4, "x y"), candidate(7, "a b c"), candidate(9, "a b d")) == 7
    assert choose(candidate(3, "a b"), candidate(1, "c d")) == 1
    assert choose(candidate(5, "alone")) == 5


def test_sureness_has_an_equal_say_where_all_of_it_is_known() -> None:
    texts = ("a b c d", "a b c e", "a b x y")
    assert choose(*(candidate(i, text, 10.0) for i, text in enumerate(texts))) == 0
    rising = [candidate(i, text, 10.0 + i) for i, text in enumerate(texts)]
    assert choose(*rising) == 1, "neither the surest nor one as alike and less sure"
    assert choose(*rising[:2], candidate(2, texts[2])) == 0


def test_thinking_is_not_compared() -> None:
    thought = "<think>a b c</think>"
    others = candidate(1, "a b c"), candidate(2, "x y z"), candidate(3, "x y w")
    assert choose(candidate(0, thought + "q", thought=len(thought)), *others) == 2


def test_many_and_long_texts_take_a_moment_only() -> None:
    many = [f"word{i} and words in common, some of them" for i in range(10 * MOST)]
    long = [" ".join(f"w{(i * j) % 977}" for i in range(20_000)) for j in range(1, 9)]
    begun = time.perf_counter()
    assert len(measure_likeness(many)) == 10 * MOST
    assert len(measure_likeness(long)) == 8
    assert time.perf_counter() - begun < 20
