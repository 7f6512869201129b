"""From a block of logits to what sampling and confidence need, in two passes over the block.

A whole-vocabulary softmax for every live row costs 2–4 % of a decode step, a sort more. Tokens
more than ``MARGIN`` nats below the likeliest have odds under 1e-6 and are cut first; everything
later works on the handful that is left. Log-probabilities are therefore normalised over those:
the error is the mass cut off, below 0.1 % on a language model's rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ttc_cli.types import Confidence

Row = npt.NDArray[np.float32]

MARGIN = 14.0
MOST = 4096
TOP = 20
WINDOW = 32
BOTTOM = 0.1
"""DeepConf's bottom-10 % group confidence averages this share of the windows."""


def likely_tokens(block: Row, temperature: float = 1.0) -> list[tuple[npt.NDArray[np.int64], Row]]:
    """Per row of ``block`` (rows, n_vocab): ids and logits of the tokens worth considering.

    ``temperature`` above 1 flattens the draw and widens the margin with it.
    """
    peaks = block.max(axis=1)
    kept: list[tuple[npt.NDArray[np.int64], Row]] = []
    margin = np.float32(MARGIN * max(1.0, temperature))
    for row, peak in zip(block, peaks, strict=True):
        tokens = np.flatnonzero(row > peak - margin)
        if len(tokens) > MOST:
            tokens = np.sort(np.argpartition(row, -MOST)[-MOST:])
        kept.append((tokens, row[tokens]))
    return kept


def label_probabilities(row: Row, groups: list[list[int]]) -> tuple[float, ...]:
    """Probability of each group of ids under ``row`` (n_vocab,), over the whole vocabulary."""
    exact = row.astype(np.float64)
    exact -= exact.max()
    np.exp(exact, out=exact)
    total = exact.sum()
    return tuple(float(exact[group].sum() / total) for group in groups)


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


@dataclass(slots=True)
class ConfidenceTrace:
    """Collects, token by token, what ``Confidence`` summarises at the end."""

    logprobs: list[float] = field(default_factory=list)
    groups: list[float] = field(default_factory=list)
    certainties: list[float] = field(default_factory=list)

    def add(self, tokens: npt.NDArray[np.int64], logits: Row, drawn: int) -> None:
        """Note one draw from the likely ``tokens`` with their ``logits``."""
        shifted = logits - logits.max()
        normaliser = float(np.log(np.exp(shifted).sum()))
        place = int(np.searchsorted(tokens, drawn))
        self.logprobs.append(float(shifted[place]) - normaliser)
        top = shifted if len(shifted) <= TOP else np.partition(shifted, -TOP)[-TOP:]
        # Tokens beyond the margin count with the margin's own log-probability: a lower bound.
        missing = TOP - len(top)
        total = float(top.sum()) - missing * MARGIN - TOP * normaliser
        self.groups.append(-total / TOP)

    def group(self, window: int) -> float | None:
        """Mean token confidence of the last ``window`` draws; None before there are so many."""
        if len(self.groups) < window:
            return None
        return sum(self.groups[-window:]) / window

    def summarise(self) -> Confidence | None:
        """The statistics over all draws noted, or None without any."""
        if not self.logprobs:
            return None
        logprobs, groups = np.array(self.logprobs), np.array(self.groups)
        window = min(WINDOW, len(groups))
        sliding = np.convolve(groups, np.full(window, 1 / window), mode="valid")
        tenth = max(1, round(len(sliding) * BOTTOM))
        lowest = sliding if tenth == len(sliding) else np.partition(sliding, tenth - 1)[:tenth]
        return Confidence(
            mean_logprob=float(logprobs.mean()),
            tail_logprob=float(logprobs[-WINDOW:].mean()),
            lowest_group=float(sliding.min()),
            tail_group=float(groups[-WINDOW:].mean()),
            mean_group=float(groups.mean()),
            bottom_group=float(lowest.mean()),
            certainty=float(np.mean(self.certainties)) if self.certainties else None,
        )


def repeats(tokens: list[int], *, longest: int = 64, least: int = 64) -> bool:
    """Whether ``tokens`` ends in one phrase of up to ``longest`` tokens, said over and over.

    The repeated stretch must cover ``least`` tokens and three rounds, so that lists, tables and
    long sums, which repeat only in part, pass.
    """
    count = len(tokens)
    for period in range(1, longest + 1):
        span = max(least, 3 * period)
        if count < span + period:
            continue
        if tokens[-span:] == tokens[-span - period : -period]:
            return True
    return False
