"""Fits a probe's head: which view of the states, which objective and how much L2, by held-out data.

Each is chosen by the AUC within a question, on questions that the fit did not see; what is said of
the head comes from an outer cross-validation that makes that choice again in every fold. States
are turned into their leading principal components first, which looks at no labels: a few hundred
numbers tell what a few thousand examples can.

Objectives: ``logistic`` and ``ridge`` on the states as they are, and ``centred`` ones, on states
less the mean of their question's. These learn what tells the candidates of one question apart, and
nothing of which questions are hard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from ttc_cli.engines.states import States
from ttc_cli.errors import UsageError
from ttc_cli.types import PROSE
from ttc_cli.verifiers.probe import VIEWS, Head, Part, View
from ttc_cli.verifiers.regression import fit_logistic, fit_ridge, split_groups
from ttc_cli.verifiers.separation import bootstrap_auc, measure_auc, measure_auc_within

Matrix = npt.NDArray[np.float64]

PENALTIES = (0.03, 0.1, 0.3, 1.0)
"""Strengths of L2 that are tried, as shares of the number of examples."""
OBJECTIVES = ("logistic", "ridge", "centred logistic", "centred ridge")
COMPONENTS = 192
FOLDS = 5
INNER_FOLDS = 3


@dataclass(frozen=True, slots=True)
class Example:
    """The states of a solution or of a part of it, its question, whether it came out right."""

    states: States
    question: str
    right: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a fit is made with; ``penalty`` is a share of the number of examples."""

    view: View
    objective: str
    penalty: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head, and by example the logit of a fold that did not see it; None where there is none."""

    head: Head
    held_out: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """How a choice of view and objective did on held-out questions, at its best penalty."""

    form: str
    part: Part
    view: View
    objective: str
    auc: float | None
    auc_within: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Examples as numbers: ``x`` by view, in principal components; ``groups`` are questions."""

    x: Mapping[View, Matrix]
    y: Matrix
    groups: Any

    def part(self, mask: Any) -> _Data:
        return _Data({v: x[mask] for v, x in self.x.items()}, self.y[mask], self.groups[mask])

    @property
    def mixed(self) -> bool:
        """Whether there are right and wrong ones."""
        return bool(0 < self.y.sum() < len(self.y))


def fit_head(
    examples: Sequence[Example],
    form: str = PROSE,
    part: Part = "whole",
    *,
    views: Sequence[View] = VIEWS,
    objectives: Sequence[str] = OBJECTIVES,
    penalties: Sequence[float] = PENALTIES,
) -> Fitted:
    """P(right | states) of a part of candidates of ``form``, by the best of what is given.

    Raises:
        UsageError: too few examples: there must be right and wrong ones, of two questions.
    """
    data, turns = _prepare(examples, views)
    choices = [Choice(*each) for each in product(views, objectives, penalties)]
    held_out, folds = _cross_validate(data, choices)
    best = _choose(data, choices)
    weights, bias = _fit(data, best)
    # What the fit says of questions it did not see tells how sure it may be.
    slope, offset = _calibrate(held_out, data.y)
    turn, scale, mean = turns[best.view]
    # Five digits of a weight say as much as seventeen, in half of the file.
    flat = np.array([float(f"{each:.5g}") for each in (turn @ weights) * slope / scale])
    known = ~np.isnan(held_out)
    pairs = [
        (int(group), float(value), bool(right))
        for group, value, right in zip(
            data.groups[known], held_out[known], data.y[known], strict=True
        )
    ]
    interval = bootstrap_auc(pairs, within=True)
    head = Head(
        form=form,
        part=part,
        view=best.view,
        objective=best.objective,
        penalty=best.penalty,
        weights=tuple(flat.tolist()),
        bias=float(slope * bias + offset - mean @ flat),
        samples=len(examples),
        questions=len(set(data.groups.tolist())),
        right=float(data.y.mean()),
        folds=folds,
        auc=measure_auc([(value, right) for _, value, right in pairs]),
        auc_within=measure_auc_within(pairs),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
    )
    logits = [None if np.isnan(each) else float(slope * each + offset) for each in held_out]
    return Fitted(head, tuple(logits))


def compare_choices(
    examples: Sequence[Example],
    form: str = PROSE,
    part: Part = "whole",
    views: Sequence[View] = VIEWS,
) -> list[Tried]:
    """Each view with each objective, at the penalty that inner folds choose, on held-out questions.

    Raises:
        UsageError: as ``fit_head``.
    """
    data, _ = _prepare(examples, views)
    found = []
    for view, objective in product(views, OBJECTIVES):
        choices = [Choice(view, objective, penalty) for penalty in PENALTIES]
        held_out, _ = _cross_validate(data, choices)
        known = ~np.isnan(held_out)
        rated = list(zip(data.groups[known], held_out[known], data.y[known] > 0, strict=True))
        auc = measure_auc([(value, bool(right)) for _, value, right in rated])
        found.append(Tried(form, part, view, objective, auc, measure_auc_within(rated)))
    return found


