"""When more samples are not worth their price.

``settle`` is the Beta criterion of Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860):
the posterior that the leader would stay ahead of the runner-up if sampling went on for ever.
``expect_gain`` asks what further samples would do to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import comb

WAVE_SIZES = (1, 2, 4, 8, 16, 32)
"""Sizes of the next wave that are weighed where its price alone decides."""


@lru_cache(maxsize=65536)
def settle(leader: int, runner_up: int) -> float:
    """P(share of the leader > share of the runner-up | votes), under a uniform prior.

    With p ~ Beta(leader + 1, runner_up + 1) this is P(p > ½) = I_½(runner_up + 1, leader + 1),
    which for whole votes is a binomial tail. ≥ ½ whenever ``leader`` ≥ ``runner_up``.
    """
    draws = leader + runner_up + 1
    return sum(comb(draws, k) for k in range(runner_up + 1, draws + 1)) / (1 << draws)


def cannot_change(
    leader: float, runner_up: float, remaining: int, tilt: float = 0.0, most: float = 1.0
) -> bool:
    """Whether ``remaining`` further votes, all for the runner-up, would leave the leader ahead.

    ``leader`` and ``runner_up`` are the weights of their votes, ``most`` is the greatest of a vote
    to come, and ``tilt`` the greatest share by which a verifier may raise one.
    """
    return leader > (runner_up + remaining * most) * (1.0 + tilt)


def count_votes_to_settle(leader: int, runner_up: int, threshold: float) -> int:
    """The least number of further votes, all for the leader, that pass ``threshold`` < 1."""
    more = 0
    while settle(leader + more, runner_up) < threshold:
        more += 1
    return more


def expect_gain(leader: int, runner_up: int, heard: int, samples: int) -> float:
    """How much the chance of choosing the right answer may grow with ``samples`` more.

    Of the samples, the share that went to the two leading answers until now (with one imagined
    vote among ``heard`` + 2) is expected to vote between them; the others scatter. Those votes
    follow the Beta-binomial of the posterior, and the gain in ``settle`` of whoever then leads is
    counted only as far as the two leaders hold the answer at all, which is again their share.
    This keeps scattered, hopeless questions alive for long at a low price: an answer found late
    is worth more than a few samples saved.
    """
    share = (leader + runner_up + 1) / (heard + 2)
    votes = min(samples, max(1, round(samples * share)))
    reached = min(1.0, samples * share / votes)
    now = settle(leader, runner_up) if leader else 0.5
    later = sum(
        _beta_binomial(won, votes, leader + 1, runner_up + 1)
        * settle(max(pair := (leader + won, runner_up + votes - won)), min(pair))
        for won in range(votes + 1)
    )
    return max(0.0, later - now) * reached * share


@dataclass(frozen=True, slots=True)
class NextWave:
    """The next wave: its ``size`` (0: none pays), what it would ``gain``, the most ``tried``."""

    size: int
    gain: float
    tried: int


def choose_wave(
    leader: int,
    runner_up: int,
    heard: int,
    sizes: Iterable[int],
    price: float,
) -> NextWave:
    """Of some sizes of the next wave the one that gains most beyond its price.

    ``leader`` and ``runner_up`` are votes, ``heard`` all candidates so far, scattered and
    unfinished ones included; ``price`` is what one must gain.
    """
    gains = {size: expect_gain(leader, runner_up, heard, size) for size in sizes}
    paying = [size for size, gain in gains.items() if gain >= size * price]
    if not paying:
        return NextWave(0, max(gains.values()), max(gains))
    size = max(paying, key=lambda size: (gains[size] - size * price, -size))
    return NextWave(size, gains[size], max(gains))


def _beta_binomial(won: int, draws: int, a: int, b: int) -> float:
    """P(``won`` of ``draws``) where p ~ Beta(a, b), for whole a and b."""
    return (
        comb(won + a - 1, won)
        * comb(draws - won + b - 1, draws - won)
        / comb(draws + a + b - 1, draws)
    )
