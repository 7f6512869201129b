"""Counting answers that mean the same, and choosing who speaks for the winning ones.

The outcome does not depend on the order of the candidates: ties go to the class, and to the
candidate, with the lowest id: as good a rule as any other, and always the same.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ttc_cli.types import AnswerClass, Candidate, Finish

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer

GRACE_SECONDS = 0.5
"""What the last comparison may take after a time cap: less than the second that caps allow."""

REACH = 1.0
"""How much surer than the others a vote weighs most, and less sure least."""

Weigh = Callable[[Candidate], float]


def count_one(candidate: Candidate) -> float:
    """The weight of a plain vote."""
    return 1.0


CONFIDENCES = ("tail_group", "lowest_group", "mean_group", "tail_logprob")
"""What of a candidate's confidence may tell how sure it is."""
TAIL: Mapping[str, float] = {"tail_group": 1.0}
"""How sure a candidate is where nothing was fitted: DeepConf's token confidence over the last 32
tokens (arXiv 2508.15260), in nats."""


def measure_sureness(candidate: Candidate, parts: Mapping[str, float] = TAIL) -> float | None:
    """How sure ``candidate`` is: the sum of ``parts``, each times what is known of it.

    Those of ``CONFIDENCES`` are of its confidence; any other is a verifier, whose score of the
    whole counts as log-odds. None where a part is not known.
    """
    total = 0.0
    for name, weight in parts.items():
        if name in CONFIDENCES:
            sure = candidate.confidence
            value = None if sure is None else getattr(sure, name)
        else:
            found = (s.value for s in candidate.scores if s.verifier == name and s.step is None)
            value = next(map(find_log_odds, found), None)
        if value is None:
            return None
        total += weight * value
    return total


def find_log_odds(probability: float) -> float:
    """Of ``probability``, within what a vote can use."""
    bounded = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(bounded / (1 - bounded))


def weigh_by_sureness(
    candidates: Sequence[Candidate], strength: float, parts: Mapping[str, float] = TAIL
) -> Weigh:
    """Votes that weigh exp(``strength`` × how much surer a candidate is than the others).

    That is ``measure_sureness`` less its mean over those of ``candidates`` of the same form that
    answered, within ± ``REACH``. 0 is a plain vote; one that cannot be measured weighs 1.
    """
    sure: dict[str, list[float]] = {}
    for each in candidates:
        value = None if each.answer is None else measure_sureness(each, parts)
        if value is not None:
            sure.setdefault(each.form, []).append(value)
    if not strength or not sure:
        return count_one
    means = {form: math.fsum(values) / len(values) for form, values in sure.items()}

    def weigh(candidate: Candidate) -> float:
        value = measure_sureness(candidate, parts)
        if value is None or candidate.form not in means:
            return 1.0
        surer = value - means[candidate.form]
        return math.exp(strength * max(-REACH, min(REACH, surer)))

    return weigh


def discount_slips(weigh: Weigh, slip: float) -> Weigh:
    """``weigh``, times ``slip`` for a candidate with a wrong sum (``Candidate.slipped``)."""
    return lambda candidate: weigh(candidate) * (slip if candidate.slipped else 1.0)


def vote(
    candidates: Sequence[Candidate], comparer: Comparer, weigh: Weigh = count_one
) -> tuple[AnswerClass, ...]:
    """Classes of equal answers, greatest weight first. Those without an answer have no vote.

    May block while algebra decides: on an event loop use ``count_votes``.
    """
    return comparer.classify(
        [(each.id, each.answer, weigh(each)) for each in candidates if each.answer is not None]
    )


async def count_votes(
    candidates: Sequence[Candidate],
    comparer: Comparer,
    weigh: Weigh = count_one,
    seconds: float | None = None,
) -> tuple[AnswerClass, ...]:
    """As ``vote``, off the event loop wherever it may block.

    After ``seconds`` answers that are not compared yet count as different.
    """
    if comparer.decides_at_once(each.answer for each in candidates if each.answer is not None):
        return vote(candidates, comparer, weigh)  # waking a thread takes longer than this
    counting = asyncio.ensure_future(asyncio.to_thread(vote, candidates, comparer, weigh))
    if seconds is not None:
        done, _ = await asyncio.wait([counting], timeout=max(seconds, GRACE_SECONDS))
        if not done:
            comparer.interrupt()
    return await counting


def merit(candidate: Candidate) -> float | None:
    """The mean of its verifiers' scores of the whole, by their weights, or None without any."""
    scores = [each for each in candidate.scores if each.step is None and each.weight > 0]
    total = math.fsum(each.weight for each in scores)
    return math.fsum(each.value * each.weight for each in scores) / total if scores else None


def find_remarks(candidate: Candidate) -> list[str]:
    """What verifiers that count say of the whole of it in words, in their order."""
    said = (each for each in candidate.scores if each.step is None and each.weight > 0)
    return [each.remark for each in said if each.remark.strip()]


def represent(members: Sequence[Candidate]) -> Candidate:
    """Who speaks for a class: the best scored, then one that ended by itself, then lowest id.

    One with a wrong sum only where all have one.
    """
    return min(
        members,
        key=lambda each: (
            each.slipped,
            -(merit(each) or 0.0),
            each.finish is not Finish.STOP,
            each.id,
        ),
    )


def rank(candidates: Sequence[Candidate]) -> dict[int, float]:
    """The place of each in [0, 1], best 1, averaged over verifiers; equals share their places.

    Only ranks are kept because an uncalibrated verifier's values mean nothing by themselves.
    A verifier that did not score a candidate leaves it at its average place, ½.
    """
    names = sorted(
        {s.verifier for each in candidates for s in each.scores if s.step is None and s.weight > 0}
    )
    places: dict[int, list[float]] = {each.id: [] for each in candidates}
    for name in names:
        values = {
            each.id: score.value
            for each in candidates
            for score in each.scores
            if score.verifier == name and score.step is None
        }
        for id, found in places.items():
            found.append(_place(values[id], list(values.values())) if id in values else 0.5)
    return {id: math.fsum(found) / len(found) if found else 0.5 for id, found in places.items()}


def _place(value: float, values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.5
    below = sum(other < value for other in values)
    equal = sum(other == value for other in values) - 1
    return (below + equal / 2) / (len(values) - 1)