def _prepare(
    examples: Sequence[Example], views: Sequence[View]
) -> tuple[_Data, dict[View, tuple[Matrix, Matrix, Matrix]]]:
    """The examples as numbers, and by view what turns states into components.

    That is a matrix, and the scale and the mean of the states before it.
    """
    questions = list(dict.fromkeys(example.question for example in examples))
    y = np.array([float(example.right) for example in examples])
    if len(questions) < 2 or not 0 < y.sum() < len(y):
        raise UsageError(
            f"{len(examples)} solutions of {len(questions)} questions, {int(y.sum())} of them "
            "right: a probe needs right and wrong ones, of two questions at least.",
            "Give more questions, or more --samples.",
        )
    places = {question: i for i, question in enumerate(questions)}
    groups = np.array([places[example.question] for example in examples])
    x, turns = {}, {}
    for view in views:
        raw = np.array([view.read(example.states) for example in examples], dtype=np.float64)
        mean, scale = raw.mean(axis=0), raw.std(axis=0)
        scale[scale < 1e-9] = 1.0
        standard = (raw - mean) / scale
        # Of the smaller of the two Gram matrices: as many components as there can be.
        if len(raw) >= raw.shape[1]:
            _, turn = np.linalg.eigh(standard.T @ standard)
            turn = turn[:, ::-1][:, :COMPONENTS]
        else:
            values, left = np.linalg.eigh(standard @ standard.T)
            kept = values > 1e-9 * values.max()
            values, left = values[kept][::-1][:COMPONENTS], left[:, kept][:, ::-1][:, :COMPONENTS]
            turn = standard.T @ (left / np.sqrt(values))
        turned = standard @ turn
        # All components together vary by 1 a number, so that one strength of L2 fits all sizes.
        size = np.sqrt((turned**2).sum(axis=1).mean() / turned.shape[1]) or 1.0
        x[view], turns[view] = turned / size, (turn / size, scale, mean)
    return _Data(x, y, groups), turns


def _cross_validate(data: _Data, choices: Sequence[Choice]) -> tuple[Matrix, int]:
    """For each example what a fit to other questions says of it, and in how many folds.

    Each fold chooses among ``choices`` by its own training questions.
    """
    held_out, folds = np.full(len(data.y), np.nan), 0
    for tested, training in _split(data, FOLDS):
        choice = _choose(training, choices)
        weights, bias = _fit(training, choice)
        held_out[tested] = data.x[choice.view][tested] @ weights + bias
        folds += 1
    return held_out, folds


def _split(data: _Data, folds: int) -> Iterator[tuple[Any, _Data]]:
    for tested in split_groups(data.groups, folds):
        training = data.part(~tested)
        if training.mixed:
            yield tested, training


def _choose(data: _Data, choices: Sequence[Choice]) -> Choice:
    """The choice that ranks held-out candidates within a question best; of equals the first."""
    won = np.zeros(len(choices))
    for tested, training in _split(data, INNER_FOLDS):
        for i, choice in enumerate(choices):
            weights, bias = _fit(training, choice)
            values = data.x[choice.view][tested] @ weights + bias
            rated = list(zip(data.groups[tested], values, data.y[tested] > 0, strict=True))
            within = measure_auc_within(rated)
            if within is None:  # no question with both kinds
                within = measure_auc([(value, bool(right)) for _, value, right in rated]) or 0.5
            won[i] += within
    return choices[int(np.argmax(won))]


def _fit(data: _Data, choice: Choice) -> tuple[Matrix, float]:
    x, strength = data.x[choice.view], choice.penalty * len(data.y)
    centred = choice.objective.startswith("centred")
    if centred:
        _, places = np.unique(data.groups, return_inverse=True)
        counts = np.bincount(places)
        means = np.stack([np.bincount(places, column) / counts for column in x.T], axis=1)
        shares = np.bincount(places, data.y) / counts
        both = (shares > 0) & (shares < 1)
        if both.any():  # a question with one kind alone says nothing of what tells them apart
            kept = both[places]
            x, y = (x - means[places])[kept], data.y[kept]
        else:
            y = data.y
    else:
        y = data.y
    fit = fit_ridge if choice.objective.endswith("ridge") else fit_logistic
    weights, bias = fit(x, y, strength)
    # Of one size, so that what the folds say can be held against each other.
    size = float((data.x[choice.view] @ weights).std()) or 1.0
    return weights / size, 0.0 if centred else bias / size


def _calibrate(held_out: Matrix, y: Matrix) -> tuple[float, float]:
    """Slope and offset that make a logit of what held-out examples were given (Platt 1999)."""
    known = ~np.isnan(held_out)
    values, right = held_out[known], y[known]
    if not 0 < right.sum() < len(right):
        return 1.0, 0.0
    (slope,), offset = fit_logistic(values[:, None], right, 1.0)
    return float(slope), offset
