"""What tells how sure a candidate is: its confidence, a probe, or one regression over both.

Fitted within a question and a form: what a vote needs is which of the candidates of one question is
the surer. All of ``PARTS`` together are held against each alone on held-out questions, and the best
is taken; of equals the simpler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttc_cli.bench.belief import Graded
from ttc_cli.search.vote import CONFIDENCES, TAIL, measure_sureness
from ttc_cli.types import Candidate
from ttc_cli.verifiers.probe import PROBE
from ttc_cli.verifiers.regression import fit_logistic, split_groups
from ttc_cli.verifiers.separation import measure_auc_within

Matrix = npt.NDArray[np.float64]

PENALTY = 10.0
FOLDS = 5
ALONE = ((PROBE.name,), ("tail_group",), ("tail_logprob",))
TOGETHER = ((PROBE.name, "tail_group"), (PROBE.name, *CONFIDENCES), CONFIDENCES)
MARGIN = 0.005
"""Of AUC, by which more parts must do better than fewer."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """Parts that tell how sure a candidate is, their weights, and their AUC within a question.

    That is of held-out questions.
    """

    weights: Mapping[str, float]
    auc_within: float


def fit_sureness(graded: Sequence[Graded]) -> list[Sureness]:
    """Every tried set of parts, fitted; the first is the one to take.

    Empty where no question has right and wrong candidates of which all is known.
    """
    tried = [each for parts in (*ALONE, *TOGETHER) if (each := _fit(graded, parts)) is not None]
    if not tried:
        return []
    best = max(tried, key=lambda each: each.auc_within - MARGIN * len(each.weights))
    return [best, *(each for each in tried if each is not best)]


def choose_parts(graded: Sequence[Graded]) -> Mapping[str, float]:
    """The weights to take; ``TAIL`` where nothing can be fitted, or where that is all they are."""
    tried = fit_sureness(graded)
    if not tried or tuple(tried[0].weights) == tuple(TAIL):
        return TAIL
    return tried[0].weights


def _fit(graded: Sequence[Graded], parts: Sequence[str]) -> Sureness | None:
    rows: list[list[float]] = []
    right: list[float] = []
    groups: list[int] = []
    for number, question in enumerate(graded):
        for candidate in question.candidates:
            values = [_measure(candidate, part) for part in parts]
            known = [value for value in values if value is not None]
            if candidate.answer is not None and len(known) == len(parts):
                rows.append(known)
                right.append(float(candidate.id in question.right))
                groups.append(number)
    x, y, places = np.array(rows), np.array(right), np.array(groups)
    if len(rows) < 2:
        return None
    scale = x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    held_out = np.full(len(y), np.nan)
    for tested in split_groups(places, FOLDS):
        weights = _fit_within(x[~tested] / scale, y[~tested], places[~tested])
        if weights is not None:
            held_out[tested] = x[tested] / scale @ weights
    known = ~np.isnan(held_out)
    rated = zip(places[known], held_out[known], y[known] > 0, strict=True)
    auc = measure_auc_within([(int(q), float(v), bool(r)) for q, v, r in rated])
    weights = _fit_within(x / scale, y, places)
    if auc is None or weights is None:
        return None
    fitted = weights / scale
    return Sureness(dict(zip(parts, fitted.tolist(), strict=True)), auc)


def _measure(candidate: Candidate, part: str) -> float | None:
    return measure_sureness(candidate, {part: 1.0})


def _fit_within(x: Matrix, y: Matrix, groups: npt.NDArray[np.int64]) -> Matrix | None:
    """Log-odds by part, from candidates less the mean of their question's; None without both."""
    kept = []
    inner = np.empty_like(x)
    for group in np.unique(groups):
        mine = groups == group
        inner[mine] = x[mine] - x[mine].mean(axis=0)
        if 0 < y[mine].sum() < mine.sum():
            kept.append(mine)
    if not kept:
        return None
    mask = np.any(kept, axis=0)
    weights, _ = fit_logistic(inner[mask], y[mask], PENALTY)
    return weights
