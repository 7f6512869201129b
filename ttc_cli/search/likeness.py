"""Choosing among free texts, which nobody can count: one that is like the others, and sure.

A text that has much in common with its siblings is a text that the model means: the choice of
minimum Bayes risk, with the other candidates for references (Eikema and Aziz 2020, arXiv
2005.10283). Likeness is the share of words and pairs of words that two texts have in common. It has
the same say as how sure the model was of each text; both cost nothing (ADR 23).
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Sequence

from ttc_cli.types import Candidate

MOST = 64
"""Texts that each is held against: what a user's table may ask for must stay computable."""
RUNS = (1, 2)
"""Words in a row that are counted."""

_WORD = re.compile(
    r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+|\S"
)
"""A word; of scripts that write no spaces between words, a character; or a mark."""


def measure_likeness(texts: Sequence[str]) -> list[float]:
    """How much each text has in common with the others, from 0 (nothing) to 1 (all are the same).

    The mean, over the other texts, of the F1 of words and of pairs of words (case aside), each
    counted as often as both have it; over the first ``MOST`` of them where there are more. A text
    that is alone has 0.
    """
    counted = [[_count(text, run) for run in RUNS] for text in texts]
    found = []
    for place, own in enumerate(counted):
        others = [each for at, each in enumerate(counted[: MOST + 1]) if at != place][:MOST]
        shared = [_share(*pair) for other in others for pair in zip(own, other, strict=True)]
        found.append(math.fsum(shared) / len(shared) if shared else 0.0)
    return found


def merge_sureness(likeness: Sequence[float], candidates: Sequence[Candidate]) -> list[float]:
    """What each of ``candidates`` is worth: its likeness and how sure it is, with an equal say.

    Sureness is the mean token confidence over the whole text (DeepConf, arXiv 2508.15260). Each is
    taken in its own standard deviations from the mean, so that neither drowns the other. Likeness
    alone where the confidence of one of them is not known.
    """
    known = [
        each.confidence.mean_group
        for each in candidates
        if each.confidence is not None and each.confidence.mean_group is not None
    ]
    if len(known) < len(candidates):
        return _standardise(likeness)
    return [sum(pair) for pair in zip(_standardise(likeness), _standardise(known), strict=True)]


async def choose_alike(candidates: Sequence[Candidate]) -> tuple[Candidate, list[float]]:
    """The one of greatest worth, of equals the first; and the likeness of each, in order.

    ``candidates`` must not be empty. Long texts are compared off the event loop.
    """
    texts = [each.text[each.thought :] for each in candidates]
    likeness = await asyncio.to_thread(measure_likeness, texts)
    worth = merge_sureness(likeness, candidates)
    best = max(range(len(candidates)), key=lambda at: (worth[at], -candidates[at].id))
    return candidates[best], likeness


def _count(text: str, run: int) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return Counter(zip(*(words[at:] for at in range(run)), strict=False))


def _share(one: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """F1 of two bags: twice what is in both, over what is in either."""
    total = one.total() + other.total()
    if not total:
        return 0.0
    small, large = sorted((one, other), key=len)
    return 2 * sum(min(count, large[each]) for each, count in small.items()) / total


def _standardise(values: Sequence[float]) -> list[float]:
    """Deviations from the mean in standard deviations; zeros where all are the same."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in values) / len(values))
    # Rounding alone must not decide between texts that are alike.
    return [(each - mean) / spread if spread > 1e-9 else 0.0 for each in values]
