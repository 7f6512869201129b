"""Logistic regression with L2, and cross-validation by question: what probes and policies fit.

Numpy alone. Examples of one question are not independent, so that a question is always held out as
a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float64]

INNER_FOLDS = 3


def split_groups(groups: Any, folds: int) -> list[Any]:
    """Masks of the questions that each fold tests; each question in one of them."""
    import numpy as np

    names = np.unique(groups)
    count = max(2, min(folds, len(names)))
    return [np.isin(groups, names[k::count]) for k in range(count)] if len(names) > 1 else []


def choose_penalty(x: Matrix, y: Matrix, groups: Any, penalties: Sequence[float]) -> float:
    """The λ with the least log-loss on questions that were held out."""
    import numpy as np

    losses = dict.fromkeys(penalties, 0.0)
    for tested in split_groups(groups, INNER_FOLDS):
        if not 0 < y[~tested].sum() < len(y[~tested]):
            continue
        for penalty in penalties:
            weights, bias = fit_logistic(x[~tested], y[~tested], penalty)
            logit = x[tested] @ weights + bias
            losses[penalty] += float(np.sum(np.logaddexp(0, logit) - y[tested] * logit))
    return min(penalties, key=lambda penalty: (losses[penalty], -penalty))


def fit_ridge(x: Matrix, y: Matrix, penalty: float) -> tuple[Matrix, float]:
    """Least squares of ±1 on ``x``, Σ (x·w + b − y)² + λ ‖w‖², the bias free; ``y`` is 0 or 1."""
    import numpy as np

    target, centre = 2.0 * y - 1.0, x.mean(axis=0)
    inner = x - centre
    gram = inner.T @ inner
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, inner.T @ (target - target.mean()))
    return weights, float(target.mean() - centre @ weights)


def fit_logistic(x: Matrix, y: Matrix, penalty: float) -> tuple[Matrix, float]:
    """Newton's method on Σ log-loss + λ/2 ‖w‖², the bias free."""
    import numpy as np

    design = np.hstack([x, np.ones((len(y), 1))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-6
    beta = np.zeros(design.shape[1])
    share = float(y.mean())
    beta[-1] = math.log(share / (1 - share))
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (p - y) + ridge * beta
        hessian = (design.T * np.maximum(p * (1 - p), 1e-9)) @ design
        hessian[np.diag_indices_from(hessian)] += ridge
        step = np.linalg.solve(hessian, gradient)
        largest = float(np.abs(step).max())
        beta -= step * min(1.0, 5.0 / (largest + 1e-12))  # never far beyond where it is quadratic
        if largest < 1e-7:
            break
    return beta[:-1], float(beta[-1])
