"""Fitting a probe's head: what is found, what is not, and what is said of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from ttc_cli.engines.states import States
from ttc_cli.errors import UsageError
from ttc_cli.verifiers.fitting import Example, compare_choices, fit_head
from ttc_cli.verifiers.probe import View


def pool(tail: Sequence[float], whole: Sequence[float] | None = None) -> States:
    one = np.asarray(tail, np.float32)
    other = one if whole is None else np.asarray(whole, np.float32)
    return States(one, one, other, (), ())


def draw_examples(signal: float, questions: int = 20, each: int = 4, width: int = 12):
    """States in which one direction tells right from wrong by ``signal``, among much else."""
    draw = random.Random(5)
    made = []
    for q in range(questions):
        theme = [draw.gauss(0, 2) for _ in range(width)]
        for i in range(each):
            right = i % 2 == 0
            state = [t + draw.gauss(0, 1) for t in theme[:-1]]
            state.append(draw.gauss(signal if right else -signal, 1))
            made.append(Example(pool(state), str(q), right))
    return made


def test_a_fit_finds_what_is_there_and_scores_states_it_never_saw() -> None:
    head = fit_head(draw_examples(1.5)).head
    assert head.auc > 0.85
    assert head.auc_within > 0.85
    assert (head.samples, head.questions, head.right) == (80, 20, 0.5)
    assert max(range(12), key=lambda i: abs(head.weights[i])) == 11
    high, low = (pool((0.0,) * 11 + (end,)) for end in (3.0, -3.0))
    assert head.rate(high) > 0.6 > 0.4 > head.rate(low)
    assert head.low <= head.auc_within <= head.high


def test_a_fit_to_noise_is_measured_as_noise() -> None:
    """In-sample it would look perfect: there are more numbers in a state than examples."""
    head = fit_head(draw_examples(0.0, questions=15, each=2, width=60)).head
    assert 0.25 < head.auc < 0.75


def test_a_question_is_never_scored_by_a_probe_that_saw_it() -> None:
    """Labels that are the question's alone can be learnt by heart, and must not be."""
    draw = random.Random(2)
    made = []
    for q in range(16):
        theme = [draw.gauss(0, 3) for _ in range(30)]
        label = q % 2 == 0
        made += [Example(pool([t + draw.gauss(0, 0.1) for t in theme]), str(q), label)] * 3
    head = fit_head(made).head
    assert head.auc < 0.85
    assert head.auc_within is None


def test_what_it_says_is_a_probability() -> None:
    """Of those that it calls 0.8 some 80 % are right, though the objective knows no such thing."""
    made = draw_examples(0.6, questions=60, each=8)
    for objective in ("ridge", "centred logistic"):
        head = fit_head(made, views=[View.TAIL], objectives=[objective]).head
        said = np.array([head.rate(each.states) for each in made])
        right = np.array([each.right for each in made])
        assert abs(said.mean() - right.mean()) < 0.05
        for low in (0.1, 0.3, 0.5, 0.7):
            inside = (said >= low) & (said < low + 0.2)
            if inside.sum() > 30:
                assert abs(said[inside].mean() - right[inside].mean()) < 0.15


def test_the_view_that_tells_most_is_chosen_and_the_others_are_told_of() -> None:
    draw = random.Random(1)
    made = []
    for q in range(20):
        for i in range(6):
            right = i % 2 == 0
            tell, noise = draw.gauss(1.5 if right else -1.5, 1), draw.gauss(0, 1)
            made.append(Example(pool([noise, draw.gauss(0, 1)], [tell, noise]), str(q), right))
    views = (View.TAIL, View.WHOLE)
    assert fit_head(made, views=views).head.view is View.WHOLE
    tried = {
        (each.view, each.objective): each.auc_within for each in compare_choices(made, views=views)
    }
    assert len(tried) == 8
    assert all(tried[View.WHOLE, each] > 0.85 for _, each in tried)
    assert all(0.3 < tried[View.TAIL, each] < 0.7 for _, each in tried)


def test_centred_features_ignore_which_questions_are_hard() -> None:
    """The question's own number tells more of all pairs, and nothing within a question."""
    draw = random.Random(3)
    made = []
    for q in range(30):
        hard = q % 2 == 0
        for i in range(8):
            right = i < (2 if hard else 6)
            state = [draw.gauss(-3 if hard else 3, 0.3), draw.gauss(0.7 if right else -0.7, 1)]
            made.append(Example(pool(state), str(q), right))
    plain, centred = (
        fit_head(made, views=[View.TAIL], objectives=[each]).head
        for each in ("logistic", "centred logistic")
    )
    share = [abs(head.weights[1]) / abs(head.weights[0]) for head in (plain, centred)]
    assert share[1] > 4 * share[0]
    assert centred.auc_within > 0.75


@pytest.mark.parametrize("right", [True, False])
def test_too_little_is_refused(right) -> None:
    with pytest.raises(UsageError, match="right and wrong ones"):
        fit_head([Example(pool([1.0]), str(i), right) for i in range(6)])
    with pytest.raises(UsageError, match="of two questions"):
        fit_head([Example(pool([1.0]), "a", True), Example(pool([0.0]), "a", False)])
