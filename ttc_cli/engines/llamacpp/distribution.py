"""From a block of logits to what sampling and confidence need, in two passes over the block.

A whole-vocabulary softmax for every live row costs 2–4 % of a decode step, a sort more. Tokens
more than ``MARGIN`` nats below the likeliest have odds under 1e-6 and are cut first; everything
later works on the handful that is left. Log-probabilities are therefore normalised over those:
the error is the mass cut off, below 0.1 % on a language model's rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ttc_cli.engines.trace import MARGIN
from ttc_cli.errors import EngineError

Row = npt.NDArray[np.float32]

MOST = 4096


def likely_tokens(block: Row, temperature: float = 1.0) -> list[tuple[npt.NDArray[np.int64], Row]]:
    """Per row of ``block`` (rows, n_vocab): ids and logits of the tokens worth considering.

    ``temperature`` above 1 flattens the draw and widens the margin with it.

    Raises:
        EngineError: a row has no likeliest token: the model computes NaN.
    """
    peaks = block.max(axis=1)
    _check_peaks(peaks)
    kept: list[tuple[npt.NDArray[np.int64], Row]] = []
    margin = np.float32(MARGIN * max(1.0, temperature))
    for row, peak in zip(block, peaks, strict=True):
        tokens = np.flatnonzero(row > peak - margin)
        if len(tokens) > MOST:
            tokens = np.sort(np.argpartition(row, -MOST)[-MOST:])
        kept.append((tokens, row[tokens]))
    return kept


def _check_peaks(peaks: npt.ArrayLike) -> None:
    if not np.isfinite(peaks).all():
        raise EngineError(
            "The model computes NaN instead of numbers: its weights are damaged, or this build is.",
            "ttc models verify checks the file, ttc doctor the build",
        )


def label_probabilities(row: Row, groups: list[list[int]]) -> tuple[float, ...]:
    """Probability of each group of ids under ``row`` (n_vocab,), over the whole vocabulary.

    Raises:
        EngineError: as ``likely_tokens``.
    """
    exact = row.astype(np.float64)
    peak = exact.max()
    _check_peaks(peak)
    exact -= peak
    np.exp(exact, out=exact)
    total = exact.sum()
    return tuple(float(exact[group].sum() / total) for group in groups)


def log_probability(row: Row, token: int) -> float:
    """Of ``token`` under ``row`` (n_vocab,), in nats, over the whole vocabulary.

    Raises:
        EngineError: as ``likely_tokens``.
    """
    peak = row.max()
    _check_peaks(peak)
    total = np.exp(row - peak).sum(dtype=np.float64)
    return float(row[token] - peak) - float(np.log(total))


def self_certainties(block: Row) -> npt.NDArray[np.float64]:
    """Self-certainty of each row of ``block`` (rows, n_vocab), in nats; 0 for a flat row.

    KL(U ‖ p) = −(1/V) Σ log(V·p_j) = log Σ exp l_j − mean l − log V (Kang et al. 2025, arXiv
    2502.18581, eq. 8), of the model's own distribution, before temperature and cuts. Two passes
    over the whole block: only for who asked for it. Logits of −∞ (masked tokens) are left out.
    """
    peaks = block.max(axis=1, keepdims=True)
    shifted = block - peaks
    means = shifted.mean(axis=1, dtype=np.float64)
    sizes = np.full(len(block), block.shape[1], dtype=np.float64)
    if not np.isfinite(means).all():
        known = np.isfinite(shifted)
        sizes = known.sum(axis=1).astype(np.float64)
        means = np.where(known, shifted, 0.0).sum(axis=1, dtype=np.float64) / sizes
    np.exp(shifted, out=shifted)
    found: npt.NDArray[np.float64] = (
        np.log(shifted.sum(axis=1, dtype=np.float64)) - means - np.log(sizes)
    )
    return found
