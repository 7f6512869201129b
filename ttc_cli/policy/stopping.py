"""When more samples are not worth their price.

``settle`` is the Beta criterion of Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860):
the posterior that the leader would stay ahead of the runner-up if sampling went on for ever.
``expect_gain`` asks what further samples would do to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import comb

from ttc_cli.policy.standing import Standing, Votes
from ttc_cli.types import PROSE

WAVE_SIZES = (1, 2, 4, 8, 16, 32)
"""Sizes of the next wave that are weighed where its price alone decides."""


def settle(leader: float, runner_up: float) -> float:
    """P(share of the leader > share of the runner-up | votes), under a uniform prior.

    With p ~ Beta(leader + 1, runner_up + 1) this is P(p > ½) = I_½(runner_up + 1, leader + 1),
    which for whole votes is a binomial tail; between them it is interpolated. ≥ ½ whenever
    ``leader`` ≥ ``runner_up``.
    """
    most, next = int(leader), int(runner_up)
    found = _settle_whole(most, next)
    if part := leader - most:
        found += part * (_settle_whole(most + 1, next) - found)
    if part := runner_up - next:
        found += part * (settle(leader, next + 1) - found)
    return found


@lru_cache(maxsize=65536)
def _settle_whole(leader: int, runner_up: int) -> float:
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


MOST_VOTES = 256
"""Beyond which nothing is counted: votes that prove next to nothing may never settle a matter."""


def count_votes_to_settle(standing: Standing, threshold: float, form: str = PROSE) -> int:
    """The least number of further votes of ``form``, all for the leader, that pass ``threshold``.

    At most ``MOST_VOTES``.
    """
    _, against = standing.strengths
    more = 0
    while settle(standing.weigh(_add(standing.leader, form, more)), against) < threshold:
        more += 1
        if more == MOST_VOTES:
            break
    return more


def expect_gain(standing: Standing, samples: int, form: str = PROSE) -> float:
    """How much the chance of choosing the right answer may grow with ``samples`` more of ``form``.

    Of the samples, the share that went to the two leading answers until now (with one imagined
    vote among those heard + 2) is expected to vote between them; the others scatter. Of a form that
    was not heard yet, the share of all is taken. Those votes follow the Beta-binomial of the
    posterior. Something is gained where they bring the runner-up ahead: by how much ``settle`` then
    favours it; and only as far as the two leaders hold the answer at all, which is again their
    share. This keeps scattered, hopeless questions alive for long at a low price: an answer found
    late is worth more than a few samples saved.
    """
    leader, runner_up = sum(standing.leader.values()), sum(standing.runner_up.values())
    own = standing.heard.get(form, 0)
    if own:
        drawn = standing.leader.get(form, 0) + standing.runner_up.get(form, 0)
        share = (drawn + 1) / (own + 2)
    else:
        share = (leader + runner_up + 1) / (sum(standing.heard.values()) + 2)
    votes = min(samples, max(1, round(samples * share)))
    reached = min(1.0, samples * share / votes)
    gain = 0.0
    for won in range(votes + 1):
        ours = standing.weigh(_add(standing.leader, form, won))
        theirs = standing.weigh(_add(standing.runner_up, form, votes - won))
        if theirs > ours:
            chance = _beta_binomial(won, votes, leader + 1, runner_up + 1)
            gain += chance * (2.0 * settle(theirs, ours) - 1.0)
    return gain * reached * share


@dataclass(frozen=True, slots=True)
class NextWave:
    """The next wave: its ``size`` (0: none pays) and ``form``, its ``gain``, the most ``tried``."""

    size: int
    gain: float
    tried: int
    form: str = PROSE


def choose_wave(standing: Standing, sizes: Mapping[str, Iterable[int]], price: float) -> NextWave:
    """Of some sizes of the next wave, by form, the one that gains most beyond its price.

    ``price`` is what one candidate in prose must gain; others cost their share of that.
    """
    gains = {
        (form, size): expect_gain(standing, size, form)
        for form, every in sizes.items()
        for size in every
    }
    priced = {(form, size): size * price * standing.cost(form) for form, size in gains}
    paying = [each for each, gain in gains.items() if gain >= priced[each]]
    most = max(size for _, size in gains)
    if not paying:
        return NextWave(0, max(gains.values()), most)
    form, size = max(paying, key=lambda each: (gains[each] - priced[each], -each[1]))
    return NextWave(size, gains[form, size], most, form)


def _add(votes: Votes, form: str, more: int) -> Votes:
    return {**votes, form: votes.get(form, 0) + more}


def _beta_binomial(won: int, draws: int, a: int, b: int) -> float:
    """P(``won`` of ``draws``) where p ~ Beta(a, b), for whole a and b."""
    return (
        comb(won + a - 1, won)
        * comb(draws - won + b - 1, draws - won)
        / comb(draws + a + b - 1, draws)
    )
