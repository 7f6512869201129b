"""Counting answers that mean the same, and choosing who speaks for the winning ones.

The outcome does not depend on the order of the candidates: ties go to the class, and to the
candidate, with the lowest id, which is no better than any other rule and always the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ttc_cli.types import Answer, AnswerClass, Candidate, Finish

if TYPE_CHECKING:
    from ttc_cli.answers import Comparer


def vote(
    candidates: Sequence[Candidate],
    comparer: Comparer,
    weigh: Callable[[Candidate], float] = lambda candidate: 1.0,
) -> tuple[AnswerClass, ...]:
    """Classes of equal answers, greatest weight first. Those without an answer have no vote."""
    voters = sorted(
        (each for each in candidates if each.answer is not None), key=lambda each: each.id
    )
    answers = [each.answer for each in voters if each.answer is not None]
    classes = [
        _make_class([voters[place] for place in group], weigh)
        for group in comparer.classify(answers)
    ]
    return tuple(sorted(classes, key=lambda each: (-each.weight, each.members[0])))


def _make_class(members: Sequence[Candidate], weigh: Callable[[Candidate], float]) -> AnswerClass:
    members = sorted(members, key=lambda each: each.id)
    return AnswerClass(
        answer=_most_common([each.answer for each in members if each.answer is not None]),
        members=tuple(each.id for each in members),
        weight=math.fsum(map(weigh, members)),
    )


def _most_common(answers: Sequence[Answer]) -> Answer:
    """The form most members wrote; among equals the first by id."""
    return Counter(answers).most_common(1)[0][0]


def merit(candidate: Candidate) -> float | None:
    """The mean of its verifiers' scores of the whole, or None without any."""
    scores = [score.value for score in candidate.scores if score.step is None]
    return math.fsum(scores) / len(scores) if scores else None


def represent(members: Sequence[Candidate]) -> Candidate:
    """Who speaks for a class: the best scored, then one that ended by itself, then lowest id."""
    return min(
        members,
        key=lambda each: (-(merit(each) or 0.0), each.finish is not Finish.STOP, each.id),
    )


def rank(candidates: Sequence[Candidate]) -> dict[int, float]:
    """The place of each in [0, 1], best 1, averaged over verifiers; equals share their places.

    Only ranks are kept because an uncalibrated verifier's values mean nothing by themselves.
    A verifier that did not score a candidate leaves it at its average place, ½.
    """
    names = sorted({score.verifier for each in candidates for score in each.scores})
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
